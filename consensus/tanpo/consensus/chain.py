"""The blocks above the stored ones: a small tree rooted in the committed tip, with execution results.

It is bounded: at most `HELD_MAX` blocks, whatever peers send (B1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tanpo.consensus.config import CommittedTip, Roots
from tanpo.ledger.block import Block, BlockFlags
from tanpo.ledger.certificate import CommitProof
from tanpo.ledger.errors import InvariantViolation, invariant
from tanpo.ledger.types import BlockHash, Height

LAG_MAX: Final = 8
"""How far above the stored height a replica votes, proposes and executes (L1): whatever commits is at most
this far ahead of a quorum's disks."""

AHEAD_MAX: Final = 32
"""How far above the stored height a certified block is held. One further up is fetched when its turn comes:
holding all that a network certifies while we catch up would have no end (B1)."""

HELD_MAX: Final = 64
"""Most blocks held. Each term without a commit adds at most one we voted for; this covers dozens of them."""


@dataclass(slots=True)
class Held:
    """A block and what we know of it."""

    block: Block
    is_certified: bool = False
    """A quorum certificate covers it or a descendant."""
    is_kept: bool = False
    """It must survive a crash: we voted for it or a quorum did (D3)."""
    is_persisted: bool = False
    is_executing: bool = False
    """`ExecuteBlock` was asked for it."""
    is_final: bool = False
    """Committed, but not reported stored."""
    roots: Roots | None = None

    @property
    def height(self) -> Height:
        """Its height."""
        return self.block.header.height


@dataclass(frozen=True, slots=True)
class Missing:
    """A block we know of but do not hold."""

    block_hash: BlockHash
    height: Height


@dataclass(frozen=True, slots=True)
class Walk:
    """The blocks above the committed tip that lead up to a block, oldest first, as far as they are held."""

    path: tuple[Held, ...]
    missing: Missing | None = None
    is_conflicting: bool = False
    """The branch leaves the chain below the committed tip: it is dead."""

    @property
    def is_complete(self) -> bool:
        """Whether the path reaches from the committed tip to the block."""
        return self.missing is None and not self.is_conflicting


class Chain:
    """Blocks by hash, from the stored height up."""

    __slots__ = ("_held", "is_ended", "stored_height", "tip")

    def __init__(self, tip: CommittedTip) -> None:
        self.tip = tip
        self.stored_height = tip.height
        self.is_ended = False
        """The tip is the last block of the epoch (E3)."""
        self._held: dict[BlockHash, Held] = {}

    def find(self, block_hash: BlockHash) -> Held | None:
        """Return what is held of a block."""
        return self._held.get(block_hash)

    def held(self) -> Iterable[Held]:
        """Return all blocks in the order they came."""
        return tuple(self._held.values())

    def add(self, block: Block) -> Held:
        """Hold a block, if it is not held yet."""
        return self._held.setdefault(block.block_hash, Held(block))

    def find_roots(self, block_hash: BlockHash) -> Roots | None:
        """Return the results of executing a block, None while they are unknown."""
        if block_hash == self.tip.block_hash:
            return self.tip.roots
        held = self._held.get(block_hash)
        return None if held is None else held.roots

    def walk(self, block_hash: BlockHash, height: Height) -> Walk:
        """Return the path from above the committed tip to a block at a height."""
        path: list[Held] = []
        while block_hash != self.tip.block_hash:
            if height <= self.tip.height:
                return Walk(tuple(reversed(path)), is_conflicting=True)
            held = self._held.get(block_hash)
            if held is None:
                return Walk(tuple(reversed(path)), missing=Missing(block_hash, height))
            path.append(held)
            block_hash, height = held.block.header.parent_hash, Height(height - 1)
        return Walk(tuple(reversed(path)))

    def unstored(self, block_hash: BlockHash) -> tuple[Block, ...]:
        """Return a block and its ancestors that are not reported stored, oldest first."""
        blocks: list[Block] = []
        held = self._held.get(block_hash)
        while held is not None and held.height > self.stored_height:
            blocks.append(held.block)
            held = self._held.get(held.block.header.parent_hash)
        return tuple(reversed(blocks))

    def commit(self, held: Held, proof: CommitProof) -> tuple[Held, ...]:
        """Make an executed child of the tip final and return the blocks that died by it."""
        header = held.block.header
        invariant(header.parent_hash == self.tip.block_hash, "a committed block must extend the tip")
        invariant(header.height == self.tip.height + 1, "a committed block must be one above the tip")
        if held.roots is None:
            raise InvariantViolation("a committed block must have been executed")
        held.is_final = True
        self.tip = CommittedTip(
            height=header.height,
            block_hash=held.block.block_hash,
            term=header.term,
            time_ms=header.time_ms,
            roots=held.roots,
            proof=proof,
        )
        self.is_ended = bool(header.flags & BlockFlags.EPOCH_END)
        return self._remove([h for h in self._held.values() if not h.is_final and self._is_dead(h)])

    def store(self, height: Height) -> tuple[Held, ...]:
        """Note that everything up to a height is stored, and return the blocks no longer held."""
        invariant(height <= self.tip.height, "only committed blocks can be stored")
        self.stored_height = max(self.stored_height, height)
        return self._remove([h for h in self._held.values() if h.is_final and h.height <= height])

    def evict(self, spared: BlockHash, spared_height: Height) -> tuple[Held, ...]:
        """Let go of the surplus over `HELD_MAX`, uncertified and low ranks first, sparing final blocks, one
        branch, and certified blocks that can be executed now (B1)."""
        surplus = len(self._held) - HELD_MAX
        if surplus <= 0:
            return ()
        spared_path = [held.block.block_hash for held in self.walk(spared, spared_height).path]
        # A replica that catches up commits these next: without them it would never come to need the rest.
        next_heights = self.stored_height + LAG_MAX
        idle = [
            h
            for h in self._held.values()
            if not (h.is_final or h.block.block_hash in spared_path)
            and not (h.is_certified and h.height <= next_heights)
        ]
        idle.sort(key=lambda h: (h.is_certified, h.block.header.term, h.height, h.block.block_hash))
        return self._remove(idle[:surplus])

    def _is_dead(self, held: Held) -> bool:
        return self.walk(held.block.block_hash, held.height).is_conflicting

    def _remove(self, dead: list[Held]) -> tuple[Held, ...]:
        for held in dead:
            del self._held[held.block.block_hash]
        return tuple(dead)
