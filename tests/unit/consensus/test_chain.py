"""The tree of held blocks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tanpo.consensus.chain import HELD_MAX, Chain, Missing
from tanpo.consensus.config import CommittedTip, Roots
from tanpo.ledger.block import EMPTY_ROOT, Block, BlockFlags, Header, compute_body_hash
from tanpo.ledger.certificate import CommitProof, genesis_certificate
from tanpo.ledger.errors import InvariantViolation
from tanpo.ledger.types import BlockHash, Epoch, Height, NetworkId, StateRoot, Term, ValidatorIndex

NETWORK = NetworkId(b"\x01" * 32)
ROOTS = Roots(state_root=StateRoot(bytes(32)), receipts_root=EMPTY_ROOT)
TIP = CommittedTip(height=Height(0), block_hash=BlockHash(NETWORK), term=Term(0), time_ms=0, roots=ROOTS)
PROOF = CommitProof(certificate=genesis_certificate(NETWORK))
HEADER = Header(
    network_id=NETWORK,
    epoch=Epoch(0),
    term=Term(1),
    height=Height(1),
    parent_hash=BlockHash(NETWORK),
    parent_term=Term(0),
    time_ms=1,
    proposer=ValidatorIndex(0),
    tx_root=EMPTY_ROOT,
    tx_count=0,
    body_hash=compute_body_hash(()),
    state_root=StateRoot(bytes(32)),
    receipts_root=EMPTY_ROOT,
    valset_hash=bytes(32),
    next_valset_hash=bytes(32),
    flags=BlockFlags.NONE,
    evidence_root=EMPTY_ROOT,
)


def child(parent: Block | None = None, time_ms: int = 1) -> Block:
    if parent is None:
        return Block.create(replace(HEADER, time_ms=time_ms), ())
    height = Height(parent.header.height + 1)
    return Block.create(replace(HEADER, height=height, parent_hash=parent.block_hash, time_ms=time_ms), ())


def test_a_walk_goes_from_the_tip_to_the_block() -> None:
    chain, first = Chain(TIP), child()
    second = child(first)
    chain.add(second)
    chain.add(first)

    walk = chain.walk(second.block_hash, Height(2))

    assert walk.is_complete
    assert [held.block for held in walk.path] == [first, second]


def test_a_walk_names_the_first_missing_block() -> None:
    chain, first = Chain(TIP), child()
    second = child(first)
    chain.add(second)

    walk = chain.walk(second.block_hash, Height(2))

    assert not walk.is_complete
    assert walk.missing == Missing(first.block_hash, Height(1))


def test_a_block_that_leaves_the_chain_below_the_tip_conflicts() -> None:
    chain, first, rival = Chain(TIP), child(), child(time_ms=2)
    above = child(rival)
    chain.add(first).roots = ROOTS
    chain.commit(chain.add(first), PROOF)
    chain.add(above)

    assert chain.walk(above.block_hash, Height(2)).is_conflicting


def test_committing_removes_rivals_and_their_descendants_but_not_orphans() -> None:
    chain, first, rival = Chain(TIP), child(), child(time_ms=2)
    chain.add(first).roots = ROOTS
    chain.add(rival)
    chain.add(child(rival))
    orphan = chain.add(child(child(child(first))))

    dead = chain.commit(chain.add(first), PROOF)

    assert [held.block for held in dead] == [rival, child(rival)]
    assert chain.find(orphan.block.block_hash) is orphan


def test_a_block_commits_only_as_an_executed_child_of_the_tip() -> None:
    chain, first = Chain(TIP), child()

    with pytest.raises(InvariantViolation, match="executed"):
        chain.commit(chain.add(first), PROOF)
    with pytest.raises(InvariantViolation, match="extend the tip"):
        chain.commit(chain.add(child(first)), PROOF)


def test_stored_blocks_are_let_go() -> None:
    chain, first = Chain(TIP), child()
    chain.add(first).roots = ROOTS
    chain.commit(chain.add(first), PROOF)

    assert chain.unstored(first.block_hash) == (first,)
    assert [held.block for held in chain.store(Height(1))] == [first]
    assert chain.find(first.block_hash) is None


def test_nothing_uncommitted_can_be_stored() -> None:
    with pytest.raises(InvariantViolation, match="only committed"):
        Chain(TIP).store(Height(1))


def test_eviction_spares_the_branch_of_the_lock_and_certified_blocks() -> None:
    chain = Chain(TIP)
    lock, certified = child(time_ms=1), child(time_ms=2)
    chain.add(lock)
    chain.add(certified).is_certified = True
    for number in range(HELD_MAX):
        chain.add(child(time_ms=10 + number))

    evicted = chain.evict(lock.block_hash, Height(1))

    assert len(evicted) == 2
    assert chain.find(lock.block_hash) is not None
    assert chain.find(certified.block_hash) is not None
    assert len(list(chain.held())) == HELD_MAX


def test_results_are_known_for_the_tip_and_for_executed_blocks() -> None:
    chain, first = Chain(TIP), child()
    held = chain.add(first)

    assert chain.find_roots(TIP.block_hash) == ROOTS
    assert chain.find_roots(first.block_hash) is None
    held.roots = ROOTS
    assert chain.find_roots(first.block_hash) == ROOTS
