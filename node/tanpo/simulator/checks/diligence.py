"""Whoever verified two signatures that contradict each other reports it, at once (G4); whoever is shown one
of its own that it does not remember signs no more (D6).

What a replica verified is what it asked the keys about and was told to be true. From that alone the same
three contradictions are looked for as there (SPEC G1 to G3), apart from the product's own search. A replica
is excused for what it did not take in: signatures in a message that it then refused, of a term that nobody
proved to it (B2), or so old that it need not remember them (B3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Final, NamedTuple

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
Claim = tuple[SignedKind, Rank]

VOTES_MAX: Final = 15
"""So many votes of the highest ranks must be remembered of each validator: one less than B3 says, because two
of one rank have no order."""

TIMEOUTS_MAX: Final = 8

_KEPT: Final = 64
"""Votes kept of each validator before the lowest ranks go, all at once because that is cheaper."""

_HASH_BYTES: Final = 32
_NUMBER_BYTES: Final = 8
_KIND_AT: Final = len(b"tanpo-v1")
_BODY_AT: Final = _KIND_AT + 1 + _HASH_BYTES + _NUMBER_BYTES
"""Where a signed string names its kind, and where that begins which is behind network and epoch (SPEC 2)."""

_DOUBLE_VOTE, _DOUBLE_OPENING, _LYING_TIMEOUT = "DoubleVote", "DoubleOpening", "LyingTimeout"


class _Said(NamedTuple):
    """A signed string. `rank` is that of the vote, or of the lock that a timeout names."""

    kind: SignedKind
    term: int
    rank: Rank
    block_hash: BlockHash


@dataclass(slots=True)
class _Memory:
    """What is known of one validator: None stands for what the replica may have noted, or not."""

    votes: dict[Claim, BlockHash | None] = field(default_factory=dict)
    timeouts: dict[int, Rank | None] = field(default_factory=dict)
    opening: tuple[int, int | None] = (0, None)
    """The latest term of which a vote for a first block was seen, and the height of that block."""
    lock: Rank = (0, 0)
    voted_term: int = 0

    def note_timeout(self, said: _Said, *, is_sure: bool) -> list[str]:
        """Remember a timeout; return what it contradicts."""
        known = self.timeouts.get(said.term)
        if is_sure:
            self.timeouts[said.term] = said.rank if known is None else min(known, said.rank)
        else:
            self.timeouts.setdefault(said.term, None)
        if len(self.timeouts) > TIMEOUTS_MAX:
            del self.timeouts[min(self.timeouts)]
        # A vote of a later term than the timeout may have taken the place of the one that it contradicts.
        is_lie = is_sure and said.term >= self.voted_term and said.rank < self.lock
        return [_LYING_TIMEOUT] if is_lie else []

    def note_vote(self, said: _Said, header: Header | None, *, is_sure: bool) -> list[str]:
        """Remember a vote; return what it contradicts. `header` is its block's, if the replica knew that."""
        claim, found = (said.kind, said.rank), []
        known = self.votes.get(claim)
        if known is None:
            self._keep(claim, said.block_hash if is_sure else None)
        elif is_sure and known != said.block_hash and self._is_fresh(said.rank):
            found.append(_DOUBLE_VOTE)
        self.voted_term = max(self.voted_term, said.term)
        lock = said.rank
        if said.kind is SignedKind.VOTE_PREPARE:
            if header is None:
                return found
            lock = (header.parent_term, header.height - 1)
            if (header.term < said.term or header.parent_term < said.term) and self._opens_twice(
                said, is_sure
            ):
                found.append(_DOUBLE_OPENING)
        if is_sure and lock > (0, 0):
            self.lock = max(self.lock, lock)
            if any(
                at >= said.term and high is not None and high < lock for at, high in self.timeouts.items()
            ):
                found.append(_LYING_TIMEOUT)
        return found

    def _keep(self, claim: Claim, block_hash: BlockHash | None) -> None:
        self.votes[claim] = block_hash
        if len(self.votes) > _KEPT:
            for old in sorted(self.votes, key=itemgetter(1))[:-VOTES_MAX]:
                del self.votes[old]

    def _is_fresh(self, rank: Rank) -> bool:
        """Whether a vote is among those that must be remembered."""
        return sum(other > rank for _, other in self.votes) < VOTES_MAX

    def _opens_twice(self, said: _Said, is_sure: bool) -> bool:
        term, height = self.opening
        if said.term > term:
            self.opening = (said.term, said.rank[1] if is_sure else None)
        elif said.term == term and is_sure:
            self.opening = (term, said.rank[1] if height is None else height)
            return height is not None and height != said.rank[1]
        return False


Heard = tuple[ValidatorIndex, _Said, Header | None]
"""Who signed what, and the header of the block of a prepare vote if the replica knew it."""


class Listener:
    """A `SignatureChecker` that remembers what it was asked about and found good."""

    def __init__(self, keys: SignatureChecker, find_header: Callable[[BlockHash], Header | None]) -> None:
        self._keys = keys
        self._find_header = find_header
        self.said: list[Heard] = []

    @property
    def validator_count(self) -> int:
        """How many validators there are."""
        return self._keys.validator_count

    def verify(self, validator: ValidatorIndex, message: bytes, signature: Signature) -> bool:
        """Return whether the validator signed the message."""
        is_good = self._keys.verify(validator, message, signature)
        said = _read(message) if is_good else None
        if said is not None:
            is_prepare = said.kind is SignedKind.VOTE_PREPARE
            self.said.append((validator, said, self._find_header(said.block_hash) if is_prepare else None))
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
            self._check(event, effects, record, said)
        return effects

    def _find_header(self, block_hash: BlockHash) -> Header | None:
        held = self._core.chain.find(block_hash)
        return None if held is None else held.block.header

    def _check(self, event: Event, effects: list[Effect], record: DurableRecord, said: list[Heard]) -> None:
        is_clean = self._core.halted is None and not any(isinstance(one, ReportFault) for one in effects)
        append = event.message if isinstance(event, Received) and isinstance(event.message, Append) else None
        own = self._core.config.validator
        for validator, one, header in said:
            known = header
            if append is not None and (one.term, one.block_hash) == (append.term, append.block.block_hash):
                if append.term != self.term:
                    continue  # The leader's vote, without proof of its term.
                known = append.block.header
            if validator == own:
                self._remember(record, one)
            else:
                self._note(validator, one, known, is_sure=is_clean)

    def _remember(self, record: DurableRecord, own: _Said) -> None:
        """Note whether it was shown a signature of its own that it does not remember (D6). It may come back
        if the operator says so (D8): `Rebirths` looks at that."""
        core = self._core
        if not core.is_behind and not core.config.may_rejoin and own.term > record.floor:
            self._has_forgotten |= _is_forgotten(record, own)

    def _note(self, validator: ValidatorIndex, said: _Said, header: Header | None, *, is_sure: bool) -> None:
        memory = self._memories.get(validator)
        if memory is None:
            memory = self._memories[validator] = _Memory(voted_term=self._first_term)
        if said.kind is SignedKind.TIMEOUT:
            found = memory.note_timeout(said, is_sure=is_sure)
        else:
            found = memory.note_vote(said, header, is_sure=is_sure)
        for kind in found:
            if (validator, kind) not in self._claims:
                what = f"saw a {kind} of validator {validator} in term {said.term} and reports nothing"
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


@lru_cache(maxsize=1_024)
def _read(message: bytes) -> _Said | None:
    """Return what a signed string says, None if it is neither vote nor timeout."""
    if message[_KIND_AT] > SignedKind.TIMEOUT:
        return None
    numbers, block_hash = message[_BODY_AT:-_HASH_BYTES], BlockHash(message[-_HASH_BYTES:])
    return _Said(
        kind=SignedKind(message[_KIND_AT]),
        term=int.from_bytes(numbers[:_NUMBER_BYTES], "big"),
        # A vote's own term and height; behind a timeout's term, those of the lock that it names.
        rank=(
            int.from_bytes(numbers[-2 * _NUMBER_BYTES : -_NUMBER_BYTES], "big"),
            int.from_bytes(numbers[-_NUMBER_BYTES:], "big"),
        ),
        block_hash=block_hash,
    )
