"""What one validator signed, as far as we saw it (B3)."""

from __future__ import annotations

from dataclasses import dataclass, field

from tanpo.ledger.block import Header
from tanpo.ledger.certificate import SignedKind, TimeoutEntry
from tanpo.ledger.types import Height, Term
from tanpo.ledger.vote import Vote


@dataclass(slots=True)
class Seen:
    """What one validator signed."""

    votes: dict[tuple[SignedKind, Term, Height], Vote] = field(default_factory=dict)
    opening: tuple[Vote, Header] | None = None
    """Its vote for the first block of the latest term."""
    lock: tuple[Vote, Header | None] | None = None
    """The vote that implies its highest lock."""
    timeouts: dict[Term, TimeoutEntry] = field(default_factory=dict)

    @property
    def last_vote(self) -> Vote | None:
        """Its vote of the highest rank."""
        return max(self.votes.values(), key=lambda vote: (vote.rank, vote.kind), default=None)

    @property
    def last_timeout(self) -> tuple[Term, TimeoutEntry] | None:
        """Its timeout of the latest term."""
        return max(self.timeouts.items(), key=lambda item: item[0], default=None)
