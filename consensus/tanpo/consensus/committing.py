"""From a commit proof to commits: in height order, each once, after its own execution (C1, C2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tanpo.consensus.certificates import accept_certified, check_results
from tanpo.consensus.chain import LAG_MAX, Held
from tanpo.consensus.config import DOUBLINGS_MAX, Roots
from tanpo.consensus.effects import CommitBlock
from tanpo.consensus.events import BlockExecuted, CommitStored
from tanpo.consensus.state import Core, forget, halt, request_execution, want_block
from tanpo.ledger.certificate import CommitProof
from tanpo.ledger.types import Term

CALM_COMMITS: Final = 100
"""Commits in one term after which patience is lowered by one doubling."""


def advance(core: Core) -> None:
    """Commit everything that is proven final, held and executed; ask for what is missing."""
    _follow_certificate(core)
    _commit_batch(core)
    _commit_proven(core)
    forget(core, core.chain.evict(core.high_qc.block_hash, core.high_qc.height), are_dead=True)


def on_executed(core: Core, event: BlockExecuted) -> None:
    """Note the results of a block. Results for a block no longer held are of no interest."""
    held = core.chain.find(event.block_hash)
    if held is None or held.roots is not None:
        return
    held.roots = Roots(
        state_root=event.state_root,
        receipts_root=event.receipts_root,
        pending_valset=event.pending_valset,
    )
    for child in core.chain.held():
        if child.block.header.parent_hash == event.block_hash:
            check_results(core, child)


def on_stored(core: Core, event: CommitStored) -> None:
    """Let go of blocks that the driver holds durably; before that a crash could lose them (D4)."""
    forget(core, core.chain.store(event.height), are_dead=False)


def _follow_certificate(core: Core) -> None:
    """Hold and execute the branch of the highest certificate: the next block extends it."""
    certificate = core.high_qc
    walk = core.chain.walk(certificate.block_hash, certificate.height)
    want_block(core, walk.missing)
    held = core.chain.find(certificate.block_hash)
    if held is not None and not held.is_certified:
        accept_certified(core, held, certificate)
    if walk.is_complete:
        request_execution(core, walk.path)


def _commit_batch(core: Core) -> None:
    """Feed a batch of committed blocks to execution, a few at a time, and commit them (C3)."""
    batch = core.catch_up.batch
    while batch is not None and core.halted is None:
        batch.blocks = [b for b in batch.blocks if b.header.height > core.chain.tip.height]
        if not batch.blocks:
            core.catch_up.batch = batch = None
            return
        ahead = tuple(
            core.chain.add(block)
            for block in batch.blocks[:LAG_MAX]
            if block.header.height <= core.chain.stored_height + LAG_MAX
        )
        for held in ahead:
            held.is_certified = True
            check_results(core, held)
        request_execution(core, ahead)
        if not ahead or not _commit(core, ahead[0], batch.proof):
            return


def _commit_proven(core: Core) -> None:
    proof = core.record.commit_proof
    if proof is None or proof.height <= core.chain.tip.height:
        return
    walk = core.chain.walk(proof.block_hash, proof.height)
    want_block(core, walk.missing)
    if walk.is_conflicting:
        halt(core, f"conflicting commit below height {proof.height}: too many validators are faulty")
    if not walk.is_complete:
        return
    request_execution(core, walk.path)
    for held in walk.path:
        if core.halted is not None or not _commit(core, held, proof):
            return


def _commit(core: Core, held: Held, proof: CommitProof) -> bool:
    """Commit one child of the tip if its results are known; the tip's were checked by it (C2, H1)."""
    held.is_certified = True
    check_results(core, held)
    if core.halted is not None or held.roots is None:
        return False
    _learn_patience(core, held.block.header.term)
    forget(core, core.chain.commit(held, proof), are_dead=True)
    core.effects.append(CommitBlock(block=held.block, proof=proof))
    core.clock.progress_ms = core.clock.now_ms
    return True


def _learn_patience(core: Core, term: Term) -> None:
    """Keep the patience that a term needed to succeed, and give some back after a long calm (T3)."""
    record, failures = core.record, term - core.chain.tip.term - 1
    if failures > 0:
        doublings = min(DOUBLINGS_MAX, record.doublings + failures)
        core.record = replace(record, doublings=doublings, calm=0)
    elif failures == 0:
        core.record = replace(record, calm=0)
    elif record.doublings:
        calm = record.calm + 1
        is_over = calm >= CALM_COMMITS
        core.record = replace(record, doublings=record.doublings - is_over, calm=0 if is_over else calm)
