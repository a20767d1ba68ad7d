"""Why an honest validator may vote for the first block of a term: a genuine term certificate, and a lock
below the block as high as any that it lists (R4). Who votes without need not fork today, but will one day."""

from __future__ import annotations

from typing import Final

from tanpo.consensus.messages import Append
from tanpo.ledger.block import Header
from tanpo.ledger.certificate import (
    QuorumCertificate,
    SignatureChecker,
    TimeoutCertificate,
    verify_timeout_certificate,
)
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.types import BlockHash, NetworkId
from tanpo.ledger.vote import Vote
from tanpo.simulator.violation import Violation

FIRST_TERM: Final = 1


class Justifications:
    """All proposals that anybody made, as far as they open a term."""

    def __init__(self, network_id: NetworkId) -> None:
        self._network_id = network_id
        self._openings: dict[
            tuple[BlockHash, int], list[tuple[QuorumCertificate, TimeoutCertificate | None]]
        ] = {}
        self._justified: set[tuple[BlockHash, int]] = set()

    def note(self, append: Append) -> None:
        """Note a proposal."""
        if append.justify.term < append.term:
            known = self._openings.setdefault((append.block.block_hash, append.term), [])
            opening = (append.justify, append.term_certificate)
            if opening not in known:
                known.append(opening)

    def check_vote(
        self, name: str, vote: Vote, header: Header, *, base: QuorumCertificate, keys: SignatureChecker
    ) -> None:
        """Check a prepare vote of an honest process; `base` and `keys` are those of its epoch.

        Raises:
            Violation: it is for the first block of a term, which no proposal of it justified.
        """
        key = (vote.block_hash, vote.term)
        is_first = header.term < vote.term or header.parent_term < vote.term
        if not is_first or key in self._justified:
            return
        for justify, opening in self._openings.get(key, ()):
            if self._opens(vote.term, justify, opening, base, keys):
                self._justified.add(key)
                return
        what = f"votes for a first block of term {vote.term} that nothing justifies"
        raise Violation("justification", what, name)

    def _opens(
        self,
        term: int,
        justify: QuorumCertificate,
        opening: TimeoutCertificate | None,
        base: QuorumCertificate,
        keys: SignatureChecker,
    ) -> bool:
        if term == FIRST_TERM:
            return justify == base
        if opening is None or opening.term != term - 1 or justify.rank < opening.high_rank:
            return False
        try:
            verify_timeout_certificate(opening, self._network_id, keys, base)
        except PeerFault:
            return False
        return True
