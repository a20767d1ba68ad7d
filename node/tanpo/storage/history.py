"""What the state held at past heights: every value that the blocks of the window replaced.

    V key height:u32    what the key held before the block of that height: 00 nothing, 01 and the value
    W height:u32        the keys that block changed, each length:u16 and the key

Keys are escaped so that those of all heights lie together and in order of key: a zero byte is followed by ff,
and the end is 00 01. The value at a height is in the first record above it, or else in the state itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import merge
from typing import Final

from tanpo.ledger.codec import Reader
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.statekey import wrap_root
from tanpo.ledger.types import Height, StateRoot
from tanpo.storage.database import Database, seal
from tanpo.storage.layout import state_key
from tanpo.storage.proving import pruned
from tanpo.storage.reading import read_root
from tanpo.storage.tree import StateTree

STEPS_MAX: Final = 8_192
"""Keys that the listings of one view may step over: thousands that it does not list may have changed."""

_ABSENT: Final = b"\x00"
_PRESENT: Final = b"\x01"
_END: Final = b"\x00\x01"
_HEIGHT_BYTES: Final = 4
_HEIGHT_STOP: Final = b"\xff" * (_HEIGHT_BYTES + 1)


class History:
    """Writes what blocks replace, and forgets it as the tree does the roots before them."""

    def __init__(self, database: Database, tree: StateTree) -> None:
        self._database = database
        self._tree = tree

    def at(self, height: Height) -> PastState:
        """Return the state after the block of a height.

        Raises:
            UsageError: the height has not been executed (HEIGHT_UNKNOWN), or has left (HEIGHT_PRUNED).
        """
        if not 0 <= height <= self._tree.height:
            raise UsageError(
                Reason.HEIGHT_UNKNOWN,
                "this node does not hold that height",
                value=height,
                limit=f"{self._tree.oldest}..{self._tree.height}",
                remedy="ask for a height in that range, or for 0, the latest",
            )
        past = PastState(self._database, self._tree, height)
        past.check()
        return past

    def stage(
        self,
        height: Height,
        changes: Mapping[bytes, bytes | None],
        puts: dict[bytes, bytes],
        deletes: list[bytes],
    ) -> None:
        """Add to a batch what the block of `height` replaces, and drop what leaves the window with it.

        Raises:
            CorruptState: a value or a record is damaged.
        """
        if height == 0:
            return
        listed: list[bytes] = []
        for key, value in changes.items():
            before = self._database.get_sealed(state_key(key))
            if before != value:
                stored = _record_key(key, height)
                puts[stored] = seal(stored, _ABSENT if before is None else _PRESENT + before)
                listed.append(len(key).to_bytes(2, "big") + key)
        stored = _list_key(height)
        puts[stored] = seal(stored, b"".join(listed))
        for past in self._tree.list_prunable(height):
            deletes.extend(_record_key(key, past) for key in self._list_keys(past))
            deletes.append(_list_key(past))

    def _list_keys(self, height: int) -> Iterator[bytes]:
        record = self._database.get_sealed(_list_key(height))
        if record is None:
            raise self._database.damaged("list of changed keys is missing", value=f"height {height}")
        reader = Reader(record)
        while reader.position < len(record):
            yield reader.raw(reader.u16())


class PastState:
    """The state after the block of a height. Reading never fails; `check` afterwards, for what was read is
    void if the height has left the window in between, or if listings had to step over too many keys."""

    def __init__(self, database: Database, tree: StateTree, height: Height) -> None:
        self._database = database
        self._tree = tree
        self._height = height
        self._steps = 0

    @property
    def state_root(self) -> StateRoot:
        """The root of this state. Raises `UsageError` if the height has left the window."""
        root = read_root(self._database, self._height)
        if root is None:
            raise pruned(self._height)
        return wrap_root(root.slot[3])

    def check(self) -> None:
        """Raise `UsageError` if what was read is void: HEIGHT_PRUNED, TOO_LARGE."""
        if self._height < self._tree.oldest:
            raise pruned(self._height)
        if self._steps > STEPS_MAX:
            raise UsageError(
                Reason.TOO_LARGE,
                f"too much of what is listed has changed since height {self._height}",
                value=f"more than {STEPS_MAX} keys",
                limit=STEPS_MAX,
                remedy="ask for a later height, or list less at once",
            )

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a state key at that height, or `None`."""
        rows = self._database.scan(_record_key(key, self._height + 1), _escape(key) + _HEIGHT_STOP, 1)
        replaced = next(rows, None)
        return self._database.get_sealed(state_key(key)) if replaced is None else _decode(replaced[1])

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return the first `limit` state pairs with start <= key < stop, in ascending order of key."""
        found: list[tuple[bytes, bytes]] = []
        last = None
        # Of one key the replaced value comes first, which the height saw; what took its place is newer.
        for key, _, value in merge(self._list_replaced(start, stop), self._list_present(start, stop)):
            if key == last:
                continue
            self._steps += 1
            if len(found) == limit or self._steps > STEPS_MAX:
                break
            last = key
            if value is not None:
                found.append((key, value))
        return found

    def _list_present(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, int, bytes | None]]:
        for stored, value in self._database.scan(state_key(start), state_key(stop)):
            yield stored[1:], 1, value

    def _list_replaced(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, int, bytes | None]]:
        cursor, end = _escape(start), _escape(stop)
        while (row := next(self._database.scan(cursor, end, 1), None)) and self._steps <= STEPS_MAX:
            self._steps += 1
            escaped = row[0][:-_HEIGHT_BYTES]
            above = escaped + (self._height + 1).to_bytes(_HEIGHT_BYTES, "big")
            # A key that is changed in every block has a record for each: go to the one that counts.
            record = next(self._database.scan(above, escaped + _HEIGHT_STOP, 1), None)
            if record is not None:
                yield _unescape(escaped), 0, _decode(record[1])
            cursor = escaped + _HEIGHT_STOP


def _escape(key: bytes) -> bytes:
    return b"V" + key.replace(b"\x00", b"\x00\xff") + _END


def _unescape(escaped: bytes) -> bytes:
    return escaped[1 : -len(_END)].replace(b"\x00\xff", b"\x00")


def _record_key(key: bytes, height: int) -> bytes:
    return _escape(key) + height.to_bytes(_HEIGHT_BYTES, "big")


def _list_key(height: int) -> bytes:
    return b"W" + height.to_bytes(_HEIGHT_BYTES, "big")


def _decode(record: bytes) -> bytes | None:
    return record[1:] if record[:1] == _PRESENT else None
