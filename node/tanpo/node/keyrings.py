"""Which keys count above which block: the ring of each state that a next block may be built on."""

from __future__ import annotations

import asyncio

from tanpo.ledger.types import BlockHash
from tanpo.node.keyring import KeyRing


class KeyRings:
    """The rings above the committed tip and above every block that is executed on it.

    `latest` is that of the committed tip.
    """

    def __init__(self, tip_hash: BlockHash, latest: KeyRing) -> None:
        self.latest = latest
        self._tip_hash = tip_hash
        self._above: dict[BlockHash, KeyRing] = {}
        self._has_moved = asyncio.Event()

    def find(self, block_hash: BlockHash) -> KeyRing | None:
        """Return the keys that count above a block, None if it is neither executed nor the committed tip."""
        return self.latest if block_hash == self._tip_hash else self._above.get(block_hash)

    async def wait_moved(self) -> None:
        """Wait until the next block is executed or committed."""
        await self._has_moved.wait()

    def note_executed(self, block_hash: BlockHash, keyring: KeyRing) -> None:
        """Hear of a block that is executed, and what keys count above it."""
        self._above[block_hash] = keyring
        self._note_moved()

    def note_committed(self, block_hash: BlockHash) -> None:
        """Hear that an executed block is the committed tip."""
        self._tip_hash, self.latest = block_hash, self._above.pop(block_hash)
        self._note_moved()

    def forget(self, block_hash: BlockHash) -> None:
        """Drop a block that is dead."""
        self._above.pop(block_hash, None)

    def _note_moved(self) -> None:
        self._has_moved.set()
        self._has_moved = asyncio.Event()
