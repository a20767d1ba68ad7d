"""Making partial trees of any root that the window still holds (STATE.md section 3).

Records of the tree are immutable, so a proof of a past height needs no lock: it starts at that height's root
and follows exact gets. What is missing on the way has left the window meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.stateproof import (
    PROOF_BYTES_MAX,
    PROOF_KEYS_MAX,
    TAG_BUCKET,
    TAG_EMPTY,
    TAG_HASH,
    TAG_INNER,
    PathRange,
    group_range,
    key_range,
    node_range,
)
from tanpo.ledger.types import Height
from tanpo.storage.database import Database
from tanpo.storage.reading import read_node, read_root
from tanpo.storage.records import HASHES_AT, INNER, ROOT_PID, VERSIONS_AT, Slot

_EMPTY: Final = bytes([TAG_EMPTY])
_HASH: Final = bytes([TAG_HASH])
_INNER: Final = bytes([TAG_INNER])


def prove_keys(database: Database, height: Height, keys: Sequence[bytes]) -> bytes:
    """Return the partial tree that shows, for each key, its value's hash or that there is no such key.

    Raises:
        UsageError: the height is not held (HEIGHT_UNKNOWN, HEIGHT_PRUNED), or these are too many keys.
        CorruptState: a record does not match its hash: the node must stop.
    """
    if len(keys) > PROOF_KEYS_MAX:
        raise _too_large("a proof of so many keys", len(keys), f"{PROOF_KEYS_MAX} keys")
    return prove_ranges(database, height, [key_range(key) for key in keys])


def prove_group(database: Database, height: Height, group: bytes) -> bytes:
    """Return the partial tree that shows every entry of an index group, and strangers in its range."""
    return prove_ranges(database, height, [group_range(group)])


def prove_ranges(database: Database, height: Height, ranges: Iterable[PathRange]) -> bytes:
    """Return the partial tree that shows all there is in some ranges of paths. Raises as `prove_keys`."""
    root = read_root(database, height)
    if root is None:
        raise pruned(height)
    writer = _Writer(database, height)
    writer.add(ROOT_PID, root, _join(ranges))
    return b"".join(writer.parts)


class _Writer:
    """Writes the nodes in pre-order: whole where they meet a range, by their hash elsewhere."""

    __slots__ = ("_database", "_height", "_size", "parts")

    def __init__(self, database: Database, height: Height) -> None:
        self._database = database
        self._height = height
        self._size = 0
        self.parts: list[bytes] = []

    def add(self, pid: int, slot: Slot, ranges: Sequence[PathRange]) -> None:
        count, _, digest = slot
        if not count:
            self._put(_EMPTY)
        elif not ranges:
            self._put(_HASH + digest)
        elif count == INNER:
            self._put(_INNER)
            self._add_children(pid, self._read(pid, slot), ranges)
        else:
            self._put(bytes((TAG_BUCKET, count)) + self._read(pid, slot))

    def _add_children(self, pid: int, record: bytes, ranges: Sequence[PathRange]) -> None:
        for which in range(4):
            at_version, at_hash = VERSIONS_AT + 4 * which, HASHES_AT + 32 * which
            version = int.from_bytes(record[at_version : at_version + 4], "big")
            child = pid << 2 | which
            below = node_range(child)
            met = [wanted for wanted in ranges if wanted.start < below.stop and below.start < wanted.stop]
            self.add(child, (record[which], version, record[at_hash : at_hash + 32]), met)

    def _read(self, pid: int, slot: Slot) -> bytes:
        record = read_node(self._database, pid, slot)
        if record is None:
            raise pruned(self._height)
        return record

    def _put(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > PROOF_BYTES_MAX:
            raise _too_large("the proof", self._size, f"{PROOF_BYTES_MAX} bytes")
        self.parts.append(part)


def pruned(height: int) -> UsageError:
    """Return the refusal for a height whose tree is no longer, or not yet, on disk."""
    return UsageError(
        Reason.HEIGHT_PRUNED,
        f"the state of height {height} is not held here",
        value=height,
        remedy="ask for a later height, or ask a node that keeps more of them",
    )


def _join(ranges: Iterable[PathRange]) -> list[PathRange]:
    """Return the same paths as ranges that ascend and do not touch."""
    joined: list[PathRange] = []
    for wanted in sorted(ranges, key=lambda one: one.start):
        if joined and wanted.start <= joined[-1].stop:
            stop = max(joined[-1].stop, wanted.stop)
            joined[-1] = PathRange(start=joined[-1].start, stop=stop)
        else:
            joined.append(wanted)
    return joined


def _too_large(what: str, value: int, limit: str) -> UsageError:
    return UsageError(
        Reason.TOO_LARGE, f"{what} is too large", value=value, limit=limit, remedy="ask for fewer keys"
    )
