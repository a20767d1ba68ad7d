"""Counting the votes for one block until they make a certificate."""

from __future__ import annotations

from dataclasses import dataclass, field

from tanpo.ledger.certificate import QuorumCertificate, SignedKind
from tanpo.ledger.types import BlockHash, Epoch, Height, Term, ValidatorIndex
from tanpo.ledger.vote import Vote


@dataclass(slots=True)
class Tally:
    """The votes of one kind for one block. Each validator counts once (S1)."""

    kind: SignedKind
    term: Term
    height: Height
    block_hash: BlockHash
    sent_ms: int
    """When the votes were last asked for."""
    votes: dict[ValidatorIndex, Vote] = field(default_factory=dict)
    certificate: QuorumCertificate | None = None

    @property
    def rank(self) -> tuple[Term, Height]:
        """Term and height of the block."""
        return (self.term, self.height)

    def is_for(self, vote: Vote) -> bool:
        """Whether the vote is for this block, and of this kind."""
        return (vote.kind, vote.rank, vote.block_hash) == (self.kind, self.rank, self.block_hash)

    def add(self, vote: Vote, epoch: Epoch, quorum: int) -> QuorumCertificate | None:
        """Count a verified vote; return the certificate when this vote completes it."""
        if self.certificate is not None:
            return None
        self.votes[vote.validator] = vote
        if len(self.votes) < quorum:
            return None
        self.certificate = QuorumCertificate(
            kind=self.kind,
            epoch=epoch,
            term=self.term,
            height=self.height,
            block_hash=self.block_hash,
            signatures=tuple((index, self.votes[index].signature) for index in sorted(self.votes)),
        )
        return self.certificate
