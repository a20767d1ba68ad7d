"""`tanpo debug`: what support asks for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from tanpo.cli.options import ConfigArgument
from tanpo.cli.output import Format, OutputOption, print_fields

app = typer.Typer(help="For support.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def debug() -> None:
    """For support: what tells others how a node is, without its secrets."""


@app.command()
def bundle(
    config: ConfigArgument,
    out: Annotated[
        Path, typer.Option("--out", help="The archive to write (tar.gz); it must not exist.")
    ] = Path("tanpo-debug.tar.gz"),
    output: OutputOption = Format.TABLE,
) -> None:
    """Write an archive of all that tells how a node is, running or not: no key, PEM or password is in it."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from tanpo.cli.bundling import write_bundle_here

    written = write_bundle_here(out, config)
    print_fields(output, {"file": str(written.path), "entries": list(written.entries)})
