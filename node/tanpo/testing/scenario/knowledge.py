"""What the byzantine validators know: the votes, timeouts and certificates they were sent, and their keys.

They share it. They can sign whatever they like, but for themselves only.
"""

from __future__ import annotations

from tanpo.consensus import messages
from tanpo.consensus.messages import Message, Timeout
from tanpo.ledger.certificate import (
    QuorumCertificate,
    SignedKind,
    TimeoutCertificate,
    genesis_certificate,
)
from tanpo.ledger.types import BlockHash, Epoch, Signature, Term, ValidatorIndex
from tanpo.ledger.vote import Vote
from tanpo.testing.scenario.archive import GENESIS_HASH, NETWORK
from tanpo.testing.scenario.contents import find_certificates, find_leader_vote, find_openings


class Knowledge:
    """Everything signed that byzantine validators were ever shown. Signers are numbered as in their epoch."""

    __slots__ = ("certificates", "named_certificates", "named_openings", "openings", "timeouts", "votes")

    def __init__(self) -> None:
        self.votes: dict[tuple[SignedKind, Term, BlockHash], dict[ValidatorIndex, Signature]] = {}
        self.timeouts: dict[tuple[Epoch, Term], dict[ValidatorIndex, Timeout]] = {}
        self.openings: dict[tuple[Epoch, Term], TimeoutCertificate] = {}
        self.named_certificates: dict[str, QuorumCertificate] = {}
        self.named_openings: dict[str, TimeoutCertificate] = {}
        self.certificates: dict[tuple[SignedKind, BlockHash], QuorumCertificate] = {
            (SignedKind.VOTE_PREPARE, GENESIS_HASH): genesis_certificate(NETWORK)
        }

    def absorb(self, epoch: Epoch, sender: ValidatorIndex, message: Message) -> None:
        """Learn from a message."""
        for certificate in find_certificates(message):
            claim = (certificate.kind, certificate.term, certificate.block_hash)
            self.votes.setdefault(claim, {}).update(certificate.signatures)
            known = self.certificates.get((certificate.kind, certificate.block_hash))
            if known is None or known.term < certificate.term:
                self.certificates[certificate.kind, certificate.block_hash] = certificate
        for opening in find_openings(message):
            self.openings.setdefault((opening.epoch, Term(opening.term + 1)), opening)
        match message:
            case messages.Append():
                self.add_vote(find_leader_vote(message, sender))
            case messages.AppendReply():
                self.add_vote(message.vote)
            case messages.Timeout():
                self.timeouts.setdefault((epoch, message.term), {})[message.entry.validator] = message
            case _:
                pass  # The rest holds nothing signed but certificates.

    def add_vote(self, vote: Vote) -> None:
        """Learn one vote."""
        self.votes.setdefault((vote.kind, vote.term, vote.block_hash), {})[vote.validator] = vote.signature
