"""A simulated node: the real replica and the real driver's decisions, on virtual time and simulated disks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, assert_never

from tanpo.consensus import (
    Broadcast,
    CheckBlock,
    CommitBlock,
    CommitStored,
    DiscardBlocks,
    Effect,
    Event,
    ExecuteBlock,
    Halt,
    Message,
    Persist,
    Received,
    Replica,
    ReportEvidence,
    ReportFault,
    Send,
    ServeCommitted,
    Ticked,
    build_committed,
)
from tanpo.ledger.block import BlockFlags
from tanpo.ledger.certificate import QuorumCertificate, base_certificate, genesis_certificate
from tanpo.ledger.types import Epoch, Height, ValidatorIndex
from tanpo.node.agenda import Agenda, Turn
from tanpo.simulator.addresses import list_others, number_of
from tanpo.simulator.boot import build_replica, find_base, recall
from tanpo.simulator.checks import check_rest, check_write
from tanpo.simulator.disk import ChainDisk, SafetyDisk, Stored
from tanpo.simulator.executor import Executor
from tanpo.simulator.faults import FaultKind
from tanpo.simulator.pool import Pool
from tanpo.simulator.reigns import Reign
from tanpo.storage import SafetyImage

if TYPE_CHECKING:
    from tanpo.simulator.cluster import Cluster
    from tanpo.simulator.hostile import Actor

TICK_MS: Final = 50
"""How often a replica hears of time: the slowest rhythm that the driver's contract allows."""

IDLE_TICK_MS: Final = 125
"""How often while it has nothing to do: half a heartbeat, since most of a run's cost is idle time."""


class Process:
    """One node. `actor` is who corrupts it; None for an honest one. Twins share a node's name and key."""

    def __init__(self, cluster: Cluster, name: str, number: int) -> None:
        self.cluster = cluster
        self.name = name
        self.node = name.rstrip("'")
        self.number = number
        self.actor: Actor | None = None
        self.safety = SafetyDisk()
        self.chain = ChainDisk(genesis=cluster.application.genesis)
        self.backup: tuple[SafetyDisk, ChainDisk] | None = None
        self.skew_ms = 0
        self.has_forgotten = False
        """Promises were lost, and it knows; the next write ends it (D8)."""
        self.incarnation = 0
        self.is_up = self.is_writing = self._is_paused = False
        self.replica: Replica

    @property
    def is_honest(self) -> bool:
        """Whether every rule is kept: neither corrupted nor with a disk that may forget."""
        return self.node not in self.cluster.faulty

    @property
    def is_running(self) -> bool:
        """Whether it does anything now."""
        return self.is_up and not self._is_paused

    @property
    def reign(self) -> Reign:
        """The validator set of the epoch that its replica serves."""
        return self.cluster.reigns[self.replica.epoch]

    @property
    def index(self) -> ValidatorIndex | None:
        """Which validator it is in that epoch."""
        return self.reign.find_index(self.node)

    @property
    def base_certificate(self) -> QuorumCertificate:
        """What the first block of its epoch extends."""
        base = find_base(self)
        if base is None:
            return genesis_certificate(self.cluster.network_id)
        return base_certificate(self.replica.epoch, base.height, base.block_hash)

    @property
    def wall_ms(self) -> int:
        """What this node's clock shows."""
        return self.cluster.genesis_ms + self.cluster.clock.now_ms + self.skew_ms

    @property
    def now_ms(self) -> int:
        """Monotonic time."""
        return self.cluster.clock.now_ms

    # Starting and crashing.

    def start(self) -> None:
        """Start on what the disks hold."""
        self.incarnation += 1
        self.is_up = True
        self.has_drained = False
        self.is_writing = self._is_paused = self._is_stepping = False
        self.pool = Pool()
        self.evidence: list[bytes] = []
        self._take_over(recall(self))
        self.cluster.checks.on_start(self)
        self._later(self.cluster.streams.get("ticks").randrange(TICK_MS), self._tick)

    def crash(self) -> None:
        """Lose all that is not on the disks. A write under way is lost, torn, or whole and unheard of."""
        if self.is_up and self.is_writing:
            rng = self.cluster.streams.get(FaultKind.TORN_WRITE)
            is_torn = rng.random() < self.cluster.luck.get_rate(FaultKind.TORN_WRITE, self)
            if self.safety.tear(rng, is_torn=is_torn):
                self.cluster.luck.note(FaultKind.TORN_WRITE)
        self.is_up = False
        self.incarnation += 1

    def _take_over(self, image: SafetyImage) -> None:
        """Put a replica in charge that goes on from the disks, with nothing of the one before."""
        self.agenda = Agenda()
        self._woken_ms: int | None = None
        self.executor = Executor(self)
        self.replica = build_replica(self, image)

    def _act(self, incarnation: int, replica: Replica | None, action: Callable[[], None]) -> None:
        if self.incarnation == incarnation and replica in (None, self.replica):
            action()

    def _later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Have something done later, unless the process crashes before."""
        self.cluster.clock.after(delay_ms, partial(self._act, self.incarnation, None, action))

    # What comes in.

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Have something done later for the replica of now, not after a crash or for the next epoch's."""
        self.cluster.clock.after(delay_ms, partial(self._act, self.incarnation, self.replica, action))

    def post(self, event: Event) -> None:
        """Give the replica an event."""
        self.agenda.post(event)
        self._advance()

    def receive(self, sender: Process, epoch: Epoch, message: Message) -> None:
        """Take a message from a link."""
        index = number_of(self, sender)
        # Conspirators know what each other say; answers to answers would have no end.
        is_news = sender.actor is None
        if self.actor is not None and is_news and not self.actor.hears(index, epoch, message):
            return
        self.post(
            Received(sender=index, epoch=epoch, message=message, now_ms=self.now_ms, wall_ms=self.wall_ms)
        )

    def submit(self, envelope: bytes) -> None:
        """Take a transaction from a client or from another node."""
        if envelope in self.chain.envelopes or not self.pool.add(envelope, self.now_ms):
            return
        if self.agenda.post_pending(self.now_ms, self.wall_ms):
            self._advance()

    def pause(self, duration_ms: int) -> None:
        """Stand still for a while, as a process does that gets no core."""
        self._is_paused = True
        self._later(duration_ms, self.resume)

    def resume(self) -> None:
        """Go on."""
        if self._is_paused:
            self._is_paused = False
            self._advance()
            self.executor.work()

    def _tick(self) -> None:
        oldest_ms = self.pool.oldest_ms
        is_idle = oldest_ms is None and self.replica.high_rank[1] == self.chain.height
        self._later(IDLE_TICK_MS if is_idle else TICK_MS, self._tick)
        if self._is_paused or self.is_writing:
            return
        if self.actor is not None:
            self.actor.on_tick()
        patience_ms = self.cluster.settings.timing.request_timeout_ms
        ticked = Ticked(
            now_ms=self.now_ms,
            wall_ms=self.wall_ms,
            has_pending=oldest_ms is not None,
            has_overdue=oldest_ms is not None and self.now_ms - oldest_ms > patience_ms,
        )
        if self._is_resting(ticked):
            self.agenda.post(ticked)
            check_rest(self.name, self.agenda.step_batch(self.replica))
        else:
            self.post(ticked)
        self.cluster.checks.on_tick(self)

    def _is_resting(self, ticked: Ticked) -> bool:
        """Whether the replica does not want this tick: the driver would not even wake it."""
        until_ms = self.replica.rest_until_ms
        is_early = until_ms is not None and ticked.now_ms < until_ms
        return is_early and not ticked.has_pending and not self.agenda.has_events

    # The loop.

    def _advance(self) -> None:
        """Step what waits, a batch at a time, unless a write or a pause is under way."""
        if self._is_stepping:
            return
        self._is_stepping = True
        while self.is_up and self.agenda.has_events and not (self.is_writing or self._is_paused):
            turn = self.agenda.step_batch(self.replica)
            if turn.write is None:
                self._do(turn)
            else:
                self._write(turn)
        self._is_stepping = False
        wake_ms = self.replica.wake_ms
        if wake_ms is not None and self.is_up and self._woken_ms != wake_ms:
            self._woken_ms = wake_ms
            self.later(max(0, wake_ms - self.now_ms), self._end_linger)

    def _end_linger(self) -> None:
        if self.agenda.post_pending(self.now_ms, self.wall_ms):
            self._advance()

    def _write(self, turn: Turn) -> None:
        if turn.write is None:
            return
        if self.is_honest:
            check_write(self.name, turn)
        self.is_writing = True
        self.safety.begin(turn.write)
        if self.cluster.luck.strikes(FaultKind.CRASH_BEFORE_SYNC, self):
            self.cluster.crash(self)
            return
        delay_ms = self.cluster.luck.draw_sync_ms(self)
        if delay_ms:
            self._later(delay_ms, partial(self._end_write, turn))
        else:
            self._end_write(turn)

    def _end_write(self, turn: Turn) -> None:
        self.safety.finish()
        self.is_writing = self.has_forgotten = False
        if self.cluster.luck.strikes(FaultKind.CRASH_AFTER_SYNC, self):
            self.cluster.crash(self)
            return
        self._do(turn)
        self._advance()

    def _do(self, turn: Turn) -> None:
        # Over restarts and into the next epoch, too: the key may have signed there before it forgot.
        self.has_forgotten = self.has_forgotten or self.replica.has_amnesia
        for effect in turn.effects:
            if self.is_up:
                self._apply(effect)
        self.executor.work()

    def _apply(self, effect: Effect) -> None:
        match effect:
            case Send(to=to, message=message):
                self.say((to,), message)
            case Broadcast(message=message):
                self.say(list_others(self), message)
            case CheckBlock():
                self.executor.check(effect)
            case ExecuteBlock() | CommitBlock():
                self.agenda.add_job(effect)
            case DiscardBlocks():
                self.executor.discard(effect)
            case ServeCommitted():
                self.agenda.ask(effect)
                self.later(1, self._serve)
            case ReportEvidence() | ReportFault() | Halt():
                self._report(effect)
            case Persist():
                pass  # the turn's write has it
            case _:
                assert_never(effect)

    def _report(self, effect: ReportEvidence | ReportFault | Halt) -> None:
        match effect:
            case ReportEvidence(evidence=evidence):
                self.evidence.append(self.cluster.checks.on_evidence(self, evidence))
            case ReportFault():
                self.cluster.checks.on_fault(self, effect)
            case Halt(reason=reason):
                self.cluster.checks.on_halt(self, reason)
                self.is_up = False
            case _:
                assert_never(effect)

    def say(self, receivers: Sequence[ValidatorIndex], message: Message) -> None:
        """Send a message; a corrupted node may send something else, or nothing."""
        if self.actor is None:
            self.cluster.checks.on_say(self, message)
            self.cluster.links.send(self, receivers, message)
            return
        for to, changed in self.actor.rewrites(tuple(receivers), message):
            self.cluster.links.send(self, to, changed)

    def store(self, stored: Stored) -> None:
        """Take a block that is durable now; after the last of an epoch, go on with the next one's replica."""
        self.chain.append(stored)
        block = stored.block
        self.pool.remove(block.envelopes)
        self.evidence = [one for one in self.evidence if one not in self.chain.evidence]
        self.cluster.on_stored(self, block)
        if block.header.flags & BlockFlags.EPOCH_END:
            self.cluster.annals.trace(self, f"enters epoch {self.chain.state.reign}")
            self._take_over(recall(self))
            return
        height = Height(self.chain.height)
        self.post(CommitStored(height=height, now_ms=self.now_ms, wall_ms=self.wall_ms))

    def _serve(self) -> None:
        asked = self.agenda.take_asked()
        if asked is None or not self.is_up:
            return
        to, from_height = asked
        stored = ((one.block, one.proof) for one in self.chain.blocks[from_height - 1 :])
        answer = build_committed(stored)
        if answer is not None:
            self.say((to,), answer)
        self.later(1, self._serve)
