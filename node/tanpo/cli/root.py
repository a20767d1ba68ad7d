"""The root of the `tanpo` command.

Command modules import nothing heavy at the top: `tanpo --help` must answer in well under half a second, and
does because gRPC, cryptography and LevelDB are imported by the functions that need them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
import typer.core
from tanpo.cli.commands import (
    authoring,
    bench,
    block,
    cert,
    contract,
    debug,
    demo,
    evidence,
    genesis,
    key,
    member,
    net,
    node,
    proof,
    query,
    sim,
    tx,
    validator,
    verify,
)
from tanpo.cli.output import Format, Reporting, open_streams, print_json, print_text

if TYPE_CHECKING:
    from typer._click.core import Context


class _Root(typer.core.TyperGroup):
    """The command with all others below it; what is refused of an option or an argument is shown."""

    def invoke(self, ctx: Context) -> object:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            given = _find_given(error.__cause__)
            if given is not None:
                error.message += f"; value: {given}"
            raise


def _find_given(cause: BaseException | None) -> object:
    """Return the value that typer refused, which it keeps to itself; None if this is no such refusal."""
    # Typer has imported it, if this is one.
    from pydantic import ValidationError

    return cause.errors()[0]["input"] if isinstance(cause, ValidationError) else None


app = typer.Typer(
    name="tanpo",
    cls=_Root,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print what is installed: distribution, Python, protocol, language."),
    ] = False,
    output: Annotated[
        Format, typer.Option("--output", "-o", help="With --version: text for people, or JSON on stdout.")
    ] = Format.TABLE,
) -> None:
    """A permissioned ledger on which institutions hold, pledge and swap tokenised assets."""
    if version:
        from tanpo.cli.versions import describe_versions, write_versions

        if output is Format.JSON:
            print_json(describe_versions())
        else:
            print_text(write_versions())
        raise typer.Exit
    if output is not Format.TABLE:
        message = "stands here for --version alone: give it after the command"
        raise typer.BadParameter(message, ctx=ctx, param_hint="-o")


app.add_typer(net.app, name="net")
app.command("demo")(demo.demo)
app.add_typer(tx.app, name="tx")
app.command("query")(query.query)
app.add_typer(node.app, name="node")
app.add_typer(member.app, name="member")
app.add_typer(genesis.app, name="genesis")
app.add_typer(validator.app, name="validator")
contract.app.command("check")(authoring.check)
contract.app.command("abi")(authoring.abi)
contract.app.command("new")(authoring.new)
contract.app.command("test")(authoring.run_tests)
contract.app.command("gas")(authoring.gas)
contract.app.command("stubs")(authoring.stubs)
app.add_typer(contract.app, name="contract")
app.add_typer(key.app, name="key")
app.add_typer(cert.app, name="cert")
app.add_typer(evidence.app, name="evidence")
app.add_typer(debug.app, name="debug")
app.add_typer(proof.receipt_app, name="receipt")
app.add_typer(proof.app, name="proof")
app.add_typer(block.app, name="block")
app.command("verify")(verify.verify)
app.command("bench")(bench.bench)
app.command("sim")(sim.sim)


def main() -> None:
    """Run the command line and exit: 0 done, 1 refused or failed, 2 misused, 130 interrupted."""
    open_streams()
    with Reporting():
        app()
