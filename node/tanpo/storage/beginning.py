"""Where a ledger begins: at genesis, or at the block whose state it took over from a snapshot.

    F               height:u32, the block it begins with; missing where that is genesis
    L epoch:u32     how that epoch ended and the next one began, for those epochs that ended before it

A ledger that begins later has neither the blocks before nor what they did: it holds the chain from there on.
"""

from __future__ import annotations

from typing import Final

from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.types import Epoch, Height
from tanpo.storage.database import Database, seal

BEGINNING_KEY: Final = b"F"
_LINK: Final = b"L"


class Beginning:
    """The beginning of the ledger in a database. `height` is that of its first block, 0 at genesis."""

    def __init__(self, database: Database) -> None:
        record = database.get_sealed(BEGINNING_KEY)
        self._database = database
        self.height = Height(0 if record is None else int.from_bytes(record, "big"))

    def find_link(self, epoch: Epoch) -> bytes | None:
        """Return how an epoch ended, if that was before the beginning."""
        return self._database.get_sealed(_link_key(epoch))

    def check(self, height: Height) -> None:
        """Raise `UsageError` (HEIGHT_PRUNED) for a height before the first block."""
        if height < self.height:
            raise UsageError(
                Reason.HEIGHT_PRUNED,
                f"this node joined at block {self.height} and does not hold block {height}",
                value=height,
                limit=f"{self.height} or later",
                remedy="ask a node that holds the chain from its genesis",
            )

    def check_executed(self, height: Height) -> None:
        """Raise `UsageError` (HEIGHT_PRUNED) for a height whose block was not executed here.

        The block that a ledger begins with was not: its state came with the snapshot, its receipts did not.
        """
        if height <= self.height:
            raise UsageError(
                Reason.HEIGHT_PRUNED,
                f"this node joined at block {self.height} and does not hold what block {height} did",
                value=height,
                limit=f"{self.height + 1} or later",
                remedy="ask a node that holds the chain from its genesis",
            )


def stage_beginning(height: Height, links: tuple[bytes, ...], puts: dict[bytes, bytes]) -> None:
    """Add to a batch what a ledger remembers that begins at `height`; `links` are of the epochs from 0 on."""
    puts[BEGINNING_KEY] = seal(BEGINNING_KEY, height.to_bytes(4, "big"))
    for epoch, link in enumerate(links):
        key = _link_key(Epoch(epoch))
        puts[key] = seal(key, link)


def _link_key(epoch: Epoch) -> bytes:
    return _LINK + epoch.to_bytes(4, "big")
