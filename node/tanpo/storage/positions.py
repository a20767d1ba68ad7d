"""Where an executed transaction is: by its id, by the request that it answered, by whom it concerns."""

from __future__ import annotations

from typing import TypeAlias

from tanpo.ledger.types import Height, TxId
from tanpo.storage.database import Database
from tanpo.storage.layout import (
    HEIGHT_MAX,
    decode_party_position,
    decode_position,
    party_key,
    party_stop,
    request_key,
    tx_key,
)

Position: TypeAlias = tuple[Height, int, TxId]
"""Height, index in its block, and id of a transaction."""


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

    def list_of_party(self, party: str, before: tuple[int, int] | None, limit: int) -> list[Position]:
        """Return the latest transactions that concern a member, or the latest before a height and index."""
        first = (HEIGHT_MAX, HEIGHT_MAX) if before is None else before
        # A key is followed by no other until its last byte grows.
        start = party_key(party, *first) + (b"" if before is None else b"\x00")
        rows = self._database.scan(start, party_stop(party), limit)
        return [(*decode_party_position(key), TxId(tx_id)) for key, tx_id in rows]

    def _find(self, key: bytes) -> tuple[Height, int] | None:
        record = self._database.get_sealed(key)
        return None if record is None else decode_position(record)
