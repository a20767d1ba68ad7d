"""Validators that hide a lie behind what is true: forged parts beside genuine ones, a lie after the truth,
and the past in bulk, so that the present is forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from tanpo.consensus import Message
from tanpo.consensus.messages import Append, Heartbeat, Nudge, TermCertificate, Timeout
from tanpo.ledger.certificate import (
    CommitProof,
    QuorumCertificate,
    SignedKind,
    TimeoutCertificate,
    compute_quorum,
)
from tanpo.ledger.types import BlockHash, Term, ValidatorIndex
from tanpo.simulator.addresses import list_others
from tanpo.simulator.hostile.actor import Actor, Behaviour, Outgoing
from tanpo.simulator.hostile.terms import make_entry, make_timeout

_BULK: Final = 24
"""Old certificates sent at a time: more than anybody remembers votes of one validator."""


class ForgeLocks(Behaviour):
    """Is the first to complete a term certificate, and sends it with a lock that nobody certified: whoever
    enters the term by the one must not take the other at its word. Then lets that term end too."""

    name = "forge-locks"

    def __init__(self) -> None:
        self._heard: dict[tuple[int, Term], dict[ValidatorIndex, Timeout]] = {}
        self._struck: tuple[int, Term] = (-1, Term(0))

    def hears(self, actor: Actor, sender: ValidatorIndex, message: Message) -> bool:
        """Count timeouts, and strike before the others have as many."""
        if isinstance(message, Timeout) and message.term == actor.term:
            key = (actor.epoch, message.term)
            heard = self._heard.get(key, {}) | {sender: message}
            self._heard = {key: heard}
            opening = _open(actor, message.term, heard)
            if opening is not None and self._struck <= key:
                self._strike(actor, opening)
        return True

    def rewrites(self, actor: Actor, outgoing: Outgoing) -> Sequence[Outgoing]:
        """In a term that a forgery was sent in, lead nobody, and take nothing back by a true timeout."""
        is_struck = self._struck == (actor.epoch, actor.term)
        is_kept = isinstance(outgoing[1], Append | Heartbeat | Nudge | Timeout)
        return () if is_struck and is_kept else (outgoing,)

    def on_tick(self, actor: Actor) -> None:
        """Strike at whoever is late: it may still be in the term before."""
        opening = actor.conspiracy.openings.get(actor.term)
        if opening is not None and actor.random.random() < 0.1:
            self._strike(actor, opening)

    def _strike(self, actor: Actor, opening: TimeoutCertificate) -> None:
        term, high = Term(opening.term + 1), opening.high_qc
        self._struck = (actor.epoch, term)
        forged = _forge(actor, high if high.signatures else actor.draw_certificate())
        proof = CommitProof(certificate=replace(forged, kind=SignedKind.VOTE_COMMIT))
        others: Sequence[Message] = (
            Heartbeat(term=term, high_qc=forged, commit_proof=None, term_certificate=opening),
            Heartbeat(term=term, high_qc=high, commit_proof=proof, term_certificate=opening),
            TermCertificate(certificate=replace(opening, high_qc=forged)),
        )
        message: Message = make_timeout(actor, term, forged, opening)
        if actor.random.random() < 0.2:
            message = actor.random.choice(others)
        actor.say(list_others(actor.process), message, self.name)


class TrueThenLie(Behaviour):
    """Follows each of its timeouts by others of the same term that name lower locks."""

    name = "true-then-lie"

    def rewrites(self, actor: Actor, outgoing: Outgoing) -> Sequence[Outgoing]:
        """Add lies to our timeouts."""
        receivers, message = outgoing
        if not isinstance(message, Timeout):
            return (outgoing,)
        lower = [one for one in actor.conspiracy.certificates if one.rank < message.high_qc.rank]
        if not lower:
            return (outgoing,)
        actor.note(self.name)
        lie = make_timeout(actor, message.term, actor.random.choice(lower), message.term_certificate)
        return (outgoing, (receivers, lie))


class RepeatOld(Behaviour):
    """Shows old certificates in bulk, each in a timeout of the current term: genuine, of no use, and enough
    to make others forget what they have to remember of somebody else."""

    name = "repeat-old-certificates"

    def on_tick(self, actor: Actor) -> None:
        """Send some of the oldest that are known."""
        if actor.random.random() > 0.02:
            return
        known = sorted(actor.conspiracy.certificates, key=lambda one: (one.rank, one.kind))
        audience = actor.draw_audience()
        for high in known[:_BULK]:
            if high.term <= actor.term:
                actor.say(audience, make_timeout(actor, actor.term, high, None), self.name)


def _open(actor: Actor, term: Term, heard: dict[ValidatorIndex, Timeout]) -> TimeoutCertificate | None:
    """Return what the timeouts heard and those of all conspirators make, if they are enough."""
    own = actor.list_conspirators()
    others = {index: one for index, one in heard.items() if index not in own}
    if not others or len(others) + len(own) < compute_quorum(actor.process.reign.validator_count):
        return None
    high = max((one.high_qc for one in others.values()), key=lambda one: one.rank)
    entries = {index: one.entry for index, one in others.items()}
    entries |= {index: make_entry(actor, index, term, high) for index in own}
    listed = tuple(entries[index] for index in sorted(entries))
    return TimeoutCertificate(epoch=actor.epoch, term=term, entries=listed, high_qc=high)


def _forge(actor: Actor, genuine: QuorumCertificate) -> QuorumCertificate:
    """Return a certificate that looks like another one, and that nobody signed."""
    own = actor.sign_vote(actor.index, genuine.kind, genuine.term, genuine.height, genuine.block_hash)
    signatures = tuple((index, own) for index, _ in genuine.signatures)
    block_hash = BlockHash(actor.random.randbytes(32))
    return replace(genuine, block_hash=block_hash, signatures=signatures)
