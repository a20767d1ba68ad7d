"""`tanpo block`: blocks in files that stand alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from tanpo.cli.options import ProfileOption
from tanpo.cli.output import Format, OutputOption, print_fields, print_text

app = typer.Typer(help="Blocks that prove themselves.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def block() -> None:
    """Keep `export` a command of its own although it is the only one."""


@app.command("export")
def export_blocks(
    profile: ProfileOption,
    first: Annotated[int, typer.Option("--from", metavar="HEIGHT", min=1, help="The first block.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write; it must not exist.")],
    last: Annotated[
        int, typer.Option("--to", metavar="HEIGHT", min=0, help="The last block; 0 for the latest possible.")
    ] = 0,
    output: OutputOption = Format.TABLE,
) -> None:
    """Write blocks, their receipts and what makes them final; the node must hold them, as an archive does.

    `tanpo verify` checks the file without any node.
    """
    from tanpo.cli.blocks import save_blocks
    from tanpo.cli.wording import blocks_to_json, describe_blocks
    from tanpo.client import Client, load_profile

    with Client(load_profile(profile)) as client:
        verdict = save_blocks(client, first, last, out)
        genesis = client.config.genesis
    fields = {"file": str(out), "bytes": out.stat().st_size}
    if output is Format.JSON:
        print_fields(output, {**fields, **blocks_to_json(verdict)})
        return
    print_fields(output, fields)
    print_text("\n".join(describe_blocks(verdict, genesis)))
