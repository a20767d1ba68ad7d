"""One validator's process: a real replica for each epoch, and its driver over a disk that can fail.

What leaves the process and what is worth telling is collected; `stage.py` takes it from there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, assert_never

import tanpo.consensus as tc
from tanpo.consensus.messages import Message
from tanpo.consensus.wire import decode_message
from tanpo.ledger.block import Block
from tanpo.ledger.errors import CorruptState, InvariantViolation, PeerFault, invariant
from tanpo.ledger.evidence import encode_evidence
from tanpo.ledger.genesis import Parameters
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.types import BlockHash, Epoch, Height, Term, ValidatorIndex
from tanpo.testing.scenario.archive import GENESIS_HASH, GENESIS_MS, NETWORK, Archive, State
from tanpo.testing.scenario.bodies import diverge, find_body_fault
from tanpo.testing.scenario.disk import Disk, Stored
from tanpo.testing.scenario.keys import StoryKeys, compute_valset_hash, sign
from tanpo.testing.scenario.telling import Told, name_evidence

EVENTS_MAX: Final = 10_000
"""Most events that may follow from one inside a process."""

BLOCK_TRANSACTIONS_MAX: Final = 8
BLOCK_EVIDENCE_MAX: Final = 4
START_MS: Final = 100_000


@dataclass(slots=True)
class Clock:
    """The time of a scenario: monotonic milliseconds, the same everywhere."""

    now_ms: int = START_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message that may leave, to the validators named."""

    to: tuple[str, ...]
    epoch: Epoch
    message: Message


class Process:
    """A replica with its disk, mempool and execution. Down until started."""

    def __init__(self, *, name: str, key: str, clock: Clock, archive: Archive) -> None:
        self.name, self.key = name, key
        self.skew_ms = 0
        self.disk = Disk()
        self.mempool: dict[str, int] = {}
        self.is_diverging = self.is_disk_stalled = self.is_execution_stalled = self.may_rejoin = False
        self.replica: tc.Replica | None = None
        self.validators: tuple[str, ...] = ()
        self.outbox: list[Outgoing] = []
        self.told: list[Told] = []
        self.faults: list[str] = []
        self.evidence: dict[bytes, str] = {}
        self._clock, self._archive = clock, archive
        self._timing = tc.Timing()
        self._guests: list[str] = []
        self._events: deque[tc.Event] = deque()
        self._unsynced: list[tc.Persist] = []
        self._held_back: deque[tuple[int, Outgoing | tc.CommitBlock]] = deque()
        self._results: list[tc.BlockExecuted] = []
        self._asked = self._synced = 0
        self._where: tuple[Term, tuple[Term, Height]] = (Term(1), (Term(0), Height(0)))

    @property
    def is_up(self) -> bool:
        """Whether the process runs."""
        return self.replica is not None

    @property
    def stalled(self) -> str | None:
        """Why nothing moves, in the replica's words; None when nothing is amiss."""
        return "down" if self.replica is None else self.replica.explain_stall(self.validators)

    @property
    def wall_ms(self) -> int:
        """What this process takes for the time of day."""
        return GENESIS_MS + self._clock.now_ms + self.skew_ms

    def start(self) -> None:
        """Start from what the disk holds; a damaged record keeps the process down."""
        try:
            self.replica = self._build_replica()
        except CorruptState as damage:
            self._tell("did not start:", damage.message)
            return
        self._where = (self.replica.term, self.replica.high_rank)
        self.tick()

    def crash(self, *, is_synced: bool) -> None:
        """End the process. Writes in flight reach the disk or not; what waited for them never leaves."""
        for persist in self._unsynced if is_synced else ():
            self.disk.write(persist)
        self.replica = None
        for waiting in (self._events, self._unsynced, self._held_back, self._results):
            waiting.clear()
        self._asked = self._synced = 0

    def receive(self, sender: str, encoded: bytes) -> None:
        """Take the bytes of one message from the authenticated link of a validator or guest."""
        try:
            epoch, message = decode_message(encoded)
        except PeerFault as fault:
            self._refuse(sender, fault)
            return
        event = tc.Received(
            sender=self._index_of(sender),
            epoch=epoch,
            message=message,
            now_ms=self._clock.now_ms,
            wall_ms=self.wall_ms,
        )
        self._step(event)

    def tick(self) -> None:
        """Let the process look at its clock."""
        waiting = self._waiting()
        oldest_ms = min((self.mempool[name] for name in waiting), default=self._clock.now_ms)
        self._step(
            tc.Ticked(
                now_ms=self._clock.now_ms,
                wall_ms=self.wall_ms,
                has_pending=bool(waiting),
                has_overdue=self._clock.now_ms - oldest_ms > self._timing.request_timeout_ms,
            )
        )

    def submit(self, tx: str) -> None:
        """Accept a transaction into the mempool."""
        self.mempool.setdefault(tx, self._clock.now_ms)
        self._step(tc.TransactionsPending(now_ms=self._clock.now_ms, wall_ms=self.wall_ms))

    def drain(self) -> None:
        """Ask the replica to lead no more."""
        self._step(tc.StepDownAsked(now_ms=self._clock.now_ms, wall_ms=self.wall_ms))

    def resume(self) -> None:
        """Finish what a stalled disk or execution kept waiting, as far as it is stalled no more."""
        if not self.is_disk_stalled:
            self._sync()
        if not self.is_execution_stalled:
            self._events.extend(self._results)
            self._results.clear()
        self._work()

    def select(
        self,
        ancestors: Sequence[Block],
        time_ms: int,  # noqa: ARG002 - transactions of a scenario do not expire
        limits: Parameters,
    ) -> tc.Payload:
        """Fill a block from the mempool, oldest first (`PayloadSource`)."""
        used = {envelope for block in ancestors for envelope in block.envelopes}
        shown = {one for block in ancestors for one in block.evidence}
        shown |= {one for stored in self.disk.chain for one in stored.block.evidence}
        waiting = [name.encode() for name in self._waiting()]
        chosen = [name for name in waiting if name not in used][: limits.block_transactions_max]
        return tc.Payload(
            envelopes=tuple(chosen),
            tx_root=compute_merkle_root(chosen),
            tx_count=len(chosen),
            evidence=tuple(one for one in self.evidence if one not in shown)[:BLOCK_EVIDENCE_MAX],
        )

    def _build_replica(self) -> tc.Replica:
        last = self.disk.last_end
        epoch, self.validators = self._archive.start_epoch(last)
        self._guests.clear()
        config = tc.ReplicaConfig(
            network_id=NETWORK,
            epoch=epoch,
            validator=self._index_of(self.key) if self.key in self.validators else None,
            validator_count=len(self.validators),
            valset_hash=compute_valset_hash(self.validators),
            parameters=Parameters(block_transactions_max=BLOCK_TRANSACTIONS_MAX),
            timing=self._timing,
            base=None
            if last is None
            else tc.BaseBlock(height=last.header.height, block_hash=last.block_hash),
            may_rejoin=self.may_rejoin,
        )
        start = self.disk.build_start(self._find_state(GENESIS_HASH).roots)
        return tc.Replica(
            config, StoryKeys(self.validators), lambda message: sign(self.key, message), self, start
        )

    def _index_of(self, name: str) -> ValidatorIndex:
        """Return a validator's place in its set; others are guests, numbered as they come."""
        if name in self.validators:
            return ValidatorIndex(self.validators.index(name))
        if name not in self._guests:
            self._guests.append(name)
        return ValidatorIndex(len(self.validators) + self._guests.index(name))

    def _name_of(self, index: ValidatorIndex) -> str:
        return (*self.validators, *self._guests)[index]

    def _waiting(self) -> list[str]:
        stored = {envelope.decode() for one in self.disk.chain for envelope in one.block.envelopes}
        return [name for name in self.mempool if name not in stored]

    def _step(self, event: tc.Event) -> None:
        if self.replica is not None:
            self._events.append(event)
            self._work()

    def _work(self) -> None:
        for _ in range(EVENTS_MAX):
            self._release()
            if self.replica is None or not self._events:
                return
            for effect in self.replica.step(self._events.popleft()):
                self._apply(effect)
            self._tell_where()
            self._follow_epoch()
        invariant(False, f"{self.name} never comes to rest")

    def _follow_epoch(self) -> None:
        """Go on with a replica for the next epoch once the last block of this one is stored (E3)."""
        last, replica = self.disk.last_end, self.replica
        if replica is None or last is None or last.header.epoch < replica.epoch:
            return
        self._release()
        self._events.clear()
        self._results.clear()
        self.replica = self._build_replica()
        self._where = (self.replica.term, self.replica.high_rank)
        self._tell("began epoch", f"{self.replica.epoch}")
        self.tick()

    def _apply(self, effect: tc.Effect) -> None:
        match effect:
            case tc.Persist():
                self._asked += 1
                self._unsynced.append(effect)
                if not self.is_disk_stalled:
                    self._sync()
            case tc.Send() | tc.Broadcast() | tc.ServeCommitted():
                self._address(effect)
            case tc.CommitBlock():
                self._held_back.append((self._asked, effect))
            case tc.CheckBlock():
                self._check(effect)
            case tc.ExecuteBlock():
                self._execute(effect.block)
            case tc.DiscardBlocks():
                pass  # States are known to the archive: there is nothing to let go.
            case tc.ReportEvidence() | tc.ReportFault() | tc.Halt():
                self._report(effect)
            case _:
                assert_never(effect)

    def _address(self, effect: tc.Send | tc.Broadcast | tc.ServeCommitted) -> None:
        """Put names to receivers: their numbers are those of this epoch."""
        to: tuple[str, ...]
        message: Message | None
        match effect:
            case tc.Send():
                to, message = (self._name_of(effect.to),), effect.message
            case tc.Broadcast():
                to, message = tuple(name for name in self.validators if name != self.key), effect.message
            case tc.ServeCommitted():
                stored = self.disk.chain[effect.from_height - 1 :]
                to = (self._name_of(effect.to),)
                message = tc.build_committed((one.block, one.proof) for one in stored)
            case _:
                assert_never(effect)
        if message is not None and self.replica is not None:
            self._archive.note_message(message)
            self._held_back.append((self._asked, Outgoing(to=to, epoch=self.replica.epoch, message=message)))

    def _report(self, effect: tc.ReportEvidence | tc.ReportFault | tc.Halt) -> None:
        match effect:
            case tc.ReportEvidence(evidence=evidence):
                accused = self._name_of(evidence.accused)
                self.evidence[encode_evidence(evidence)] = accused
                self._tell(f"holds evidence against {accused}:", name_evidence(evidence, self._archive))
            case tc.ReportFault():
                self._refuse(self._name_of(effect.sender), effect.fault)
            case tc.Halt():
                self._tell("halted:", effect.reason)
            case _:
                assert_never(effect)

    def _sync(self) -> None:
        for persist in self._unsynced:
            self.disk.write(persist)
        self._synced = self._asked
        self._unsynced.clear()

    def _release(self) -> None:
        """Let go of what waited for the disk, in order (D1)."""
        while self._held_back and self._held_back[0][0] <= self._synced:
            _, effect = self._held_back.popleft()
            if isinstance(effect, Outgoing):
                self.outbox.append(effect)
            else:
                self._store(effect)

    def _store(self, effect: tc.CommitBlock) -> None:
        roots = self._compute_roots(effect.block)
        self.disk.chain.append(Stored(block=effect.block, proof=effect.proof, roots=roots))
        self._tell("committed", self._archive.describe(effect.block))
        height = Height(len(self.disk.chain))
        self._events.append(tc.CommitStored(height=height, now_ms=self._clock.now_ms, wall_ms=self.wall_ms))

    def _check(self, effect: tc.CheckBlock) -> None:
        below = [*effect.ancestors, *(one.block for one in self.disk.chain)]
        fault = find_body_fault(effect.block, below, self._archive)
        if fault is not None:
            self.faults.append(fault)
            self._tell("found unfit", f"{self._archive.note(effect.block)}: {fault}")
        self._events.append(
            tc.BlockChecked(
                block_hash=effect.block.block_hash,
                fault=fault,
                now_ms=self._clock.now_ms,
                wall_ms=self.wall_ms,
            )
        )

    def _execute(self, block: Block) -> None:
        roots = self._compute_roots(block)
        result = tc.BlockExecuted(
            block_hash=block.block_hash,
            state_root=roots.state_root,
            receipts_root=roots.receipts_root,
            pending_valset=roots.pending_valset,
            now_ms=self._clock.now_ms,
            wall_ms=self.wall_ms,
        )
        waiting = self._results if self.is_execution_stalled else self._events
        waiting.append(result)

    def _find_state(self, block_hash: BlockHash) -> State:
        state = self._archive.find_state(block_hash)
        if state is None:
            raise InvariantViolation(f"{self.name} executes without the parent's state")
        return state

    def _compute_roots(self, block: Block) -> tc.Roots:
        roots = self._find_state(block.block_hash).roots
        return diverge(roots) if self.is_diverging else roots

    def _refuse(self, sender: str, fault: PeerFault) -> None:
        self.faults.append(fault.message)
        self._tell(f"refused a message of {sender}:", fault.message)

    def _tell_where(self) -> None:
        replica = self.replica
        if replica is None:
            return
        was, self._where = self._where, (replica.term, replica.high_rank)
        if replica.term != was[0]:
            self._tell("entered term", f"{replica.term}")
        if replica.high_rank != was[1]:
            self._tell("locked on", self._archive.name_of_rank(replica.high_rank), is_detail=True)

    def _tell(self, deed: str, what: str, *, is_detail: bool = False) -> None:
        self.told.append(Told(name=self.name, deed=deed, what=what, is_detail=is_detail))
