"""The follower's part: which proposals get our vote (R1 to R4, V1 to V4), and commit votes for nudges."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tanpo.consensus.certificates import (
    accept_certificate,
    accept_term_certificate,
    find_contradiction,
    verify_quorum,
)
from tanpo.consensus.chain import Held
from tanpo.consensus.config import DOUBLINGS_MAX
from tanpo.consensus.effects import CheckBlock
from tanpo.consensus.messages import Append, AppendReply, Nudge
from tanpo.consensus.state import (
    Core,
    Proposal,
    compute_leader,
    compute_reach,
    get_base_certificate,
    persist,
    request_execution,
    send,
    sign_vote,
    want_block,
)
from tanpo.consensus.terms import send_hint
from tanpo.consensus.witness import note_vote
from tanpo.ledger.block import BlockFlags, Header
from tanpo.ledger.certificate import QuorumCertificate, SignedKind, TimeoutCertificate, vote_bytes
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.types import ValidatorIndex
from tanpo.ledger.vote import Vote

_FIRST_TERM: Final = 1


def on_append(core: Core, sender: ValidatorIndex, append: Append) -> None:
    """Take a proposal: verify it, learn from its certificates, and keep it if we may vote for it."""
    _check_form(core, append)
    if append.term < core.term:
        send_hint(core, sender)
        return
    leader_vote = _check_leader_vote(core, append)
    justify = verify_quorum(core, append.justify)
    certificate = append.term_certificate
    if certificate is not None:
        accept_term_certificate(core, certificate)
    accept_certificate(core, justify)
    if append.term != core.term:
        return
    # Not of a later term without proof: a vote in the far future would hide earlier ones from the witness.
    note_vote(core, leader_vote, append.block.header)
    if sender == leader_vote.validator:
        core.clock.heard_ms = core.clock.now_ms
    if _resend_vote(core, append):
        return
    _keep(core, append, leader_vote)


def on_nudge(core: Core, sender: ValidatorIndex, nudge: Nudge) -> None:
    """Lock on the certificate, and promise so with a commit vote if its term is still open (R1, S5)."""
    if nudge.certificate.term < core.term:
        send_hint(core, sender)
        return
    certificate = verify_quorum(core, nudge.certificate)
    if certificate.kind is not SignedKind.VOTE_PREPARE or not certificate.signatures:
        raise PeerFault(Reason.PROTOCOL, "a nudge needs a prepare certificate")
    accept_certificate(core, certificate)
    leader = compute_leader(core.config, core.term)
    if certificate.term != core.term or sender != leader:
        return
    core.clock.heard_ms = core.clock.now_ms
    if not core.may_sign or core.has_timed_out:
        return
    if core.high_qc.block_hash != certificate.block_hash:
        # It is not our lock: a rival of one rank, which takes more than f to make. Whoever also signed this
        # one would stand accused beside them.
        return
    vote = sign_vote(
        core, SignedKind.VOTE_COMMIT, certificate.term, certificate.height, certificate.block_hash
    )
    persist(core)  # The lock is durable before anyone may count on it (D1).
    send(core, leader, AppendReply(vote=vote))


def on_checked(core: Core, block_hash: bytes, fault: str | None) -> None:
    """Note the driver's verdict on the body of the proposal we hold."""
    proposal = core.current.proposal
    if proposal is None or proposal.append.block.block_hash != block_hash:
        return
    proposal.is_checked = True
    proposal.refusal = proposal.refusal or fault


def advance(core: Core) -> None:
    """Vote for the proposal we hold once everything it needs is here; wait or refuse otherwise."""
    proposal = core.current.proposal
    if core.halted is not None or proposal is None or proposal.refusal is not None:
        return
    if not _is_vote_open(core, proposal):
        return
    justify = proposal.append.justify
    walk = core.chain.walk(justify.block_hash, justify.height)
    want_block(core, walk.missing)
    if not walk.is_complete or proposal.rank[1] > compute_reach(core):
        return
    # A repeated block needs no check: it is certified, so a quorum found it valid (E4).
    if (proposal.append.is_repeat or _is_valid(core, proposal, walk.path)) and core.may_sign:
        _vote(core, proposal)


def check_vote(core: Core, vote: Vote) -> None:
    """Raise `PeerFault` unless the vote is signed by the validator it names."""
    message = vote_bytes(
        vote.kind, core.config.network_id, core.config.epoch, vote.term, vote.height, vote.block_hash
    )
    if not core.checker.verify(vote.validator, message, vote.signature):
        raise PeerFault(
            Reason.SIGNATURE_INVALID,
            f"bad vote signature of validator {vote.validator}",
            value=vote.validator,
        )


def _check_form(core: Core, append: Append) -> None:
    """Check all that needs neither signatures nor history (V1)."""
    header, justify, config = append.block.header, append.justify, core.config
    opening = append.term_certificate
    is_end = bool(header.flags & BlockFlags.EPOCH_END)
    if append.is_repeat:
        _refuse_any(
            header,
            (not is_end, "only the last block of an epoch is proposed again"),
            (opening is None or justify.term >= append.term, "a repeated block does not open a term"),
            (header.height != justify.height, "certificate of another height"),
            (header.epoch != config.epoch, "block of another epoch"),
        )
        return
    _refuse_any(
        header,
        (header.network_id != config.network_id, "block of another network"),
        (header.epoch != config.epoch, "block of another epoch"),
        (header.height != justify.height + 1, "block is not one above its certificate"),
        (header.parent_hash != justify.block_hash, "block does not extend its certificate"),
        (header.parent_term != justify.term or justify.term > header.term, "wrong parent term"),
        (header.term < _FIRST_TERM, "term below the first"),
        (header.proposer != compute_leader(config, header.term), "proposer does not lead the term"),
        (header.valset_hash != config.valset_hash, "another validator set"),
        (
            (header.next_valset_hash != config.valset_hash) != is_end,
            "new validators without their mark",
        ),
        (opening is not None and opening.term + 1 != header.term, "certificate of another term"),
        (header.tx_count > config.parameters.block_transactions_max, "too many transactions"),
    )


def _refuse_any(header: Header, *faults: tuple[bool, str]) -> None:
    for is_wrong, what in faults:
        if is_wrong:
            raise PeerFault(Reason.PROTOCOL, f"proposal: {what}", value=header.height)


def _check_leader_vote(core: Core, append: Append) -> Vote:
    header = append.block.header
    vote = Vote(
        kind=SignedKind.VOTE_PREPARE,
        validator=compute_leader(core.config, append.term),
        term=append.term,
        height=header.height,
        block_hash=append.block.block_hash,
        signature=append.signature,
    )
    proposal = core.current.proposal
    if proposal is None or proposal.leader_vote != vote:
        check_vote(core, vote)
    return vote


def _resend_vote(core: Core, append: Append) -> bool:
    """Send our stored vote again for a proposal sent again: the signature, not a new one (R2)."""
    voted = core.record.voted
    if voted is None or (voted.term, voted.block_hash) != (append.term, append.block.block_hash):
        return False
    if core.has_timed_out or not core.can_sign:
        return False
    reply = AppendReply(vote=voted)
    persist(core)
    send(core, compute_leader(core.config, core.term), reply)
    return True


def _keep(core: Core, append: Append, leader_vote: Vote) -> None:
    """Keep the leader's latest proposal; of two at one rank, the first."""
    held = core.current.proposal
    if held is not None and leader_vote.rank <= held.rank:
        return
    core.current.proposal = Proposal(
        append=append, leader_vote=leader_vote, received_wall_ms=core.clock.wall_ms
    )


def _is_vote_open(core: Core, proposal: Proposal) -> bool:
    """Whether R1 to R4 allow a vote for this proposal."""
    append = proposal.append
    is_fresh = proposal.rank > core.voted_rank  # R2
    if not core.can_sign or core.has_timed_out or not is_fresh or proposal.rank[0] != core.term:  # R1
        return False
    if append.justify.term == core.term:
        return True  # R3: it continues the term's own certified chain.
    return core.voted_rank[0] < core.term and _opens_term(core, append.justify, append.term_certificate)


def _opens_term(core: Core, justify: QuorumCertificate, certificate: TimeoutCertificate | None) -> bool:
    """Whether a first block extends a certificate as high as any its term certificate lists (R4)."""
    if core.term == _FIRST_TERM:
        return justify == get_base_certificate(core)
    return (
        certificate is not None
        and certificate.term == core.term - 1
        and justify.rank >= certificate.high_rank
    )


def _is_valid(core: Core, proposal: Proposal, path: tuple[Held, ...]) -> bool:
    """Whether the block is known to be valid; notes a refusal for good, and asks for what is not known yet.

    `path` leads from the committed tip to its parent.
    """
    header = proposal.append.block.header
    proposal.refusal = _find_late(core, proposal) or _find_ended(path)
    if proposal.refusal is not None:
        return False
    if not proposal.is_check_asked:
        _ask_check(core, proposal, path)
    request_execution(core, path)
    roots = core.chain.find_roots(header.parent_hash)
    if roots is None or not proposal.is_checked or proposal.refusal is not None:
        return False
    # Whether it is the leader's fault or ours shows when a quorum certifies it or not (H1).
    proposal.refusal = find_contradiction(core, header, roots)
    # Too early, it is looked at again with the next event (V3).
    is_early = header.time_ms > core.clock.wall_ms + core.config.timing.precision_ms
    return proposal.refusal is None and not is_early


def _find_late(core: Core, proposal: Proposal) -> str | None:
    """Return why the block's time is too far behind the clock at its arrival, if it is (V3)."""
    header, timing = proposal.append.block.header, core.config.timing
    attempts = min(max(0, header.term - core.chain.tip.term), DOUBLINGS_MAX)
    earliest = proposal.received_wall_ms - (timing.message_delay_ms << attempts) - timing.precision_ms
    if header.time_ms >= earliest:
        return None
    return f"its time {header.time_ms} is before {earliest}"


def _find_ended(path: tuple[Held, ...]) -> str | None:
    """Return why nothing may follow the parent, if it is the last block of the epoch (E2)."""
    is_ended = bool(path) and bool(path[-1].block.header.flags & BlockFlags.EPOCH_END)
    return "it follows the last block of the epoch" if is_ended else None


def _ask_check(core: Core, proposal: Proposal, path: tuple[Held, ...]) -> None:
    block = proposal.append.block
    parent_time_ms = path[-1].block.header.time_ms if path else core.chain.tip.time_ms
    proposal.is_check_asked = True
    if block.header.time_ms <= parent_time_ms:
        proposal.is_checked, proposal.refusal = True, "its time is not above its parent's"
        return
    ancestors = core.chain.unstored(block.header.parent_hash)
    core.effects.append(CheckBlock(block=block, parent_time_ms=parent_time_ms, ancestors=ancestors))


def _vote(core: Core, proposal: Proposal) -> None:
    append, header = proposal.append, proposal.append.block.header
    vote = sign_vote(core, SignedKind.VOTE_PREPARE, append.term, header.height, append.block.block_hash)
    held = core.chain.add(proposal.append.block)
    held.is_kept = True
    core.record = replace(core.record, voted=vote)
    persist(core)  # Vote, block and lock are durable before the vote leaves (D1).
    reply = AppendReply(vote=vote)
    send(core, compute_leader(core.config, append.term), reply)
    walk = core.chain.walk(proposal.append.block.block_hash, header.height)
    if walk.is_complete:
        request_execution(core, walk.path)
