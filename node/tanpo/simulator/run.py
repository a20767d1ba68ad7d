"""One run from beginning to end, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tanpo.consensus import Replica
from tanpo.ledger.errors import InvariantViolation, LedgerError
from tanpo.simulator.application import Application
from tanpo.simulator.bounds import compute_bound_ms
from tanpo.simulator.checks import Disagreement
from tanpo.simulator.cluster import Cluster, ReplicaFactory
from tanpo.simulator.healing import has_converged, heal, list_core, replace_leader
from tanpo.simulator.settings import Mode, Settings
from tanpo.simulator.violation import Violation

AFTER_MS: Final = 3_000
"""How long clients go on submitting after a core has healed."""

FINDINGS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    InvariantViolation,
    LedgerError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a replica may raise if it is broken: findings of the run, not faults of the simulator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What happened in one run. `violation` is None if nothing that must not be was seen."""

    seed: int
    mode: Mode
    validator_count: int
    steps: int
    virtual_ms: int
    commits: int
    epochs: int
    transactions: int
    term_changes: int
    faults: tuple[tuple[str, int], ...]
    digest: str
    violation: str | None = None
    checker: str | None = None
    timeline: tuple[str, ...] = ()
    has_disagreed: bool = False
    """Above f, honest nodes disagreed, and at least f+1 validators are accused."""


def run_seed(
    seed: int,
    settings: Settings,
    *,
    replica_factory: ReplicaFactory = Replica,
    application: Application | None = None,
    step_max: int | None = None,
    is_traced: bool = False,
) -> Report:
    """Run a seed with these settings, at most `step_max` steps, and report.

    Nothing is raised for what the run finds: a violation, and any error of the replica, is in the report.
    """
    cluster = Cluster(settings, replica_factory=replica_factory, application=application, is_traced=is_traced)
    return report_on(seed, cluster, lambda: _run(cluster, step_max))


def report_on(seed: int, cluster: Cluster, drive: Callable[[], None]) -> Report:
    """Report what happens in a cluster while `drive` runs it. Nothing is raised for what it finds."""
    found: Violation | None = None
    disagreed = False
    try:
        drive()
    except Violation as violation:
        found = violation
    except Disagreement:
        disagreed = True
    except FINDINGS as error:
        found = Violation("crash", f"{type(error).__name__}: {error}")
    return _report(seed, cluster, found, disagreed=disagreed)


def settle(cluster: Cluster, step_max: int, after_ms: int = AFTER_MS) -> None:
    """Let clients go on for `after_ms`, and then the core commit all that was submitted.

    Raises:
        Violation: it does not in time.
    """
    clock = cluster.clock
    cluster.clients.accompany()
    end_ms = clock.now_ms + after_ms
    while clock.steps < step_max and clock.step(end_ms):
        pass
    cluster.clients.close()
    end_ms = clock.now_ms + compute_bound_ms(cluster)
    while clock.steps < step_max and not has_converged(cluster):
        if not clock.step(end_ms):
            raise Violation("liveness", _describe_stall(cluster))


def _run(cluster: Cluster, step_max: int | None) -> None:
    limit = step_max or 1 << 62
    clock, settings = cluster.clock, cluster.settings
    cluster.begin()
    while clock.steps < limit and clock.step(settings.chaos_ms):
        pass
    if settings.mode is Mode.SAFETY or clock.steps >= limit:
        return
    heal(cluster)
    settle(cluster, limit)
    if replace_leader(cluster):
        cluster.clients.reopen()
        settle(cluster, limit)


def _describe_stall(cluster: Cluster) -> str:
    lines = [f"{len(cluster.clients.open)} transactions never commit in the core {sorted(cluster.core)}"]
    for process in list_core(cluster):
        lines.append(
            f"{process.name}: term {process.replica.term}, stored {process.chain.height}, high "
            f"{process.replica.high_rank}, pending {len(process.pool)}, {process.replica.stalled}"
        )
    return "; ".join(lines)


def _report(seed: int, cluster: Cluster, found: Violation | None, *, disagreed: bool) -> Report:
    return Report(
        seed=seed,
        mode=cluster.settings.mode,
        validator_count=cluster.settings.validator_count,
        steps=cluster.clock.steps,
        virtual_ms=cluster.clock.now_ms,
        epochs=1 + max(process.chain.state.reign for process in cluster.processes),
        commits=cluster.checks.agreement.height,
        transactions=cluster.clients.committed,
        term_changes=sum(cluster.annals.terms.values()),
        faults=tuple(sorted(cluster.luck.faults.items())),
        digest=cluster.annals.timeline.digest,
        violation=None if found is None else str(found),
        checker=None if found is None else found.checker,
        timeline=tuple(cluster.annals.timeline.lines) if found is not None else (),
        has_disagreed=disagreed,
    )
