"""Which fault befalls whom, and the count of all that did."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from tanpo.simulator.faults import FaultKind

if TYPE_CHECKING:
    from tanpo.simulator.cluster import Cluster
    from tanpo.simulator.process import Process

SLOW_SYNC_MS: Final = 400
LAG_MS: Final = 600
"""Longest delays of a slow disk and of lagging execution."""


class Luck:
    """Draws faults at the rates of the run. `faults` counts what happened, by kind."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.rates = {kind: cluster.settings.get_rate(kind) for kind in FaultKind}
        self.faults: Counter[str] = Counter()

    def note(self, kind: str) -> None:
        """Count something that happened."""
        self.faults[kind] += 1

    def get_rate(self, kind: FaultKind, process: Process) -> float:
        """Return at which rate a fault befalls a process: never, once it has healed."""
        return 0.0 if self._cluster.is_healed(process) else self.rates[kind]

    def strikes(self, kind: FaultKind, process: Process) -> bool:
        """Return whether a fault befalls a process now."""
        rate = self.get_rate(kind, process)
        if not rate or self._cluster.streams.get(kind).random() >= rate:
            return False
        self.note(kind)
        self._cluster.annals.trace(process, kind)
        return True

    def draw_sync_ms(self, process: Process) -> int:
        """Return how long a write takes."""
        if self.strikes(FaultKind.SLOW_DISK, process):
            return self._cluster.streams.get("slow disk").randrange(SLOW_SYNC_MS)
        return self._cluster.settings.sync_ms

    def draw_execution_ms(self, process: Process) -> int:
        """Return how long it takes to check or execute a block."""
        if self.strikes(FaultKind.EXECUTION_LAG, process):
            return self._cluster.streams.get("execution").randrange(LAG_MS)
        return 1
