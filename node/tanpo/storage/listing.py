"""What was listed of a state that does not change: ranges of keys, and all the pairs that they hold.

Deleted keys hold up a listing: LevelDB keeps them for a while, and an overlay hides those of the state below
it. Whoever deletes thousands and then lists what comes after them, again and again, pays for a page and has
all of them stepped over. So they are stepped over once: where nothing is, nothing will be found again.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Final

from tanpo.ledger.statekey import KIND_INDEX, SPACE_CONTRACT

LIMIT_MAX: Final = 256
"""Longer listings are not for contracts, and not remembered."""

PAIRS_MAX: Final = 16_384
"""Pairs and ranges that are remembered; then it begins anew."""

_INDEX: Final = bytes((SPACE_CONTRACT, KIND_INDEX))
"""All that contracts list, and with values that are empty."""

Pairs = list[tuple[bytes, bytes]]
Load = Callable[[bytes, bytes, int], Pairs]


class Listing:
    """Remembers ranges of one state; `clear` when that is another."""

    __slots__ = ("_keys", "_starts", "_stops", "_values")

    def __init__(self) -> None:
        # Ranges that neither overlap nor touch, and the pairs in all of them: each in order.
        self._starts: list[bytes] = []
        self._stops: list[bytes] = []
        self._keys: list[bytes] = []
        self._values: list[bytes] = []

    def clear(self) -> None:
        """Forget everything."""
        for several in (self._starts, self._stops, self._keys, self._values):
            several.clear()

    def scan(self, start: bytes, stop: bytes, limit: int, load: Load) -> Pairs:
        """Return the first `limit` pairs with start <= key < stop; `load` does it where nothing is known."""
        if limit > LIMIT_MAX or not start.startswith(_INDEX):
            return load(start, stop, limit)
        found: Pairs = []
        while start < stop and len(found) < limit:
            known_to = self._find_end(start) or self._learn(start, stop, limit - len(found), load)
            first = bisect_left(self._keys, start)
            last = min(bisect_left(self._keys, min(known_to, stop)), first + limit - len(found))
            found += zip(self._keys[first:last], self._values[first:last], strict=True)
            start = known_to
        return found

    def _find_end(self, key: bytes) -> bytes:
        """Return where the known range ends that a key is in, nothing if it is in none."""
        place = bisect_right(self._starts, key) - 1
        return self._stops[place] if place >= 0 and key < self._stops[place] else b""

    def _learn(self, start: bytes, stop: bytes, limit: int, load: Load) -> bytes:
        """Load pairs from where nothing is known, as far as that goes, and return where the range ends."""
        if len(self._keys) + len(self._starts) > PAIRS_MAX:
            self.clear()
        after = bisect_right(self._starts, start)
        if after < len(self._starts):
            stop = min(stop, self._starts[after])
        pairs = load(start, stop, limit)
        end = stop if len(pairs) < limit else pairs[-1][0] + b"\x00"
        place = bisect_left(self._keys, start)
        self._keys[place:place] = [key for key, _ in pairs]
        self._values[place:place] = [value for _, value in pairs]
        self._join(after, start, end)
        return end

    def _join(self, place: int, start: bytes, stop: bytes) -> None:
        """Add a range, as one with those that it touches."""
        first = last = place
        if first > 0 and self._stops[first - 1] == start:
            first -= 1
            start = self._starts[first]
        if last < len(self._starts) and self._starts[last] == stop:
            stop = self._stops[last]
            last += 1
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]
