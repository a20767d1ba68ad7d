"""`tanpo evidence`: proofs that a validator broke the protocol."""

from __future__ import annotations

from typing import Final

import typer
from tanpo.cli.options import ProfileOption
from tanpo.cli.output import Column, Format, OutputOption, print_rows

app = typer.Typer(
    help="Proofs that a validator broke the protocol.", no_args_is_help=True, rich_markup_mode=None
)

_COLUMNS: Final = (
    Column(heading="Epoch", key="epoch", is_number=True),
    Column(heading="Accused", key="accused"),
    Column(heading="Kind", key="kind"),
    Column(heading="Height", key="height", is_number=True),
    Column(heading="Verified", key="verified"),
)


@app.callback()
def main() -> None:
    """Keep `list` a command of its own although it is the only one."""


@app.command("list")
def list_all(profile: ProfileOption, output: OutputOption = Format.TABLE) -> None:
    """List what a node knows, in the chain or waiting for a block; it is verified here."""
    from tanpo.client import Client, load_profile

    with Client(load_profile(profile)) as client:
        found = client.network.evidence()
    rows = [
        {
            "epoch": one.epoch,
            "accused": one.accused,
            "kind": one.kind,
            "height": one.height,
            "verified": one.is_verified,
            "evidence": one.evidence.hex(),
        }
        for one in found
    ]
    print_rows(output, rows, _COLUMNS)
