"""The smallest reproducer of a violation: faults that it does not need are switched off, one by one."""

from __future__ import annotations

from dataclasses import dataclass

from tanpo.consensus import Replica
from tanpo.simulator.cluster import ReplicaFactory
from tanpo.simulator.run import Report, run_seed
from tanpo.simulator.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproducer:
    """A run that still shows the violation, with as little as was found to be needed.

    `without` are the faults that were switched off; `report` ends with the step of the violation.
    """

    settings: Settings
    without: tuple[str, ...]
    report: Report

    @property
    def command(self) -> str:
        """The command that runs it again."""
        off = "".join(f" --without {kind}" for kind in self.without)
        # What breaks before the first step breaks with one step too, and none at all cannot be asked for.
        steps = max(1, self.report.steps)
        return f"tanpo sim --seed {self.report.seed} --mode {self.report.mode} --steps {steps}{off}"


def shrink(report: Report, settings: Settings, *, replica_factory: ReplicaFactory = Replica) -> Reproducer:
    """Return the smallest run found that breaks the same rule as `report`, which broke one.

    Each kind of fault has a random stream of its own, so that switching one off leaves the others as they
    were, until the runs part. A run ends with the step that breaks the rule, so that its steps are shrunk
    already: what makes it shorter is kept.
    """
    best, kept, off = report, settings, list[str]()
    for kind in settings.list_faults():
        attempt = kept.without((kind,))
        if attempt == kept:
            continue
        found = _try(attempt, best, replica_factory)
        if found is not None:
            best, kept = found, attempt
            off.append(kind)
    return Reproducer(settings=kept, without=tuple(off), report=best)


def _try(settings: Settings, wanted: Report, replica_factory: ReplicaFactory) -> Report | None:
    """Return the report of a run if it breaks the rule that `wanted` breaks."""
    found = run_seed(wanted.seed, settings, replica_factory=replica_factory, is_traced=True)
    return found if found.checker == wanted.checker else None
