"""`tanpo query`: ask a view of a contract, or list what there is to ask."""

from __future__ import annotations

from typing import Annotated

import typer
from tanpo.cli.options import ArgumentsOption, ProfileOption
from tanpo.cli.output import Column, Format, OutputOption, print_fields, print_rows


def query(
    profile: ProfileOption,
    contract: Annotated[str | None, typer.Argument(help="The contract.")] = None,
    view: Annotated[str | None, typer.Argument(help="The view.")] = None,
    arg: ArgumentsOption = None,
    at: Annotated[
        int | None,
        typer.Option(metavar="HEIGHT", min=1, help="Ask of the state after this height, not the latest."),
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List entry points and views instead.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Run a view on the latest committed state, or on that of a past height."""
    from tanpo.cli.interfaces import list_functions, load_interfaces
    from tanpo.client import Client, load_profile
    from tanpo.ledger.values import value_to_json

    with Client(load_profile(profile)) as client:
        contracts = client.network.contracts()
        if list_all:
            print_rows(output, list_functions(contracts, contract), _COLUMNS)
            return
        if contract is None or view is None:
            raise typer.BadParameter("name a contract and a view, or use --list", param_hint="CONTRACT VIEW")
        arguments = load_interfaces(contracts).parse_arguments(contract, "views", view, arg or [])
        if at is None:
            answer = client.query(contract, view, **arguments)
        else:
            answer = client.chain.query_at(at, contract, view, arguments)
    value = value_to_json(answer.value)
    print_fields(output, {"value": value, "height": answer.height, "state_root": answer.state_root.hex()})


_COLUMNS = (
    Column(heading="Contract", key="contract"),
    Column(heading="Kind", key="kind"),
    Column(heading="Name", key="name"),
    Column(heading="Parameters", key="parameters"),
    Column(heading="Returns", key="returns"),
)
