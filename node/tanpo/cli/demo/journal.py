"""What happened in the demo: every step with its transaction and its time, and what did not hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tanpo.ledger.errors import LedgerError, Reason

T = TypeVar("T")


class CheckFailed(LedgerError):
    """The network did not do what it promises. The demo ends here, and its files stay for whoever looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One transaction of the demo. `status` is `committed`, or `refused` where that was the point."""

    chapter: str
    name: str
    tx_id: bytes
    status: str
    latency_ms: float
    height: int
    is_swap: bool

    def to_json(self) -> dict[str, Any]:
        """Return the step as the demo's JSON names it."""
        return {
            "name": self.name,
            "tx_id": self.tx_id.hex(),
            "status": self.status,
            "latency_ms": round(self.latency_ms, 1),
        }


class Journal:
    """The steps so far. `on_change` hears of each, to draw progress."""

    def __init__(self, on_change: Callable[[str, int], None] = lambda _chapter, _added: None) -> None:
        self.steps: list[Step] = []
        self.facts: dict[str, str] = {}
        self._chapter = ""
        self._on_change = on_change

    @property
    def chapter(self) -> str:
        """The chapter that steps now belong to."""
        return self._chapter

    def begin(self, chapter: str) -> None:
        """Open a chapter."""
        self._chapter = chapter
        self._on_change(chapter, 0)

    def add(self, step: Step) -> None:
        """Note a step."""
        self.steps.append(step)
        self._on_change(step.chapter, 1)

    def note(self, fact: str) -> None:
        """Note, in words, what the chapter achieved; the closing table shows it."""
        self.facts[self._chapter] = fact


def check(condition: bool, what: str, *, value: object = "", limit: object = "") -> None:
    """Raise `CheckFailed` unless the condition holds."""
    if not condition:
        raise CheckFailed(
            Reason.PROTOCOL,
            f"the demo found that {what}",
            value=value,
            limit=limit,
            remedy="keep the folder it names and report what you saw",
        )


async def run_all(tasks: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run tasks at once and return their results in order; the first failure cancels the others."""
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(task) for task in tasks]
    except ExceptionGroup as group_error:
        raise group_error.exceptions[0] from None
    return [task.result() for task in running]


def compute_percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of some values, 0 for none."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]
