"""The pairs of one state, in files by the first digits of their paths, and the tree over them.

A snapshot is made of a state as it was at one height, while blocks go on. So the pairs are first written out
in one pass over a frozen view, a row each, to the file that their path's prefix names. All else follows from
these files: each is small enough to be sorted in memory, and the tree above them has few nodes.

    row    path:32 value hash:32 key length:u16 key value length:u32 value
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeAlias

from tanpo.ledger.statekey import (
    BUCKET_ENTRIES_MAX,
    EMPTY,
    digit,
    hash_bucket,
    hash_inner,
    path_of,
    value_hash,
)
from tanpo.storage.files import guarded_io

Steps: TypeAlias = Generator[None, None, None]
"""Work in small steps: a pause after each lets others run."""

STEP_ROWS: Final = 256
"""Rows handled between two pauses: about a millisecond."""

PARTITION_BYTES: Final = 2 << 20
"""How large a partition may become on average; one is in memory at a time, as objects some three times
that."""

_BUFFER_BYTES: Final = 8 << 20
"""Rows held in memory before they are written out."""

_DEPTHS: Final = (4, 6)
"""Not fewer than 256 partitions: what LevelDB has in memory is left out when it says how much there is."""
_HEAD: Final = 64


@dataclass(frozen=True, slots=True)
class Bucket:
    """1 to 8 rows, in order of path."""

    digest: bytes
    rows: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Inner:
    """Four children."""

    digest: bytes
    children: tuple[Subtree, Subtree, Subtree, Subtree]


Subtree: TypeAlias = Bucket | Inner | None
"""A part of the tree in memory, `None` where there is nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionFile:
    """One partition as it was written: how many bytes, and their SHA-256."""

    size: int
    digest: bytes


def choose_depth(size: int) -> int:
    """Return how many digits name a partition of a state that takes about `size` bytes."""
    for depth in _DEPTHS:
        if size <= PARTITION_BYTES << 2 * depth:
            return depth
    return _DEPTHS[-1]


def partition_path(folder: Path, number: int) -> Path:
    """Return where a partition lies."""
    return folder / f"p{number:04d}"


def write_partitions(
    folder: Path, pairs: Iterable[tuple[bytes, bytes]], depth: int
) -> Generator[None, None, tuple[PartitionFile, ...]]:
    """Write out all pairs of a state. The files are new, and not synced: their hashes tell whether they are
    whole.

    Raises:
        Unavailable: the disk is full. CorruptState: it refuses otherwise.
    """
    writer = _PartitionWriter(folder, depth)
    for count, (key, value) in enumerate(pairs, 1):
        writer.add(key, value)
        if not count % STEP_ROWS:
            yield
    for number in range(1 << 2 * depth):
        writer.flush(number)
        yield
    return tuple(
        PartitionFile(size=size, digest=digest.digest())
        for size, digest in zip(writer.sizes, writer.digests, strict=True)
    )


def load_partition(path: Path, expected: PartitionFile) -> Generator[None, None, list[bytes] | None]:
    """Return the rows of a partition in order of path, `None` if the file is not what was written."""
    with guarded_io(path):
        content = path.read_bytes() if path.exists() else b""
    if len(content) != expected.size or sha256(content).digest() != expected.digest:
        return None
    yield
    rows: list[bytes] = []
    for count, row in enumerate(_split(content), 1):
        rows.append(row)
        if not count % STEP_ROWS:
            yield
    rows.sort()
    return rows


def build_subtree(rows: list[bytes], depth: int) -> Generator[None, None, Subtree]:
    """Return the canonical tree of rows that are in order and agree in their first `depth` digits."""
    if len(rows) <= STEP_ROWS:
        return _build(rows, depth)
    yield
    first, second, third, fourth = _divide(rows, depth)
    return join_subtrees(
        (
            (yield from build_subtree(first, depth + 1)),
            (yield from build_subtree(second, depth + 1)),
            (yield from build_subtree(third, depth + 1)),
            (yield from build_subtree(fourth, depth + 1)),
        )
    )


def join_subtrees(children: tuple[Subtree, Subtree, Subtree, Subtree]) -> Inner:
    """Return the inner node over four children."""
    return Inner(hash_inner(b"".join([digest_of(child) for child in children])), children)


def digest_of(subtree: Subtree) -> bytes:
    """Return the hash of a subtree."""
    return EMPTY if subtree is None else subtree.digest


def pair_of(row: bytes) -> bytes:
    """Return key and value of a row, as `PAIRS` has them."""
    return row[_HEAD:]


def _build(rows: list[bytes], depth: int) -> Subtree:
    if not rows:
        return None
    if len(rows) <= BUCKET_ENTRIES_MAX:
        return Bucket(hash_bucket(b"".join([row[:_HEAD] for row in rows])), tuple(rows))
    first, second, third, fourth = _divide(rows, depth)
    return join_subtrees(
        (
            _build(first, depth + 1),
            _build(second, depth + 1),
            _build(third, depth + 1),
            _build(fourth, depth + 1),
        )
    )


def _divide(rows: list[bytes], depth: int) -> tuple[list[bytes], ...]:
    parts: tuple[list[bytes], ...] = ([], [], [], [])
    for row in rows:
        parts[digit(row, depth)].append(row)
    return parts


class _PartitionWriter:
    def __init__(self, folder: Path, depth: int) -> None:
        count = 1 << 2 * depth
        self._folder = folder
        self._shift = 16 - 2 * depth
        self._rows: list[list[bytes]] = [[] for _ in range(count)]
        self._held = [0] * count
        self._limit = max(_BUFFER_BYTES // count, 4096)
        self.sizes = [0] * count
        self.digests = [sha256() for _ in range(count)]

    def add(self, key: bytes, value: bytes) -> None:
        path = path_of(key)
        number = (path[0] << 8 | path[1]) >> self._shift
        row = b"%b%b%b%b%b%b" % (
            path,
            value_hash(value),
            len(key).to_bytes(2, "big"),
            key,
            len(value).to_bytes(4, "big"),
            value,
        )
        self._rows[number].append(row)
        self._held[number] += len(row)
        if self._held[number] >= self._limit:
            self.flush(number)

    def flush(self, number: int) -> None:
        content = b"".join(self._rows[number])
        if not content:
            return
        path = partition_path(self._folder, number)
        with guarded_io(path), path.open("ab") as file:
            file.write(content)
        self.sizes[number] += len(content)
        self.digests[number].update(content)
        self._rows[number].clear()
        self._held[number] = 0


def _split(content: bytes) -> Iterator[bytes]:
    at, end = 0, len(content)
    while at < end:
        value_at = at + _HEAD + 2 + int.from_bytes(content[at + _HEAD : at + _HEAD + 2], "big")
        stop = value_at + 4 + int.from_bytes(content[value_at : value_at + 4], "big")
        yield content[at:stop]
        at = stop
