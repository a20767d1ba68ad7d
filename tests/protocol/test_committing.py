"""C1 to C3, F1, H1, B1, B2: committing, catching up, halting, and bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tanpo.consensus import (
    DiscardBlocks,
    ExecuteBlock,
    Halt,
    Roots,
    Send,
    ServeCommitted,
    build_committed,
)
from tanpo.consensus.chain import HELD_MAX, LAG_MAX
from tanpo.consensus.messages import BlockAnswer, Committed, GetBlock, GetCommitted, Timeout
from tanpo.ledger.block import Block
from tanpo.ledger.certificate import CommitProof, SignedKind
from tanpo.ledger.types import Height, MerkleRoot, StateRoot, Term, ValidatorIndex


def build_chain(bench: Any, length: int) -> list[Block]:
    blocks: list[Block] = []
    for _ in range(length):
        blocks.append(bench.block(1, blocks[-1] if blocks else None))
    return blocks


def prove(bench: Any, block: Block) -> CommitProof:
    return CommitProof(certificate=bench.certify(block, SignedKind.VOTE_COMMIT))


def serve(bench: Any, blocks: list[Block], last: int) -> Committed:
    """What a peer with these blocks committed up to `last` answers."""
    proof = prove(bench, blocks[last - 1])
    return Committed(blocks=tuple(blocks[:last]), headers=(), proof=proof)


def catch_up(bench: Any, seen: Any, effects: list[Any]) -> Iterator[int]:
    """Execute and store whatever is asked for, and yield the committed heights."""
    queue = list(effects)
    while queue:
        effect = queue.pop(0)
        if isinstance(effect, ExecuteBlock):
            queue += bench.execute(effect.block)
        for height in seen.commits([effect]):
            yield height
            queue += bench.stored(height)


def test_blocks_commit_in_height_order_and_once(bench: Any, seen: Any) -> None:
    """C1"""
    first = bench.block(1)
    second = bench.block(1, first)
    third = bench.block(1, second)
    effects = bench.follow(first) + bench.follow(second, first) + bench.follow(third, second)
    for _ in range(2):
        effects += bench.receive(0, bench.heartbeat(prove(bench, third)))

    assert seen.commits(effects) == [1, 2, 3]


def test_a_block_commits_only_when_executed(bench: Any, seen: Any) -> None:
    """C2"""
    first = bench.block(1)
    bench.receive(0, bench.append(first))
    bench.check(first)

    proven = bench.receive(0, bench.heartbeat(prove(bench, first)))
    executed = bench.execute(first)

    assert seen.commits(proven) == []
    assert seen.commits(executed) == [1]


def test_a_lagging_node_commits_what_a_peer_proves(bench: Any, seen: Any) -> None:
    """C3"""
    blocks = build_chain(bench, 20)
    asked = bench.receive(0, bench.heartbeat(prove(bench, blocks[-1])))

    effects = bench.receive(0, serve(bench, blocks, 20))

    assert seen.sent(asked, GetCommitted) == [GetCommitted(from_height=Height(1))]
    assert list(catch_up(bench, seen, effects)) == list(range(1, 21))


def test_catching_up_executes_a_bounded_number_ahead(bench: Any, seen: Any) -> None:
    """C3, L1"""
    blocks = build_chain(bench, 20)
    bench.receive(0, bench.heartbeat(prove(bench, blocks[-1])))

    effects = bench.receive(0, serve(bench, blocks, 20))

    assert len(seen.of(effects, ExecuteBlock)) == LAG_MAX


def test_a_batch_may_end_below_its_proof_if_headers_lead_there(bench: Any, seen: Any) -> None:
    """C3"""
    blocks = build_chain(bench, 20)
    proof = prove(bench, blocks[-1])
    bench.receive(0, bench.heartbeat(proof))
    headers = tuple(block.header for block in blocks[15:])
    batch = Committed(blocks=tuple(blocks[:15]), headers=headers, proof=proof)

    effects = bench.receive(0, batch)

    assert list(catch_up(bench, seen, effects))[:15] == list(range(1, 16))


@pytest.mark.parametrize("fault", ["gap", "foreign", "unproven", "short"])
def test_a_batch_that_does_not_lead_to_its_proof_is_refused(bench: Any, seen: Any, fault: str) -> None:
    """C3"""
    blocks = build_chain(bench, 20)
    proof = prove(bench, blocks[-1])
    bench.receive(0, bench.heartbeat(proof))
    chosen = list(blocks)
    if fault == "gap":
        del chosen[4]
    elif fault == "foreign":
        chosen[4] = bench.block(1, blocks[3], envelopes=[b"forged"])
    elif fault == "unproven":
        weak = bench.certify(blocks[-1], SignedKind.VOTE_COMMIT, signers=(0, 1))
        proof = CommitProof(certificate=weak)
    else:
        chosen = chosen[:-1]

    effects = bench.receive(0, Committed(blocks=tuple(chosen), headers=(), proof=proof))

    assert len(seen.faults(effects)) == 1
    assert seen.of(effects, ExecuteBlock) == []


def test_unasked_blocks_are_not_looked_at(bench: Any, seen: Any) -> None:
    """F1"""
    blocks = build_chain(bench, 3)

    effects = bench.receive(1, serve(bench, blocks, 3)) + bench.receive(1, BlockAnswer(block=blocks[0]))

    assert seen.of(effects, ExecuteBlock) == []
    assert bench.replica.committed_height == 0


def test_a_missing_block_is_asked_of_whoever_named_it_and_then_of_others(bench: Any, seen: Any) -> None:
    """F1"""
    block = bench.block(1)
    effects = bench.receive(0, bench.heartbeat(high_qc=bench.certify(block)))
    for _ in range(3):
        effects += bench.tick(bench.timing.heartbeat_ms)

    asked = [e.to for e in seen.of(effects, Send) if isinstance(e.message, GetBlock)]
    assert asked == [0, 1, 2, 0]


def test_a_fetched_block_is_executed(bench: Any, seen: Any) -> None:
    """F1"""
    first = bench.block(1)
    second = bench.block(1, first)
    bench.receive(0, bench.heartbeat(high_qc=bench.certify(second)))

    below = bench.receive(0, BlockAnswer(block=second))
    effects = bench.receive(0, BlockAnswer(block=first))

    assert [request.height for request in seen.sent(below, GetBlock)] == [1]
    assert [effect.block for effect in seen.of(effects, ExecuteBlock)] == [first, second]


def test_a_block_at_hand_is_handed_on(bench: Any, seen: Any) -> None:
    """F1"""
    block = bench.block(1)
    bench.follow(block)
    request = GetBlock(height=Height(1), block_hash=block.block_hash, committed_height=Height(0))

    assert seen.sent(bench.receive(1, request), BlockAnswer) == [BlockAnswer(block=block)]


def test_committed_blocks_are_served_from_disk(bench: Any, seen: Any) -> None:
    """F1"""
    block = bench.block(1)
    bench.follow(block)
    bench.receive(0, bench.heartbeat(prove(bench, block)))
    bench.stored(1)
    by_hash = GetBlock(height=Height(1), block_hash=block.block_hash, committed_height=Height(0))

    effects = bench.receive(1, by_hash) + bench.receive(1, GetCommitted(from_height=Height(1)))
    beyond = bench.receive(1, GetCommitted(from_height=Height(2)))

    assert (
        seen.of(effects, ServeCommitted) == [ServeCommitted(to=ValidatorIndex(1), from_height=Height(1))] * 2
    )
    assert seen.of(beyond, ServeCommitted) == []


def test_an_answer_is_cut_where_it_can_still_be_proven(bench: Any) -> None:
    """C3"""
    blocks = build_chain(bench, 5)
    early, late = prove(bench, blocks[1]), prove(bench, blocks[4])

    whole = build_committed(zip(blocks, [early, early, late, late, late], strict=True))
    cut = build_committed(zip(blocks[:4], [early, early, late, late], strict=True))
    nothing = build_committed(zip(blocks[2:4], [late, late], strict=True))

    assert whole is not None
    assert (len(whole.blocks), whole.proof) == (5, late)
    assert cut is not None
    assert (len(cut.blocks), cut.proof) == (2, early)
    assert nothing is None


def test_certified_results_that_differ_from_ours_halt(bench: Any, seen: Any) -> None:
    """H1"""
    first = bench.block(1)
    second = bench.block(1, first)
    bench.follow(first)
    bench.receive(0, bench.append(second, first))
    strange = bench.block(1, first, state_root=b"\x07" * 32)
    bench.receive(0, bench.heartbeat(high_qc=bench.certify(strange)))

    effects = bench.receive(0, BlockAnswer(block=strange))

    assert "state divergence" in seen.of(effects, Halt)[0].reason
    assert bench.tick(1000) == []


def test_our_own_strange_results_halt_us_when_a_quorum_certified_others(bench: Any, seen: Any) -> None:
    """H1: nothing is voted for or committed with them."""
    first = bench.block(1)
    second = bench.block(1, first)
    bench.receive(0, bench.append(first))
    bench.check(first)
    bench.receive(0, bench.append(second, first))
    bench.receive(0, bench.heartbeat(high_qc=bench.certify(second)))

    strange = Roots(state_root=StateRoot(b"\x01" * 32), receipts_root=MerkleRoot(bytes(32)))
    effects = bench.execute(first, strange)

    assert len(seen.of(effects, Halt)) == 1
    assert seen.votes(effects) == []
    assert seen.commits(effects) == []


def test_two_commit_proofs_at_one_height_halt(bench: Any, seen: Any) -> None:
    """H1: it takes more than f faults; going on would serve a fork."""
    first = bench.block(1)
    bench.follow(first)
    bench.receive(0, bench.heartbeat(prove(bench, first)))
    rival = bench.block(2, envelopes=[b"rival"])
    proof = prove(bench, bench.block(2, rival))
    bench.receive(1, bench.heartbeat(proof, term=Term(2)))
    child = bench.block(2, rival)
    bench.receive(1, BlockAnswer(block=child))

    effects = bench.receive(1, BlockAnswer(block=rival)) + bench.tick(1)

    assert bench.replica._core.halted is not None
    assert effects == [] or seen.of(effects, Halt)


def test_a_certificate_that_leaves_the_chain_below_the_tip_halts(bench: Any, seen: Any) -> None:
    """H1: a quorum went on from another chain than the one a quorum committed."""
    first = bench.block(1)
    second, rival = bench.block(1, first), bench.block(2, envelopes=[b"rival"])
    bench.follow(first)
    bench.follow(second, first)
    commit = bench.receive(0, bench.heartbeat(high_qc=bench.certify(second, SignedKind.VOTE_COMMIT)))

    effects = bench.receive(0, bench.heartbeat(high_qc=bench.certify(rival)))

    assert seen.commits(commit) == [1, 2]
    assert "below height 2" in seen.of(effects, Halt)[0].reason


def test_a_dead_branch_is_discarded(bench: Any, seen: Any) -> None:
    """B1"""
    loser = bench.block(1, envelopes=[b"loser"])
    bench.follow(loser)
    winner = bench.block(2)
    bench.follow(winner, opening=bench.give_up(1))

    effects = bench.receive(1, bench.heartbeat(prove(bench, winner), term=Term(2)))

    assert seen.commits(effects) == [1]
    assert seen.of(effects, DiscardBlocks) == [DiscardBlocks(block_hashes=(loser.block_hash,))]


def test_held_blocks_are_bounded_however_many_terms_pass(bench: Any, seen: Any) -> None:
    """B1"""
    for term in range(1, 3 * HELD_MAX):
        if (term - 1) % 4 != 3:
            opening = None if term == 1 else bench.give_up(term - 1)
            bench.follow(bench.block(term, envelopes=[b"%d" % term]), opening=opening)

    assert len(bench.replica._core.chain.held()) <= HELD_MAX


def test_timeouts_of_unproven_later_terms_are_not_held(bench: Any, seen: Any) -> None:
    """B2: a flood of them once exhausted the memory of others' nodes."""
    for term in range(2, 200):
        bench.receive(1, bench.timeout(1, term))

    assert bench.replica.term == 1
    assert bench.replica._core.current.timeouts == {}


def test_one_timeout_a_validator_is_held(bench: Any) -> None:
    """B2"""
    block = bench.block(1)
    bench.receive(1, bench.timeout(1, 1))
    bench.receive(1, bench.timeout(1, 1, block))

    assert list(bench.replica._core.current.timeouts) == [1]


def test_votes_for_other_blocks_are_not_held(leader: Any) -> None:
    """B2"""
    leader.submit(b"tx")
    for number in range(50):
        leader.receive(1, leader.reply(1, leader.block(1, envelopes=[b"%d" % number])))

    assert list(leader.replica._core.current.prepare.votes) == [0]


def test_a_late_timeout_still_brings_its_certificates(bench: Any, seen: Any) -> None:
    """B2, T1"""
    opening = bench.give_up(4)
    timeout: Timeout = bench.timeout(1, 5, opening=opening)

    bench.receive(1, replace(timeout, term_certificate=opening))

    assert bench.replica.term == 5
