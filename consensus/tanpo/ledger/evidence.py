"""Evidence: signed messages that no honest validator makes, complete in themselves (G1 to G3).

    double vote      two votes of one kind and rank for different blocks
    double opening   votes for two first blocks of one term
    lying timeout    a vote that implies a lock, and a timeout of that or a later term that names a lower one

Whoever holds the keys of an epoch's validators can check it, today or in court. It proves a fault of the
holder of a key, which may be a thief or a validator that lost its memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, assert_never

from tanpo.ledger.block import Header, compute_block_hash, encode_header, read_header
from tanpo.ledger.certificate import (
    SignatureChecker,
    SignedKind,
    TimeoutEntry,
    timeout_bytes,
    vote_bytes,
)
from tanpo.ledger.codec import Reader, Writer, malformed
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.types import Epoch, NetworkId, Term, ValidatorIndex
from tanpo.ledger.vote import Vote, read_entry, read_vote, write_entry, write_vote

_DOUBLE_VOTE: Final = 1
_DOUBLE_OPENING: Final = 2
_LYING_TIMEOUT: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubleVote:
    """Two votes of one kind and rank for different blocks (G1)."""

    epoch: Epoch
    first: Vote
    second: Vote

    @property
    def accused(self) -> ValidatorIndex:
        """The validator whose signatures these are."""
        return self.first.validator


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubleOpening:
    """Prepare votes for two first blocks of one term, with the headers that show them to be first (G2)."""

    epoch: Epoch
    first: Vote
    first_header: Header
    second: Vote
    second_header: Header

    @property
    def accused(self) -> ValidatorIndex:
        """The validator whose signatures these are."""
        return self.first.validator


@dataclass(frozen=True, slots=True, kw_only=True)
class LyingTimeout:
    """A vote, and a timeout of `term`, its own or a later one, that names a lower lock than it implies (G3).

    A commit vote implies a lock on its block; a prepare vote one on its parent, which `header` shows.
    """

    epoch: Epoch
    vote: Vote
    header: Header | None
    term: Term
    entry: TimeoutEntry

    @property
    def accused(self) -> ValidatorIndex:
        """The validator whose signatures these are."""
        return self.vote.validator


Evidence = DoubleVote | DoubleOpening | LyingTimeout


def is_opening(vote: Vote, header: Header) -> bool:
    """Return whether a prepare vote is for the first block of its term.

    A vote for a block of an earlier term repeats the last block of an epoch: that opens a term too (E4).
    """
    return header.term < vote.term or header.parent_term < header.term


def compute_implied_lock(vote: Vote, header: Header | None) -> tuple[int, int]:
    """Return the rank of the lock that whoever signed this vote held. (0, 0) if the header is unknown."""
    if vote.kind is SignedKind.VOTE_COMMIT:
        return vote.rank
    return (0, 0) if header is None else (header.parent_term, header.height - 1)


def verify_evidence(evidence: Evidence, network_id: NetworkId, checker: SignatureChecker) -> None:
    """Raise `PeerFault` unless it proves that the accused, a validator of that epoch, broke a rule."""
    match evidence:
        case DoubleVote(first=first, second=second):
            _require(first.kind is second.kind and first.rank == second.rank, "the votes do not compete")
            _require(first.block_hash != second.block_hash, "the votes are for one block")
        case DoubleOpening(first=first, second=second):
            _require(first.term == second.term, "the votes are of different terms")
            _require(first.block_hash != second.block_hash, "the votes are for one block")
            _require_opening(first, evidence.first_header, evidence.epoch)
            _require_opening(second, evidence.second_header, evidence.epoch)
        case LyingTimeout(vote=first):
            _check_lie(evidence)
            second = first
            _verify_timeout(evidence, network_id, checker)
        case _:
            assert_never(evidence)
    _require(first.validator == second.validator, "the signers differ")
    for vote in (first, second):
        _verify_vote(vote, evidence.epoch, network_id, checker)


def encode_evidence(evidence: Evidence) -> bytes:
    """Return the canonical encoding."""
    writer = Writer()
    match evidence:
        case DoubleVote(first=first, second=second):
            writer.u8(_DOUBLE_VOTE).u64(evidence.epoch)
            write_vote(writer, first)
            write_vote(writer, second)
        case DoubleOpening(first=first, second=second):
            writer.u8(_DOUBLE_OPENING).u64(evidence.epoch)
            write_vote(writer, first)
            writer.raw(encode_header(evidence.first_header))
            write_vote(writer, second)
            writer.raw(encode_header(evidence.second_header))
        case LyingTimeout(vote=vote, header=header):
            writer.u8(_LYING_TIMEOUT).u64(evidence.epoch)
            write_vote(writer, vote)
            writer.flag(header is not None)
            if header is not None:
                writer.raw(encode_header(header))
            writer.u64(evidence.term)
            write_entry(writer, evidence.entry)
        case _:
            assert_never(evidence)
    return writer.finish()


def decode_evidence(encoded: bytes) -> Evidence:
    """Return the evidence that `encoded` spells, unverified. Raises `PeerFault` for other bytes."""
    reader = Reader(encoded)
    kind, epoch = reader.u8(), Epoch(reader.u64())
    read = _READERS.get(kind)
    if read is None:
        raise malformed("unknown kind of evidence", value=kind, limit=f"1..{len(_READERS)}")
    evidence = read(reader, epoch)
    reader.finish()
    return evidence


def _require_opening(vote: Vote, header: Header, epoch: Epoch) -> None:
    _require(vote.kind is SignedKind.VOTE_PREPARE, "the votes are not prepare votes")
    _require_header(vote, header, epoch)
    _require(is_opening(vote, header), "a block is not the first of its term")


def _require_header(vote: Vote, header: Header, epoch: Epoch) -> None:
    is_same = header.epoch == epoch and compute_block_hash(header) == vote.block_hash
    _require(is_same, "a header is not that of the vote")


def _check_lie(evidence: LyingTimeout) -> None:
    vote, entry = evidence.vote, evidence.entry
    is_commit = vote.kind is SignedKind.VOTE_COMMIT
    _require(is_commit == (evidence.header is None), "a prepare vote needs its header, a commit vote none")
    if evidence.header is not None:
        _require_header(vote, evidence.header, evidence.epoch)
    _require(evidence.term >= vote.term, "the timeout is of an earlier term than the vote")
    implied = compute_implied_lock(vote, evidence.header)
    _require(entry.high_rank < implied, "the timeout names a lock high enough")


def _verify_timeout(evidence: LyingTimeout, network_id: NetworkId, checker: SignatureChecker) -> None:
    entry = evidence.entry
    _require(entry.validator == evidence.vote.validator, "the signers differ")
    message = timeout_bytes(
        network_id, evidence.epoch, evidence.term, entry.high_term, entry.high_height, entry.high_hash
    )
    _require(checker.verify(entry.validator, message, entry.signature), "the timeout's signature is bad")


def _verify_vote(vote: Vote, epoch: Epoch, network_id: NetworkId, checker: SignatureChecker) -> None:
    message = vote_bytes(vote.kind, network_id, epoch, vote.term, vote.height, vote.block_hash)
    _require(checker.verify(vote.validator, message, vote.signature), "a vote's signature is bad")


def _require(condition: bool, why: str) -> None:
    if not condition:
        raise PeerFault(Reason.PROOF_INVALID, f"evidence: {why}")


def _read_double_vote(reader: Reader, epoch: Epoch) -> DoubleVote:
    return DoubleVote(epoch=epoch, first=read_vote(reader), second=read_vote(reader))


def _read_double_opening(reader: Reader, epoch: Epoch) -> DoubleOpening:
    return DoubleOpening(
        epoch=epoch,
        first=read_vote(reader),
        first_header=read_header(reader),
        second=read_vote(reader),
        second_header=read_header(reader),
    )


def _read_lying_timeout(reader: Reader, epoch: Epoch) -> LyingTimeout:
    return LyingTimeout(
        epoch=epoch,
        vote=read_vote(reader),
        header=read_header(reader) if reader.flag() else None,
        term=Term(reader.u64()),
        entry=read_entry(reader),
    )


_READERS: Final[dict[int, Callable[[Reader, Epoch], Evidence]]] = {
    _DOUBLE_VOTE: _read_double_vote,
    _DOUBLE_OPENING: _read_double_opening,
    _LYING_TIMEOUT: _read_lying_timeout,
}
