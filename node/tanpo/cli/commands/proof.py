"""`tanpo receipt` and `tanpo proof`: export what convinces others, into files that stand alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from tanpo.cli.options import ProfileOption
from tanpo.cli.output import Format, OutputOption, print_fields, print_text

if TYPE_CHECKING:
    from tanpo.client import Client
    from tanpo.ledger.prooffile import ProofFile

receipt_app = typer.Typer(help="Receipts that prove themselves.", no_args_is_help=True, rich_markup_mode=None)
app = typer.Typer(
    help="Balances, values and listings that prove themselves.", no_args_is_help=True, rich_markup_mode=None
)

OutOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="The file to write; it must not exist. Without it the file goes to stdout, and nothing else.",
    ),
]
HeightOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--at", metavar="HEIGHT", min=0, help="After which block; 0 for the newest that is certified."
    ),
]
ContractArgument: TypeAlias = Annotated[str, typer.Argument(help="The contract.")]
VariableArgument: TypeAlias = Annotated[str, typer.Argument(help="Its variable.")]


@receipt_app.callback()
def receipt() -> None:
    """Keep `export` a command of its own although it is the only one."""


@receipt_app.command("export")
def export_receipt(
    tx_id: Annotated[str, typer.Argument(metavar="TX", help="The transaction's id, in hexadecimal digits.")],
    profile: ProfileOption,
    out: OutOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Write all that proves what became of a transaction. `tanpo verify` checks the file without any node."""
    from tanpo.cli.proving import parse_tx_id
    from tanpo.client import Client, load_profile

    wanted = parse_tx_id(tx_id)
    with Client(load_profile(profile)) as client:
        _save(client, client.chain.export_receipt(wanted), out, output)


@app.command("balance")
def export_balance(
    account: Annotated[str, typer.Argument(help="The account.")],
    instrument: Annotated[str, typer.Argument(help="The instrument.")],
    profile: ProfileOption,
    out: OutOption = None,
    height: HeightOption = 0,
    output: OutputOption = Format.TABLE,
) -> None:
    """Write what proves how much of an instrument an account had, or that it had nothing."""
    from tanpo.client import Client, load_profile
    from tanpo.client.statereads import POSITIONS, REGISTER

    with Client(load_profile(profile)) as client:
        file = client.state.export_value(REGISTER, POSITIONS, (account, instrument), height=height)
        _save(client, file, out, output)


@app.command("value")
def export_value(
    contract: ContractArgument,
    variable: VariableArgument,
    profile: ProfileOption,
    out: OutOption = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key", "-k", metavar="KEY", help="The key of a Map; repeat it for each part of a tuple."
        ),
    ] = None,
    height: HeightOption = 0,
    output: OutputOption = Format.TABLE,
) -> None:
    """Write what proves the value that a contract kept under a key, or that it kept none."""
    from tanpo.cli.proving import parse_key
    from tanpo.client import Client, load_profile

    with Client(load_profile(profile)) as client:
        found = parse_key(client.state.layout(contract), variable, key or [])
        _save(client, client.state.export_value(contract, variable, found, height=height), out, output)


@app.command("listing")
def export_listing(
    contract: ContractArgument,
    variable: VariableArgument,
    group: Annotated[
        list[str], typer.Argument(metavar="GROUP...", help="The group of an Index; each part of a tuple.")
    ],
    profile: ProfileOption,
    out: OutOption = None,
    height: HeightOption = 0,
    output: OutputOption = Format.TABLE,
) -> None:
    """Write what proves who is in a group of an index, and that nobody else is."""
    from tanpo.cli.proving import parse_group
    from tanpo.client import Client, load_profile

    with Client(load_profile(profile)) as client:
        found = parse_group(client.state.layout(contract), variable, group)
        _save(client, client.state.export_listing(contract, variable, found, height=height), out, output)


def _save(client: Client, file: ProofFile, out: Path | None, output: Format) -> None:
    from tanpo.cli.wording import describe_verdict, verdict_to_json
    from tanpo.client import save_proof_file
    from tanpo.ledger.proofcheck import verify_proof_file
    from tanpo.ledger.prooffile import encode_proof_file

    verdict = verify_proof_file(file, client.config.genesis, client.config.pin)
    if out is None:
        print_text(encode_proof_file(file).rstrip())
        return
    save_proof_file(out, file)
    if output is Format.JSON:
        print_fields(output, {"file": str(out), **verdict_to_json(verdict)})
        return
    print_fields(output, {"file": str(out)})
    print_text("\n".join(describe_verdict(verdict, client.config.genesis)))
