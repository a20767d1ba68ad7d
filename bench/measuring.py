"""What the measurements of this folder share: processor time, the best of several runs, one JSON object."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping

from tanpo.vm import CallContext

CONTEXT = CallContext(
    sender="a", signers=("a", "b", "c", "d"), time_ms=1_700_000_000_000, height=9, tx_id=bytes(32)
)
GAS_LIMIT = 1_000_000


def best_ns(work: Callable[[], object], times: int, before: Callable[[], object] | None = None) -> int:
    """Return the least processor time of `work` in nanoseconds; `before` runs each time and does not count.

    Processor time, because the machine may have other work to do; the least, because what disturbs adds.
    """
    best = -1
    for _ in range(times):
        if before is not None:
            before()
        started = time.thread_time_ns()
        work()
        elapsed = time.thread_time_ns() - started
        best = elapsed if best < 0 else min(best, elapsed)
    return best


def print_figures(figures: Mapping[str, object]) -> None:
    """Print figures as JSON, with the machine they were measured on."""
    machine = {"python": platform.python_version(), "machine": platform.machine()}
    print(json.dumps({"machine": machine, **figures}, indent=2))
