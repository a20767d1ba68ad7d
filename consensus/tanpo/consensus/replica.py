"""The replica: one event in, ordered effects out, no I/O (`consensus/SPEC.md`).

An event first changes what is known; then the replica does whatever has become possible - commit, vote,
propose, fetch - in that fixed order, until nothing more follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, assert_never

from tanpo.consensus import amnesia, catch_up, committing, proposing, terms, voting
from tanpo.consensus.config import PayloadSource, ReplicaConfig, ReplicaStart
from tanpo.consensus.effects import Effect, ReportFault
from tanpo.consensus.events import (
    BlockChecked,
    BlockExecuted,
    CommitStored,
    Event,
    Received,
    StepDownAsked,
    Ticked,
    TransactionsPending,
)
from tanpo.consensus.messages import (
    Append,
    AppendReply,
    BlockAnswer,
    Committed,
    GetBlock,
    GetCommitted,
    GetStatus,
    Heartbeat,
    Message,
    Nudge,
    Status,
    StepDown,
    Suspect,
    TermCertificate,
    Timeout,
)
from tanpo.consensus.resting import compute_rest_until_ms
from tanpo.consensus.start import build_core
from tanpo.consensus.state import Core, compute_leader, persist
from tanpo.consensus.status import explain_stall
from tanpo.ledger.certificate import SignatureChecker
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.types import Epoch, Height, Signature, Term, ValidatorIndex

Signer = Callable[[bytes], Signature]

_SETTLE_MAX: Final = 8
"""Most rounds of consequences of one event; a validator alone in its network needs the most, four."""


class Replica:
    """One validator's (or observer's) state machine. Neither reentrant nor for several threads."""

    __slots__ = ("_core", "_has_started")

    def __init__(
        self,
        config: ReplicaConfig,
        checker: SignatureChecker,
        signer: Signer,
        payloads: PayloadSource,
        start: ReplicaStart,
    ) -> None:
        self._core = build_core(config, checker, signer, payloads, start)
        self._has_started = False

    def step(self, event: Event) -> list[Effect]:
        """Take one event and return what to do about it, in order. Never raises for what a peer sent."""
        core = self._core
        if core.halted is not None:
            return []
        core.clock.now_ms, core.clock.wall_ms = event.now_ms, event.wall_ms
        core.sender = event.sender if isinstance(event, Received) else None
        if not self._has_started:
            self._has_started = True
            _begin(core)
        # Before the event is taken: what there was to do until now is what counts, however rare ticks are.
        terms.note_idle(core)
        known_proof = core.record.commit_proof
        _take(core, event)
        _settle(core)
        if core.record.commit_proof is not known_proof and core.halted is None:
            proposing.announce_commit(core)
        effects, core.effects = core.effects, []
        return effects

    @property
    def term(self) -> Term:
        """The current term."""
        return self._core.term

    @property
    def leader(self) -> ValidatorIndex:
        """The leader of the current term."""
        return compute_leader(self._core.config, self._core.term)

    @property
    def is_leader(self) -> bool:
        """Whether this replica leads the current term."""
        return self._core.is_leader

    @property
    def epoch(self) -> Epoch:
        """The epoch this replica serves."""
        return self._core.config.epoch

    @property
    def has_amnesia(self) -> bool:
        """Whether promises signed with our key are forgotten, so that it must not sign (D6)."""
        return self._core.has_amnesia

    @property
    def committed_height(self) -> Height:
        """The height of the last block for which `CommitBlock` was returned."""
        return self._core.chain.tip.height

    @property
    def high_rank(self) -> tuple[Term, Height]:
        """Term and height of the highest certificate held."""
        return self._core.high_qc.rank

    @property
    def wake_ms(self) -> int | None:
        """When a `Ticked` is wanted before the next regular one (monotonic), to end a linger."""
        return self._core.clock.linger_until_ms

    @property
    def rest_until_ms(self) -> int | None:
        """Until when a `Ticked` does nothing (monotonic) unless something happens; None: tick as usual."""
        # The first event, whichever it is, starts the timers.
        return compute_rest_until_ms(self._core) if self._has_started else None

    @property
    def stalled(self) -> str | None:
        """Why nothing moves, for people; None when nothing is amiss."""
        return explain_stall(self._core)

    def explain_stall(self, names: Sequence[str]) -> str | None:
        """Return why nothing moves in the words of `names`, the validators' by index; None if nothing is."""
        return explain_stall(self._core, names)


def _begin(core: Core) -> None:
    """Start all timers afresh, and make a first record durable: a later start without one is amnesia."""
    now_ms = core.clock.now_ms
    core.current.entered_ms = core.clock.heard_ms = core.clock.progress_ms = now_ms
    core.clock.heartbeat_ms = core.clock.complaint_ms = now_ms - core.config.timing.base_timeout_ms
    if core.is_restart or core.has_amnesia:
        amnesia.begin(core)
    persist(core)


def _take(core: Core, event: Event) -> None:
    match event:
        case Received():
            _receive(core, event)
        case Ticked():
            core.has_pending, core.has_overdue = event.has_pending, event.has_overdue
            amnesia.on_tick(core)
            terms.on_tick(core)
            proposing.on_tick(core)
        case TransactionsPending():
            core.has_pending = True
        case BlockChecked():
            voting.on_checked(core, event.block_hash, event.fault)
        case BlockExecuted():
            committing.on_executed(core, event)
        case CommitStored():
            committing.on_stored(core, event)
        case StepDownAsked():
            core.is_draining = True
            terms.give_away(core)
        case _:
            assert_never(event)


def _receive(core: Core, event: Received) -> None:
    sender, message = event.sender, event.message
    if sender == core.config.validator:
        return
    try:
        if isinstance(message, GetBlock | GetCommitted | Committed):
            _dispatch_catch_up(core, sender, message)
        elif event.epoch > core.config.epoch:
            catch_up.on_later_epoch(core)
        elif event.epoch < core.config.epoch:
            terms.send_hint(core, sender)
        elif 0 <= sender < core.config.validator_count:
            _dispatch(core, sender, message)
    except PeerFault as fault:
        core.effects.append(ReportFault(sender=sender, fault=fault))


def _dispatch(core: Core, sender: ValidatorIndex, message: Message) -> None:
    match message:
        case Append():
            voting.on_append(core, sender, message)
        case AppendReply():
            proposing.on_reply(core, sender, message)
        case Nudge():
            voting.on_nudge(core, sender, message)
        case Suspect() | Timeout() | TermCertificate() | Heartbeat() | StepDown():
            _dispatch_term(core, sender, message)
        case GetStatus():
            amnesia.on_get_status(core, sender, message)
        case Status():
            amnesia.on_status(core, sender, message)
        case GetBlock() | BlockAnswer() | GetCommitted() | Committed():
            _dispatch_catch_up(core, sender, message)
        case _:
            assert_never(message)


def _dispatch_term(
    core: Core,
    sender: ValidatorIndex,
    message: Suspect | Timeout | TermCertificate | Heartbeat | StepDown,
) -> None:
    match message:
        case StepDown():
            terms.on_step_down(core, sender, message)
        case Suspect():
            terms.on_suspect(core, sender, message)
        case Timeout():
            terms.on_timeout(core, sender, message)
        case TermCertificate():
            terms.on_term_certificate(core, message)
        case Heartbeat():
            terms.on_heartbeat(core, sender, message)
        case _:
            assert_never(message)


def _dispatch_catch_up(
    core: Core, sender: ValidatorIndex, message: GetBlock | BlockAnswer | GetCommitted | Committed
) -> None:
    match message:
        case GetBlock():
            catch_up.on_get_block(core, sender, message)
        case BlockAnswer():
            catch_up.on_block_answer(core, message)
        case GetCommitted():
            catch_up.on_get_committed(core, sender, message)
        case Committed():
            catch_up.on_committed(core, message)
        case _:
            assert_never(message)


def _settle(core: Core) -> None:
    """Do what has become possible until nothing more follows."""
    for _ in range(_SETTLE_MAX):
        if core.halted is not None:
            return
        before = (len(core.effects), core.record)
        core.catch_up.wanted.clear()
        committing.advance(core)
        voting.advance(core)
        proposing.advance(core)
        if before[0] == len(core.effects) and before[1] is core.record:
            break
    if core.halted is None:
        catch_up.advance(core)
