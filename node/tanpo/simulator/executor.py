"""The part of a simulated node that checks, executes and commits blocks, one at a time and in order."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, assert_never

from tanpo.consensus import BlockChecked, BlockExecuted, CheckBlock, CommitBlock, DiscardBlocks, ExecuteBlock
from tanpo.ledger.block import Block
from tanpo.ledger.types import BlockHash
from tanpo.simulator.application import State
from tanpo.simulator.bodies import find_body_fault
from tanpo.simulator.boot import read_tip
from tanpo.simulator.disk import Stored
from tanpo.simulator.violation import Violation

if TYPE_CHECKING:
    from tanpo.simulator.process import Process


class Executor:
    """Works on one process's agenda for as long as its replica serves. `states` are the tip's and above."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._cluster = process.cluster
        self._is_working = False
        self.states: dict[BlockHash, State] = {read_tip(process).block_hash: process.chain.state}

    def check(self, effect: CheckBlock) -> None:
        """Check a body; the verdict comes later."""
        fault = find_body_fault(self._process, effect)
        delay_ms = self._cluster.luck.draw_execution_ms(self._process)
        self._process.later(delay_ms, partial(self._end_check, effect.block.block_hash, fault))

    def discard(self, effect: DiscardBlocks) -> None:
        """Forget dead blocks."""
        self._process.agenda.discard(effect)
        for block_hash in effect.block_hashes:
            self.states.pop(block_hash, None)

    def work(self) -> None:
        """Take the next execution or commit, unless one is under way."""
        process = self._process
        if self._is_working or not process.is_running:
            return
        job = process.agenda.take_job()
        if job is None:
            return
        self._is_working = True
        match job:
            case ExecuteBlock(block=block):
                delay_ms = self._cluster.luck.draw_execution_ms(process)
                process.later(delay_ms, partial(self._execute, block))
            case CommitBlock():
                self._cluster.checks.on_commit(process, job, self.states.get(job.block.block_hash))
                process.later(self._cluster.luck.draw_sync_ms(process), partial(self._commit, job))
            case _:
                assert_never(job)

    def _end_check(self, block_hash: BlockHash, fault: str | None) -> None:
        process = self._process
        process.post(
            BlockChecked(block_hash=block_hash, fault=fault, now_ms=process.now_ms, wall_ms=process.wall_ms)
        )

    def _execute(self, block: Block) -> None:
        process = self._process
        self._is_working = False
        if process.agenda.is_running(block.block_hash):
            state = self._compute_state(block)
            process.post(
                BlockExecuted(
                    block_hash=block.block_hash,
                    state_root=state.roots.state_root,
                    receipts_root=state.roots.receipts_root,
                    pending_valset=state.roots.pending_valset,
                    now_ms=process.now_ms,
                    wall_ms=process.wall_ms,
                )
            )
        self.work()

    def _compute_state(self, block: Block) -> State:
        state = self.states.get(block.block_hash)
        if state is None:
            parent = self.states.get(block.header.parent_hash)
            if parent is None:
                what = f"executes height {block.header.height} before its parent"
                raise Violation("order", what, self._process.name)
            state = self.states[block.block_hash] = self._cluster.application.execute(block, parent)
            self._cluster.annals.results[block.block_hash] = state.roots
        return state

    def _commit(self, job: CommitBlock) -> None:
        if self._process.is_writing:
            # The loop is one thread: while the promises are being synced nothing else is written.
            self._process.later(1, partial(self._commit, job))
            return
        self._is_working = False
        block = job.block
        stored = Stored(block=block, proof=job.proof, state=self.states[block.block_hash])
        self.states.pop(block.header.parent_hash, None)
        self._process.store(stored)
        self.work()
