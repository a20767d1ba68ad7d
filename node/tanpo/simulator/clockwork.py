"""Virtual time: what is due next happens next, and time passes only from one happening to another."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

from tanpo.simulator.violation import Violation

Action = Callable[[], None]

STORM_STEPS: Final = 100_000
"""So many happenings in one millisecond have no end: messages that answer each other."""


class Clockwork:
    """A queue of happenings. Those of one millisecond happen in the order they were asked for."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.steps = 0
        self._steps_before = 0
        self._order = 0
        self._queue: list[tuple[int, int, Action]] = []

    def after(self, delay_ms: int, action: Action) -> None:
        """Have something happen `delay_ms` from now."""
        self._order += 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._order, action))

    def step(self, end_ms: int) -> bool:
        """Let the next thing happen if it is due by `end_ms`; else move to that time and return False.

        Raises:
            Violation: the happenings of one millisecond have no end.
        """
        if not self._queue or self._queue[0][0] > end_ms:
            self.now_ms = max(self.now_ms, end_ms)
            return False
        due_ms, _, action = heapq.heappop(self._queue)
        if due_ms > self.now_ms:
            self.now_ms, self._steps_before = due_ms, self.steps
        self.steps += 1
        if self.steps - self._steps_before > STORM_STEPS:
            raise Violation("storm", f"more than {STORM_STEPS} steps in one millisecond")
        action()
        return True
