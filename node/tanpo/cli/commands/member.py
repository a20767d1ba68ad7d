"""`tanpo member`: what an institution makes for itself, and the members of a network that runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from tanpo.cli.options import AnyProfileOption, DirOption, DraftOption, KeyOption, SignerOption
from tanpo.cli.output import Column, Format, OutputOption, print_fields, print_rows

if TYPE_CHECKING:
    from tanpo.cli.membership import Signing

app = typer.Typer(
    help="A member's own files, and the members of a network: admission, keys, CAs, dismissal.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
keys = typer.Typer(
    help="The keys that sign a member's transactions.", no_args_is_help=True, rich_markup_mode=None
)
authorities = typer.Typer(
    help="The CAs of a member's certificates.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(keys, name="key")
app.add_typer(authorities, name="authority")

ValidOption: TypeAlias = Annotated[
    float, typer.Option(metavar="SECONDS", min=1, help="In which it may be committed.")
]
OfOption: TypeAlias = Annotated[
    str, typer.Option("--member", metavar="ID", help="Whose; the profile's own member unless said otherwise.")
]
KeyArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="KEY", help="The public key: hexadecimal digits, or a PEM file.")
]

VALID_FOR_S = 1800.0
"""Time for a draft to go round."""

_COLUMNS = (
    Column(heading="Member", key="member"),
    Column(heading="Name", key="name"),
    Column(heading="Roles", key="roles"),
    Column(heading="Keys", key="key_ids"),
)

NODE = "node-1"
OPS_LISTEN = "127.0.0.1:7602"


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make; it must not exist.")],
    member: Annotated[str, typer.Option(metavar="ID", help="The member's name on the ledger, for good.")],
    name: Annotated[str, typer.Option(help="The institution's name.")],
    lei: Annotated[str, typer.Option(metavar="LEI", help="Its legal entity identifier (ISO 17442).")],
    address: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where its clients will reach its node.")],
    peer_address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where other members' nodes will reach it.")
    ],
    role: Annotated[
        list[str] | None, typer.Option(metavar="ROLE", help="A role from the beginning; repeat for each.")
    ] = None,
    node: Annotated[str, typer.Option(metavar="NAME", help="The node's name.")] = NODE,
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="A further name of the node's host; repeat for each."),
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Make a member's CA, keys, certificates and card, each where it belongs. Nothing is overwritten.

    DIR/ca is kept off the network, DIR/client with those who act for the member, DIR/node goes to the node's
    host, and DIR/ID.card is for the other members.
    """
    from tanpo.cli.founding.cards import describe_card
    from tanpo.cli.founding.folder import Introduction, MemberFolder, create_member

    given = Introduction(
        member=member,
        name=name,
        lei=lei,
        roles=tuple(role or ()),
        node=node,
        address=address,
        peer_address=peer_address,
        hosts=tuple(host or ()),
    )
    facts = create_member(directory, given)
    card = MemberFolder(root=directory).get_card(member)
    print_fields(output, {"card": str(card), **describe_card(facts)})


@app.command()
def show(
    card: Annotated[Path, typer.Argument(metavar="CARD", help="A member's card.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Check that a card is whole, and show what it says.

    Compare its hash with the member by another way than the card came: by telephone, or on paper.
    """
    from tanpo.cli.founding.cards import describe_card, load_card

    print_fields(output, {"card": str(card), **describe_card(load_card(card).facts)})


@app.command()
def configure(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The member's folder.")],
    genesis: Annotated[Path, typer.Option(help="The genesis that all members signed.")],
    file: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="The members' cards and their signatures.")
    ],
    ops_listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the node answers its own operations.")
    ] = OPS_LISTEN,
    output: OutputOption = Format.TABLE,
) -> None:
    """Check that all members signed a genesis, and write what node and clients need to start with it.

    That is the genesis, node.toml, the CAs of all members, and profiles. Nothing is overwritten.
    """
    from tanpo.cli.founding import papers
    from tanpo.cli.founding.folder import MemberFolder, configure_member
    from tanpo.cli.founding.signing import verify_signatures

    read = papers.read_genesis(genesis)
    cards, signatures = papers.sort_files(file)
    members = verify_signatures(read.genesis, signatures)
    written = configure_member(MemberFolder(root=directory), read, cards, ops_listen)
    print_fields(
        output,
        {
            "network": read.genesis.network,
            "network_id": read.genesis.network_id.hex(),
            "signed_by": list(members),
            "written": [str(path) for path in written],
        },
    )


@app.command("list")
def list_all(
    profile: AnyProfileOption = None, directory: DirOption = None, output: OutputOption = Format.TABLE
) -> None:
    """List the members of now, with roles, keys and CAs, by the node's word."""
    from tanpo.cli.connecting import connect
    from tanpo.cli.membership import describe_member

    with connect(profile, directory) as client:
        rows = [describe_member(one) for one in client.network.members()]
    if output is Format.JSON:
        print_fields(output, {"members": rows})
        return
    shown = [{**row, "roles": ", ".join(row["roles"]), "key_ids": ", ".join(row["key_ids"])} for row in rows]
    print_rows(output, shown, _COLUMNS)


@app.command()
def admit(
    card: Annotated[Path, typer.Argument(metavar="CARD", help="The newcomer's card.")],
    profile: AnyProfileOption = None,
    directory: DirOption = None,
    key: KeyOption = None,
    draft: DraftOption = None,
    signer: SignerOption = None,
    takes_over: Annotated[
        bool,
        typer.Option("--takes-over", help="It gets the accounts that a dismissed member of its name left."),
    ] = False,
    valid_for: ValidOption = VALID_FOR_S,
    output: OutputOption = Format.TABLE,
) -> None:
    """Admit the member of a card, from the next block on. More than two thirds of all members must sign.

    Compare the card's hash with the newcomer before, as `member show` says. With --draft, nothing is sent:
    the members sign the draft where their keys are (`tanpo tx sign`, `seal`, `send`).
    """
    from tanpo.cli import membership
    from tanpo.cli.connecting import connect
    from tanpo.cli.founding.cards import describe_card, load_card

    facts = load_card(card).facts
    signing = _collect(directory, key, draft, signer, valid_for)
    with connect(profile, directory) as client:
        call = membership.make_admission(client, facts, takes_over=takes_over)
        done = membership.agree(client, call, signing)
    print_fields(output, done | describe_card(facts))


@app.command()
def dismiss(
    member: Annotated[str, typer.Argument(metavar="ID", help="The member.")],
    profile: AnyProfileOption = None,
    directory: DirOption = None,
    key: KeyOption = None,
    draft: DraftOption = None,
    signer: SignerOption = None,
    valid_for: ValidOption = VALID_FOR_S,
    output: OutputOption = Format.TABLE,
) -> None:
    """Dismiss a member: its keys, CA and roles end, its accounts stay. More than two thirds must sign.

    None of its nodes may be a validator (`tanpo validator replace --remove`).
    """
    from tanpo.cli import membership
    from tanpo.cli.connecting import connect

    signing = _collect(directory, key, draft, signer, valid_for)
    with connect(profile, directory) as client:
        done = membership.agree(client, membership.make_dismissal(member), signing)
    print_fields(output, done | {"member": member})


@keys.command("add")
def add_key(
    public_key: KeyArgument,
    member: OfOption = "",
    profile: AnyProfileOption = None,
    directory: DirOption = None,
    key: KeyOption = None,
    draft: DraftOption = None,
    signer: SignerOption = None,
    valid_for: ValidOption = VALID_FOR_S,
    output: OutputOption = Format.TABLE,
) -> None:
    """Let one more key sign for a member: by its own signature, or by more than two thirds of all members."""
    signing = _collect(directory, key, draft, signer, valid_for)
    _change_key("add_key", public_key, member, profile, signing, output)


@keys.command("remove")
def remove_key(
    public_key: KeyArgument,
    member: OfOption = "",
    profile: AnyProfileOption = None,
    directory: DirOption = None,
    key: KeyOption = None,
    draft: DraftOption = None,
    signer: SignerOption = None,
    valid_for: ValidOption = VALID_FOR_S,
    output: OutputOption = Format.TABLE,
) -> None:
    """Let a key sign no more, for good: by the member's signature, or by more than two thirds of all."""
    signing = _collect(directory, key, draft, signer, valid_for)
    _change_key("remove_key", public_key, member, profile, signing, output)


@authorities.command("create")
def create_authority(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Where ca.crt and ca.key go.")],
    member: Annotated[str, typer.Option(metavar="ID", help="The member.")],
    name: Annotated[str, typer.Option(help="The institution's name, which the certificate carries.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Make another CA for a member. It counts once `member authority replace` says so.

    The key is a secret, as that of the first CA: off every network. Existing files are never overwritten.
    """
    from tanpo.cli.certificates import create_authority_files, describe_certificate

    certificate, ca_key = create_authority_files(member, name, out)
    print_fields(output, {**describe_certificate(certificate), "key": str(ca_key)})


@authorities.command("replace")
def replace_authority(
    file: Annotated[
        list[Path], typer.Argument(metavar="PEM...", help="The CA; or the old one and the new one.")
    ],
    member: OfOption = "",
    profile: AnyProfileOption = None,
    directory: DirOption = None,
    key: KeyOption = None,
    draft: DraftOption = None,
    signer: SignerOption = None,
    valid_for: ValidOption = VALID_FOR_S,
    output: OutputOption = Format.TABLE,
) -> None:
    """Let these CAs issue a member's certificates, and no others: two while both have some in use.

    Refused if it would lock out who asks for it: one of them must have issued the profile's own certificate.
    """
    from tanpo.cli import membership
    from tanpo.cli.connecting import connect

    signing = _collect(directory, key, draft, signer, valid_for)
    with connect(profile, directory) as client:
        own = member or str(client.config.member)
        call = membership.make_authority_change(client, own, file)
        done = membership.agree(client, call, signing, own=own)
    print_fields(output, done | {"member": own, "authorities": len(file)})


def _collect(
    directory: Path | None,
    keys: list[Path] | None,
    draft: Path | None,
    signers: list[str] | None,
    valid_for_s: float,
) -> Signing:
    """Return what the options of a change say of who signs it."""
    from tanpo.cli.membership import Signing

    return Signing(
        directory=directory, keys=keys or [], draft=draft, signers=signers or [], valid_for_s=valid_for_s
    )


def _change_key(
    entry: str, text: str, member: str, profile: Path | None, signing: Signing, output: Format
) -> None:
    from tanpo.cli import membership
    from tanpo.cli.connecting import connect
    from tanpo.cli.validators import read_key
    from tanpo.ledger.keys import PublicKey

    public_key = read_key(text)
    with connect(profile, signing.directory) as client:
        own = member or str(client.config.member)
        done = membership.agree(client, membership.make_key_change(entry, own, public_key), signing, own=own)
    print_fields(output, done | {"member": own, "key_id": PublicKey.decode(public_key).key_id.hex()})
