"""One batched update of the tree: down the touched branches once, and up again with new hashes.

The shape stays canonical: a node with more than eight entries below it is inner, any other a bucket. So an
overflowing bucket splits, and an inner node whose four counts sum to eight or fewer collapses into a bucket;
the count of an inner child (255) keeps its parent from collapsing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from tanpo.ledger.statekey import BUCKET_ENTRIES_MAX, digit, hash_bucket, hash_inner
from tanpo.storage.reading import TreeSource, name_node, read_node
from tanpo.storage.records import (
    EMPTY_SLOT,
    ENTRY_BYTES,
    HASHES_AT,
    INNER,
    INNER_STORED_BYTES,
    LOWS_AT,
    PATH_BYTES,
    POSITION_BYTES,
    POSITIONS_AT,
    ROOT_PID,
    Root,
    Slot,
    child_slot,
    encode_inner,
    encode_position,
    find_low,
    seal_inner,
)

Layer: TypeAlias = tuple[int, dict[int, bytes]]
"""Of an update that is not committed: where in the log it begins, and its records."""

_BUCKET_BYTES_MAX: Final = BUCKET_ENTRIES_MAX * ENTRY_BYTES


class Update:
    """The records that one block writes, from the position `start` of the log on.

    `records` maps node to record, `parts` are what goes to the log, `dropped` the nodes that are no more.
    `live` are the bytes that the tree reaches after it.
    """

    __slots__ = (
        "_cache",
        "_committed",
        "_first",
        "_layers",
        "_root",
        "_source",
        "dropped",
        "end",
        "live",
        "parts",
        "records",
        "start",
    )

    def __init__(
        self,
        root: Root,
        *,
        layers: Sequence[Layer],
        cache: list[dict[int, bytes]],
        source: TreeSource,
    ) -> None:
        """Begin an update of `root`, which is that of the last of `layers`, those not committed yet."""
        self.start = self.end = root.end
        self.live = root.live
        self.parts: list[bytes] = []
        self.records: dict[int, bytes] = {}
        self.dropped: list[int] = []
        self._root = root.slot
        self._first = encode_position(self.start)
        self._committed = encode_position(layers[0][0] if layers else self.start)
        self._layers = layers
        self._cache = cache
        self._source = source

    @property
    def root(self) -> Root:
        """The tree as it is now."""
        return Root(slot=self._root, end=self.end, live=self.live)

    def apply(self, changes: list[bytes]) -> None:
        """Apply `changes`: in order of path, 64 bytes to write and 32 to delete an entry.

        Raises:
            CorruptState: a record that is needed is missing or does not match its hash.
        """
        if changes:
            apply = self._inner if self._root[0] == INNER else self._bucket
            self._root = apply(0, ROOT_PID, self._root, changes)

    def lift(self, low: int, bytes_max: int) -> None:
        """Write again, as they are, records that lie below `low`, until that is as many bytes as allowed.

        What the tree holds stays the same, hashes and all; the front of the log becomes free.

        Raises:
            CorruptState: as `apply`.
        """
        first, end_max = encode_position(low), self.end + bytes_max
        if self._root[2] < first and self.end < end_max:
            self._root = self._lift(0, ROOT_PID, self._root, first, end_max)

    def _inner(self, depth: int, pid: int, slot: Slot, changes: list[bytes]) -> Slot:
        before = self._read_inner(depth, pid, slot)
        record = bytearray(before)
        position, shift = depth >> 2, 6 - 2 * (depth & 3)
        start, end = 0, len(changes)
        while start < end:
            which = changes[start][position] >> shift & 3
            stop = start + 1
            while stop < end and changes[stop][position] >> shift & 3 == which:
                stop += 1
            child = child_slot(before, which)
            update = self._inner if child[0] == INNER else self._bucket
            part = changes if stop - start == end else changes[start:stop]
            _put_child(record, which, update(depth + 1, pid << 2 | which, child, part))
            start = stop
        if record == before:
            return slot
        self.live -= INNER_STORED_BYTES
        after = bytes(record)
        if sum(after[:POSITIONS_AT]) <= BUCKET_ENTRIES_MAX:
            return self._collapse(pid, after)
        return self._write_inner(pid, after, hash_inner(after[HASHES_AT:]))

    def _bucket(self, depth: int, pid: int, slot: Slot, changes: list[bytes]) -> Slot:
        before = self._read_bucket(pid, slot) if slot[0] else b""
        after = _splice(before, changes[0]) if len(changes) == 1 else _merge(before, changes)
        if after == before:
            return slot
        self.live -= len(before)
        return self._build(depth, pid, after)

    def _build(self, depth: int, pid: int, entries: bytes) -> Slot:
        """Write the canonical subtree of `entries`, which are in order, and return its slot."""
        if not entries:
            return EMPTY_SLOT
        if len(entries) <= _BUCKET_BYTES_MAX:
            return self._write_bucket(pid, entries)
        children: tuple[list[bytes], ...] = ([], [], [], [])
        for at in range(0, len(entries), ENTRY_BYTES):
            entry = entries[at : at + ENTRY_BYTES]
            children[digit(entry, depth)].append(entry)
        slots = [
            self._build(depth + 1, pid << 2 | which, b"".join(child)) for which, child in enumerate(children)
        ]
        record = encode_inner(slots)
        return self._write_inner(pid, record, hash_inner(record[HASHES_AT:]))

    def _collapse(self, pid: int, inner: bytes) -> Slot:
        """Write the few entries of four buckets as one bucket in their parent's place."""
        parts: list[bytes] = []
        for which in range(4):
            slot = child_slot(inner, which)
            if slot[0]:
                child = pid << 2 | which
                parts.append(self._read_bucket(child, slot))
                self.live -= len(parts[-1])
                self.records.pop(child, None)
                self.dropped.append(child)
        entries = b"".join(parts)
        self.dropped.append(pid)
        return self._write_bucket(pid, entries) if entries else EMPTY_SLOT

    def _lift(self, depth: int, pid: int, slot: Slot, low: bytes, end_max: int) -> Slot:
        """Write a node again that lies, or leads to one that lies, below `low`."""
        if slot[0] != INNER:
            bucket = self._read_bucket(pid, slot)
            self.live -= len(bucket)
            position = self._write(pid, bucket, bucket)
            return slot[0], position, position, slot[3]
        before = self._read_inner(depth, pid, slot)
        record = bytearray(before)
        for which in range(4):
            at_low = LOWS_AT + POSITION_BYTES * which
            if before[at_low : at_low + POSITION_BYTES] < low and self.end < end_max:
                child = child_slot(before, which)
                _put_child(record, which, self._lift(depth + 1, pid << 2 | which, child, low, end_max))
        self.live -= INNER_STORED_BYTES
        after = bytes(record)
        return self._write_inner(pid, after, slot[3])

    def _write_bucket(self, pid: int, entries: bytes) -> Slot:
        position = self._write(pid, entries, entries)
        return len(entries) // ENTRY_BYTES, position, position, hash_bucket(entries)

    def _write_inner(self, pid: int, record: bytes, digest: bytes) -> Slot:
        return INNER, self._write(pid, record, seal_inner(record)), find_low(record), digest

    def _write(self, pid: int, record: bytes, stored: bytes) -> bytes:
        """Add a record at the end of the log, and return its position."""
        position = encode_position(self.end)
        self.parts.append(stored)
        self.records[pid] = record
        self.end += len(stored)
        self.live += len(stored)
        return position

    def _read_inner(self, depth: int, pid: int, slot: Slot) -> bytes:
        if slot[1] >= self._committed:
            return self._find_layer(slot)[pid]
        cached = self._cache[depth].get(pid)
        return self._read(pid, slot) if cached is None else cached

    def _read_bucket(self, pid: int, slot: Slot) -> bytes:
        if slot[1] >= self._committed:
            return self._find_layer(slot)[pid]
        return self._read(pid, slot)

    def _find_layer(self, slot: Slot) -> dict[int, bytes]:
        """Return the records of the update that wrote one which is not committed yet."""
        if slot[1] >= self._first:
            return self.records
        position = int.from_bytes(slot[1], "big")
        return next(records for start, records in reversed(self._layers) if start <= position)

    def _read(self, pid: int, slot: Slot) -> bytes:
        record = read_node(self._source, pid, slot)
        if record is None:
            raise self._source.database.damaged("tree record is missing", value=name_node(pid, slot))
        return record


def _put_child(record: bytearray, which: int, slot: Slot) -> None:
    """Write the slot of a child into the record of an inner node."""
    at_position, at_hash = POSITIONS_AT + POSITION_BYTES * which, HASHES_AT + 32 * which
    at_low = LOWS_AT + POSITION_BYTES * which
    record[which] = slot[0]
    record[at_position : at_position + POSITION_BYTES] = slot[1]
    record[at_low : at_low + POSITION_BYTES] = slot[2]
    record[at_hash : at_hash + 32] = slot[3]


def _splice(entries: bytes, change: bytes) -> bytes:
    """Return the entries of a bucket after one change: most buckets see no more than one."""
    path, at, end = change[:PATH_BYTES], 0, len(entries)
    while at < end and entries[at : at + PATH_BYTES] < path:
        at += ENTRY_BYTES
    rest = at + ENTRY_BYTES if entries[at : at + PATH_BYTES] == path else at
    return entries[:at] + (change if len(change) == ENTRY_BYTES else b"") + entries[rest:]


def _merge(entries: bytes, changes: list[bytes]) -> bytes:
    """Return the entries of a bucket after many changes."""
    by_path = {
        entries[at : at + PATH_BYTES]: entries[at : at + ENTRY_BYTES]
        for at in range(0, len(entries), ENTRY_BYTES)
    }
    for change in changes:
        if len(change) == PATH_BYTES:
            by_path.pop(change, None)
        else:
            by_path[change[:PATH_BYTES]] = change
    return b"".join(sorted(by_path.values()))
