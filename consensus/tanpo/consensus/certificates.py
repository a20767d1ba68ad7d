"""What certificates prove: a higher lock, a later term, a commit. They are verified before they count."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tanpo.consensus.chain import AHEAD_MAX, Held
from tanpo.consensus.config import Roots
from tanpo.consensus.messages import TermCertificate
from tanpo.consensus.state import Core, TermState, broadcast, get_base_certificate, halt
from tanpo.consensus.witness import note_certificate, note_timeout_certificate
from tanpo.ledger.block import BlockFlags, Header
from tanpo.ledger.certificate import (
    CommitProof,
    QuorumCertificate,
    SignedKind,
    TimeoutCertificate,
    verify_certificate,
    verify_commit_proof,
    verify_timeout_certificate,
)
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.types import Term

CERTIFICATES_MAX: Final = 32
"""Verified certificates remembered, so that one seen in several messages is checked once."""


def verify_quorum(core: Core, certificate: QuorumCertificate) -> QuorumCertificate:
    """Return a verified certificate for the same claim, ours if we hold one. Raises `PeerFault`."""
    if certificate == get_base_certificate(core):
        return certificate
    _check_epoch(core, certificate.epoch)
    claim = (certificate.kind, certificate.term, certificate.height, certificate.block_hash)
    known = core.certificates.get(claim)
    if known is not None:
        return known
    verify_certificate(certificate, core.config.network_id, core.checker)
    _remember(core, certificate)
    return certificate


def accept_certificate(core: Core, certificate: QuorumCertificate) -> None:
    """Take a verified certificate: lock on it, follow its term, commit what it commits (S3, S4, T1)."""
    if certificate.rank > core.high_qc.rank:
        tip = core.chain.tip
        if certificate.height <= tip.height and certificate.block_hash != tip.block_hash:
            halt(core, f"a quorum left the chain below height {tip.height}: more are faulty than tolerated")
            return
        core.record = replace(core.record, high_qc=certificate)
    if certificate.term > core.term:
        # At least f+1 honest validators voted in that term, so it is safe to follow them.
        enter_term(core, certificate.term, None)
    proposal = core.current.proposal
    is_near = certificate.height <= core.chain.stored_height + AHEAD_MAX
    if is_near and proposal is not None and proposal.append.block.block_hash == certificate.block_hash:
        core.chain.add(proposal.append.block)
    if certificate.kind is SignedKind.VOTE_COMMIT:
        accept_commit_proof(core, CommitProof(certificate=certificate))
    held = core.chain.find(certificate.block_hash)
    if held is not None:
        accept_certified(core, held, certificate)


def accept_certified(core: Core, held: Held, certificate: QuorumCertificate) -> None:
    """Take a block whose certificate is known: keep it, and commit its parent by the same-term rule (S4)."""
    header = held.block.header
    is_prepare = certificate.kind is SignedKind.VOTE_PREPARE
    if is_prepare and not held.is_certified:
        note_certificate(core, certificate, header)
    _mark_certified(core, held)
    base_height = get_base_certificate(core).height
    is_same_term = header.parent_term == header.term == certificate.term
    if is_prepare and is_same_term and header.height - 1 > base_height:
        accept_commit_proof(core, CommitProof(certificate=certificate, child=header))


def check_commit_proof(core: Core, proof: CommitProof) -> None:
    """Raise `PeerFault` unless the proof shows its block final in this epoch."""
    _check_epoch(core, proof.certificate.epoch)
    verify_commit_proof(proof, core.config.network_id, core.checker)
    _remember(core, proof.certificate)


def accept_commit_proof(core: Core, proof: CommitProof) -> None:
    """Take a verified proof: `committing.py` commits up to it as soon as blocks and results are here."""
    tip = core.chain.tip
    if proof.height == tip.height and proof.block_hash != tip.block_hash:
        halt(core, f"conflicting commit at height {tip.height}: more validators are faulty than tolerated")
        return
    known = core.record.commit_proof
    if known is None or proof.height > known.height:
        core.record = replace(core.record, commit_proof=proof)


def accept_term_certificate(core: Core, certificate: TimeoutCertificate) -> None:
    """Verify a term certificate, lock on what it names, and enter its term if later (T1).

    It is verified even if its term is ours already: a first block stands or falls by it (R4).

    Raises:
        PeerFault: it does not show that a quorum gave up its term.
    """
    if certificate == core.record.term_certificate:
        return
    _check_epoch(core, certificate.epoch)
    base = get_base_certificate(core)
    verify_timeout_certificate(certificate, core.config.network_id, core.checker, base)
    _notice_timeout(core, certificate)
    note_timeout_certificate(core, certificate)
    if certificate.high_qc != base:
        _remember(core, certificate.high_qc)
    accept_certificate(core, certificate.high_qc)
    enter_term(core, Term(certificate.term + 1), certificate)


def enter_term(core: Core, term: Term, certificate: TimeoutCertificate | None) -> None:
    """Move to a later term; never back (T1)."""
    if term <= core.term:
        return
    core.record = replace(core.record, term=term, term_certificate=certificate)
    now_ms = core.clock.now_ms
    core.current = TermState(entered_ms=now_ms)
    core.clock.heard_ms = core.clock.progress_ms = now_ms
    core.clock.linger_until_ms = None
    if certificate is not None:
        broadcast(core, TermCertificate(certificate=certificate))


def find_contradiction(core: Core, header: Header, roots: Roots) -> str | None:
    """Return how a header contradicts our results of its parent, None when it does not (V4, V5)."""
    if (roots.state_root, roots.receipts_root) != (header.state_root, header.receipts_root):
        return "its results of the parent differ from ours"
    wanted = core.config.valset_hash if roots.pending_valset is None else roots.pending_valset
    is_end = roots.pending_valset is not None
    if (bool(header.flags & BlockFlags.EPOCH_END), header.next_valset_hash) != (is_end, wanted):
        return "its next validators are not those that the state wants"
    return None


def check_results(core: Core, held: Held) -> None:
    """Halt if a quorum certified other results of the parent than ours (H1)."""
    header = held.block.header
    roots = core.chain.find_roots(header.parent_hash)
    if not held.is_certified or roots is None:
        return
    contradiction = find_contradiction(core, header, roots)
    if contradiction is not None:
        halt(
            core,
            f"state divergence after height {header.height - 1}: {contradiction}; "
            f"a quorum certified state root {header.state_root.hex()[:16]}, "
            f"ours is {roots.state_root.hex()[:16]}",
        )


def _mark_certified(core: Core, held: Held) -> None:
    at: Held | None = held
    while at is not None and not at.is_certified:
        at.is_certified = at.is_kept = True
        check_results(core, at)
        at = core.chain.find(at.block.header.parent_hash)


def _notice_amnesia(core: Core, certificate: QuorumCertificate) -> None:
    """Stop signing when a quorum shows a vote of ours above any we remember: our promises are gone (D6).

    Votes are durable before they leave, so that this never happens to a replica that kept its record. One
    whose record is of a later epoch meets its old votes in every proof, and has forgotten none that count.
    """
    if core.is_behind:
        return
    is_prepare = certificate.kind is SignedKind.VOTE_PREPARE
    # A commit vote is remembered by the lock that it promises.
    remembered = core.voted_rank if is_prepare else core.high_qc.rank
    is_open = certificate.rank > remembered and certificate.term > core.record.floor
    if is_open and any(index == core.config.validator for index, _ in certificate.signatures):
        core.has_amnesia = True


def _notice_timeout(core: Core, certificate: TimeoutCertificate) -> None:
    """Stop signing when a quorum shows a timeout of ours that we do not remember (D6)."""
    timeout = core.record.timeout
    remembered = core.record.floor if timeout is None else max(timeout.term, core.record.floor)
    is_open = certificate.term > remembered and not core.is_behind
    if is_open and any(entry.validator == core.config.validator for entry in certificate.entries):
        core.has_amnesia = True


def _remember(core: Core, certificate: QuorumCertificate) -> None:
    _notice_amnesia(core, certificate)
    held = core.chain.find(certificate.block_hash)
    note_certificate(core, certificate, None if held is None else held.block.header)
    claim = (certificate.kind, certificate.term, certificate.height, certificate.block_hash)
    core.certificates[claim] = certificate
    while len(core.certificates) > CERTIFICATES_MAX:
        del core.certificates[next(iter(core.certificates))]


def _check_epoch(core: Core, epoch: int) -> None:
    if epoch != core.config.epoch:
        raise PeerFault(Reason.PROTOCOL, "certificate of another epoch", value=epoch, limit=core.config.epoch)
