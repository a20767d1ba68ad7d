"""The changes of blocks that are executed but not committed, read as if they were."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Protocol

from tanpo.storage.listing import LIMIT_MAX, Listing


class StateReader(Protocol):
    """What contract execution may ask of the state."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or `None` if it has none."""

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return the first `limit` pairs with start <= key < stop, in ascending order of key."""


class Overlay:
    """One block's changes over the state its parent block leaves behind.

    `parent` is the overlay of the parent block, or the store. When the parent block has been committed to the
    store, `rebase` onto the store, or the chain of overlays grows for ever.
    """

    __slots__ = ("_changes", "_keys", "_listing", "_parent")

    def __init__(self, parent: StateReader, changes: Mapping[bytes, bytes | None] | None = None) -> None:
        self._parent = parent
        self._changes: dict[bytes, bytes | None] = dict(changes or {})
        self._keys: list[bytes] | None = None
        self._listing = Listing()

    @property
    def changes(self) -> Mapping[bytes, bytes | None]:
        """The last write per key; `None` is a delete."""
        return MappingProxyType(self._changes)

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Add the changes of one more transaction."""
        if self._keys is not None:
            for key in changes:
                if key not in self._changes:
                    insort(self._keys, key)
        self._changes.update(changes)
        self._listing.clear()

    def rebase(self, parent: StateReader) -> None:
        """Read through to `parent` instead, which now holds all that the former parent held."""
        self._parent = parent

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or `None` if it has none."""
        changes = self._changes
        return changes[key] if key in changes else self._parent.get(key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return the first `limit` pairs with start <= key < stop, in ascending order of key."""
        return self._listing.scan(start, stop, limit, self._load)

    def _load(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        if self._keys is None:
            # Only blocks that list anything pay for order; from then on `apply` keeps it.
            self._keys = sorted(self._changes)
        first, last = bisect_left(self._keys, start), bisect_left(self._keys, stop)
        if first == last:
            return self._parent.scan(start, stop, limit)
        return list(islice(self._merge(first, last, self._walk_parent(start, stop, limit)), limit))

    def _merge(
        self, first: int, last: int, below: Iterator[tuple[bytes, bytes]]
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs of the parent, and the changes from `first` to `last`, as they are taken."""
        keys, changes = self._keys or [], self._changes
        pair = next(below, None)
        for key in islice(keys, first, last):
            while pair is not None and pair[0] < key:
                yield pair
                pair = next(below, None)
            if pair is not None and pair[0] == key:
                pair = next(below, None)
            value = changes[key]
            if value is not None:
                yield key, value
        if pair is not None:
            yield pair
            yield from below

    def _walk_parent(self, start: bytes, stop: bytes, limit: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield the parent's pairs, more at once the more of them turn out to be hidden."""
        while pairs := self._parent.scan(start, stop, limit):
            yield from pairs
            if len(pairs) < limit:
                return
            start = pairs[-1][0] + b"\x00"
            limit = max(limit, min(2 * limit, LIMIT_MAX))
