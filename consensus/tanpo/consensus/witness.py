"""What each validator signed, as far as we saw it: contradictions become evidence (G1 to G3).

It also tells a validator that asks after a restart what it did (D7). Bounded for each validator (B3), and
lost with the process: evidence that matters is reported at once.
"""

from __future__ import annotations

from typing import Final

from tanpo.consensus.effects import ReportEvidence
from tanpo.consensus.seen import Seen
from tanpo.consensus.state import Core
from tanpo.ledger.block import Header
from tanpo.ledger.certificate import QuorumCertificate, SignedKind, TimeoutCertificate, TimeoutEntry
from tanpo.ledger.evidence import (
    DoubleOpening,
    DoubleVote,
    Evidence,
    LyingTimeout,
    compute_implied_lock,
    is_opening,
)
from tanpo.ledger.types import Term, ValidatorIndex
from tanpo.ledger.vote import Vote, list_votes

VOTES_MAX: Final = 16
"""Latest votes remembered of each validator: more than can be in flight at once."""

TIMEOUTS_MAX: Final = 8


def note_vote(core: Core, vote: Vote, header: Header | None = None) -> None:
    """Remember a verified vote; `header` is that of its block, if it is known."""
    seen = core.witness.setdefault(vote.validator, Seen())
    claim = (vote.kind, vote.term, vote.height)
    known = seen.votes.setdefault(claim, vote)
    if known.block_hash != vote.block_hash:
        _report(core, DoubleVote(epoch=core.config.epoch, first=known, second=vote))
    while len(seen.votes) > VOTES_MAX:
        # Not the oldest: whoever sends old certificates must not make us forget what came after them.
        lowest = min(seen.votes.values(), key=lambda one: one.rank)
        del seen.votes[lowest.kind, lowest.term, lowest.height]
    if vote.kind is SignedKind.VOTE_PREPARE and header is not None and is_opening(vote, header):
        _note_opening(core, seen, vote, header)
    if vote.kind is SignedKind.VOTE_COMMIT or header is not None:
        _note_lock(core, seen, vote, header if vote.kind is SignedKind.VOTE_PREPARE else None)


def note_certificate(core: Core, certificate: QuorumCertificate, header: Header | None) -> None:
    """Remember the votes in a verified certificate."""
    for vote in list_votes(certificate):
        note_vote(core, vote, header)


def note_timeout(core: Core, term: Term, entry: TimeoutEntry) -> None:
    """Remember a verified timeout; of several in one term that which names the lowest lock."""
    seen = core.witness.setdefault(entry.validator, Seen())
    known = seen.timeouts.get(term)
    if known is not None and entry.high_rank >= known.high_rank:
        return
    seen.timeouts[term] = entry
    while len(seen.timeouts) > TIMEOUTS_MAX:
        del seen.timeouts[min(seen.timeouts)]
    if seen.lock is not None:
        _compare(core, seen.lock[0], seen.lock[1], term, entry)


def note_timeout_certificate(core: Core, certificate: TimeoutCertificate) -> None:
    """Remember the timeouts in a verified certificate."""
    for entry in certificate.entries:
        note_timeout(core, certificate.term, entry)


def find_seen(core: Core, validator: ValidatorIndex) -> Seen:
    """Return what is remembered of a validator."""
    return core.witness.get(validator, Seen())


def _note_opening(core: Core, seen: Seen, vote: Vote, header: Header) -> None:
    if seen.opening is not None:
        known, known_header = seen.opening
        # At one height they are a double vote already.
        if known.term == vote.term and known.height != vote.height:
            evidence = DoubleOpening(
                epoch=core.config.epoch,
                first=known,
                first_header=known_header,
                second=vote,
                second_header=header,
            )
            _report(core, evidence)
    if seen.opening is None or seen.opening[0].term < vote.term:
        seen.opening = (vote, header)


def _note_lock(core: Core, seen: Seen, vote: Vote, header: Header | None) -> None:
    for term, entry in seen.timeouts.items():
        _compare(core, vote, header, term, entry)
    if seen.lock is None or compute_implied_lock(*seen.lock) < compute_implied_lock(vote, header):
        seen.lock = (vote, header)


def _compare(core: Core, vote: Vote, header: Header | None, term: Term, entry: TimeoutEntry) -> None:
    """Report a timeout that names a lower lock than a vote of its own or an earlier term implies (G3)."""
    if term >= vote.term and entry.high_rank < compute_implied_lock(vote, header):
        _report(core, LyingTimeout(epoch=core.config.epoch, vote=vote, header=header, term=term, entry=entry))


def _report(core: Core, evidence: Evidence) -> None:
    """Report once for each validator and kind (G4); against ourselves it means that we forgot (D6)."""
    claim = (evidence.accused, type(evidence).__name__)
    if claim in core.reported:
        return
    core.reported.append(claim)
    if evidence.accused == core.config.validator:
        core.has_amnesia = True
    core.effects.append(ReportEvidence(evidence=evidence))
