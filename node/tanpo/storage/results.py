"""What a stopped node has in LevelDB of each block, read to be compared and never written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tanpo.ledger.errors import CorruptState, Reason, UsageError
from tanpo.ledger.types import Height
from tanpo.storage.beginning import Beginning
from tanpo.storage.database import Database
from tanpo.storage.layout import (
    PARTIES_START,
    PARTIES_STOP,
    Executed,
    decode_executed,
    decode_party_position,
    decode_receipts,
    executed_key,
    receipts_key,
)
from tanpo.storage.positions import PositionIndex
from tanpo.storage.records import TIP_KEY
from tanpo.storage.recovery import verify_state
from tanpo.storage.tree import NO_HEIGHT

_CACHE_BYTES = 8 << 20
_WRITE_BUFFER_BYTES = 4 << 20


class StoredResults:
    """Executed blocks, receipts and positions. `height` is that of the latest, -1 if there is none.

    `beginning` is that of the ledger.
    """

    def __init__(self, path: Path, database: Database) -> None:
        index = PositionIndex(database)
        self.path = path
        self.beginning = Beginning(database)
        tip = database.get_sealed(TIP_KEY)
        self.height = NO_HEIGHT if tip is None else Height(int.from_bytes(tip, "big"))
        self.find_transaction = index.find_transaction
        self.find_request = index.find_request
        self._database = database

    @classmethod
    def open(cls, path: Path, *, remedy: str) -> StoredResults:
        """Open the LevelDB in the folder `path`; its node must be stopped.

        Raises:
            UsageError: there is none (NOT_FOUND). CorruptState: it is damaged; `remedy` says what to do.
        """
        if not (path / "CURRENT").exists():
            raise UsageError(
                Reason.NOT_FOUND,
                f"{path} holds no state",
                value=path,
                limit="the LevelDB of a node that was started",
                remedy=remedy,
            )
        database = Database.open(
            path, remedy=remedy, cache_bytes=_CACHE_BYTES, write_buffer_bytes=_WRITE_BUFFER_BYTES
        )
        try:
            return cls(path, database)
        except CorruptState:
            database.close()
            raise

    def find_executed(self, height: Height) -> Executed | None:
        """Return the record of an executed block. Raises `CorruptState` if it is damaged."""
        record = self._database.get_sealed(executed_key(height))
        return None if record is None else decode_executed(height, record)

    def find_receipts(self, height: Height) -> tuple[bytes, ...] | None:
        """Return the receipts of a block. Raises `CorruptState` if they are damaged."""
        record = self._database.get_sealed(receipts_key(height))
        return None if record is None else decode_receipts(record)

    def read_parties(self, above: Height) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows of the index of members' transactions of blocks above a height, ascending by key."""
        for key, value in self._database.scan_raw(PARTIES_START, PARTIES_STOP):
            if decode_party_position(key)[0] > above:
                yield key, value

    def verify_state(self, executed: Executed) -> None:
        """Raise `CorruptState` unless the whole state, hashed anew, has the root of `executed`."""
        verify_state(self._database, executed)

    def close(self) -> None:
        """Close the database."""
        self._database.close()
