"""`tanpo bench`: what this machine sustains, as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from tanpo.cli.output import Format, OutputOption


def bench(
    seconds: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=3,
            max=600,
            help="How long each rate is offered; the first two seconds warm up.",
        ),
    ] = 10.0,
    rate: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=20_000, help="Offer this rate only; otherwise search."),
    ] = None,
    directory: Annotated[Path | None, typer.Option("--dir", help="Where to make the network.")] = None,
    output: OutputOption = Format.JSON,
) -> None:
    """Measure a network of four: swaps a second, latency, failover, memory, and where the time goes."""
    from tanpo.cli.bench import run_bench

    run_bench(seconds=seconds, rate=rate, directory=directory, output=output)
