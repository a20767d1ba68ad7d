"""`tanpo sim`: whole networks under every fault, replayed exactly from a seed."""

from __future__ import annotations

from typing import Annotated

import typer
from tanpo.cli.output import Format, OutputOption


def sim(
    seed: Annotated[
        int | None, typer.Option(min=0, help="Run this one seed, and tell what happened.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop after so many steps.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Run so many seeds [100].")] = None,
    first: Annotated[int, typer.Option(min=0, help="The first of them.")] = 0,
    mode: Annotated[
        str,
        typer.Option(
            metavar="safety|liveness|both",
            help="Faults that never heal, or a core that heals and must then make progress.",
        ),
    ] = "both",
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="FAULT", help="Switch a fault or a hostile behaviour off. Repeat for each."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes at a time [one a core].")
    ] = None,
    twins: Annotated[
        bool,
        typer.Option(
            "--twins", help="Run Twins scenarios: copies of a validator with one key, in planned partitions."
        ),
    ] = False,
    nodes: Annotated[
        int, typer.Option(metavar="4|7", help="With --twins, the number of validators; f of them are twins.")
    ] = 4,
    scenarios: Annotated[
        int, typer.Option(min=1, help="With --twins, run so many scenarios, from --first on.")
    ] = 100,
    output: OutputOption = Format.TABLE,
) -> None:
    """Run simulated networks with the real replica, and check at every step what must never be broken.

    Exits with 1 if anything was. A seed gives the same run, and the same digest, anywhere and at any time.
    """
    from tanpo.cli.simulation import run_one, run_sweep, run_twins

    if twins:
        run_twins(nodes=nodes, scenarios=scenarios, first=first, jobs=jobs, output=output)
    elif seed is not None:
        run_one(seed=seed, steps=steps, mode=mode, without=without or [], output=output)
    else:
        run_sweep(seeds=seeds or 100, first=first, mode=mode, jobs=jobs, output=output)
