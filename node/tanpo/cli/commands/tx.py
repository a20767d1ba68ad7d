"""`tanpo tx`: submit a transaction, or build, sign, seal and send it where the keys live apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer
from tanpo.cli.options import ArgumentsOption, ProfileOption
from tanpo.cli.output import Column, Format, OutputOption, print_error, print_fields, print_rows, print_text

if TYPE_CHECKING:
    from tanpo.client import Client, Committed, TransactionPosition
    from tanpo.ledger.transaction import Call

app = typer.Typer(help="Transactions.", no_args_is_help=True, rich_markup_mode=None)

ContractArgument: TypeAlias = Annotated[str, typer.Argument(help="The contract.")]
EntryArgument: TypeAlias = Annotated[str, typer.Argument(help="The entry point.")]
OutOption: TypeAlias = Annotated[Path, typer.Option("--out", help="The file to write; it must not exist.")]
RequestIdOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Your own id of the request; repeating it never acts twice while the node holds the block "
        "of the first: for good on an archive."
    ),
]
GasOption: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="The most gas it may use.")
]
ValidOption: TypeAlias = Annotated[
    float | None, typer.Option("--valid-for", metavar="SECONDS", min=1, help="In which it may be committed.")
]

_OUTCOME_COLUMNS = (
    Column(heading="Request", key="request_id"),
    Column(heading="State", key="state"),
    Column(heading="Height", key="height", is_number=True),
    Column(heading="Code", key="code"),
    Column(heading="Details", key="details"),
    Column(heading="Transaction", key="tx_id"),
)


@app.command()
def submit(
    contract: ContractArgument,
    entry: EntryArgument,
    profile: ProfileOption,
    arg: ArgumentsOption = None,
    key: Annotated[
        list[Path] | None,
        typer.Option("--key", metavar="FILE", help="A further key file to sign with, of another party."),
    ] = None,
    request_id: RequestIdOption = None,
    gas_limit: GasOption = None,
    valid_for: ValidOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Sign a transaction, submit it and wait for its outcome. Fails unless it succeeded."""
    from tanpo.client import VALID_FOR_S, Client, FileSigner, load_profile

    with Client(load_profile(profile)) as client:
        call = _parse_call(client, contract, entry, arg or [])
        further = [FileSigner.load(path) for path in key or []]
        committed = client.submit(
            call,
            signers=[*client.config.signers, *further],
            request_id=request_id,
            gas_limit=gas_limit,
            valid_for_s=valid_for or VALID_FOR_S,
        )
    _print_committed(output, [committed])


@app.command()
def build(
    contract: ContractArgument,
    entry: EntryArgument,
    profile: ProfileOption,
    out: OutOption,
    arg: ArgumentsOption = None,
    signer: Annotated[
        list[str] | None,
        typer.Option("--signer", metavar="MEMBER|KEY_ID", help="Who is to sign; the profile's keys if none."),
    ] = None,
    request_id: RequestIdOption = None,
    gas_limit: GasOption = None,
    valid_for: ValidOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Write a draft that nobody has signed yet. The profile's node is asked for the contract's interface."""
    from tanpo.cli.connecting import find_signers, read_owners
    from tanpo.client import VALID_FOR_S, Client, load_profile, save_draft

    with Client(load_profile(profile)) as client:
        call = _parse_call(client, contract, entry, arg or [])
        draft = client.build(
            call,
            signers=find_signers(read_owners(client), signer) if signer else None,
            request_id=request_id,
            gas_limit=gas_limit,
            valid_for_s=valid_for or VALID_FOR_S,
        )
    save_draft(out, draft)
    print_fields(output, {"file": str(out), "digest": draft.digest.hex(), "transactions": draft.describe()})


@app.command()
def sign(
    draft_file: Annotated[Path, typer.Argument(metavar="DRAFT", help="The draft.")],
    genesis: Annotated[Path, typer.Option(help="The network's genesis file.")],
    key: Annotated[Path, typer.Option(help="The key file to sign with.")],
    out: OutOption,
    output: OutputOption = Format.TABLE,
) -> None:
    """Sign a draft with one key, without any network, and show what was signed."""
    from tanpo.client import FileSigner, load_draft, load_genesis, save_signature

    draft = load_draft(draft_file, load_genesis(genesis).network_id)
    signature = draft.sign(FileSigner.load(key))
    save_signature(out, signature)
    print_fields(
        output,
        {"file": str(out), "key_id": signature.key_id.hex(), "transactions": draft.describe()},
    )


@app.command()
def seal(
    draft_file: Annotated[Path, typer.Argument(metavar="DRAFT", help="The draft.")],
    signatures: Annotated[
        list[Path], typer.Argument(metavar="SIGNATURE...", help="The parties' signatures.")
    ],
    genesis: Annotated[Path, typer.Option(help="The network's genesis file.")],
    out: OutOption,
    output: OutputOption = Format.TABLE,
) -> None:
    """Put a draft and all its signatures together; a wrong or missing one is refused here."""
    from tanpo.client import load_draft, load_genesis, load_signature, save_envelope
    from tanpo.ledger.genesis import collect_keys

    known = load_genesis(genesis)
    draft = load_draft(draft_file, known.network_id)
    envelope = draft.seal([load_signature(path) for path in signatures], collect_keys(known))
    save_envelope(out, known.network_id, envelope)
    print_fields(output, {"file": str(out), "tx_ids": [one.tx_id.hex() for one in envelope.transactions]})


@app.command()
def send(
    envelope_file: Annotated[Path, typer.Argument(metavar="ENVELOPE", help="The sealed envelope.")],
    profile: ProfileOption,
    output: OutputOption = Format.TABLE,
) -> None:
    """Submit a sealed envelope and wait for its outcome. Sending it again is always safe."""
    from tanpo.client import Client, Committed, load_envelope, load_profile

    with Client(load_profile(profile)) as client:
        results = client.submit_envelope(load_envelope(envelope_file, client.config.network_id))
    committed = [one for one in results if isinstance(one, Committed)]
    for one in results:
        if not isinstance(one, Committed):
            one.raise_for_failure()
    _print_committed(output, committed)


@app.command()
def outcome(
    request_id: Annotated[str, typer.Argument(help="The request's id.")],
    profile: ProfileOption,
    member: Annotated[
        str | None, typer.Option(help="The member that submitted it; the profile's if none.")
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show what became of a request: committed, rejected, pending, or unknown up to a height."""
    from tanpo.cli.outcomes import describe_outcome
    from tanpo.client import Client, load_profile

    with Client(load_profile(profile)) as client:
        found = client.outcome(request_id, member=member)
    print_fields(output, describe_outcome(found))


@app.command("list")
def list_transactions(
    profile: ProfileOption,
    member: Annotated[
        str | None, typer.Option(help="The member that they concern; the profile's if none.")
    ] = None,
    before: Annotated[
        str | None, typer.Option(metavar="HEIGHT:INDEX", help="Only those before this position.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=1_000, help="How many.")] = 20,
    output: OutputOption = Format.TABLE,
) -> None:
    """List transactions that a member sent or signed, or that name it or its accounts, the latest first."""
    from tanpo.client import Client, load_profile

    config = load_profile(profile)
    with Client(config) as client:
        found = client.chain.transactions_of(
            member or config.member, None if before is None else _parse_position(before), limit=limit
        )
        rows = [_describe_position(client, position) for position in found.positions]
    print_rows(output, rows, _POSITION_COLUMNS)
    if rows and output is Format.TABLE:
        print_text(_ID_HINT)
    if not found.is_of_whole_chain:
        print_error(
            f"this node holds no transactions of before block {found.first_height}: one that holds the chain "
            "from its genesis lists them"
        )


_ID_HINT: Final = (
    "An id that is folded here is on one line in `-o json`; `tanpo receipt export ID > r.json` proves one."
)

_POSITION_COLUMNS = (
    Column(heading="Height", key="height", is_number=True),
    Column(heading="Index", key="index", is_number=True),
    Column(heading="Member", key="member"),
    Column(heading="Call", key="call"),
    Column(heading="Transaction", key="tx_id"),
)


def _parse_position(text: str) -> TransactionPosition:
    from tanpo.client import TransactionPosition
    from tanpo.ledger.types import Height, TxId

    height, _, index = text.partition(":")
    if not (height.isdecimal() and index.isdecimal() and int(height) > 0):
        raise typer.BadParameter(f"{text} is no HEIGHT:INDEX, such as 120:0", param_hint="--before")
    return TransactionPosition(height=Height(int(height)), index=int(index), tx_id=TxId(b""))


def _describe_position(client: Client, position: TransactionPosition) -> dict[str, Any]:
    transaction = client.chain.transaction(position.tx_id).transaction
    return {
        "height": position.height,
        "index": position.index,
        "member": transaction.member,
        "call": f"{transaction.call.contract}.{transaction.call.entry}",
        "tx_id": position.tx_id.hex(),
    }


def _parse_call(client: Client, contract: str, entry: str, given: list[str]) -> Call:
    from tanpo.cli.interfaces import load_interfaces
    from tanpo.ledger.transaction import Call

    interfaces = load_interfaces(client.network.contracts())
    return Call.create(contract, entry, interfaces.parse_arguments(contract, "entries", entry, given))


def _print_committed(output: Format, committed: list[Committed]) -> None:
    from tanpo.cli.outcomes import describe_outcome

    rows: list[dict[str, Any]] = [describe_outcome(one) for one in committed]
    if output is Format.JSON and len(rows) == 1:
        print_fields(output, rows[0])
    else:
        print_rows(output, rows, _OUTCOME_COLUMNS)
    for one in committed:
        one.raise_for_failure()
