"""What was said and made in a run, by anybody: for checkers, for forgers, and for the timeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tanpo.consensus import CommittedTip, Message, Roots
from tanpo.consensus.messages import Append
from tanpo.ledger.block import Block, Header
from tanpo.ledger.types import BlockHash, ValidatorIndex
from tanpo.simulator.clockwork import Clockwork
from tanpo.simulator.timeline import Timeline, describe

if TYPE_CHECKING:
    from tanpo.simulator.process import Process


class Annals:
    """All blocks and their results by hash, the terms that honest nodes reached, and the timeline."""

    def __init__(self, clock: Clockwork, genesis: CommittedTip, *, is_traced: bool) -> None:
        self._clock = clock
        self.timeline = Timeline(is_kept=is_traced)
        self.blocks: dict[BlockHash, Block] = {}
        self.results: dict[BlockHash, Roots] = {genesis.block_hash: genesis.roots}
        self.terms: dict[int, int] = {}
        """How often the term changed in each epoch, as far as honest nodes got."""

    def note_block(self, block: Block) -> None:
        """Remember a block."""
        self.blocks[block.block_hash] = block

    def find_header(self, block_hash: BlockHash) -> Header | None:
        """Return the header of a block that anybody made."""
        block = self.blocks.get(block_hash)
        return None if block is None else block.header

    def note_sent(self, sender: Process, receivers: Sequence[ValidatorIndex], message: Message) -> None:
        """Remember what was said: its line, and the block in it."""
        if isinstance(message, Append):
            self.note_block(message.block)
        to = ",".join(map(str, receivers))
        line = f"to {sender.replica.epoch}:{to} {describe(message)}"
        self.timeline.add(self._clock.now_ms, sender.name, line)

    def note_term(self, epoch: int, term: int) -> None:
        """Note which term an honest node is in."""
        self.terms[epoch] = max(self.terms.get(epoch, 0), term - 1)

    def trace(self, process: Process | None, what: str) -> None:
        """Add a line to the timeline."""
        self.timeline.add(self._clock.now_ms, "" if process is None else process.name, what)
