"""Voters that withhold what they owe, or give everything to everybody."""

from __future__ import annotations

from collections.abc import Sequence

from tanpo.consensus import Message
from tanpo.consensus.messages import (
    Append,
    AppendReply,
    BlockAnswer,
    Committed,
    Heartbeat,
    Nudge,
    TermCertificate,
)
from tanpo.ledger.certificate import CommitProof, QuorumCertificate, SignedKind, compute_quorum
from tanpo.ledger.types import BlockHash, Height, Signature, Term, ValidatorIndex
from tanpo.ledger.vote import Vote
from tanpo.simulator.hostile.actor import Actor, Behaviour, Outgoing
from tanpo.simulator.hostile.proposing import Dress, compute_leader, open_twice, propose

_BALLOTS_KEPT = 32


class Withhold(Behaviour):
    """Says some kinds of message to nobody, or to some only."""

    def __init__(self, name: str, kinds: tuple[type, ...], share: float) -> None:
        self.name = name
        self._kinds = kinds
        self._share = share

    def rewrites(self, actor: Actor, outgoing: Outgoing) -> Sequence[Outgoing]:
        """Leave receivers out."""
        receivers, message = outgoing
        if not isinstance(message, self._kinds):
            return (outgoing,)
        left = tuple(index for index in receivers if actor.random.random() >= self._share)
        if left != receivers:
            actor.note(self.name)
        return ((left, message),) if left else ()


def withhold_votes() -> Behaviour:
    """Return one that seldom votes."""
    return Withhold("withhold-votes", (AppendReply,), 0.8)


def withhold_blocks() -> Behaviour:
    """Return one that shows its blocks to some and answers nobody."""
    return Withhold("withhold-blocks", (Append, BlockAnswer, Committed), 0.5)


def withhold_certificates() -> Behaviour:
    """Return one that keeps to itself what it learned."""
    return Withhold("withhold-certificates", (Nudge, Heartbeat, TermCertificate), 0.7)


def be_silent() -> Behaviour:
    """Return one that says nothing at all."""
    return Withhold("silent", (object,), 1.0)


class VoteForEverything(Behaviour):
    """Votes for whatever anybody proposes or nudges, and tells everybody."""

    name = "vote-for-everything"

    def hears(self, actor: Actor, _sender: ValidatorIndex, message: Message) -> bool:
        """Vote at once."""
        if isinstance(message, Append):
            header = message.block.header
            _vote(actor, SignedKind.VOTE_PREPARE, header.term, header.height, message.block.block_hash)
        elif isinstance(message, Nudge):
            qc = message.certificate
            _vote(actor, SignedKind.VOTE_COMMIT, qc.term, qc.height, qc.block_hash)
        return True


class Collude(Behaviour):
    """Completes certificates with the keys of all conspirators, shows some, and extends any of them."""

    name = "collude"

    def hears(self, actor: Actor, sender: ValidatorIndex, message: Message) -> bool:
        """Count votes of our own terms ourselves; the replica sees half of them."""
        if not isinstance(message, AppendReply):
            return True
        certificate = _complete(actor, sender, message.vote)
        if certificate is not None:
            self._show(actor, certificate)
        return actor.random.random() < 0.5

    def on_tick(self, actor: Actor) -> None:
        """Propose on any certificate in a term of ours."""
        term = actor.random.choice((Term(1), *list(actor.conspiracy.openings)[-3:], actor.term))
        if compute_leader(actor, term) == actor.index and actor.random.random() < 0.15:
            dress = actor.random.choice((Dress.GENUINE, Dress.FORGED))
            propose(actor, term, actor.draw_certificate(), receivers=actor.draw_audience(), dress=dress)

    def _show(self, actor: Actor, certificate: QuorumCertificate) -> None:
        shown: Message = Nudge(certificate=certificate)
        if certificate.kind is SignedKind.VOTE_COMMIT:
            shown = Heartbeat(
                term=certificate.term,
                high_qc=certificate,
                commit_proof=CommitProof(certificate=certificate),
                term_certificate=None,
            )
        if actor.random.random() < 0.5:
            actor.say(actor.draw_audience(), shown, "show-certificate-to-some")
        if actor.random.random() < 0.7:
            justify = certificate if actor.random.random() < 0.6 else actor.draw_certificate()
            dress = actor.random.choice((Dress.GENUINE, Dress.FORGED))
            propose(actor, certificate.term, justify, receivers=actor.draw_audience(), dress=dress)


class Pad(Behaviour):
    """Makes a certificate of the first vote it gets: by repeating a signature until there are enough, or with
    signatures of others that it made up."""

    name = "pad-certificates"

    def hears(self, actor: Actor, sender: ValidatorIndex, message: Message) -> bool:
        """Show what one vote and our own make."""
        if isinstance(message, AppendReply):
            vote = message.vote
            own = actor.sign_vote(actor.index, vote.kind, vote.term, vote.height, vote.block_hash)
            signed = sorted({sender: vote.signature, actor.index: own}.items())
            quorum = compute_quorum(actor.process.reign.validator_count)
            padded = (*signed, *[signed[-1]] * (quorum - len(signed)))
            forged = tuple((ValidatorIndex(index), own) for index in range(quorum))
            certificate = _certify(actor, vote, actor.random.choice((padded, forged)))
            actor.say(actor.draw_audience(), Nudge(certificate=certificate), self.name)
        return True


class Hoard(Behaviour):
    """Leads, completes certificates that only the conspirators get to see, and lets the term end; later opens
    a term again and again, on each of them that is not below the locks of the others."""

    name = "hoard"

    def __init__(self) -> None:
        self._opening = open_twice()

    def hears(self, actor: Actor, sender: ValidatorIndex, message: Message) -> bool:
        """Count votes of our own terms; the replica does not learn of them."""
        if not isinstance(message, AppendReply):
            return True
        if _complete(actor, sender, message.vote) is not None:
            actor.note(self.name)
        return False

    def rewrites(self, actor: Actor, outgoing: Outgoing) -> Sequence[Outgoing]:
        """Leave the opening of a term to ourselves."""
        return self._opening.rewrites(actor, outgoing)

    def on_tick(self, actor: Actor) -> None:
        """Open a term of ours on the next certificate."""
        self._opening.on_tick(actor)


def _complete(actor: Actor, sender: ValidatorIndex, vote: Vote) -> QuorumCertificate | None:
    """Count a vote, with the votes of all conspirators; return the certificate that this completes."""
    ballots = actor.conspiracy.ballots
    claim = (vote.kind, vote.term, vote.height, vote.block_hash)
    votes = ballots.setdefault(claim, {})
    quorum = compute_quorum(actor.process.reign.validator_count)
    if len(votes) >= quorum:
        return None
    votes[sender] = vote.signature
    for index in actor.list_conspirators():
        votes[index] = actor.sign_vote(index, *claim)
    while len(ballots) > _BALLOTS_KEPT:
        del ballots[next(iter(ballots))]
    if len(votes) < quorum:
        return None
    certificate = _certify(actor, vote, tuple(sorted(votes.items())))
    actor.conspiracy.keep(certificate, None)
    return certificate


def _certify(
    actor: Actor, vote: Vote, signatures: tuple[tuple[ValidatorIndex, Signature], ...]
) -> QuorumCertificate:
    return QuorumCertificate(
        kind=vote.kind,
        epoch=actor.epoch,
        term=vote.term,
        height=vote.height,
        block_hash=vote.block_hash,
        signatures=signatures,
    )


def _vote(actor: Actor, kind: SignedKind, term: Term, height: Height, block_hash: BlockHash) -> None:
    vote = Vote(
        kind=kind,
        validator=actor.index,
        term=term,
        height=height,
        block_hash=block_hash,
        signature=actor.sign_vote(actor.index, kind, term, height, block_hash),
    )
    actor.say(actor.draw_audience(), AppendReply(vote=vote), "vote-for-everything")
