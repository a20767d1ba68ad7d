"""One batched update of the tree: down the touched branches once, and up again with new hashes.

The shape stays canonical: a node with more than eight entries below it is inner, any other a bucket. So an
overflowing bucket splits, and an inner node whose four counts sum to eight or fewer collapses into a bucket;
the count of an inner child (255) keeps its parent from collapsing.
"""

from __future__ import annotations

from typing import Final

from tanpo.ledger.statekey import BUCKET_ENTRIES_MAX, digit, hash_bucket, hash_inner
from tanpo.storage.database import Database
from tanpo.storage.reading import name_node, read_node
from tanpo.storage.records import (
    EMPTY_SLOT,
    ENTRY_BYTES,
    HASHES_AT,
    INNER,
    PATH_BYTES,
    ROOT_PID,
    VERSIONS_AT,
    Slot,
    encode_inner,
)

_BUCKET_BYTES_MAX: Final = BUCKET_ENTRIES_MAX * ENTRY_BYTES


class Update:
    """The records that one block writes, and those it supersedes.

    `records` maps node to record, all of version `height`. `superseded` lists node and version of what they
    replace; a record of this same update is overwritten or dropped, never listed.
    """

    __slots__ = ("_cache", "_database", "_height", "_layers", "_tip", "records", "superseded")

    def __init__(
        self,
        *,
        height: int,
        tip: int,
        layers: list[dict[int, bytes]],
        cache: list[dict[int, bytes]],
        database: Database,
    ) -> None:
        self._height = height
        self._tip = tip
        self._layers = layers
        self._cache = cache
        self._database = database
        self.records: dict[int, bytes] = {}
        self.superseded: list[tuple[int, int]] = []

    def apply(self, root: Slot, changes: list[bytes]) -> Slot:
        """Return the root after `changes`: in order of path, 64 bytes to write and 32 to delete an entry.

        Raises:
            CorruptState: a record that is needed is missing or does not match its hash.
        """
        if not changes:
            return root
        return (self._inner if root[0] == INNER else self._bucket)(0, ROOT_PID, root, changes)

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
            at_version, at_hash = VERSIONS_AT + 4 * which, HASHES_AT + 32 * which
            version = int.from_bytes(before[at_version : at_version + 4], "big")
            child = (before[which], version, before[at_hash : at_hash + 32])
            update = self._inner if child[0] == INNER else self._bucket
            part = changes if stop - start == end else changes[start:stop]
            count, version, digest = update(depth + 1, pid << 2 | which, child, part)
            record[which] = count
            record[at_version : at_version + 4] = version.to_bytes(4, "big")
            record[at_hash : at_hash + 32] = digest
            start = stop
        if record == before:
            return slot
        self.superseded.append((pid, slot[1]))
        after = bytes(record)
        if sum(after[:VERSIONS_AT]) <= BUCKET_ENTRIES_MAX:
            return self._collapse(pid, after)
        self.records[pid] = after
        return INNER, self._height, hash_inner(after[HASHES_AT:])

    def _bucket(self, depth: int, pid: int, slot: Slot, changes: list[bytes]) -> Slot:
        before = self._read_bucket(pid, slot) if slot[0] else b""
        after = _splice(before, changes[0]) if len(changes) == 1 else _merge(before, changes)
        if after == before:
            return slot
        if slot[0]:
            self.superseded.append((pid, slot[1]))
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
        self.records[pid] = record
        return INNER, self._height, hash_inner(record[HASHES_AT:])

    def _collapse(self, pid: int, inner: bytes) -> Slot:
        """Write the few entries of four buckets as one bucket in their parent's place."""
        parts: list[bytes] = []
        for which in range(4):
            count = inner[which]
            if not count:
                continue
            child = pid << 2 | which
            at_version, at_hash = VERSIONS_AT + 4 * which, HASHES_AT + 32 * which
            version = int.from_bytes(inner[at_version : at_version + 4], "big")
            if version == self._height:
                parts.append(self.records.pop(child))
            else:
                parts.append(self._read_bucket(child, (count, version, inner[at_hash : at_hash + 32])))
                self.superseded.append((child, version))
        entries = b"".join(parts)
        return self._write_bucket(pid, entries) if entries else EMPTY_SLOT

    def _write_bucket(self, pid: int, entries: bytes) -> Slot:
        self.records[pid] = entries
        return len(entries) // ENTRY_BYTES, self._height, hash_bucket(entries)

    def _read_inner(self, depth: int, pid: int, slot: Slot) -> bytes:
        version = slot[1]
        if version > self._tip:
            return self._layers[version - self._tip - 1][pid]
        cached = self._cache[depth].get(pid)
        return self._read(pid, slot) if cached is None else cached

    def _read_bucket(self, pid: int, slot: Slot) -> bytes:
        version = slot[1]
        if version > self._tip:
            return self._layers[version - self._tip - 1][pid]
        return self._read(pid, slot)

    def _read(self, pid: int, slot: Slot) -> bytes:
        record = read_node(self._database, pid, slot)
        if record is None:
            raise self._database.damaged("tree record is missing", value=name_node(pid, slot))
        return record


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
