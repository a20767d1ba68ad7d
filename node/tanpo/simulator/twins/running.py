"""Runs Twins scenarios: safety all along, and after the planned terms everybody honest commits and agrees."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Final

from tanpo.consensus import Replica
from tanpo.simulator.cluster import Cluster, ReplicaFactory
from tanpo.simulator.run import Report, report_on, settle
from tanpo.simulator.sweep import Finding, Totals
from tanpo.simulator.twins.plan import TwinsScenario
from tanpo.simulator.twins.published import PUBLISHED
from tanpo.simulator.twins.spaces import find_scenario, list_numbers
from tanpo.simulator.workers import run_in_workers

CHUNK: Final = 20
"""Scenarios handed to a process at a time."""

FIRST_TRANSACTION: Final = 1 << 30
"""The number of a transaction that no client comes to."""

AFTER_MS: Final = 1_000
"""How long clients go on submitting when all is synchronous."""

STEPS_MAX: Final = 1 << 20
"""A scenario takes some thousands of steps; one that takes so many is broken."""


def run_scenario(
    scenario: TwinsScenario,
    seed: int,
    *,
    replica_factory: ReplicaFactory = Replica,
    is_traced: bool = False,
) -> Report:
    """Run a scenario, and report as `run_seed` does. The report's seed is the number of the scenario."""
    settings = scenario.make_settings(seed)
    cluster = Cluster(settings, replica_factory=replica_factory, is_traced=is_traced)
    return report_on(seed, cluster, lambda: _run(cluster))


def sweep_scenarios(
    validator_count: int,
    first: int,
    count: int,
    *,
    jobs: int,
    on_progress: Callable[[Totals], None] = lambda _: None,
) -> Totals:
    """Run the published scenarios, and so many of a network's own from a number on.

    Returns what they add up to. A finding of a published one has its place among them as its seed. However it
    ends, no process that it started is left.

    Raises:
        Unavailable: one of those was killed.
    """
    started = time.monotonic()
    totals = Totals.empty()
    numbers = list(list_numbers(validator_count, first, count))
    chunks = [numbers[start : start + CHUNK] for start in range(0, len(numbers), CHUNK)]
    published = [run_scenario(scenario, number) for number, scenario in enumerate(PUBLISHED)]
    with closing(_run_chunks(validator_count, chunks, published, jobs)) as found:
        for reports in found:
            for report in reports:
                totals.add(report)
                if report.violation is not None:
                    totals.findings.append(Finding(report=report, reproducer=None))
            totals.seconds = time.monotonic() - started
            on_progress(totals)
    return totals


def run_numbers(validator_count: int, numbers: Sequence[int]) -> list[Report]:
    """Run the scenarios of these numbers; one that breaks a rule once more, for its timeline."""
    reports: list[Report] = []
    for number in numbers:
        scenario = find_scenario(validator_count, number)
        if scenario is None:
            continue
        report = run_scenario(scenario, number)
        if report.violation is not None:
            report = run_scenario(scenario, number, is_traced=True)
        reports.append(report)
    return reports


def _run_chunks(
    validator_count: int, chunks: Sequence[Sequence[int]], published: list[Report], jobs: int
) -> Generator[list[Report], None, None]:
    yield published
    if jobs == 1:
        yield from (run_numbers(validator_count, chunk) for chunk in chunks)
    else:
        yield from run_in_workers(run_numbers, [(validator_count, chunk) for chunk in chunks], jobs)


def _run(cluster: Cluster) -> None:
    clock, settings = cluster.clock, cluster.settings
    honest = [process for process in cluster.processes if process.is_honest]
    planned = len(settings.term_partitions)
    cluster.begin()
    # The first leader has something to propose, as every later one has to (T5).
    first = cluster.application.make_envelope(FIRST_TRANSACTION)
    for process in cluster.processes:
        process.submit(first)
    while any(process.replica.term <= planned for process in honest) and clock.step(settings.chaos_ms):
        pass
    # From here on all is synchronous, and nobody honest may be left behind.
    cluster.links.partitions.is_over = True
    cluster.core = frozenset(process.node for process in honest)
    settle(cluster, STEPS_MAX, AFTER_MS)
