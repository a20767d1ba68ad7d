"""Validators that lie about where they stand, complain without cause, flood, or repeat what is past."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from tanpo.consensus import Message
from tanpo.consensus.messages import (
    Append,
    AppendReply,
    Committed,
    GetCommitted,
    Heartbeat,
    Status,
    StepDown,
    Suspect,
    TermCertificate,
    Timeout,
)
from tanpo.ledger.certificate import (
    CommitProof,
    QuorumCertificate,
    SignedKind,
    TimeoutCertificate,
    TimeoutEntry,
    step_down_bytes,
    timeout_bytes,
)
from tanpo.ledger.types import Height, Term, ValidatorIndex
from tanpo.ledger.vote import Vote
from tanpo.simulator.addresses import list_others
from tanpo.simulator.hostile.actor import Actor, Behaviour, Outgoing

_KEPT = 30
_AHEAD_MAX = 1_000


class LieInTimeouts(Behaviour):
    """Names older certificates in its timeouts than it holds, to each receiver another; gives up any term."""

    name = "lie-in-timeouts"

    def rewrites(self, actor: Actor, outgoing: Outgoing) -> Sequence[Outgoing]:
        """Replace our timeouts."""
        receivers, message = outgoing
        if not isinstance(message, Timeout):
            return (outgoing,)
        actor.note(self.name)
        return [((to,), _timeout(actor, message.term, message.term_certificate)) for to in receivers]

    def hears(self, actor: Actor, _sender: ValidatorIndex, message: Message) -> bool:
        """Join whoever complains, at once."""
        if isinstance(message, Suspect) and message.term == actor.term:
            opening = actor.conspiracy.openings.get(message.term)
            actor.say(actor.draw_audience(), _timeout(actor, message.term, opening), "timeout-at-once")
        return True


class LieInStatus(Behaviour):
    """Tells a validator that has restarted something else than it saw of it."""

    name = "lie-in-status"

    def rewrites(self, actor: Actor, outgoing: Outgoing) -> Sequence[Outgoing]:
        """Replace our answers."""
        receivers, message = outgoing
        if not isinstance(message, Status):
            return (outgoing,)
        actor.note(self.name)
        hidden = replace(message, vote=None, timeout_term=Term(0), timeout=None)
        lies = (
            hidden,
            replace(hidden, high_qc=actor.draw_certificate()),
            replace(message, term=Term(message.term + actor.random.randrange(1, _AHEAD_MAX))),
            replace(message, nonce=message.nonce + 1),
        )
        return ((receivers, actor.random.choice(lies)),)


class LieInCatchUp(Behaviour):
    """Answers those who lack blocks with blocks that nobody committed, and proofs of nothing or of others."""

    name = "lie-in-catch-up"

    def hears(self, actor: Actor, sender: ValidatorIndex, message: Message) -> bool:
        """Answer instead of the replica."""
        if not isinstance(message, GetCommitted):
            return True
        found = [b for b in actor.cluster.annals.blocks.values() if b.header.height == message.from_height]
        own = [block for block in found if block.header.epoch == actor.epoch]
        if own:
            block, certificate = actor.random.choice(own), actor.draw_certificate()
            claimed = replace(certificate, kind=SignedKind.VOTE_COMMIT)
            if actor.random.random() < 0.5:
                claimed = replace(claimed, height=block.header.height, block_hash=block.block_hash)
            proof = CommitProof(certificate=claimed)
            actor.say((sender,), Committed(blocks=(block,), headers=(), proof=proof), self.name)
        return False


class FloodTerms(Behaviour):
    """Sends timeouts, heartbeats, votes and term certificates of terms that nobody is in."""

    name = "flood-future-terms"

    def on_tick(self, actor: Actor) -> None:
        """Send a handful of nonsense."""
        rng = actor.random
        if rng.random() > 0.2:
            return
        term = Term(actor.term + rng.randrange(1, _AHEAD_MAX))
        high = actor.draw_certificate()
        entry = make_entry(actor, actor.index, term, high)
        forged = TimeoutCertificate(epoch=actor.epoch, term=Term(term - 1), entries=(entry,), high_qc=high)
        vote = Vote(
            kind=SignedKind.VOTE_PREPARE,
            validator=actor.index,
            term=term,
            height=Height(high.height + rng.randrange(1, _AHEAD_MAX)),
            block_hash=high.block_hash,
            signature=entry.signature,
        )
        nonsense: tuple[Message, ...] = (
            _timeout(actor, term, None),
            _timeout(actor, term, forged),
            Suspect(term=term),
            TermCertificate(certificate=forged),
            AppendReply(vote=vote),
            Heartbeat(term=term, high_qc=high, commit_proof=None, term_certificate=forged),
        )
        actor.say(actor.draw_audience(), rng.choice(nonsense), self.name)


class SuspectAlways(Behaviour):
    """Complains about every leader at every chance."""

    name = "suspect-always"

    def on_tick(self, actor: Actor) -> None:
        """Complain."""
        if actor.random.random() < 0.3:
            actor.say(list_others(actor.process), Suspect(term=actor.term), self.name)


class ForgeStepDowns(Behaviour):
    """Gives the terms of others away, as soon as it sees them begin."""

    name = "forge-step-downs"

    def __init__(self) -> None:
        self._done: tuple[int, int] = (0, 0)

    def hears(self, actor: Actor, _sender: ValidatorIndex, message: Message) -> bool:
        """Sign in the place of a leader that shows itself."""
        term = message.term if isinstance(message, Append | Heartbeat) else actor.term
        if self._done < (actor.epoch, term):
            self._done = (actor.epoch, term)
            signed = step_down_bytes(actor.cluster.network_id, actor.epoch, Term(term))
            signature = actor.process.reign.sign(actor.index, signed)
            actor.say(list_others(actor.process), StepDown(term=Term(term), signature=signature), self.name)
        return True


class Replay(Behaviour):
    """Repeats, as its own, what it once sent or heard."""

    name = "replay"

    def __init__(self) -> None:
        self._past: deque[Message] = deque(maxlen=_KEPT)

    def hears(self, actor: Actor, _sender: ValidatorIndex, message: Message) -> bool:
        """Keep some of what comes."""
        if actor.random.random() < 0.3:
            self._past.append(message)
        return True

    def rewrites(self, actor: Actor, outgoing: Outgoing) -> Sequence[Outgoing]:
        """Keep some of what goes."""
        if actor.random.random() < 0.5:
            self._past.append(outgoing[1])
        return (outgoing,)

    def on_tick(self, actor: Actor) -> None:
        """Repeat something."""
        if self._past and actor.random.random() < 0.2:
            actor.say(actor.draw_audience(), actor.random.choice(self._past), self.name)


def make_timeout(
    actor: Actor, term: Term, high: QuorumCertificate, opening: TimeoutCertificate | None
) -> Timeout:
    """Return our timeout of a term that names this certificate, genuine or not."""
    entry = make_entry(actor, actor.index, term, high)
    return Timeout(term=term, entry=entry, high_qc=high, term_certificate=opening)


def make_entry(actor: Actor, index: ValidatorIndex, term: Term, high: QuorumCertificate) -> TimeoutEntry:
    """Return what any of the conspirators signs to give up a term."""
    message = timeout_bytes(
        actor.cluster.network_id, actor.epoch, term, high.term, high.height, high.block_hash
    )
    return TimeoutEntry(
        validator=index,
        high_term=high.term,
        high_height=high.height,
        high_hash=high.block_hash,
        signature=actor.process.reign.sign(index, message),
    )


def _timeout(actor: Actor, term: Term, opening: TimeoutCertificate | None) -> Timeout:
    high = actor.draw_certificate()
    if high.term > term:
        high = actor.conspiracy.certificates[0]
    return make_timeout(actor, term, high, opening)
