"""What is inside a message: its kind, the block it is about, and everything signed in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tanpo.consensus import messages
from tanpo.consensus.messages import Message
from tanpo.ledger.certificate import QuorumCertificate, SignedKind, TimeoutCertificate
from tanpo.ledger.types import BlockHash, Term, ValidatorIndex
from tanpo.ledger.vote import Vote

KINDS: Final[dict[type[Message], str]] = {
    messages.Append: "proposal",
    messages.AppendReply: "vote",
    messages.Nudge: "nudge",
    messages.Heartbeat: "heartbeat",
    messages.Suspect: "suspect",
    messages.Timeout: "timeout",
    messages.TermCertificate: "term-certificate",
    messages.StepDown: "step-down",
    messages.GetStatus: "get-status",
    messages.Status: "status",
    messages.GetBlock: "get-block",
    messages.BlockAnswer: "block",
    messages.GetCommitted: "get-committed",
    messages.Committed: "committed",
}
"""What a script calls each message."""

COMMIT_VOTE: Final = "commit-vote"
"""What it calls the answer to a nudge."""


def name_kind(message: Message) -> str:
    """Return what a script calls a message."""
    if isinstance(message, messages.AppendReply) and message.vote.kind is SignedKind.VOTE_COMMIT:
        return COMMIT_VOTE
    return KINDS[type(message)]


def find_subject(message: Message) -> tuple[Term | None, BlockHash | None]:
    """Return the term of a message and the hash of the block it is about, if it has them."""
    match message:
        case messages.Append():
            return message.term, message.block.block_hash
        case messages.AppendReply(vote=vote):
            return vote.term, vote.block_hash
        case messages.Nudge(certificate=certificate):
            return certificate.term, certificate.block_hash
        case messages.TermCertificate(certificate=opening):
            return Term(opening.term + 1), None
        case messages.GetBlock():
            return None, message.block_hash
        case messages.BlockAnswer():
            return None, message.block.block_hash
        case messages.Heartbeat() | messages.Suspect() | messages.Timeout() | messages.StepDown():
            return message.term, None
        case _:
            return None, None


def find_leader_vote(append: messages.Append, leader: ValidatorIndex) -> Vote:
    """Return the leader's vote inside his proposal."""
    header = append.block.header
    return Vote(
        kind=SignedKind.VOTE_PREPARE,
        validator=leader,
        term=append.term,
        height=header.height,
        block_hash=append.block.block_hash,
        signature=append.signature,
    )


def find_certificates(message: Message) -> Iterator[QuorumCertificate]:
    """Return the quorum certificates inside a message."""
    for opening in find_openings(message):
        yield opening.high_qc
    match message:
        case messages.Append():
            yield message.justify
        case messages.Nudge():
            yield message.certificate
        case messages.Timeout() | messages.Status():
            yield message.high_qc
        case messages.Committed():
            yield message.proof.certificate
        case messages.Heartbeat():
            yield message.high_qc
            if message.commit_proof is not None:
                yield message.commit_proof.certificate
        case _:
            return


def find_openings(message: Message) -> Iterator[TimeoutCertificate]:
    """Return the term certificates inside a message."""
    match message:
        case messages.TermCertificate():
            yield message.certificate
        case messages.Append() | messages.Heartbeat() | messages.Timeout():
            if message.term_certificate is not None:
                yield message.term_certificate
        case _:
            return
