"""Pruning: a ledger forgets its oldest blocks and what they did, a few heights at a time.

What goes with a height are its receipts, its executed record, and the positions of its transactions; then the
files that hold older blocks alone. State, tree and history are not touched: they have a window of their own.

Rules that keep it honest: where the ledger begins moves in the same synced batch as the records go, and the
files go after it, so a crash leaves a whole ledger at any point, with a file too many at worst. What was
pruned is refused by `beginning`, and never looks as if it had not been.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tanpo.ledger.errors import CorruptState, Unavailable, invariant
from tanpo.ledger.types import Epoch, Height, TxId
from tanpo.storage.beginning import Beginning, stage_height, stage_link
from tanpo.storage.database import Database, scan_keys
from tanpo.storage.layout import (
    PARTIES_START,
    PARTIES_STOP,
    decode_party,
    executed_key,
    party_bounds,
    party_stop,
    receipts_key,
    request_key,
    tx_key,
)
from tanpo.storage.positions import PositionIndex
from tanpo.storage.segments import BlockSegments


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing:
    """What goes when a ledger begins at `height`: the transactions of the blocks above the old beginning up
    to there, and their requests. `link` is how the epoch before that block's ended, if it did among them."""

    height: Height
    tx_ids: Sequence[TxId]
    request_digests: Sequence[bytes]
    link: tuple[Epoch, bytes] | None = None


class Pruner:
    """Moves the beginning of a ledger up. Whoever calls it knows what is no longer needed."""

    def __init__(self, database: Database, beginning: Beginning, segments: BlockSegments) -> None:
        self._database = database
        self._beginning = beginning
        self._segments = segments
        self._index = PositionIndex(database)

    def advance(self, passing: Passing) -> None:
        """Begin at a later block; what was before is gone from LevelDB when this returns, and from the files
        as soon as nobody reads them.

        Raises:
            CorruptState, Unavailable: a write failed; stop the process.
        """
        old, new = self._beginning.height, passing.height
        invariant(old < new <= self._segments.height, f"a ledger that begins at {old} cannot begin at {new}")
        puts: dict[bytes, bytes] = {}
        stage_height(new, puts)
        if passing.link is not None:
            stage_link(*passing.link, puts)
        deletes = [executed_key(height) for height in range(old, new)]
        deletes += [receipts_key(height) for height in range(old, new + 1)]
        deletes += [tx_key(tx_id) for tx_id in passing.tx_ids]
        deletes += self._list_request_keys(passing)
        deletes += self._list_party_keys(old, new)
        self._database.write(puts, deletes)
        self._beginning.height = new
        self.drop_files()

    def drop_files(self) -> None:
        """Remove the files with blocks from before the beginning alone, as a crash may have left them.

        Raises:
            CorruptState, Unavailable: the disk refuses; stop the process.
        """
        try:
            self._segments.begin_at(Height(max(1, self._beginning.height)))
        except (CorruptState, Unavailable) as error:
            self._database.refuse(error)
            raise

    def _list_request_keys(self, passing: Passing) -> Iterator[bytes]:
        """Yield the keys of requests that were not asked again later, as an expired one may be."""
        for digest in passing.request_digests:
            found = self._index.find_request(digest)
            if found is not None and found[0] <= passing.height:
                yield request_key(digest)

    def _list_party_keys(self, old: Height, new: Height) -> Iterator[bytes]:
        """Yield the keys of all members' transactions in the blocks above `old` up to `new`."""
        cursor = PARTIES_START
        while (key := next(scan_keys(self._database, cursor, PARTIES_STOP, 1), None)) is not None:
            party = decode_party(key)
            # Never further back: LevelDB steps over what was deleted there until it has compacted it away.
            yield from scan_keys(self._database, *party_bounds(party, old, new))
            cursor = party_stop(party)
