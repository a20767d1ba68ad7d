"""The changes of blocks that are executed but not committed, read as if they were."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol


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

    __slots__ = ("_changes", "_keys", "_parent")

    def __init__(self, parent: StateReader, changes: Mapping[bytes, bytes | None] | None = None) -> None:
        self._parent = parent
        self._changes: dict[bytes, bytes | None] = dict(changes or {})
        self._keys: list[bytes] | None = None

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

    def rebase(self, parent: StateReader) -> None:
        """Read through to `parent` instead, which now holds all that the former parent held."""
        self._parent = parent

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or `None` if it has none."""
        changes = self._changes
        return changes[key] if key in changes else self._parent.get(key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return the first `limit` pairs with start <= key < stop, in ascending order of key."""
        if self._keys is None:
            # Only blocks that list anything pay for order; from then on `apply` keeps it.
            self._keys = sorted(self._changes)
        own = self._keys[bisect_left(self._keys, start) : bisect_left(self._keys, stop)]
        if not own:
            return self._parent.scan(start, stop, limit)
        # Each delete here can hide one pair of the parent, so ask for that many more.
        hidden = sum(self._changes[key] is None for key in own)
        merged: dict[bytes, bytes | None] = dict(self._parent.scan(start, stop, limit + hidden))
        for key in own:
            merged[key] = self._changes[key]
        return [(key, value) for key, value in sorted(merged.items()) if value is not None][:limit]
