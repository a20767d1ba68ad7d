"""`tanpo contract` for those who write contracts: what needs files alone, and no network."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from tanpo.cli.output import Column, Format, OutputOption, print_fields, print_json, print_rows, print_text

if TYPE_CHECKING:
    from tanpo.cli.authoring import Checked

UsesOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--uses", metavar="NAME=FILE", help="A contract it has a handle of; the product's are known."
    ),
]
SourceArgument: TypeAlias = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="The contract's source.")
]
SourcesArgument: TypeAlias = Annotated[
    list[Path], typer.Argument(metavar="FILE...", exists=True, dir_okay=False, help="The contracts' sources.")
]
TestsArgument: TypeAlias = Annotated[
    list[Path], typer.Argument(metavar="PATH...", exists=True, help="Files or folders of tests.")
]

_GAS_COLUMNS = (
    Column(heading="Contract", key="contract"),
    Column(heading="Entry", key="entry"),
    Column(heading="Calls", key="calls", is_number=True),
    Column(heading="Failed", key="failed", is_number=True),
    Column(heading="Min", key="gas_min", is_number=True),
    Column(heading="Median", key="gas_median", is_number=True),
    Column(heading="Max", key="gas_max", is_number=True),
)
_INTERFACE_COLUMNS = (
    Column(heading="Kind", key="kind"),
    Column(heading="Name", key="name"),
    Column(heading="Takes or holds", key="takes"),
    Column(heading="Returns", key="returns"),
)


def check(files: SourcesArgument, uses: UsesOption = None, output: OutputOption = Format.TABLE) -> None:
    """Check sources and print everything that is wrong with them: file:line:column, code, construct, remedy.

    Each is checked as the contract of its file's name. Exits with 1 if there is any fault.
    """
    found = _check(files, uses)
    if output is Format.JSON:
        print_json(
            [{"file": str(one.path), "faults": [asdict(fault) for fault in one.faults]} for one in found]
        )
    else:
        for one in found:
            print_text("\n".join(one.list_faults()) or f"{one.path}: no faults")
    if any(one.faults for one in found):
        raise typer.Exit(1)


def abi(file: SourceArgument, uses: UsesOption = None, output: OutputOption = Format.TABLE) -> None:
    """Print the interface of a contract: entry points, views, records, events, and what it uses of others."""
    from tanpo.cli.authoring import describe_contract, list_interface

    found = _check([file], uses)
    for one in found:
        for line in one.list_faults():
            typer.echo(f"tanpo: {line}", err=True)
    described: list[dict[str, Any]] = [describe_contract(one.compiled) for one in found if one.compiled]
    if len(described) != len(found):
        raise typer.Exit(1)
    (interface,) = described
    if output is Format.JSON:
        print_json(interface)
    else:
        print_rows(output, list_interface(interface), _INTERFACE_COLUMNS)


def new(
    name: Annotated[str, typer.Argument(help="The contract's name, and that of its file.")],
    directory: Annotated[Path, typer.Option("--dir", file_okay=False, help="Where; it is made.")] = Path(),
    output: OutputOption = Format.TABLE,
) -> None:
    """Begin a contract: a small one that works, with tests that pass. Overwrites nothing."""
    from tanpo.cli.starting import create_contract

    contract, tests = create_contract(name, directory)
    print_fields(output, {"contract": str(contract), "tests": str(tests)})


def run_tests(paths: TestsArgument, output: OutputOption = Format.TABLE) -> None:
    """Run tests of contracts with pytest, and print what the calls of each entry point spent.

    With -o json: how each test ended, and why, and the same report. Exits with 1 if any does not pass.
    """
    from tanpo.cli import author_tests

    if output is Format.JSON:
        report = author_tests.report_tests(paths)
        print_json(report)
        has_passed = report["passed"] is True
    else:
        has_passed = author_tests.run_tests(paths) == 0
    if not has_passed:
        raise typer.Exit(1)


def gas(paths: TestsArgument, output: OutputOption = Format.TABLE) -> None:
    """Run tests of contracts, and print only what the calls of each entry point spent."""
    from tanpo.cli.author_tests import measure_gas

    print_rows(output, measure_gas(paths), _GAS_COLUMNS)


def stubs(
    directory: Annotated[Path, typer.Argument(metavar="DIR", exists=True, file_okay=False)] = Path(),
    output: OutputOption = Format.TABLE,
) -> None:
    """Write the names of the dialect as `__builtins__.pyi` into a folder of contracts, for editors."""
    from tanpo.cli.stubs import save_stubs

    print_fields(output, {"stubs": str(save_stubs(directory))})


def _check(files: list[Path], uses: list[str] | None) -> tuple[Checked, ...]:
    from tanpo.cli.authoring import check_files, parse_uses
    from tanpo.ledger.errors import UsageError

    try:
        return check_files(files, parse_uses(uses or []))
    except UsageError as error:
        raise typer.BadParameter(
            f"{error.message}; value: {error.value}; limit: {error.limit} ({error.remedy})"
        ) from None
