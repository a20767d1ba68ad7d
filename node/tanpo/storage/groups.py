"""Which index groups share a range of paths: what the raw keys of a listing are found by.

A group of an index is proved by the raw keys of all index entries in its range, those of strangers too.

    G range:u16 group    nothing; a group that was ever written, by the first two bytes of its members' paths
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tanpo.ledger.statekey import KIND_INDEX, SPACE_CONTRACT, compute_stop, group_of, group_prefix, index_key
from tanpo.storage.database import Database, scan_keys, seal
from tanpo.storage.layout import state_key

_GROUPS: Final = b"G"
_READY: Final = b"H"
"""Says that the table lists every group; written with genesis, or after the state was gone through."""

_INDEX_START: Final = state_key(bytes((SPACE_CONTRACT, KIND_INDEX)))
_INDEX_STOP: Final = state_key(bytes((SPACE_CONTRACT, KIND_INDEX + 1)))


class GroupTable:
    """The groups of all indexes. None is ever taken out: one that is empty takes a few bytes."""

    __slots__ = ("_database",)

    def __init__(self, database: Database) -> None:
        self._database = database

    def stage(self, height: int, changes: Mapping[bytes, bytes | None], puts: dict[bytes, bytes]) -> None:
        """Add the groups that a block writes to its batch. From genesis on the table lists all of them."""
        if not height:
            puts[_READY] = seal(_READY, b"")
        for group in {group_of(key) for key, value in changes.items() if value is not None} - {b""}:
            record = _GROUPS + group_prefix(group) + group
            puts[record] = seal(record, b"")

    def list_sharing(self, group: bytes) -> list[bytes]:
        """Return the groups whose members' paths lie in the range of this one, itself included."""
        start = _GROUPS + group_prefix(group)
        return [record[len(start) :] for record in scan_keys(self._database, start, compute_stop(start))]

    def prepare(self) -> None:
        """Make the table complete, if the state was written without it: some 20 us a group.

        Raises:
            Unavailable, CorruptState: it could not be written; the process must stop.
        """
        if self._database.get(_READY) is not None:
            return
        puts = {_READY: seal(_READY, b"")}
        start = _INDEX_START
        while found := list(scan_keys(self._database, start, _INDEX_STOP, 1)):
            key = found[0][1:]
            self.stage(1, {key: b""}, puts)
            start = compute_stop(state_key(index_key(group_of(key), b"")))
        self._database.write(puts, ())
