"""Which keys a block's calls will read, guessed from what such calls read before.

From each key that had to be asked for in the middle of a call, a pattern is learned: which parts of it stand
for which values of the call. The patterns of an entry point, filled in with the next call's values, are the
keys to ask for before it runs. A wrong guess costs a read and nothing else.

Guessing must never cost more than it can save, whatever contracts and arguments it is fed. So a block has
allowances: of lessons, of work on values and keys, and of keys to ask for. When they are spent, the block is
slower by the reads that nobody foresaw, and those its transactions have paid for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

from tanpo.node.tasks import Task
from tanpo.node.worker.patterns import Pattern, Values, find_pattern, list_values

PATTERNS_MAX: Final = 24
"""Patterns kept for one entry point; the oldest goes."""

ENTRIES_MAX: Final = 256

BLOCKS_ATTENTIVE: Final = 8
"""For how many blocks calls are looked at after the last key that was not known."""

LESSONS_MAX: Final = 64
"""Misses that are studied in a block, at less than 0.1 ms each: a contract is learned in a block or two."""

WORK_BASE: Final = 2_048
WORK_PER_TASK: Final = 64
"""Values listed and keys spelled in a block, at about a microsecond each: twice what settlements need."""

KEYS_BASE: Final = 256
KEYS_PER_TASK: Final = 8
"""Keys guessed and asked for in a block, at about 10 microseconds each, half of them the node's."""


class Forecast:
    """What entry points have read, learned from what was missed."""

    def __init__(self) -> None:
        self._patterns: dict[tuple[str, str], dict[Pattern, None]] = {}
        self._attention = 0
        self._tasks: Sequence[Task] = ()
        self._values: dict[int, Values] = {}
        self._alike: dict[tuple[str, str], list[int]] = {}
        self._lessons_left = 0
        self._work_left = 0
        self._keys_left = 0

    def begin(self, tasks: Sequence[Task]) -> list[bytes]:
        """Hear of a block's tasks, and return the keys they are expected to read.

        There are none while nothing was missed for long.
        """
        self._tasks, self._values, self._alike = tasks, {}, {}
        self._lessons_left = LESSONS_MAX
        self._work_left = WORK_BASE + WORK_PER_TASK * len(tasks)
        self._keys_left = KEYS_BASE + KEYS_PER_TASK * len(tasks)
        if not self._attention:
            return []
        self._attention -= 1
        keys: dict[bytes, None] = {}
        for position, task in enumerate(tasks):
            patterns = self._patterns.get(_place(task))
            if patterns:
                self._fill(position, patterns, keys)
        return list(keys)

    def note_miss(self, position: int, key: bytes) -> list[bytes]:
        """Learn from a key that the task at a position asked for and that was not known.

        Returns the keys that later tasks will read for the same reason, if it is a new one.
        """
        self._attention = BLOCKS_ATTENTIVE
        if not self._lessons_left or position >= len(self._tasks):
            return []
        self._lessons_left -= 1
        values = self._get_values(position)
        pattern = None if values is None else find_pattern(key, values)
        place = _place(self._tasks[position])
        if pattern is None or not self._learn(place, pattern):
            return []
        keys: dict[bytes, None] = {}
        for later in self._list_later(position):
            if self._work_left <= 0:
                break
            self._fill(later, (pattern,), keys)
        return list(keys)

    def take(self, keys: Iterable[bytes]) -> list[bytes]:
        """Return those of the keys, not known so far, that the block may still ask for on a guess."""
        taken = list(keys)[: self._keys_left]
        self._keys_left -= len(taken)
        if taken:
            # Forecasts are worth their price.
            self._attention = BLOCKS_ATTENTIVE
        return taken

    def _fill(self, position: int, patterns: Iterable[Pattern], keys: dict[bytes, None]) -> None:
        values = self._get_values(position)
        if values is None:
            return
        for pattern in patterns:
            self._work_left -= 1
            for key in pattern.fill(values):
                if self._work_left <= 0:
                    return
                self._work_left -= 1
                keys[key] = None

    def _list_later(self, position: int) -> list[int]:
        """Return where the tasks behind a position are that call the same entry point."""
        if not self._alike:
            for place, task in enumerate(self._tasks):
                self._alike.setdefault(_place(task), []).append(place)
        alike = self._alike[_place(self._tasks[position])]
        return alike[bisect_right(alike, position) :]

    def _get_values(self, position: int) -> Values | None:
        """Return a task's values, listed once a block; nothing when there were too many in it already."""
        if position not in self._values:
            if self._work_left <= 0:
                return None
            self._values[position], count = list_values(self._tasks[position])
            self._work_left -= count
        return self._values[position]

    def _learn(self, place: tuple[str, str], pattern: Pattern) -> bool:
        """Add a pattern; return whether it is new."""
        if place not in self._patterns and len(self._patterns) >= ENTRIES_MAX:
            del self._patterns[next(iter(self._patterns))]
        known = self._patterns.setdefault(place, {})
        if pattern in known:
            return False
        known[pattern] = None
        if len(known) > PATTERNS_MAX:
            del known[next(iter(known))]
        return True


def _place(task: Task) -> tuple[str, str]:
    return task.call.contract, task.call.entry
