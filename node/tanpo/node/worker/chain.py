"""The state as a worker knows it: what it has read and written, block by block.

Exact or absent, never stale. All that is held is relative to one block, the root: values of the state behind
it, and above it the changes of every block executed since. A value read for a block belongs to the root as
soon as no block in between has changed it. A parent that cannot be traced to the root makes a new root with
nothing known; so a worker that was just started, or missed a block, is slower and not wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tanpo.ledger.types import BlockHash

CACHE_BYTES_MAX: Final = 64 * 1024 * 1024
"""About how much of the state a worker remembers. What no block asks for any more goes first."""

ENTRY_BYTES: Final = 150
"""What a remembered value costs beside its own bytes."""

Known = dict[bytes, "bytes | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    parent_hash: BlockHash
    changes: Mapping[bytes, bytes | None]


class ChainState:
    """What is known of the state behind the parent of one block after the other."""

    def __init__(self, cache_bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._bytes_max = cache_bytes_max
        self._root = BlockHash(b"")
        # Two generations: whatever is used is in the younger one; when that is full, the older one goes.
        self._young: Known = {}
        self._old: Known = {}
        self._young_bytes = 0
        self._layers: dict[BlockHash, _Layer] = {}
        self._path: list[Mapping[bytes, bytes | None]] = []

    def begin(self, *, parent_hash: BlockHash, committed_hash: BlockHash) -> None:
        """Stand on the state behind a block; `committed_hash` is it or an ancestor, and final."""
        lineage = self._trace(parent_hash)
        if lineage is None:
            self._root, self._layers, lineage = parent_hash, {}, []
            self._young, self._old, self._young_bytes = {}, {}, 0
        if committed_hash in lineage:
            count = lineage.index(committed_hash) + 1
            for block_hash in lineage[:count]:
                self._merge(self._layers.pop(block_hash).changes)
            self._root, lineage = committed_hash, lineage[count:]
            self._prune()
        self._path = [self._layers[block_hash].changes for block_hash in reversed(lineage)]

    def find(self, key: bytes) -> tuple[bool, bytes | None]:
        """Return whether a key is known, and its value."""
        for changes in self._path:
            if key in changes:
                return True, changes[key]
        young = self._young
        if key in young:
            return True, young[key]
        if key in self._old:
            value = self._old[key]
            self._keep(key, value)
            return True, value
        return False, None

    def fill(self, key: bytes, value: bytes | None) -> None:
        """Remember a value that was asked for because `find` did not know it."""
        self._keep(key, value)

    def end(
        self, block_hash: BlockHash, parent_hash: BlockHash, changes: Mapping[bytes, bytes | None]
    ) -> None:
        """Remember all that a block, executed on the state stood on, has changed."""
        self._layers[block_hash] = _Layer(parent_hash=parent_hash, changes=changes)

    def forget(self, block_hash: BlockHash) -> None:
        """Forget what a block has changed: it goes on."""
        self._layers.pop(block_hash, None)

    def _trace(self, block_hash: BlockHash) -> list[BlockHash] | None:
        """Return the blocks above the root up to this one, oldest first; None if they are not known."""
        lineage: list[BlockHash] = []
        while block_hash != self._root:
            layer = self._layers.get(block_hash)
            if layer is None:
                return None
            lineage.append(block_hash)
            block_hash = layer.parent_hash
        return lineage[::-1]

    def _prune(self) -> None:
        """Drop blocks that do not descend from the root: they are dead."""
        self._layers = {
            block_hash: layer
            for block_hash, layer in self._layers.items()
            if self._trace(block_hash) is not None
        }

    def _merge(self, changes: Mapping[bytes, bytes | None]) -> None:
        for key, value in changes.items():
            self._keep(key, value)

    def _keep(self, key: bytes, value: bytes | None) -> None:
        if self._young_bytes > self._bytes_max // 2:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[key] = value
        self._young_bytes += len(key) + len(value or b"") + ENTRY_BYTES
