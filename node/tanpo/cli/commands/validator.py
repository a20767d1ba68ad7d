"""`tanpo validator`: who votes on blocks, and a change of that."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from tanpo.cli.options import AnyProfileOption, DirOption, DraftOption, KeyOption, SignerOption
from tanpo.cli.output import Column, Format, OutputOption, print_fields, print_rows

app = typer.Typer(help="The nodes that vote on blocks.", no_args_is_help=True, rich_markup_mode=None)

EPOCH_SECONDS = 30.0
"""How long a change may take to be in force once it is committed; ordinarily it takes one block."""

WishOption: TypeAlias = Annotated[
    list[str] | None, typer.Option(metavar="MEMBER/NODE[=KEY]", help="The node, and its public key.")
]

RemoveOption: TypeAlias = Annotated[
    list[str] | None, typer.Option(metavar="MEMBER/NODE", help="A validator that is to vote no more.")
]
FileOption: TypeAlias = Annotated[
    Path | None, typer.Option(help="All validators wanted, as `tanpo validator list -o json` prints.")
]
WeakenOption: TypeAlias = Annotated[
    bool, typer.Option("--weaken", help="Let the network survive fewer faulty validators than now.")
]
AbsentOption: TypeAlias = Annotated[
    bool, typer.Option("--absent", help="Count on validators that are not up: the network may halt for good.")
]
ValidOption: TypeAlias = Annotated[
    float, typer.Option(metavar="SECONDS", min=1, help="In which it may be committed.")
]

_COLUMNS = (
    Column(heading="Index", key="index", is_number=True),
    Column(heading="Member", key="member"),
    Column(heading="Node", key="node"),
    Column(heading="Key id", key="key_id"),
)


@app.command("list")
def list_all(
    profile: AnyProfileOption = None, directory: DirOption = None, output: OutputOption = Format.TABLE
) -> None:
    """List the validators in force, in the order of their indices."""
    from tanpo.cli.connecting import connect
    from tanpo.cli.validators import describe_validators, read_current

    with connect(profile, directory) as client:
        current, epoch = read_current(client)
    rows: list[dict[str, Any]] = describe_validators(current)
    if output is Format.JSON:
        print_fields(output, {"epoch": epoch, "validators": rows})
        return
    print_rows(output, rows, _COLUMNS)


@app.command()
def pin(
    profile: AnyProfileOption = None, directory: DirOption = None, output: OutputOption = Format.TABLE
) -> None:
    """Print the current epoch with the hash of its validators, proved, for others to begin checking at."""
    from tanpo.cli.connecting import connect

    with connect(profile, directory) as client:
        found = client.network.pin()
    print_fields(output, {"pin": str(found), "epoch": found.epoch, "valset_hash": found.valset_hash.hex()})


@app.command()
def replace(
    profile: AnyProfileOption = None,
    directory: DirOption = None,
    add: WishOption = None,
    remove: RemoveOption = None,
    rekey: WishOption = None,
    file: FileOption = None,
    key: KeyOption = None,
    draft: DraftOption = None,
    signer: SignerOption = None,
    weaken: WeakenOption = False,
    absent: AbsentOption = False,
    valid_for: ValidOption = 1800.0,
    output: OutputOption = Format.TABLE,
) -> None:
    """Change the validators from the next block but one on. More than two thirds of all members must sign.

    With --draft, nothing is sent: the members sign the draft where their keys are (`tanpo tx sign`), and
    whoever has all signatures seals and sends it (`tanpo tx seal`, `tanpo tx send`).
    """
    from tanpo.cli import validators as wishes
    from tanpo.cli.connecting import connect, find_signers, load_signers, read_owners
    from tanpo.client import save_draft
    from tanpo.ledger.transaction import Call
    from tanpo.ledger.validators import validators_to_value

    if (file is None) == (not (add or remove or rekey)):
        raise typer.BadParameter("either --file, or any of --add, --remove and --rekey")
    keys = _find_local_keys(directory)
    with connect(profile, directory) as client:
        current, epoch = wishes.read_current(client)
        wanted = (
            wishes.load_validators(file)
            if file is not None
            else wishes.apply_wishes(
                current,
                add=[wishes.parse_wish(one, keys) for one in add or []],
                remove=[wishes.parse_name(one) for one in remove or []],
                rekey=[wishes.parse_wish(one, keys) for one in rekey or []],
            )
        )
        signers = load_signers(client, directory, key or [])
        owners = read_owners(client)
        signing = find_signers(owners, signer) if signer else [one.key_id for one in signers]
        members = sorted({str(owners[one]) for one in signing if one in owners})
        wishes.check_all(client, current, wanted, members)
        if not weaken:
            wishes.check_strength(current, wanted)
        if not absent:
            wishes.wait_presence(client, wanted)
        call = Call.create(wishes.CONTRACT, "replace", {"validators": validators_to_value(wanted)})
        if draft is not None:
            save_draft(draft, client.build(call, signers=signing, valid_for_s=valid_for))
            done: dict[str, Any] = {"draft": str(draft), "signers": members}
        else:
            height = client.submit(call, signers=signers, valid_for_s=valid_for).raise_for_failure().height
            wishes.wait_epoch(client, epoch + 1, EPOCH_SECONDS)
            done = {"height": height, "epoch": epoch + 1}
    print_fields(output, done | wishes.describe_change(current, wanted))


def _find_local_keys(directory: Path | None) -> dict[str, bytes]:
    """Return the public keys of a local network's nodes, by name."""
    if directory is None:
        return {}
    from tanpo.cli.layout import NetworkFolder
    from tanpo.client import load_key

    folder = NetworkFolder(root=directory.absolute())
    return {
        f"{place.member}/{place.node}": load_key(
            folder.get_member(place.member).validator_key
        ).public_key.encoded
        for place in folder.load_manifest()
    }
