"""The two clocks of a node, handed to whoever needs them so that tests can turn them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """`wall_ms` is Unix time, `monotonic_ms` never goes back and means nothing between processes."""

    wall_ms: Callable[[], int]
    monotonic_ms: Callable[[], int]

    @classmethod
    def system(cls) -> Clock:
        """Return the clocks of this machine."""
        return cls(
            wall_ms=lambda: time.time_ns() // 1_000_000,
            monotonic_ms=lambda: time.monotonic_ns() // 1_000_000,
        )

    def read(self) -> tuple[int, int]:
        """Return (monotonic, wall)."""
        return self.monotonic_ms(), self.wall_ms()
