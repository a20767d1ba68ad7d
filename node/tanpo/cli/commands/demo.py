"""`tanpo demo`: four institutions settle their first swaps, and lose their leader on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from tanpo.cli.output import Format, OutputOption


def demo(
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="Where to make the network [.net if kept, else a new folder]."),
    ] = None,
    running: Annotated[
        Path | None,
        typer.Option(
            "--on",
            metavar="DIR",
            help="Play on the network that `tanpo net up` started in DIR, which nobody has used yet.",
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the network running, for `tanpo net status`.")
    ] = False,
    swaps: Annotated[int, typer.Option(metavar="N", min=30, max=20_000, help="Swaps in the stream.")] = 300,
    output: OutputOption = Format.TABLE,
) -> None:
    """Tokenise, swap and pledge real instruments on a network that survives the death of its leader.

    Exits with 0 only if every check held.
    """
    from tanpo.cli.demo import play_on, run_demo

    if running is None:
        run_demo(directory=directory, keep=keep, swaps=swaps, output=output)
    elif directory is not None or keep:
        raise typer.BadParameter(
            "it names the network, which runs on: leave out --dir and --keep", param_hint="--on"
        )
    else:
        play_on(running, swaps=swaps, output=output)
