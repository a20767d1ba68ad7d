"""Where an executed transaction is: by its id, and by the request that it answered."""

from __future__ import annotations

from tanpo.ledger.types import Height, TxId
from tanpo.storage.database import Database
from tanpo.storage.layout import decode_position, request_key, tx_key


class PositionIndex:
    """Looks up height and index in the database that `LedgerStore.commit` writes them to."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find_transaction(self, tx_id: TxId) -> tuple[Height, int] | None:
        """Return height and index of an executed transaction, or `None`."""
        return self._find(tx_key(tx_id))

    def find_request(self, digest: bytes) -> tuple[Height, int] | None:
        """Return height and index of the transaction that answered a request, or `None`."""
        return self._find(request_key(digest))

    def _find(self, key: bytes) -> tuple[Height, int] | None:
        record = self._database.get_sealed(key)
        return None if record is None else decode_position(record)
