"""Where a ledger begins: at genesis, at the block whose state it took over from a snapshot, or at the one up
to which it was pruned.

    F               height:u32, the block it begins with; missing where that is genesis
    L epoch:u32     how that epoch ended and the next one began, for those epochs that ended before it

A ledger that begins later has neither the blocks before nor what they did, nor what the block did that it
begins with: it holds the chain from there on.
"""

from __future__ import annotations

from typing import Final

from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.types import Epoch, Height
from tanpo.storage.database import Database, seal

REMEDY: Final = "ask a node that holds the chain from its genesis: an archive"
"""What to do about that which lies before a beginning."""

BEGINNING_KEY: Final = b"F"
_LINK: Final = b"L"


class Beginning:
    """The beginning of the ledger in a database. `height` is that of its first block, 0 at genesis; `pruning`
    moves it up."""

    def __init__(self, database: Database) -> None:
        record = database.get_sealed(BEGINNING_KEY)
        self._database = database
        self.height = Height(0 if record is None else int.from_bytes(record, "big"))

    @property
    def first_answered(self) -> Height:
        """The first height whose block and results are held."""
        return Height(self.height + 1)

    def find_link(self, epoch: Epoch) -> bytes | None:
        """Return how an epoch ended, if that was before the beginning."""
        return self._database.get_sealed(_link_key(epoch))

    def check(self, height: Height) -> None:
        """Raise `UsageError` (HEIGHT_PRUNED) for a height before the first block."""
        if height < self.height:
            raise UsageError(
                Reason.HEIGHT_PRUNED,
                f"this node holds the chain from block {self.first_answered} on, not block {height}",
                value=height,
                limit=f"{self.first_answered} or later",
                remedy=REMEDY,
            )

    def check_executed(self, height: Height) -> None:
        """Raise `UsageError` (HEIGHT_PRUNED) for a height whose block was not executed here.

        The block that a ledger begins with was not, or what it did was pruned.
        """
        if self.height and height <= self.height:
            raise UsageError(
                Reason.HEIGHT_PRUNED,
                f"this node holds the chain from block {self.first_answered} on, not what block {height} did",
                value=height,
                limit=f"{self.first_answered} or later",
                remedy=REMEDY,
            )


def stage_beginning(height: Height, links: tuple[bytes, ...], puts: dict[bytes, bytes]) -> None:
    """Add to a batch what a ledger remembers that begins at `height`; `links` are of the epochs from 0 on."""
    stage_height(height, puts)
    for epoch, link in enumerate(links):
        stage_link(Epoch(epoch), link, puts)


def stage_height(height: Height, puts: dict[bytes, bytes]) -> None:
    """Add to a batch that the ledger begins with the block of `height`."""
    puts[BEGINNING_KEY] = seal(BEGINNING_KEY, height.to_bytes(4, "big"))


def stage_link(epoch: Epoch, link: bytes, puts: dict[bytes, bytes]) -> None:
    """Add to a batch how an epoch ended."""
    key = _link_key(epoch)
    puts[key] = seal(key, link)


def _link_key(epoch: Epoch) -> bytes:
    return _LINK + epoch.to_bytes(4, "big")
