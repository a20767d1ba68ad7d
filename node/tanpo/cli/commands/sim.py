"""`tanpo sim`: whole networks under every fault, replayed exactly from a seed."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import typer
from tanpo.cli.output import Format, OutputOption

RUNS_MAX: Final = 1_000_000
"""Most runs of one command: what is to be run is listed beforehand, and these take days."""

ModeOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="safety|liveness|both",
        help="Faults that never heal, or a core that heals and must then make progress [both].",
    ),
]


def sim(
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Run this one seed, and tell what happened.")
    ] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", min=1, help="Stop after so many steps.")] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=RUNS_MAX, help="Run so many seeds [100].")
    ] = None,
    first: Annotated[int | None, typer.Option(metavar="N", min=0, help="The first of them [0].")] = None,
    mode: ModeOption = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="FAULT", help="Switch a fault or a hostile behaviour off. Repeat for each."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=256, help="Processes at a time [one a core].")
    ] = None,
    twins: Annotated[
        bool,
        typer.Option(
            "--twins", help="Run Twins scenarios: copies of a validator with one key, in planned partitions."
        ),
    ] = False,
    nodes: Annotated[
        int | None, typer.Option(metavar="4|7", help="With --twins, the validators [4]; f of them are twins.")
    ] = None,
    scenarios: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=RUNS_MAX,
            help="With --twins, run so many scenarios [100], from --first on.",
        ),
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Run simulated networks with the real replica, and check at every step what must never be broken.

    Exits with 1 if anything was. A seed gives the same run, and the same digest, anywhere and at any time.
    """
    from tanpo.cli.simulation import BOTH, check_options, run_one, run_sweep, run_twins

    one: dict[str, object] = {"--steps": steps, "--without": without}
    of_twins: dict[str, object] = {"--nodes": nodes, "--scenarios": scenarios}
    if twins:
        check_options("--twins", one | {"--seed": seed, "--seeds": seeds, "--mode": mode})
        nodes = 4 if nodes is None else nodes
        run_twins(nodes=nodes, scenarios=scenarios or 100, first=first or 0, jobs=jobs, output=output)
    elif seed is not None:
        check_options("--seed", of_twins | {"--seeds": seeds, "--first": first, "--jobs": jobs})
        run_one(seed=seed, steps=steps, mode=mode or BOTH, without=without or [], output=output)
    else:
        check_options("--seeds, which is run without --seed and --twins", one | of_twins)
        run_sweep(seeds=seeds or 100, first=first or 0, mode=mode or BOTH, jobs=jobs, output=output)
