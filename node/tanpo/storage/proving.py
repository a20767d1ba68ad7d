"""Making partial trees of any root that the window still holds (STATE.md section 3).

Records of the tree are immutable, so a proof of a past height needs no lock: it starts at that height's root
and follows positions. What is missing on the way has left the window meanwhile.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from tanpo.storage.reading import TreeSource, read_node, read_root
from tanpo.storage.records import (
    ENTRY_BYTES,
    INNER,
    PATH_BYTES,
    ROOT_PID,
    Slot,
    child_slot,
)

_EMPTY: Final = bytes([TAG_EMPTY])
_HASH: Final = bytes([TAG_HASH])
_INNER: Final = bytes([TAG_INNER])


RECORDS_A_STEP: Final = 64
"""Records read between two pauses: about a millisecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTree:
    """A partial tree, and the value hashes of the paths that it shows."""

    encoded: bytes
    entries: Mapping[bytes, bytes]


def prove_keys(source: TreeSource, height: Height, keys: Sequence[bytes]) -> bytes:
    """Return the partial tree that shows, for each key, its value's hash or that there is no such key.

    Raises:
        UsageError: the height is not held (HEIGHT_UNKNOWN, HEIGHT_PRUNED), or these are too many keys.
        CorruptState: a record does not match its hash: the node must stop.
    """
    if len(keys) > PROOF_KEYS_MAX:
        raise _too_large("a proof of so many keys", len(keys), f"{PROOF_KEYS_MAX} keys")
    return prove_ranges(source, height, [key_range(key) for key in keys])


def prove_group(source: TreeSource, height: Height, group: bytes) -> bytes:
    """Return the partial tree that shows every entry of an index group, and strangers in its range."""
    return prove_ranges(source, height, [group_range(group)])


def prove_ranges(source: TreeSource, height: Height, ranges: Iterable[PathRange]) -> bytes:
    """Return the partial tree that shows all there is in some ranges of paths. Raises as `prove_keys`."""
    steps = show_ranges(source, height, ranges)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            shown: ShownTree = stop.value
            return shown.encoded


def show_ranges(
    source: TreeSource, height: Height, ranges: Iterable[PathRange], bytes_max: int = PROOF_BYTES_MAX
) -> Generator[None, None, ShownTree]:
    """Do as `prove_ranges`, pausing after every so many records, for a caller who has other things to do.

    Nodes stand in pre-order: whole where they meet a range, by their hash elsewhere.
    """
    root = read_root(source.database, height)
    if root is None:
        raise pruned(height)
    parts: list[bytes] = []
    entries: dict[bytes, bytes] = {}
    size, unread = 0, RECORDS_A_STEP
    waiting: list[tuple[int, Slot, Sequence[PathRange]]] = [(ROOT_PID, root.slot, _join(ranges))]
    while waiting:
        pid, slot, wanted = waiting.pop()
        if slot[0] and wanted:
            record = read_node(source, pid, slot)
            if record is None:
                raise pruned(height)
            if slot[0] == INNER:
                parts.append(_INNER)
                waiting += reversed(list(_list_children(pid, record, wanted)))
            else:
                parts.append(bytes((TAG_BUCKET, slot[0])) + record)
                entries.update(_list_entries(record))
            unread -= 1
            if not unread:
                unread = RECORDS_A_STEP
                yield
        else:
            parts.append(_HASH + slot[3] if slot[0] else _EMPTY)
        size += len(parts[-1])
        if size > bytes_max:
            raise _too_large("the proof", size, f"{bytes_max} bytes")
    return ShownTree(encoded=b"".join(parts), entries=entries)


def _list_children(
    pid: int, record: bytes, ranges: Sequence[PathRange]
) -> Iterator[tuple[int, Slot, Sequence[PathRange]]]:
    for which in range(4):
        child = pid << 2 | which
        below = node_range(child)
        met = [wanted for wanted in ranges if wanted.start < below.stop and below.start < wanted.stop]
        yield child, child_slot(record, which), met


def _list_entries(record: bytes) -> Iterator[tuple[bytes, bytes]]:
    for at in range(0, len(record), ENTRY_BYTES):
        yield record[at : at + PATH_BYTES], record[at + PATH_BYTES : at + ENTRY_BYTES]


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
