"""A consistent copy of an open ledger, in parts, while it goes on: all that it was after one block.

Segments and the tree's log only grow, so their bytes up to that block's end are its copy; LevelDB gives a
snapshot. Nothing but the removal of old files waits for the copy, and it holds up who uses the store for the
time of one part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import CorruptState, Reason
from tanpo.storage.files import guarded_io
from tanpo.storage.layout import Executed
from tanpo.storage.ledger_store import LedgerStore, read_rows
from tanpo.storage.segments import REMEDY

PART_BYTES: Final = 128 << 10
"""A part takes a millisecond or two to make, and waits in a message of its own."""

ROWS_NAME: Final = "state.rows"
"""LevelDB's keys in ascending order with their values: key length u32, key, value length u32, value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCopy:
    """The block that a copy is of, and its files in parts: names relative to the data directory."""

    executed: Executed
    parts: Iterator[tuple[str, bytes]]


def copy_ledger(store: LedgerStore) -> LedgerCopy:
    """Return a copy of the ledger as it is now, to be read at leisure while the store is open.

    Raises:
        UsageError: the store holds nothing. CorruptState: of `parts`, what is stored is damaged.
    """
    executed = store.executed
    ends = [*store.segments.list_ends(executed.height), *store.tree.source.log.list_ends(store.tree.root.end)]
    with ExitStack() as held:
        held.callback(store.segments.hold())
        held.callback(store.tree.source.log.hold())
        parts = _read(ends, read_rows(store), held.pop_all().close)
    # Begun now, it lets go of the files in the end even if nobody ever asks for its first part.
    next(parts)
    return LedgerCopy(executed=executed, parts=parts)


def encode_row(key: bytes, value: bytes) -> bytes:
    """Return a row of `ROWS_NAME`."""
    return len(key).to_bytes(4, "big") + key + len(value).to_bytes(4, "big") + value


class RowReader:
    """Takes rows out of parts, wherever they are cut."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows that are whole with these bytes."""
        waiting = self._waiting
        waiting += data
        at = 0
        while (row := _decode_row(waiting, at)) is not None:
            key, value = row
            at += 8 + len(key) + len(value)
            yield key, value
        del waiting[:at]

    @property
    def is_whole(self) -> bool:
        """Whether no row is cut off."""
        return not self._waiting


def _decode_row(content: bytearray, at: int) -> tuple[bytes, bytes] | None:
    middle = at + 4 + int.from_bytes(content[at : at + 4], "big")
    if len(content) < middle + 4:
        return None
    end = middle + 4 + int.from_bytes(content[middle : middle + 4], "big")
    if len(content) < end:
        return None
    return bytes(content[at + 4 : middle]), bytes(content[middle + 4 : end])


def _read(
    ends: list[tuple[Path, int]], rows: Iterator[tuple[bytes, bytes]], release: Callable[[], None]
) -> Iterator[tuple[str, bytes]]:
    """Yield nothing, once, and then the parts; hold the files until the last one."""
    try:
        yield "", b""
        for path, end in ends:
            yield from _read_file(path, end)
    finally:
        release()
    waiting = bytearray()
    for key, value in rows:
        waiting += encode_row(key, value)
        if len(waiting) >= PART_BYTES:
            yield ROWS_NAME, bytes(waiting)
            waiting.clear()
    yield ROWS_NAME, bytes(waiting)


def _read_file(path: Path, end: int) -> Iterator[tuple[str, bytes]]:
    with guarded_io(path), path.open("rb") as file:
        while end:
            data = file.read(min(PART_BYTES, end))
            if not data:
                raise CorruptState(Reason.DATA_CORRUPT, f"{path} became shorter", value=path, remedy=REMEDY)
            end -= len(data)
            yield f"{path.parent.name}/{path.name}", data
