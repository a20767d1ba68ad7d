"""Everything a replica knows, and the few ways in which all its parts change it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tanpo.consensus.chain import HELD_MAX, LAG_MAX, Chain, Held, Missing
from tanpo.consensus.config import DOUBLINGS_MAX, PayloadSource, ReplicaConfig
from tanpo.consensus.effects import (
    Broadcast,
    DiscardBlocks,
    Effect,
    ExecuteBlock,
    Halt,
    Persist,
    Send,
)
from tanpo.consensus.messages import Append, Heartbeat, Message, StepDown, Timeout
from tanpo.consensus.record import DurableRecord, encode_record
from tanpo.consensus.seen import Seen
from tanpo.consensus.tally import Tally
from tanpo.ledger.block import Block
from tanpo.ledger.certificate import (
    CommitProof,
    QuorumCertificate,
    SignatureChecker,
    SignedKind,
    compute_faulty_max,
    compute_quorum,
    vote_bytes,
)
from tanpo.ledger.errors import InvariantViolation
from tanpo.ledger.types import BlockHash, Height, Signature, Term, ValidatorIndex
from tanpo.ledger.vote import Vote


@dataclass(slots=True)
class Proposal:
    """The leader's latest proposal of the current term that we may vote for."""

    append: Append
    leader_vote: Vote
    received_wall_ms: int
    is_check_asked: bool = False
    is_checked: bool = False
    refusal: str | None = None

    @property
    def rank(self) -> tuple[Term, Height]:
        """Term and height of the proposed block."""
        return self.leader_vote.rank


@dataclass(slots=True)
class TermState:
    """What is forgotten when a term ends. Holds at most one timeout a validator (B2)."""

    entered_ms: int
    proposal: Proposal | None = None
    prepare: Tally | None = None
    commit: Tally | None = None
    suspects: dict[ValidatorIndex, int] = field(default_factory=dict)
    timeouts: dict[ValidatorIndex, Timeout] = field(default_factory=dict)
    step_down: StepDown | None = None
    """Our own, if we lead the term and gave it away."""


@dataclass(slots=True)
class Request:
    """Something asked of a peer, to be asked of the next one when no answer comes."""

    height: Height
    peer: ValidatorIndex
    asked_ms: int


@dataclass(slots=True)
class Batch:
    """Committed blocks received from a peer, verified, fed to execution a few at a time."""

    blocks: list[Block]
    proof: CommitProof


@dataclass(slots=True)
class CatchUp:
    """What we lack and whom we asked. `wanted` is computed anew with every event."""

    wanted: dict[BlockHash, Missing] = field(default_factory=dict)
    fetches: dict[BlockHash, Request] = field(default_factory=dict)
    committed: Request | None = None
    batch: Batch | None = None
    later_epochs: dict[ValidatorIndex, int] = field(default_factory=dict)
    """Who claimed to be in a later epoch, and when; claims older than a base timeout are dropped."""


@dataclass(slots=True)
class Inquiry:
    """What we ask the others after a start (D7): what we remembered then, who answered, the latest term in
    which somebody saw a signature of ours, and whom we asked once more because it asked us."""

    nonce: int
    began_ms: int
    asked_ms: int
    voted_rank: tuple[int, int]
    high_rank: tuple[int, int]
    timeout_term: Term
    signed_term: Term
    answered: list[ValidatorIndex] = field(default_factory=list)
    asked_back: list[ValidatorIndex] = field(default_factory=list)


@dataclass(slots=True)
class Clock:
    """The time of the current event, and when things last happened (monotonic milliseconds)."""

    now_ms: int = 0
    wall_ms: int = 0
    heard_ms: int = 0
    """When the leader of the term last showed itself."""
    progress_ms: int = 0
    """When a block last committed, or there last was nothing to do."""
    heartbeat_ms: int = 0
    complaint_ms: int = 0
    proposed_ms: int | None = None
    linger_until_ms: int | None = None


@dataclass(slots=True)
class Core:
    """The replica's state. `record` is what must be durable; the rest may be lost at any time."""

    config: ReplicaConfig
    checker: SignatureChecker
    signer: Callable[[bytes], Signature]
    payloads: PayloadSource
    chain: Chain
    record: DurableRecord
    persisted: DurableRecord | None
    current: TermState
    has_amnesia: bool = False
    """Promises we signed in this epoch are forgotten (D6)."""
    is_behind: bool = False
    """Our promises are of a later epoch than the stored chain: we follow until we are there."""
    is_restart: bool = False
    is_draining: bool = False
    inquiry: Inquiry | None = None
    witness: dict[ValidatorIndex, Seen] = field(default_factory=dict)
    reported: list[tuple[ValidatorIndex, str]] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)
    catch_up: CatchUp = field(default_factory=CatchUp)
    effects: list[Effect] = field(default_factory=list)
    dropped: list[BlockHash] = field(default_factory=list)
    certificates: dict[tuple[SignedKind, Term, Height, BlockHash], QuorumCertificate] = field(
        default_factory=dict
    )
    hinted_ms: dict[ValidatorIndex, int] = field(default_factory=dict)
    sender: ValidatorIndex | None = None
    has_pending: bool = False
    has_overdue: bool = False
    halted: str | None = None

    @property
    def can_sign(self) -> bool:
        """Whether what we signed before may be sent again: we are a validator and remember it."""
        return self.config.validator is not None and not self.has_amnesia and not self.is_behind

    @property
    def may_sign(self) -> bool:
        """Whether we may sign anew: nobody is still being asked what we did before the start (D7)."""
        return self.can_sign and self.inquiry is None and not self.chain.is_ended

    @property
    def quorum(self) -> int:
        """How many votes make a certificate (S1)."""
        return compute_quorum(self.config.validator_count)

    @property
    def faulty_max(self) -> int:
        """How many validators may be faulty (S1)."""
        return compute_faulty_max(self.config.validator_count)

    @property
    def term(self) -> Term:
        """The current term."""
        return self.record.term

    @property
    def high_qc(self) -> QuorumCertificate:
        """The highest certificate known."""
        return self.record.high_qc

    @property
    def is_leader(self) -> bool:
        """Whether we lead the current term."""
        return compute_leader(self.config, self.term) == self.config.validator

    @property
    def has_timed_out(self) -> bool:
        """Whether we promised to vote no more in the current term (R1), or may have forgotten what we
        promised in it (D8)."""
        timeout = self.record.timeout
        return self.term <= self.record.floor or (timeout is not None and timeout.term >= self.term)

    @property
    def voted_rank(self) -> tuple[int, int]:
        """The rank of our last vote; (0, 0) before the first."""
        return (0, 0) if self.record.voted is None else self.record.voted.rank


def compute_leader(config: ReplicaConfig, term: Term) -> ValidatorIndex:
    """Return the leader of a term: validators take turns (S2)."""
    return ValidatorIndex((config.epoch + term - 1) % config.validator_count)


def compute_timeout_ms(core: Core) -> int:
    """Return how long to wait for this leader: from facts of the chain only, so all agree (T3)."""
    attempts = max(0, core.term - core.chain.tip.term - 1) + core.record.doublings
    timing = core.config.timing
    return min(timing.timeout_max_ms, timing.base_timeout_ms << min(attempts, DOUBLINGS_MAX))


def send(core: Core, to: ValidatorIndex, message: Message) -> None:
    """Send to one validator; nothing is ever sent to ourselves."""
    if to != core.config.validator:
        core.effects.append(Send(to=to, message=message))


def broadcast(core: Core, message: Message) -> None:
    """Send to all others."""
    if core.config.validator_count > 1 or core.config.validator is None:
        core.effects.append(Broadcast(message=message))


def sign_vote(core: Core, kind: SignedKind, term: Term, height: Height, block_hash: BlockHash) -> Vote:
    """Return our vote. The caller persists before it leaves (D1)."""
    validator = core.config.validator
    if validator is None or not core.can_sign:
        raise InvariantViolation("an observer never signs")
    message = vote_bytes(kind, core.config.network_id, core.config.epoch, term, height, block_hash)
    return Vote(
        kind=kind,
        validator=validator,
        term=term,
        height=height,
        block_hash=block_hash,
        signature=core.signer(message),
    )


def persist(core: Core) -> None:
    """Ask for what changed to be made durable; whatever is sent next waits for it (D1).

    Whoever cannot sign promises nothing, and must not write over what another start may still need.
    """
    if not core.can_sign:
        return
    fresh = [held for held in core.chain.held() if held.is_kept and not held.is_persisted]
    if core.record is core.persisted and not fresh:
        return
    core.record = replace(core.record, sequence=core.record.sequence + 1)
    core.persisted = core.record
    for held in fresh:
        held.is_persisted = True
    blocks = tuple(held.block for held in fresh)
    # A block that was let go and came back must not be forgotten by the same write that adds it.
    kept = [block.block_hash for block in blocks]
    dropped = tuple(block_hash for block_hash in core.dropped if block_hash not in kept)
    core.effects.append(Persist(record=encode_record(core.record), blocks=blocks, dropped=dropped))
    core.dropped.clear()


def forget(core: Core, removed: tuple[Held, ...], *, are_dead: bool) -> None:
    """Let go of blocks that left the chain's tree: dead branches, or stored ones."""
    core.dropped.extend(held.block.block_hash for held in removed if held.is_persisted)
    dead = tuple(held.block.block_hash for held in removed)
    if are_dead and dead:
        core.effects.append(DiscardBlocks(block_hashes=dead))


def request_execution(core: Core, path: tuple[Held, ...]) -> None:
    """Ask for the execution of a path that starts above the committed tip, in order, within reach (L1)."""
    reach = compute_reach(core)
    for held in path:
        if held.height > reach:
            return
        if not held.is_executing:
            held.is_executing = True
            core.effects.append(ExecuteBlock(block=held.block))


def compute_reach(core: Core) -> int:
    """Return how high we vote, propose and execute (L1): a little above what is stored, while anything that
    is committed, or proven to be, waits for our disk.

    When nothing does, what is held are blocks of terms that certified one and committed none. However many
    there were, the next term must be able to go on from them.
    """
    chain, proof = core.chain, core.record.commit_proof
    is_disk_ahead = chain.stored_height == chain.tip.height
    if is_disk_ahead and (proof is None or proof.height <= chain.tip.height):
        return chain.tip.height + HELD_MAX
    return chain.stored_height + LAG_MAX


def want_block(core: Core, missing: Missing | None) -> None:
    """Note that a block named by a certificate is missing; `catch_up.py` fetches it."""
    if missing is not None:
        core.catch_up.wanted[missing.block_hash] = missing


def halt(core: Core, reason: str) -> None:
    """Stop for ever: going on could serve or sign what a quorum contradicts (H1)."""
    if core.halted is None:
        core.halted = reason
        core.effects.append(Halt(reason=reason))


def build_heartbeat(core: Core) -> Heartbeat:
    """Return where we stand, with what proves our term when no certificate of that term does."""
    record = core.record
    return Heartbeat(
        term=record.term,
        high_qc=record.high_qc,
        commit_proof=record.commit_proof,
        term_certificate=record.term_certificate if record.high_qc.term < record.term else None,
    )


def get_base_certificate(core: Core) -> QuorumCertificate:
    """Return the certificate that the first block of the epoch extends."""
    return core.config.base_certificate
