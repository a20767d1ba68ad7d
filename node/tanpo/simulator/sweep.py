"""Many seeds at once, in processes of their own, and what they found together."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from tanpo.simulator.run import Report, run_seed
from tanpo.simulator.settings import Mode, draw_settings
from tanpo.simulator.shrinking import Reproducer, shrink
from tanpo.simulator.workers import run_in_workers

CHUNK: Final = 10
"""Seeds handed to a process at a time: enough to make starting them cheap, few enough to end together."""

SHRUNK_MAX: Final = 3
"""Violations that each chunk shrinks: the rest is likely the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A violation, and the smallest run that still shows it if it was shrunk."""

    report: Report
    reproducer: Reproducer | None


@dataclass(slots=True)
class Totals:
    """What all runs of a sweep add up to."""

    runs: int
    steps: int
    virtual_ms: int
    commits: int
    transactions: int
    term_changes: int
    epoch_changes: int
    disagreements: int
    """Runs above f in which honest nodes disagreed, and enough were accused."""
    faults: Counter[str]
    findings: list[Finding]
    seconds: float

    @classmethod
    def empty(cls) -> Totals:
        """Return the totals of nothing."""
        return cls(0, 0, 0, 0, 0, 0, 0, 0, Counter(), [], 0.0)

    def add(self, report: Report) -> None:
        """Add one run."""
        self.runs += 1
        self.steps += report.steps
        self.virtual_ms += report.virtual_ms
        self.commits += report.commits
        self.transactions += report.transactions
        self.term_changes += report.term_changes
        self.epoch_changes += report.epochs - 1
        self.disagreements += report.has_disagreed
        self.faults.update(dict(report.faults))


def sweep(
    seeds: Sequence[int],
    modes: Sequence[Mode],
    *,
    jobs: int,
    on_progress: Callable[[Totals], None] = lambda _: None,
) -> Totals:
    """Run each seed in each mode, `jobs` at a time, and return what they add up to.

    However it ends, no process that it started is left.

    Raises:
        Unavailable: one of those was killed.
    """
    started = time.monotonic()
    totals = Totals.empty()
    with closing(_run_chunks(seeds, modes, jobs)) as chunks:
        for reports, findings in chunks:
            for report in reports:
                totals.add(report)
            totals.findings += findings
            totals.seconds = time.monotonic() - started
            on_progress(totals)
    return totals


def run_chunk(seeds: Sequence[int], modes: Sequence[Mode]) -> tuple[list[Report], list[Finding]]:
    """Run a few seeds, and shrink what is found."""
    reports: list[Report] = []
    findings: list[Finding] = []
    for seed in seeds:
        for mode in modes:
            settings = draw_settings(seed, mode)
            report = run_seed(seed, settings)
            reports.append(report)
            if report.violation is not None:
                is_shrunk = len(findings) < SHRUNK_MAX
                reproducer = shrink(report, settings) if is_shrunk else None
                findings.append(Finding(report=report, reproducer=reproducer))
    return reports, findings


def _run_chunks(
    seeds: Sequence[int], modes: Sequence[Mode], jobs: int
) -> Generator[tuple[list[Report], list[Finding]], None, None]:
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    if jobs == 1:
        yield from (run_chunk(chunk, modes) for chunk in chunks)
    else:
        yield from run_in_workers(run_chunk, [(chunk, modes) for chunk in chunks], jobs)
