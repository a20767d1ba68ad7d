"""The leader's part: proposals, nudges, counting votes, and sending again what was lost (P1 to P5)."""

from __future__ import annotations

from dataclasses import replace

from tanpo.consensus.certificates import accept_certificate
from tanpo.consensus.config import Payload, Roots
from tanpo.consensus.messages import Append, AppendReply, Nudge
from tanpo.consensus.state import (
    Core,
    broadcast,
    build_heartbeat,
    compute_reach,
    get_base_certificate,
    persist,
    request_execution,
    send,
    sign_vote,
)
from tanpo.consensus.tally import Tally
from tanpo.consensus.voting import check_vote
from tanpo.consensus.witness import note_vote
from tanpo.ledger.block import Block, BlockFlags, Header, compute_body_hash
from tanpo.ledger.certificate import QuorumCertificate, SignedKind
from tanpo.ledger.errors import InvariantViolation, PeerFault, Reason
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.types import Height, ValidatorIndex
from tanpo.ledger.vote import Vote


def advance(core: Core) -> None:
    """Propose the next block, or nudge the last one, if it is our turn and nothing is in flight (P1)."""
    clock = core.clock
    if clock.linger_until_ms is not None and clock.now_ms >= clock.linger_until_ms:
        clock.linger_until_ms = None
    if core.halted is not None or not _may_propose(core):
        return
    justify = _find_justify(core)
    if justify is None:
        return
    parent = core.chain.find(justify.block_hash)
    if parent is not None and parent.block.header.flags & BlockFlags.EPOCH_END:
        _end_epoch(core, justify, parent.block)
        return
    if justify.height + 1 > compute_reach(core):
        return
    roots = core.chain.find_roots(justify.block_hash)
    if roots is None or clock.linger_until_ms is not None:
        return
    parent_time_ms = core.chain.tip.time_ms if parent is None else parent.block.header.time_ms
    time_ms = max(parent_time_ms + 1, clock.wall_ms)
    limits = core.config.parameters
    payload = core.payloads.select(core.chain.unstored(justify.block_hash), time_ms, limits)
    is_unsealed = parent is not None and parent.block.header.tx_count > 0
    is_opening = justify.term < core.term and core.term > 1  # T5
    is_ending = roots.pending_valset is not None  # E1
    if payload.tx_count > 0 and not is_ending:
        if _linger(core, payload):
            return
    elif not (is_unsealed or is_opening or is_ending or payload.evidence):
        _nudge(core, justify)
        return
    _propose(core, justify, roots, payload, time_ms)


def on_reply(core: Core, sender: ValidatorIndex, reply: AppendReply) -> None:
    """Count a vote for our proposal or nudge; late votes are not even verified (P2)."""
    vote = reply.vote
    if vote.validator != sender:
        raise PeerFault(Reason.PROTOCOL, "vote of another validator", value=vote.validator, limit=sender)
    if vote.term != core.term or not core.is_leader:
        return
    tally = core.current.prepare if vote.kind is SignedKind.VOTE_PREPARE else core.current.commit
    if tally is None or tally.rank != vote.rank:
        return
    known = tally.votes.get(sender)
    if not tally.is_for(vote):
        if known is not None:
            check_vote(core, vote)
            note_vote(core, vote)  # Two votes of one rank (G1).
        return
    if known is not None or tally.certificate is not None:
        return
    check_vote(core, vote)
    count_vote(core, tally, vote)


def count_vote(core: Core, tally: Tally, vote: Vote) -> None:
    """Add a verified vote; a completed certificate moves lock and commits."""
    held = core.chain.find(vote.block_hash)
    note_vote(core, vote, None if held is None else held.block.header)
    certificate = tally.add(vote, core.config.epoch, core.quorum)
    if certificate is not None:
        accept_certificate(core, certificate)


def on_tick(core: Core) -> None:
    """Show ourselves to followers and send again what has not been answered (P4)."""
    clock, heartbeat_ms = core.clock, core.config.timing.heartbeat_ms
    if not core.can_sign or not core.is_leader or core.has_timed_out:
        return
    if clock.now_ms - clock.heartbeat_ms >= heartbeat_ms:
        send_heartbeat(core)
    if is_proposal_open(core):
        _repeat_proposal(core)
    commit = core.current.commit
    if commit is not None and commit.certificate is None and core.high_qc.rank == commit.rank:
        _repeat(core, commit, Nudge(certificate=core.high_qc))


def announce_commit(core: Core) -> None:
    """Tell followers of a commit at once unless the next proposal or nudge does (P5)."""
    commit = core.current.commit
    is_nudge_open = commit is not None and commit.certificate is None
    if core.can_sign and core.is_leader and not is_proposal_open(core) and not is_nudge_open:
        send_heartbeat(core)


def send_heartbeat(core: Core) -> None:
    """Broadcast where we stand, as a sign of life."""
    core.clock.heartbeat_ms = core.clock.now_ms
    broadcast(core, build_heartbeat(core))


def is_proposal_open(core: Core) -> bool:
    """Whether our last proposal of this term has no certificate yet: then it is repeated, never replaced."""
    return core.voted_rank[0] == core.term and core.voted_rank > core.high_qc.rank


def _may_propose(core: Core) -> bool:
    may_lead = core.may_sign and core.is_leader and not core.has_timed_out and not core.is_draining  # R1
    return may_lead and not is_proposal_open(core)


def _find_justify(core: Core) -> QuorumCertificate | None:
    """Return the certificate our next block extends, None if we must not propose (R3, R4)."""
    high, record = core.high_qc, core.record
    if high.term == core.term:
        return high
    if core.voted_rank[0] == core.term:
        return None  # Our first block is out: never a second one.
    if core.term == 1:
        return high if high == get_base_certificate(core) else None
    certificate = record.term_certificate
    if certificate is None or certificate.term != core.term - 1:
        return None
    return high  # At least as high as the term certificate's: that was accepted with it.


def _linger(core: Core, payload: Payload) -> bool:
    """Whether to wait a little for a fuller block: only while blocks follow each other closely (P3)."""
    clock, limits = core.clock, core.config.parameters
    is_full = (
        2 * payload.tx_count >= limits.block_transactions_max
        or 2 * sum(map(len, payload.envelopes)) >= limits.block_bytes_max
    )
    if is_full or clock.proposed_ms is None:
        return False
    until_ms = clock.proposed_ms + core.config.timing.linger_ms
    if clock.now_ms >= until_ms:
        return False
    clock.linger_until_ms = until_ms
    return True


def _propose(core: Core, justify: QuorumCertificate, roots: Roots, payload: Payload, time_ms: int) -> None:
    header = Header(
        network_id=core.config.network_id,
        epoch=core.config.epoch,
        term=core.term,
        height=Height(justify.height + 1),
        parent_hash=justify.block_hash,
        parent_term=justify.term,
        time_ms=time_ms,
        proposer=_get_validator(core),
        tx_root=payload.tx_root,
        tx_count=payload.tx_count,
        body_hash=compute_body_hash(payload.envelopes, payload.evidence),
        state_root=roots.state_root,
        receipts_root=roots.receipts_root,
        valset_hash=core.config.valset_hash,
        next_valset_hash=core.config.valset_hash if roots.pending_valset is None else roots.pending_valset,
        flags=BlockFlags.NONE if roots.pending_valset is None else BlockFlags.EPOCH_END,
        evidence_root=compute_merkle_root(payload.evidence),
    )
    block = Block.create(header, payload.envelopes, payload.evidence)
    vote = _put_forward(core, block, justify)
    # An idle chain's sealing block is not load: only blocks with transactions make the next one linger.
    core.clock.proposed_ms = core.clock.now_ms if payload.tx_count > 0 else None
    core.clock.linger_until_ms = None
    request_execution(core, core.chain.walk(block.block_hash, header.height).path)
    core.current.prepare = _open_tally(core, vote)
    count_vote(core, core.current.prepare, vote)


def _put_forward(core: Core, block: Block, justify: QuorumCertificate) -> Vote:
    """Vote for a block of our own term and send it to all."""
    vote = sign_vote(core, SignedKind.VOTE_PREPARE, core.term, block.header.height, block.block_hash)
    core.chain.add(block).is_kept = True
    core.record = replace(core.record, voted=vote, justify=justify)
    persist(core)  # Durable before it leaves: after a crash it is repeated, never made anew (D1).
    broadcast(core, _build_append(core, block, justify, vote))
    return vote


def _end_epoch(core: Core, justify: QuorumCertificate, last: Block) -> None:
    """Make the last block of the epoch final: nothing follows it, but it may open a term once more (E4)."""
    if justify.term == core.term:
        _nudge(core, justify)
        return
    vote = _put_forward(core, last, justify)
    core.current.prepare = _open_tally(core, vote)
    count_vote(core, core.current.prepare, vote)


def _nudge(core: Core, certificate: QuorumCertificate) -> None:
    """Ask once for commit votes on the last certified block, unless it is known to be final (P1)."""
    known = core.record.commit_proof
    final_height = max(core.chain.tip.height, 0 if known is None else known.height)
    tally = core.current.commit
    is_asked = tally is not None and tally.block_hash == certificate.block_hash
    if certificate.term != core.term or certificate.height <= final_height or is_asked:
        return
    vote = sign_vote(
        core, SignedKind.VOTE_COMMIT, certificate.term, certificate.height, certificate.block_hash
    )
    persist(core)  # The lock is durable before anyone may count on it (D1).
    broadcast(core, Nudge(certificate=certificate))
    core.current.commit = _open_tally(core, vote)
    count_vote(core, core.current.commit, vote)


def _repeat_proposal(core: Core) -> None:
    """Send the stored proposal again to whoever has not voted, also after a restart (D5)."""
    voted, justify = core.record.voted, core.record.justify
    held = None if voted is None else core.chain.find(voted.block_hash)
    if voted is None or justify is None or held is None:
        return
    if core.current.prepare is None:
        core.current.prepare = _open_tally(core, voted)
        core.current.prepare.sent_ms = core.clock.now_ms - core.config.timing.heartbeat_ms
        count_vote(core, core.current.prepare, voted)
    persist(core)
    _repeat(core, core.current.prepare, _build_append(core, held.block, justify, voted))


def _repeat(core: Core, tally: Tally, message: Append | Nudge) -> None:
    now_ms = core.clock.now_ms
    if now_ms - tally.sent_ms < core.config.timing.heartbeat_ms:
        return
    tally.sent_ms = now_ms
    for index in range(core.config.validator_count):
        if index not in tally.votes:
            send(core, ValidatorIndex(index), message)


def _build_append(core: Core, block: Block, justify: QuorumCertificate, vote: Vote) -> Append:
    is_first = justify.term < vote.term
    return Append(
        block=block,
        justify=justify,
        term_certificate=core.record.term_certificate if is_first else None,
        signature=vote.signature,
    )


def _open_tally(core: Core, vote: Vote) -> Tally:
    return Tally(
        kind=vote.kind,
        term=vote.term,
        height=vote.height,
        block_hash=vote.block_hash,
        sent_ms=core.clock.now_ms,
    )


def _get_validator(core: Core) -> ValidatorIndex:
    if core.config.validator is None:
        raise InvariantViolation("an observer never proposes")
    return core.config.validator
