"""The loop around the replica: it owns the clock, the disk and the links that the replica may not touch.

Events are stepped in batches; all that a batch must not forget is made durable in one sync; only then do
its messages leave (SPEC D1). Execution and commit are one queue in the order the replica asked for, run
between batches in slices, so that votes overtake them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Final, Protocol, assert_never

from tanpo.consensus import (
    BlockChecked,
    BlockExecuted,
    Broadcast,
    CheckBlock,
    CommitBlock,
    CommitStored,
    DiscardBlocks,
    Effect,
    Event,
    ExecuteBlock,
    Halt,
    Persist,
    Replica,
    ReportEvidence,
    ReportFault,
    Send,
    ServeCommitted,
    build_committed,
)
from tanpo.consensus.messages import Append, GetCommitted, Message, Suspect
from tanpo.consensus.wire import encode_message
from tanpo.ledger.block import Block, BlockFlags, decode_block
from tanpo.ledger.certificate import CommitProof, decode_commit_proof
from tanpo.ledger.errors import InvariantViolation
from tanpo.ledger.evidence import Evidence
from tanpo.ledger.types import Height, Term, ValidatorIndex
from tanpo.node.agenda import Agenda
from tanpo.node.bodies import Bodies
from tanpo.node.clock import Clock
from tanpo.node.execution import ExecutedBlock, Execution
from tanpo.node.logs import Milestones, get_logger
from tanpo.node.metrics import Metrics
from tanpo.node.promises import AMNESIA_REMEDY, Promises
from tanpo.node.roster import Roster
from tanpo.node.running import Waiting
from tanpo.storage import SafetyWrite

SERVE_REST: Final = 3
"""How many times as long as the work of an answer to a peer that catches up the next one waits: it reads
megabytes from disk, is asked for in a few bytes, and must leave the node time for everything else."""

_LOG = get_logger("consensus")


class Links(Protocol):
    """The ways to other nodes, by name; sending never blocks and may lose."""

    def send(self, to: str, message: bytes) -> None:
        """Queue a message for one node; for one that cannot be reached it is dropped."""
        ...

    def connected(self) -> Sequence[str]:
        """Return the nodes that can be reached now."""
        ...


class Driver:
    """Feeds the replica and does what it asks. `on_committed` hears of each block once it is on
    disk, `on_evidence` of what the replica can prove against a validator.

    `begin_epoch` is called when the last block of an epoch is on disk, and returns the replica that goes on.
    """

    def __init__(
        self,
        *,
        execution: Execution,
        promises: Promises,
        bodies: Bodies,
        links: Links,
        roster: Roster,
        metrics: Metrics,
        clock: Clock,
        on_committed: Callable[[ExecutedBlock], None],
        on_evidence: Callable[[Evidence], None],
        begin_epoch: Callable[[], Replica],
    ) -> None:
        self._execution = execution
        self._promises = promises
        self._bodies = bodies
        self._links = links
        self._roster = roster
        self._metrics = metrics
        self._clock = clock
        self._on_committed = on_committed
        self._on_evidence = on_evidence
        self._begin_epoch = begin_epoch
        self._replica: Replica | None = None
        self._agenda = Agenda()
        self._awake = asyncio.Event()
        self._has_jobs = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_asked = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._milestones = Milestones()
        self._wake: asyncio.TimerHandle | None = None
        self._term = Term(0)
        self._has_amnesia = False
        self._asked_from = (Height(0), 0)
        self._term_changed = asyncio.Event()
        self._resting_until_ms: int | None = None
        self._stirred = asyncio.Event()

    async def rest(self) -> None:
        """Wait until time matters to the replica: not at all while it is at work, else until its next duty or
        until something happens that gives it an earlier one."""
        until_ms = None if self._replica is None else self._replica.rest_until_ms
        rest_ms = 0 if until_ms is None else until_ms - self._clock.monotonic_ms()
        if rest_ms <= 0:
            return
        self._resting_until_ms = until_ms
        self._stirred.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(rest_ms / 1000):
                await self._stirred.wait()
        self._resting_until_ms = None

    async def wait_for_room(self) -> None:
        """Wait until few enough events are unstepped; whoever feeds from a link does, before more."""
        if self._agenda.is_crowded:
            self._has_room.clear()
            await self._has_room.wait()

    async def wait_for_term(self) -> None:
        """Wait until the replica is in another term than now."""
        self._term_changed.clear()
        await self._term_changed.wait()

    def post(self, event: Event) -> None:
        """Queue one event for the replica. One that came from a peer must go by the numbers of this epoch."""
        self._agenda.post(event)
        self._awake.set()

    def post_pending(self) -> None:
        """Tell the replica that transactions wait, once until it has heard."""
        now_ms, wall_ms = self._clock.read()
        if self._agenda.post_pending(now_ms, wall_ms):
            self._awake.set()

    async def run(self, replica: Replica) -> None:
        """Drive a replica, and after each epoch the next one, until cancelled.

        Raises:
            InvariantViolation: the replica halted: this node's state contradicts what a quorum certified.
            CorruptState: a write failed; the process must stop.
        """
        self._replica = replica
        self._start(self._work(), "execute")
        self._start(self._serve(), "serve")
        try:
            while True:
                await self._awake.wait()
                self._awake.clear()
                self._raise_failure()
                while self._agenda.has_events:
                    self._step_batch(self._replica)
                    await asyncio.sleep(0)
                    self._raise_failure()
        finally:
            if self._wake is not None:
                self._wake.cancel()
            tasks = tuple(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # Without it the replica would wait for ever for what the task was to tell it.
            self._failure = self._failure or error
            self._awake.set()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _step_batch(self, replica: Replica) -> None:
        started = time.thread_time()
        turn = self._agenda.step_batch(replica)
        if not self._agenda.is_crowded:
            self._has_room.set()
        if replica.term != self._term:
            self._term = replica.term
            self._metrics.term_changes.inc()
            self._term_changed.set()
            leader = self._roster.names[replica.leader]
            _LOG.info("term", epoch=replica.epoch, term=replica.term, leader=leader)
        self._metrics.consensus_seconds.inc(time.thread_time() - started)
        self._save(turn.write)
        # After the write: it may be from before the amnesia was found, and a later one ends it.
        if replica.has_amnesia:
            self._promises.note_amnesia()
        if replica.has_amnesia != self._has_amnesia:
            self._note_amnesia(replica)
        for effect in turn.effects:
            self._apply(effect, replica)
        self._stir(replica)
        if replica.wake_ms is not None and self._wake is None:
            delay_ms = max(0, replica.wake_ms - self._clock.monotonic_ms())
            self._wake = asyncio.get_running_loop().call_later(delay_ms / 1000, self._end_linger)

    def _stir(self, replica: Replica) -> None:
        """End the rest if what was stepped calls for time earlier."""
        if self._resting_until_ms is not None:
            until_ms = replica.rest_until_ms
            if until_ms is None or until_ms < self._resting_until_ms:
                self._stirred.set()

    def _note_amnesia(self, replica: Replica) -> None:
        """Say loudly that this validator has forgotten what it signed, or that this is over."""
        self._has_amnesia = replica.has_amnesia
        self._metrics.has_amnesia.set(self._has_amnesia)
        if self._has_amnesia:
            _LOG.error("amnesia: this validator signs nothing", remedy=AMNESIA_REMEDY)
        else:
            _LOG.warning("rejoined", why=replica.stalled or "")

    def _end_linger(self) -> None:
        """Let a leader that waited for a fuller block propose what it has."""
        self._wake = None
        self.post_pending()

    def _save(self, write: SafetyWrite | None) -> None:
        """Make all that the batch must remember durable in one sync."""
        if write is None:
            return
        started = time.perf_counter()
        self._promises.save(write)
        self._metrics.fsync_seconds.observe(time.perf_counter() - started)

    def _apply(self, effect: Effect, replica: Replica) -> None:
        match effect:
            case Persist():
                pass  # the turn's write has it
            case Send(to=to, message=message):
                self._send(self._find_receiver(to, message), encode_message(message, replica.epoch))
            case Broadcast(message=message):
                self._metrics.proposals.inc(isinstance(message, Append))
                self._metrics.suspicions.inc(isinstance(message, Suspect))
                self._broadcast(encode_message(message, replica.epoch))
            case CheckBlock():
                self._start(self._check(effect), "check")
            case ExecuteBlock() | CommitBlock():
                self._agenda.add_job(effect)
                self._has_jobs.set()
            case DiscardBlocks():
                self._discard(effect)
            case ServeCommitted():
                self._agenda.ask(effect)
                self._has_asked.set()
            case ReportEvidence() | ReportFault() | Halt():
                self._report(effect)
            case _:
                assert_never(effect)

    def _send(self, name: str | None, encoded: bytes) -> None:
        if name is not None:
            self._links.send(name, encoded)

    def _broadcast(self, encoded: bytes) -> None:
        for name in self._roster.others:
            self._links.send(name, encoded)

    def _find_receiver(self, to: ValidatorIndex, message: Message) -> str | None:
        """Return the node to send to: the one meant, or any for committed blocks, which prove themselves.

        The validators of an epoch long past may be gone or useless, and a node that starts there must still
        catch up: while it gets no further, everybody it reaches has a turn.
        """
        name = self._roster.find_name(to)
        if isinstance(message, GetCommitted):
            connected = self._links.connected()
            rounds, turn = divmod(self._count_asked(message.from_height), len(self._roster.names) + 1)
            if connected and turn == len(self._roster.names):
                return connected[rounds % len(connected)]
            if connected and name not in connected:
                return connected[(to + rounds) % len(connected)]
        return name

    def _count_asked(self, from_height: Height) -> int:
        """Return how often in a row committed blocks from this height on were asked for before."""
        height, count = self._asked_from
        self._asked_from = (from_height, count + 1 if height == from_height else 0)
        return self._asked_from[1]

    def _report(self, effect: ReportEvidence | ReportFault | Halt) -> None:
        match effect:
            case ReportEvidence(evidence=evidence):
                self._on_evidence(evidence)
            case ReportFault(sender=sender, fault=fault):
                name = self._roster.find_name(sender) or "unknown"
                label = self._roster.compute_label(name)
                self._metrics.peer_faults.labels(label).inc()
                count = self._milestones.note(("fault", label))
                if count:
                    _LOG.warning("peer fault", peer=name, fault=str(fault), value=fault.value, faults=count)
            case Halt(reason=reason):
                raise InvariantViolation(reason)
            case _:
                assert_never(effect)

    async def _check(self, effect: CheckBlock) -> None:
        fault = await self._bodies.check(effect.block, effect.ancestors)
        now_ms, wall_ms = self._clock.read()
        self.post(
            BlockChecked(block_hash=effect.block.block_hash, fault=fault, now_ms=now_ms, wall_ms=wall_ms)
        )

    def _discard(self, effect: DiscardBlocks) -> None:
        self._agenda.discard(effect)
        self._execution.discard(effect.block_hashes)
        self._bodies.forget(frozenset(effect.block_hashes))

    async def _serve(self) -> None:
        """Answer those who catch up, in turn, each with the latest it asked for, and rest in between."""
        while True:
            await self._has_asked.wait()
            self._has_asked.clear()
            while (asked := self._agenda.take_asked()) is not None:
                to, from_height = asked
                name = self._roster.find_name(to)
                started = time.thread_time()
                answer = build_committed(self._read_committed(from_height))
                if answer is not None:
                    self._send(name, encode_message(answer, self._roster.epoch))
                await asyncio.sleep(SERVE_REST * (time.thread_time() - started))

    def _read_committed(self, from_height: Height) -> Iterator[tuple[Block, CommitProof]]:
        store = self._execution.store
        if from_height < store.beginning.height:
            return  # This node joined later: the other must ask those who hold the blocks.
        for number in range(max(1, from_height), store.executed_height + 1):
            stored = store.read_block(Height(number))
            yield decode_block(stored.block), decode_commit_proof(stored.proof)

    async def _work(self) -> None:
        """Execute and commit in the order asked for, giving way to votes after every slice."""
        while True:
            await self._has_jobs.wait()
            self._has_jobs.clear()
            while (job := self._agenda.take_job()) is not None:
                match job:
                    case ExecuteBlock(block=block):
                        await self._execute(block)
                    case CommitBlock(block=block, proof=proof):
                        self._commit(block, proof)
                    case _:
                        assert_never(job)
                await asyncio.sleep(0)

    async def _execute(self, block: Block) -> None:
        if self._execution.find(block.block_hash) is None:
            decoded = self._bodies.get(block)
            with Waiting() as waiting:
                for pause in self._execution.begin(decoded):
                    await waiting.wait(pause)
                    if not self._agenda.is_running(block.block_hash):
                        return  # the block died meanwhile: its results must not be kept
            self._metrics.blocks_executed.inc()
        executed = self._execution.get(block.block_hash)
        now_ms, wall_ms = self._clock.read()
        self.post(
            BlockExecuted(
                block_hash=block.block_hash,
                state_root=executed.state_root,
                receipts_root=executed.receipts_root,
                pending_valset=executed.pending_valset,
                now_ms=now_ms,
                wall_ms=wall_ms,
            )
        )

    def _commit(self, block: Block, proof: CommitProof) -> None:
        executed = self._execution.commit(block.block_hash, proof)
        self._bodies.forget_up_to(block.header.height)
        self._on_committed(executed)
        if block.header.flags & BlockFlags.EPOCH_END:
            self._go_over()
            return
        now_ms, wall_ms = self._clock.read()
        self.post(CommitStored(height=block.header.height, now_ms=now_ms, wall_ms=wall_ms))

    def _go_over(self) -> None:
        """Go on with the next epoch's replica (E3)."""
        self._replica = self._begin_epoch()
        self._agenda.begin_epoch()
        self._has_room.set()
        self._term = Term(0)
        self._term_changed.set()
        if self._has_amnesia and not self._replica.has_amnesia:
            # It did not rejoin: in this epoch it does not vote.
            self._has_amnesia = False
            self._metrics.has_amnesia.set(False)
        self.post_pending()
        self._awake.set()
