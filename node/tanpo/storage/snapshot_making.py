"""Cutting the chunks of a snapshot from the partitions of a state (STATE.md section 5).

The tree over the partitions is computed from their content alone, not read from LevelDB: so a snapshot may
take longer to make than its height stays in the window, and a state that does not have its root is found out
before it is served.
"""

from __future__ import annotations

from collections.abc import Generator
from itertools import accumulate
from pathlib import Path
from typing import Final

from tanpo.ledger.statechunk import CHUNK_BYTES, PATH_STOP
from tanpo.ledger.statekey import BUCKET_ENTRIES_MAX, hash_inner
from tanpo.ledger.stateproof import TAG_EMPTY, TAG_HASH, TAG_INNER, TAG_PAIRS, node_range
from tanpo.storage.partition import (
    Bucket,
    PartitionFile,
    Subtree,
    build_subtree,
    digest_of,
    load_partition,
    pair_of,
    partition_path,
)
from tanpo.storage.records import ROOT_PID

_EMPTY: Final = bytes([TAG_EMPTY])
_HASH: Final = bytes([TAG_HASH])
_INNER: Final = bytes([TAG_INNER])


class PartitionDamaged(Exception):
    """A partition is not what was written: the snapshot is to be made anew."""


class PartitionedState:
    """The tree of one state, whose lower part is loaded a partition at a time. `prepare` comes first."""

    def __init__(self, folder: Path, files: tuple[PartitionFile, ...]) -> None:
        self._folder = folder
        self._files = files
        self._depth = (len(files).bit_length() - 1) // 2
        self._counts: list[int] = [0] * (len(files) + 1)
        self._digests: dict[int, bytes] = {}
        self._loaded: tuple[int, Subtree] = (0, None)

    def prepare(self) -> Generator[None, None, bytes]:
        """Count and hash everything, and return the hash of the tree.

        Raises:
            PartitionDamaged: a file is not what was written.
        """
        counts: list[int] = []
        for number in range(len(self._files)):
            rows = yield from self._load_rows(number)
            subtree = yield from build_subtree(rows, self._depth)
            self._digests[len(self._files) | number] = digest_of(subtree)
            counts.append(len(rows))
        self._counts = list(accumulate(counts, initial=0))
        return (yield from self._hash_top(ROOT_PID, 0))

    def count(self, pid: int, depth: int) -> int:
        """Return how many keys are below a node no deeper than the partitions."""
        first, stop = self._span(pid, depth)
        return self._counts[stop] - self._counts[first]

    def is_whole(self, pid: int, depth: int) -> bool:
        """Return whether a node is loaded as one piece: a partition, or a bucket above the partitions."""
        return depth == self._depth or self.count(pid, depth) <= BUCKET_ENTRIES_MAX

    def digest(self, pid: int) -> bytes:
        """Return the hash of a node no deeper than the partitions."""
        return self._digests[pid]

    def load(self, pid: int, depth: int) -> Generator[None, None, Subtree]:
        """Return a node that `is_whole`. The last one is kept: chunks end in the middle of a partition."""
        if self._loaded[0] != pid:
            self._loaded = (0, None)  # Before the next one is built: one is in memory at a time.
            self._loaded = (pid, (yield from self._build(pid, depth)))
        return self._loaded[1]

    def _span(self, pid: int, depth: int) -> tuple[int, int]:
        """Return the partitions below a node."""
        width = 1 << 2 * (self._depth - depth)
        first = (pid ^ 1 << 2 * depth) * width
        return first, first + width

    def _hash_top(self, pid: int, depth: int) -> Generator[None, None, bytes]:
        if pid in self._digests:
            return self._digests[pid]
        if self.is_whole(pid, depth):
            subtree = yield from self._build(pid, depth)
            digest = digest_of(subtree)
        else:
            children: list[bytes] = []
            for which in range(4):
                children.append((yield from self._hash_top(pid << 2 | which, depth + 1)))
            digest = hash_inner(b"".join(children))
        self._digests[pid] = digest
        return digest

    def _build(self, pid: int, depth: int) -> Generator[None, None, Subtree]:
        rows: list[bytes] = []
        first, stop = self._span(pid, depth)
        for number in range(first, stop):
            if self._counts[number + 1] > self._counts[number]:
                rows += yield from self._load_rows(number)
        return (yield from build_subtree(rows, depth))

    def _load_rows(self, number: int) -> Generator[None, None, list[bytes]]:
        rows = yield from load_partition(partition_path(self._folder, number), self._files[number])
        if rows is None:
            raise PartitionDamaged(f"partition {number}")
        return rows


class ChunkCutter:
    """Cuts one chunk after the other."""

    def __init__(self, state: PartitionedState, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._state = state
        self._chunk_bytes = chunk_bytes
        self._parts: list[bytes] = []
        self._shown = 0
        self._start = 0
        self._stop = PATH_STOP

    def cut(self, start: int) -> Generator[None, None, tuple[bytes, int]]:
        """Return the chunk that begins at a cursor, and the cursor of the next one.

        Raises:
            PartitionDamaged: a file is not what was written.
        """
        self._parts, self._shown, self._start, self._stop = [], 0, start, PATH_STOP
        yield from self._add_top(ROOT_PID, 0)
        return b"".join(self._parts), self._stop

    def _add_top(self, pid: int, depth: int) -> Generator[None, None, None]:
        state = self._state
        if not state.count(pid, depth):
            self._parts.append(_EMPTY)
        elif self._is_outside(pid):
            self._hide(pid, state.digest(pid))
        elif state.is_whole(pid, depth):
            subtree = yield from state.load(pid, depth)
            self._add(pid, subtree)
        else:
            self._parts.append(_INNER)
            for which in range(4):
                yield from self._add_top(pid << 2 | which, depth + 1)

    def _add(self, pid: int, subtree: Subtree) -> None:
        if subtree is None:
            self._parts.append(_EMPTY)
        elif self._is_outside(pid):
            self._hide(pid, subtree.digest)
        elif isinstance(subtree, Bucket):
            pairs = b"".join([pair_of(row) for row in subtree.rows])
            self._parts.append(b"%c%c%b" % (TAG_PAIRS, len(subtree.rows), pairs))
            self._shown += 2 + len(pairs)
        else:
            self._parts.append(_INNER)
            for which, child in enumerate(subtree.children):
                self._add(pid << 2 | which, child)

    def _is_outside(self, pid: int) -> bool:
        return self._shown >= self._chunk_bytes or node_range(pid).stop <= self._start

    def _hide(self, pid: int, digest: bytes) -> None:
        self._parts.append(_HASH + digest)
        below = node_range(pid)
        if below.start >= self._start and self._stop == PATH_STOP:
            self._stop = below.start
