"""A state in memory that contracts can run on."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable


class MemoryState:
    """Keys and values in memory, with the ordered scan that a contract's indexes need."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        """Return the value stored under `key`, if any."""
        return self._values.get(key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return up to `limit` entries with `start <= key < stop`, keys ascending."""
        first = bisect_left(self._keys, start)
        last = min(bisect_left(self._keys, stop), first + limit)
        return [(key, self._values[key]) for key in self._keys[first:last]]

    def apply(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Store new values, and delete the keys whose new value is `None`."""
        for key, value in changes:
            if value is None:
                if self._values.pop(key, None) is not None:
                    del self._keys[bisect_left(self._keys, key)]
                continue
            if key not in self._values:
                insort(self._keys, key)
            self._values[key] = value

    def snapshot(self) -> dict[bytes, bytes]:
        """Return a copy of everything stored."""
        return dict(self._values)
