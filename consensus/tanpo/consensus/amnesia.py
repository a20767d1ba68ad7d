"""After a start: have we forgotten a promise? The others are asked, and a validator that lost its memory
may come back with their help (D6 to D8)."""

from __future__ import annotations

from dataclasses import replace

from tanpo.consensus.certificates import accept_certificate, accept_term_certificate, verify_quorum
from tanpo.consensus.messages import GetStatus, Status
from tanpo.consensus.state import Core, Inquiry, persist, send
from tanpo.consensus.terms import check_entry
from tanpo.consensus.voting import check_vote
from tanpo.consensus.witness import find_seen
from tanpo.ledger.certificate import SignedKind
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.types import Term, ValidatorIndex


def begin(core: Core) -> None:
    """Ask the others what they saw of us; until they answered nothing new is signed (D7)."""
    config, record = core.config, core.record
    if config.validator is None or core.is_behind or config.validator_count == 1:
        return
    if core.has_amnesia and not config.may_rejoin:
        return
    now_ms = core.clock.now_ms
    core.inquiry = Inquiry(
        nonce=core.clock.wall_ms,
        began_ms=now_ms,
        asked_ms=now_ms,
        voted_rank=core.voted_rank,
        high_rank=record.high_qc.rank,
        timeout_term=Term(0) if record.timeout is None else record.timeout.term,
        signed_term=Term(0),
    )
    _ask(core, core.inquiry)


def on_tick(core: Core) -> None:
    """Ask again whoever has not answered; without amnesia, wait for them no longer than a base timeout."""
    inquiry, clock, timing = core.inquiry, core.clock, core.config.timing
    if inquiry is None:
        if core.has_amnesia:
            begin(core)
        return
    if not core.has_amnesia and clock.now_ms - inquiry.began_ms >= timing.base_timeout_ms:
        core.inquiry = None
    elif clock.now_ms - inquiry.asked_ms >= timing.heartbeat_ms:
        inquiry.asked_ms = clock.now_ms
        _ask(core, inquiry)


def on_get_status(core: Core, sender: ValidatorIndex, request: GetStatus) -> None:
    """Tell a validator what we saw of it. Whoever has forgotten itself does not count, and is silent."""
    if not core.can_sign:
        return
    inquiry = core.inquiry
    if inquiry is not None and sender not in inquiry.answered and sender not in inquiry.asked_back:
        # It has just started, perhaps into this epoch like us: what we asked it before may be lost. Only once
        # until we ask all again: two that each answer a question with one would never come to an end.
        inquiry.asked_back.append(sender)
        send(core, sender, GetStatus(nonce=inquiry.nonce))
    seen = find_seen(core, sender)
    timeout = seen.last_timeout
    answer = Status(
        nonce=request.nonce,
        term=core.term,
        high_qc=core.high_qc,
        term_certificate=core.record.term_certificate if core.high_qc.term < core.term else None,
        vote=seen.last_vote,
        timeout_term=Term(0) if timeout is None else timeout[0],
        timeout=None if timeout is None else timeout[1],
    )
    persist(core)  # What we say of our own term and lock must outlive us: the asker builds on it.
    send(core, sender, answer)


def on_status(core: Core, sender: ValidatorIndex, status: Status) -> None:
    """Count an answer; one that shows a signature of ours that we do not remember means amnesia.

    Raises:
        PeerFault: a signature or certificate in it does not stand.
    """
    inquiry = core.inquiry
    if inquiry is None or status.nonce != inquiry.nonce or sender in inquiry.answered:
        return
    high_qc = verify_quorum(core, status.high_qc)
    _check_own(core, status)
    if status.term_certificate is not None:
        accept_term_certificate(core, status.term_certificate)
    if status.term > max(core.term, high_qc.term):
        raise PeerFault(
            Reason.PROTOCOL, "status names a term without proof", value=status.term, limit=core.term
        )
    inquiry.answered.append(sender)
    vote = status.vote
    if vote is not None:
        inquiry.signed_term = max(inquiry.signed_term, vote.term)
        remembered = inquiry.voted_rank if vote.kind is SignedKind.VOTE_PREPARE else inquiry.high_rank
        _notice(core, vote.term, is_forgotten=vote.rank > remembered)
    inquiry.signed_term = max(inquiry.signed_term, status.timeout_term)
    _notice(core, status.timeout_term, is_forgotten=status.timeout_term > inquiry.timeout_term)
    accept_certificate(core, high_qc)
    _conclude(core, inquiry)


def _ask(core: Core, inquiry: Inquiry) -> None:
    inquiry.asked_back.clear()
    for index in range(core.config.validator_count):
        if index not in inquiry.answered:
            send(core, ValidatorIndex(index), GetStatus(nonce=inquiry.nonce))


def _check_own(core: Core, status: Status) -> None:
    own, entry = core.config.validator, status.timeout
    if status.vote is not None:
        if status.vote.validator != own:
            raise PeerFault(Reason.PROTOCOL, "status shows a vote of another", value=status.vote.validator)
        check_vote(core, status.vote)
    if (entry is None) != (status.timeout_term == 0):
        raise PeerFault(Reason.PROTOCOL, "status names a timeout and does not show it")
    if entry is not None:
        if entry.validator != own:
            raise PeerFault(Reason.PROTOCOL, "status shows a timeout of another", value=entry.validator)
        check_entry(core, status.timeout_term, entry)


def _notice(core: Core, term: Term, *, is_forgotten: bool) -> None:
    if is_forgotten and term > core.record.floor:
        core.has_amnesia = True


def _conclude(core: Core, inquiry: Inquiry) -> None:
    """Sign again once enough have answered: as before, or above every term that we may have forgotten."""
    count = len(inquiry.answered)
    if not core.has_amnesia:
        if count + 1 >= core.quorum:
            core.inquiry = None
        return
    if not core.config.may_rejoin or count < core.quorum:
        return
    # Their certificates brought us to the highest of their terms.
    floor = Term(max(core.term, inquiry.signed_term) + 1)
    core.has_amnesia = False
    core.inquiry = None
    core.record = replace(core.record, floor=floor)
    persist(core)
