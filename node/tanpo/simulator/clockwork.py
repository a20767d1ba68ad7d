"""Virtual time: what is due next happens next, and time passes only from one happening to another."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Action = Callable[[], None]


class Clockwork:
    """A queue of happenings. Those of one millisecond happen in the order they were asked for."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.steps = 0
        self._order = 0
        self._queue: list[tuple[int, int, Action]] = []

    def after(self, delay_ms: int, action: Action) -> None:
        """Have something happen `delay_ms` from now."""
        self._order += 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._order, action))

    def step(self, end_ms: int) -> bool:
        """Let the next thing happen if it is due by `end_ms`; else move to that time and return False."""
        if not self._queue or self._queue[0][0] > end_ms:
            self.now_ms = max(self.now_ms, end_ms)
            return False
        self.now_ms, _, action = heapq.heappop(self._queue)
        self.steps += 1
        action()
        return True
