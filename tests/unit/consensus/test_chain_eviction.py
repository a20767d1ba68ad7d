"""What the block tree lets go of when it is full, and what a replica that catches up never loses."""

from __future__ import annotations

from hashlib import sha256

from tanpo.consensus import genesis_start
from tanpo.consensus.chain import HELD_MAX, LAG_MAX, Chain
from tanpo.ledger.block import EMPTY_ROOT, Block, BlockFlags, Header, compute_body_hash
from tanpo.ledger.types import (
    BlockHash,
    Epoch,
    Height,
    MerkleRoot,
    NetworkId,
    StateRoot,
    Term,
    ValidatorIndex,
)

NETWORK = NetworkId(sha256(b"chain").digest())
TIP = genesis_start(NETWORK, 1_000, StateRoot(bytes(32)), EMPTY_ROOT).tip


def make_block(height: int, parent: BlockHash, *, term: int = 1) -> Block:
    header = Header(
        network_id=NETWORK,
        epoch=Epoch(0),
        term=Term(term),
        height=Height(height),
        parent_hash=parent,
        parent_term=Term(term),
        time_ms=1_000 + height,
        proposer=ValidatorIndex(0),
        tx_root=EMPTY_ROOT,
        tx_count=0,
        body_hash=compute_body_hash(()),
        state_root=StateRoot(bytes(32)),
        receipts_root=MerkleRoot(bytes(32)),
        valset_hash=bytes(32),
        next_valset_hash=bytes(32),
        flags=BlockFlags.NONE,
        evidence_root=EMPTY_ROOT,
    )
    return Block.create(header, ())


def make_branch(count: int) -> list[Block]:
    blocks: list[Block] = []
    for height in range(1, count + 1):
        blocks.append(make_block(height, blocks[-1].block_hash if blocks else TIP.block_hash))
    return blocks


def test_blocks_to_be_committed_next_outlast_a_full_tree_above_them() -> None:
    blocks = make_branch(HELD_MAX + 40)
    far, near = blocks[40:], blocks[:LAG_MAX]
    chain = Chain(TIP)
    for block in (*far, *near):
        chain.add(block).is_certified = True
    assert len(tuple(chain.held())) > HELD_MAX

    chain.evict(far[-1].block_hash, far[-1].header.height)

    assert all(chain.find(block.block_hash) is not None for block in near)


def test_uncertified_blocks_go_first_when_the_tree_is_full() -> None:
    branch = make_branch(HELD_MAX)
    chain = Chain(TIP)
    for block in branch:
        chain.add(block).is_certified = True
    stray = make_block(1, TIP.block_hash, term=2)
    chain.add(stray)

    removed = chain.evict(branch[-1].block_hash, branch[-1].header.height)

    assert [held.block for held in removed] == [stray]
