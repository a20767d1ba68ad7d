"""What the driver decides, without a clock, a disk or a link: the loop and the simulator share it.

Events are stepped in batches; a batch's writes are one write, and nothing it asks for is done before that
write is durable (SPEC D1). Executions and commits are one queue in the order the replica asked for. Who
catches up is served in turn, each with the latest it asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from tanpo.consensus import (
    CommitBlock,
    DiscardBlocks,
    Effect,
    Event,
    ExecuteBlock,
    Persist,
    Replica,
    ServeCommitted,
    StepDownAsked,
    Ticked,
    TransactionsPending,
)
from tanpo.ledger.block import encode_block
from tanpo.ledger.types import BlockHash, Height, ValidatorIndex
from tanpo.storage import SafetyWrite

STEPS_PER_BATCH: Final = 128
"""Events stepped before their messages leave: enough to share a sync, few enough to keep the loop prompt."""

BACKLOG_MAX: Final = 4_096
"""Unstepped events above which links are read no further."""

Job: TypeAlias = ExecuteBlock | CommitBlock


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one batch asks for: `write` must be durable before the first of `effects` is done, in order."""

    write: SafetyWrite | None
    effects: tuple[Effect, ...]


class Agenda:
    """What is to be stepped, executed, committed and served next."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._jobs: deque[Job] = deque()
        self._asked: dict[ValidatorIndex, Height] = {}
        self._running: BlockHash | None = None
        self._is_pending_posted = False
        self._step_down: StepDownAsked | None = None

    @property
    def has_events(self) -> bool:
        """Whether there is anything to step."""
        return bool(self._events)

    @property
    def is_crowded(self) -> bool:
        """Whether links should be read no further for now."""
        return len(self._events) > BACKLOG_MAX

    def post(self, event: Event) -> None:
        """Queue one event for the replica."""
        if isinstance(event, StepDownAsked):
            self._step_down = event
        self._events.append(event)

    def post_pending(self, now_ms: int, wall_ms: int) -> bool:
        """Queue the news that transactions wait, once until the replica has heard; return whether it was."""
        if self._is_pending_posted:
            return False
        self._is_pending_posted = True
        self.post(TransactionsPending(now_ms=now_ms, wall_ms=wall_ms))
        return True

    def begin_epoch(self) -> None:
        """Drop what was for the last epoch's replica, and tell the next one what holds for as long as we run.

        Messages and wishes go by the numbers of the last epoch, jobs and results by its blocks. Whatever
        matters is sent again.
        """
        self._events = deque(e for e in self._events if isinstance(e, Ticked | TransactionsPending))
        self._jobs.clear()
        self._asked.clear()
        self._running = None
        if self._step_down is not None:
            self._events.append(self._step_down)

    def step_batch(self, replica: Replica) -> Turn:
        """Step the next events and return what they ask for."""
        effects: list[Effect] = []
        for _ in range(min(STEPS_PER_BATCH, len(self._events))):
            event = self._events.popleft()
            if isinstance(event, TransactionsPending):
                self._is_pending_posted = False
            effects += replica.step(event)
        writes = [effect for effect in effects if isinstance(effect, Persist)]
        return Turn(
            write=merge_writes(writes) if writes else None,
            effects=tuple(effect for effect in effects if not isinstance(effect, Persist)),
        )

    def add_job(self, job: Job) -> None:
        """Queue an execution or a commit behind those asked for before."""
        self._jobs.append(job)

    def take_job(self) -> Job | None:
        """Return the next job, None when there is none; an execution counts as running from now on."""
        if not self._jobs:
            return None
        job = self._jobs.popleft()
        self._running = job.block.block_hash if isinstance(job, ExecuteBlock) else None
        return job

    def is_running(self, block_hash: BlockHash) -> bool:
        """Whether the execution taken last is of this block and is still wanted."""
        return self._running == block_hash

    def discard(self, effect: DiscardBlocks) -> None:
        """Drop the jobs of dead blocks, the running execution too: its results must not be kept."""
        dead = frozenset(effect.block_hashes)
        self._jobs = deque(job for job in self._jobs if job.block.block_hash not in dead)
        if self._running in dead:
            self._running = None

    def ask(self, effect: ServeCommitted) -> None:
        """Note who wants committed blocks; of one asker, the latest wish counts."""
        self._asked[effect.to] = effect.from_height

    def take_asked(self) -> tuple[ValidatorIndex, Height] | None:
        """Return whom to serve next and from which height on, None when nobody asked."""
        if not self._asked:
            return None
        to = next(iter(self._asked))
        return to, self._asked.pop(to)


def merge_writes(writes: Sequence[Persist]) -> SafetyWrite:
    """Return several writes as one: of the record, and of each block, the latest word counts."""
    blocks: dict[BlockHash, bytes] = {}
    dropped: set[BlockHash] = set()
    for write in writes:
        for block_hash in write.dropped:
            blocks.pop(block_hash, None)
            dropped.add(block_hash)
        for block in write.blocks:
            blocks[block.block_hash] = encode_block(block)
            dropped.discard(block.block_hash)
    return SafetyWrite(record=writes[-1].record, blocks=blocks, dropped=tuple(sorted(dropped)))
