"""Whoever verified two signatures that contradict each other reports it, at once (G4); whoever is shown one
of its own that it does not remember signs no more (D6).

What a replica verified is what it asked the keys about and was told to be true. From that alone the same
three contradictions are looked for as there (SPEC G1 to G3), apart from the product's own search. A replica
is excused for what it did not take in: signatures in a message that it then refused, of a term that nobody
proved to it (B2), or so old that it need not remember them (B3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tanpo.consensus import (
    Broadcast,
    Effect,
    Event,
    Message,
    PayloadSource,
    Received,
    Replica,
    ReplicaConfig,
    ReplicaStart,
    ReportEvidence,
    ReportFault,
    Send,
)
from tanpo.consensus.messages import Append, AppendReply, Nudge, StepDown, Timeout
from tanpo.consensus.record import DurableRecord
from tanpo.ledger.block import Header
from tanpo.ledger.certificate import SignatureChecker, SignedKind
from tanpo.ledger.types import BlockHash, Signature, ValidatorIndex
from tanpo.simulator.violation import Violation

Rank = tuple[int, int]
Claim = tuple[SignedKind, int, int]

VOTES_MAX: Final = 15
"""So many votes of the highest ranks must be remembered of each validator: one less than B3 says, because two
of one rank have no order."""

TIMEOUTS_MAX: Final = 8

_HASH_BYTES: Final = 32
_NUMBER_BYTES: Final = 8
_KIND_AT: Final = len(b"tanpo-v1")
_BODY_AT: Final = _KIND_AT + 1 + _HASH_BYTES + _NUMBER_BYTES
"""Where a signed string names its kind, and where that begins which is behind network and epoch (SPEC 2)."""

_DOUBLE_VOTE, _DOUBLE_OPENING, _LYING_TIMEOUT = "DoubleVote", "DoubleOpening", "LyingTimeout"


@dataclass(slots=True, kw_only=True)
class _Said:
    """A signature that the replica found good. `rank` is that of the vote, or of the lock a timeout names.
    `header` is that of the block, if the replica knew it then."""

    validator: int
    kind: SignedKind
    term: int
    rank: Rank
    block_hash: BlockHash
    header: Header | None


@dataclass(slots=True)
class _Memory:
    """What is known of one validator: None stands for what the replica may have noted, or not."""

    votes: dict[Claim, BlockHash | None] = field(default_factory=dict)
    timeouts: dict[int, Rank | None] = field(default_factory=dict)
    opening: tuple[int, int | None] = (0, None)
    """The latest term of which a vote for a first block was seen, and the height of that block."""
    lock: Rank = (0, 0)
    voted_term: int = 0

    def note_timeout(self, said: _Said, *, is_sure: bool) -> Iterator[str]:
        """Remember a timeout; yield what it contradicts."""
        known = self.timeouts.get(said.term)
        if is_sure:
            self.timeouts[said.term] = said.rank if known is None else min(known, said.rank)
        else:
            self.timeouts.setdefault(said.term, None)
        if len(self.timeouts) > TIMEOUTS_MAX:
            del self.timeouts[min(self.timeouts)]
        # A vote of a later term than the timeout may have taken the place of the one that it contradicts.
        if is_sure and said.term >= self.voted_term and said.rank < self.lock:
            yield _LYING_TIMEOUT

    def note_vote(self, said: _Said, *, is_sure: bool) -> Iterator[str]:
        """Remember a vote; yield what it contradicts."""
        claim = (said.kind, *said.rank)
        known = self.votes.get(claim)
        if is_sure and known is not None and known != said.block_hash:
            yield _DOUBLE_VOTE
        if known is None:
            self.votes[claim] = said.block_hash if is_sure else None
        if len(self.votes) > VOTES_MAX:
            del self.votes[min(self.votes, key=lambda one: one[1:])]
        self.voted_term = max(self.voted_term, said.term)
        if said.kind is SignedKind.VOTE_COMMIT:
            yield from self._note_lock(said.term, said.rank, is_sure=is_sure)
        elif said.header is not None:
            lock = (said.header.parent_term, said.header.height - 1)
            yield from self._note_lock(said.term, lock, is_sure=is_sure)
            if said.header.term < said.term or said.header.parent_term < said.term:
                yield from self._note_opening(said, is_sure=is_sure)

    def _note_lock(self, term: int, lock: Rank, *, is_sure: bool) -> Iterator[str]:
        if not is_sure:
            return
        self.lock = max(self.lock, lock)
        named = (high for at, high in self.timeouts.items() if at >= term and high is not None)
        if any(high < lock for high in named):
            yield _LYING_TIMEOUT

    def _note_opening(self, said: _Said, *, is_sure: bool) -> Iterator[str]:
        term, height = self.opening
        if said.term > term:
            self.opening = (said.term, said.rank[1] if is_sure else None)
        elif said.term == term and is_sure:
            if height is not None and height != said.rank[1]:
                yield _DOUBLE_OPENING
            self.opening = (term, said.rank[1] if height is None else height)


class Listener:
    """A `SignatureChecker` that remembers what it was asked about and found good."""

    def __init__(self, keys: SignatureChecker, find_header: Callable[[BlockHash], Header | None]) -> None:
        self._keys = keys
        self._find_header = find_header
        self.said: list[_Said] = []

    @property
    def validator_count(self) -> int:
        """How many validators there are."""
        return self._keys.validator_count

    def verify(self, validator: ValidatorIndex, message: bytes, signature: Signature) -> bool:
        """Return whether the validator signed the message."""
        is_good = self._keys.verify(validator, message, signature)
        said = _hear(validator, message, self._find_header) if is_good else None
        if said is not None:
            self.said.append(said)
        return is_good


class AttentiveReplica(Replica):
    """A replica in nobody's hands, held to draw the consequences of what it could see."""

    __slots__ = ("_claims", "_first_term", "_has_forgotten", "_listener", "_memories")

    def __init__(
        self,
        config: ReplicaConfig,
        checker: SignatureChecker,
        signer: Callable[[bytes], Signature],
        payloads: PayloadSource,
        start: ReplicaStart,
    ) -> None:
        self._listener = Listener(checker, self._find_header)
        self._memories: dict[int, _Memory] = {}
        self._claims: set[tuple[int, str]] = set()
        self._has_forgotten = False
        super().__init__(config, self._listener, signer, payloads, start)
        self._first_term = self.high_rank[0]

    def step(self, event: Event) -> list[Effect]:
        """Take one event, as any replica does.

        Raises:
            Violation: it verified a contradiction and reported nothing, or goes on signing with amnesia.
        """
        record = self._core.record
        effects = super().step(event)
        for effect in effects:
            if self._has_forgotten and isinstance(effect, Send | Broadcast) and _is_signed(effect.message):
                raise Violation("amnesia", "signs although it was shown what it has forgotten")
            if isinstance(effect, ReportEvidence):
                self._claims.add((effect.evidence.accused, type(effect.evidence).__name__))
        if self._listener.said:
            said, self._listener.said = self._listener.said, []
            self._check(event, effects, said)
            self._remember(record, said)
        return effects

    def _find_header(self, block_hash: BlockHash) -> Header | None:
        held = self._core.chain.find(block_hash)
        return None if held is None else held.block.header

    def _check(self, event: Event, effects: list[Effect], said: list[_Said]) -> None:
        is_clean = self._core.halted is None and not any(isinstance(one, ReportFault) for one in effects)
        append = event.message if isinstance(event, Received) and isinstance(event.message, Append) else None
        for one in said:
            if append is not None and (one.term, one.block_hash) == (append.term, append.block.block_hash):
                if append.term != self.term:
                    continue  # The leader's vote, without proof of its term.
                one.header = append.block.header
            if one.validator != self._core.config.validator:
                self._note(one, is_sure=is_clean)

    def _remember(self, record: DurableRecord, said: list[_Said]) -> None:
        """Note whether it was shown a signature of its own that it does not remember (D6). It may come back
        if the operator says so (D8): `Rebirths` looks at that."""
        core = self._core
        if core.is_behind or core.config.may_rejoin:
            return
        for one in said:
            if one.validator == core.config.validator and one.term > record.floor:
                self._has_forgotten |= _is_forgotten(record, one)

    def _note(self, said: _Said, *, is_sure: bool) -> None:
        memory = self._memories.setdefault(said.validator, _Memory(voted_term=self._first_term))
        note = memory.note_timeout if said.kind is SignedKind.TIMEOUT else memory.note_vote
        for kind in note(said, is_sure=is_sure):
            if (said.validator, kind) not in self._claims:
                what = f"saw a {kind} of validator {said.validator} in term {said.term} and reports nothing"
                raise Violation("diligence", what)


def _is_forgotten(record: DurableRecord, own: _Said) -> bool:
    match own.kind:
        case SignedKind.VOTE_PREPARE:
            return record.voted is None or own.rank > record.voted.rank
        case SignedKind.VOTE_COMMIT:
            return own.rank > record.high_qc.rank
        case _:
            return record.timeout is None or own.term > record.timeout.term


def _is_signed(message: Message) -> bool:
    return isinstance(message, Append | AppendReply | Nudge | StepDown | Timeout)


def _hear(validator: int, message: bytes, find_header: Callable[[BlockHash], Header | None]) -> _Said | None:
    """Return what a signed string says, None if it is neither vote nor timeout."""
    if message[_KIND_AT] > SignedKind.TIMEOUT:
        return None
    kind, body = SignedKind(message[_KIND_AT]), message[_BODY_AT:]
    is_vote = kind is not SignedKind.TIMEOUT
    numbers, block_hash = body[:-_HASH_BYTES], BlockHash(body[-_HASH_BYTES:])
    return _Said(
        validator=validator,
        kind=kind,
        term=int.from_bytes(numbers[:_NUMBER_BYTES], "big"),
        # A vote's own term and height; behind a timeout's term, those of the lock that it names.
        rank=(
            int.from_bytes(numbers[-2 * _NUMBER_BYTES : -_NUMBER_BYTES], "big"),
            int.from_bytes(numbers[-_NUMBER_BYTES:], "big"),
        ),
        block_hash=block_hash,
        header=find_header(block_hash) if is_vote else None,
    )
