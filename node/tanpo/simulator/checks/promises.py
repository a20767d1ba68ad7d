"""Every signature that ever left an honest node, across its restarts: none contradicts another, and each was
durable before it left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from tanpo.consensus import CommitBlock, Message
from tanpo.consensus.messages import Append, AppendReply, Nudge, Status, StepDown, Timeout
from tanpo.consensus.record import DurableRecord, decode_record
from tanpo.ledger.block import Header
from tanpo.ledger.certificate import SignedKind
from tanpo.ledger.types import BlockHash
from tanpo.ledger.vote import Vote
from tanpo.node.agenda import Turn
from tanpo.simulator.violation import Violation

Rank = tuple[int, int]

_RECORDS_KEPT: Final = 64

_PROMISES: Final = (Append, AppendReply, Nudge, Status, StepDown, Timeout)
"""What promises something: a signature, or a word that others build on."""

PREPARE, COMMIT = SignedKind.VOTE_PREPARE, SignedKind.VOTE_COMMIT


@lru_cache(maxsize=_RECORDS_KEPT)
def _decode(record: bytes) -> DurableRecord:
    return decode_record(record)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promiser:
    """Who is about to send, and what is durable there now. `is_durable` tells of a block and its height."""

    name: str
    epoch: int
    record: bytes | None
    is_durable: Callable[[BlockHash, int], bool]


class PromiseBook:
    """The signatures of honest validators. `find_header` returns the header of a block that was proposed."""

    def __init__(self, find_header: Callable[[BlockHash], Header | None]) -> None:
        self._find_header = find_header
        self._votes: dict[tuple[str, int, SignedKind, int, int], BlockHash] = {}
        self._openings: dict[tuple[str, int, int], BlockHash] = {}
        self._timed_out: dict[tuple[str, int], int] = {}
        self._locks: dict[tuple[str, int], Rank] = {}

    def check(self, promiser: Promiser, message: Message) -> None:
        """Check one message that an honest process is about to send.

        Raises:
            Violation: it contradicts an earlier promise, or what it promises is not durable.
        """
        if not isinstance(message, _PROMISES):
            return
        name = promiser.name
        if promiser.record is None:
            raise Violation("durability", f"{type(message).__name__} leaves before anything is durable", name)
        durable = _decode(promiser.record)
        if durable.epoch != promiser.epoch:
            raise Violation("durability", f"a promise of epoch {promiser.epoch} on an older record", name)
        if isinstance(message, Append | AppendReply | Nudge):
            self._check_votes(promiser, durable, message)
        else:
            self._check_rest(promiser, durable, message)

    def _check_votes(
        self, promiser: Promiser, durable: DurableRecord, message: Append | AppendReply | Nudge
    ) -> None:
        match message:
            case Append():
                self._check_prepare(
                    promiser, durable, message.term, message.block.header, message.block.block_hash
                )
            case AppendReply(vote=vote):
                self._check_vote(promiser, durable, vote)
            case Nudge(certificate=certificate):
                rank = (certificate.term, certificate.height)
                self._note(promiser, COMMIT, rank, certificate.block_hash)
                self._check_lock(promiser, durable, rank)

    def _check_rest(
        self, promiser: Promiser, durable: DurableRecord, message: Status | StepDown | Timeout
    ) -> None:
        name = promiser.name
        match message:
            case Timeout():
                self._check_timeout(promiser, durable, message)
            case StepDown(term=term):
                self._check_timed_out(name, durable, term)
            case Status(term=term, high_qc=high):
                if durable.term < term:
                    raise Violation("durability", f"tells of term {term} before it is durable", name)
                self._check_lock(promiser, durable, high.rank, is_promise=False)

    def _check_vote(self, promiser: Promiser, durable: DurableRecord, vote: Vote) -> None:
        if vote.kind is COMMIT:
            self._note(promiser, COMMIT, vote.rank, vote.block_hash)
            self._check_lock(promiser, durable, vote.rank)
            return
        header = self._find_header(vote.block_hash)
        if header is None:
            raise Violation(
                "promises", f"a vote at {_show(vote.rank)} for a block nobody proposed", promiser.name
            )
        self._check_prepare(promiser, durable, vote.term, header, vote.block_hash)

    def _check_prepare(
        self, promiser: Promiser, durable: DurableRecord, term: int, header: Header, block_hash: BlockHash
    ) -> None:
        name, rank = promiser.name, (term, header.height)
        self._note(promiser, PREPARE, rank, block_hash)
        if header.parent_term < term or header.term < term:
            first = self._openings.setdefault((name, promiser.epoch, term), block_hash)
            if first != block_hash:
                raise Violation("promises", f"votes for two first blocks of term {term}", name)
        voted = durable.voted
        if voted is None or voted.rank < rank or (voted.rank == rank and voted.block_hash != block_hash):
            raise Violation("durability", f"the vote at {_show(rank)} leaves before it is durable", name)
        if not promiser.is_durable(block_hash, header.height):
            raise Violation("durability", f"the block at {_show(rank)} is voted for, not durable", name)
        self._check_lock(promiser, durable, (header.parent_term, header.height - 1))

    def _check_lock(
        self, promiser: Promiser, durable: DurableRecord, rank: Rank, *, is_promise: bool = True
    ) -> None:
        """A vote counts on the certificate under it, so that must be durable too."""
        if durable.high_qc.rank < rank:
            raise Violation(
                "durability",
                f"counts on the certificate at {_show(rank)}, durable is {_show(durable.high_qc.rank)}",
                promiser.name,
            )
        if is_promise:
            who = (promiser.name, promiser.epoch)
            self._locks[who] = max(self._locks.get(who, (0, 0)), rank)

    def _check_timeout(self, promiser: Promiser, durable: DurableRecord, message: Timeout) -> None:
        name, who = promiser.name, (promiser.name, promiser.epoch)
        self._check_timed_out(name, durable, message.term)
        high = (message.entry.high_term, message.entry.high_height)
        lock = self._locks.get(who, (0, 0))
        if message.term > self._timed_out.get(who, 0) and high < lock:
            raise Violation("promises", f"a timeout names {_show(high)}, below its lock {_show(lock)}", name)
        self._timed_out[who] = max(self._timed_out.get(who, 0), message.term)

    def _check_timed_out(self, name: str, durable: DurableRecord, term: int) -> None:
        if durable.timeout is None or durable.timeout.term < term:
            raise Violation("durability", f"the timeout of term {term} leaves before it is durable", name)

    def _note(self, promiser: Promiser, kind: SignedKind, rank: Rank, block_hash: BlockHash) -> None:
        name, key = promiser.name, (promiser.name, promiser.epoch, kind, *rank)
        known = self._votes.get(key)
        if known is None and rank[0] <= self._timed_out.get((name, promiser.epoch), 0):
            raise Violation("promises", f"a vote at {_show(rank)} after the timeout of its term", name)
        if known is not None and known != block_hash:
            raise Violation("promises", f"two votes at {_show(rank)}", name)
        self._votes[key] = block_hash


def check_write(name: str, turn: Turn) -> None:
    """Check what an honest process is about to write.

    Raises:
        Violation: it lets go of a block that it has yet to store (D4).
    """
    if turn.write is None or not turn.write.dropped:
        return
    committed = {one.block.block_hash for one in turn.effects if isinstance(one, CommitBlock)}
    if committed.intersection(turn.write.dropped):
        raise Violation("durability", "lets go of a block before it is stored", name)


def check_rest(name: str, turn: Turn) -> None:
    """Check what a replica does at a time of which it said that nothing would be to do.

    Raises:
        Violation: it does something: the driver would have been late.
    """
    if turn.write is not None or turn.effects:
        raise Violation("rest", f"is at work while it rests: {turn.effects or 'a write'}", name)


def _show(rank: Rank) -> str:
    return f"{rank[0]}/{rank[1]}"
