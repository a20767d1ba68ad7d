"""What survives a crash of a scenario's process."""

from __future__ import annotations

from dataclasses import dataclass, field

import tanpo.consensus as tc
from tanpo.ledger.block import Block, BlockFlags
from tanpo.ledger.certificate import CommitProof
from tanpo.ledger.types import BlockHash, Height, Term
from tanpo.testing.scenario.archive import GENESIS_HASH, GENESIS_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A committed block on disk."""

    block: Block
    proof: CommitProof
    roots: tc.Roots


@dataclass(slots=True)
class Disk:
    """The durable record, the blocks kept beside it, and the chain.

    `is_wiped` says that there was a record and is none: the driver of a node knows, too.
    """

    record: bytes | None = None
    blocks: dict[BlockHash, Block] = field(default_factory=dict)
    chain: list[Stored] = field(default_factory=list)
    is_wiped: bool = False

    @property
    def last_end(self) -> Block | None:
        """The last block of the latest epoch that ended."""
        ends = (one.block for one in reversed(self.chain) if one.block.header.flags & BlockFlags.EPOCH_END)
        return next(ends, None)

    def copy(self) -> Disk:
        """Return a copy, as a backup holds it."""
        return Disk(
            record=self.record, blocks=dict(self.blocks), chain=list(self.chain), is_wiped=self.is_wiped
        )

    def write(self, persist: tc.Persist) -> None:
        """Make durable what a replica asked for."""
        self.record, self.is_wiped = persist.record, False
        for block_hash in persist.dropped:
            self.blocks.pop(block_hash, None)
        self.blocks |= {block.block_hash: block for block in persist.blocks}

    def wipe(self) -> None:
        """Lose the record and what lies beside it, not the chain."""
        self.record, self.is_wiped = None, True
        self.blocks.clear()

    def build_start(self, genesis: tc.Roots) -> tc.ReplicaStart:
        """Return what a replica resumes from."""
        tip = tc.CommittedTip(
            height=Height(0), block_hash=GENESIS_HASH, term=Term(0), time_ms=GENESIS_MS, roots=genesis
        )
        if self.chain:
            stored = self.chain[-1]
            header = stored.block.header
            tip = tc.CommittedTip(
                height=header.height,
                block_hash=stored.block.block_hash,
                term=header.term,
                time_ms=header.time_ms,
                roots=stored.roots,
                proof=stored.proof,
            )
        return tc.ReplicaStart(
            tip=tip, record=self.record, blocks=tuple(self.blocks.values()), has_forgotten=self.is_wiped
        )
