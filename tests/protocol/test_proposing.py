"""P1 to P5: what a leader sends, and when."""

from __future__ import annotations

from typing import Any

from tanpo.consensus import ReportEvidence
from tanpo.consensus.messages import Append, Heartbeat, Nudge
from tanpo.ledger.block import Block
from tanpo.ledger.certificate import SignedKind


def propose(leader: Any, seen: Any, *envelopes: bytes) -> Block:
    """Submit transactions to an idle leader, and return the block it proposes."""
    effects = leader.submit(*envelopes)
    block: Block = seen.sent(effects, Append)[0].block
    leader.pending.clear()
    leader.execute(block)
    return block


def certify(leader: Any, block: Block, kind: SignedKind = SignedKind.VOTE_PREPARE) -> list[Any]:
    effects: list[Any] = leader.receive(1, leader.reply(1, block, kind))
    effects += leader.receive(2, leader.reply(2, block, kind))
    return effects


def test_a_leader_proposes_as_soon_as_a_transaction_waits(leader: Any, seen: Any) -> None:
    """P1"""
    block = propose(leader, seen, b"tx")

    assert (block.header.height, block.envelopes) == (1, (b"tx",))


def test_an_idle_chain_gets_no_blocks(leader: Any, seen: Any) -> None:
    """P1"""
    assert seen.sent(leader.tick() + leader.tick(500), Append) == []


def test_one_proposal_is_in_flight(leader: Any, seen: Any) -> None:
    """P1"""
    propose(leader, seen, b"one")

    assert seen.sent(leader.submit(b"two"), Append) == []


def test_the_next_proposal_waits_for_the_execution_of_the_last(leader: Any, seen: Any) -> None:
    """P1, V4: its header carries the results."""
    block = seen.sent(leader.submit(b"one", b"two"), Append)[0].block
    leader.pending.clear()

    certified = certify(leader, block)
    executed = leader.execute(block)

    assert seen.sent(certified, Append) == []
    following = seen.sent(executed, Append)[0].block
    assert following.header.state_root == leader.roots_after(block).state_root


def test_an_empty_block_seals_the_last_transactions(leader: Any, seen: Any) -> None:
    """P1"""
    block = propose(leader, seen, b"tx")

    effects = certify(leader, block)

    seal = seen.sent(effects, Append)[0].block
    assert (seal.header.height, seal.header.tx_count) == (2, 0)
    assert seen.sent(effects, Nudge) == []


def test_a_nudge_commits_the_sealing_block(leader: Any, seen: Any) -> None:
    """P1"""
    block = propose(leader, seen, b"tx")
    seal = seen.sent(certify(leader, block), Append)[0].block
    leader.execute(seal)

    effects = certify(leader, seal)
    finished = certify(leader, seal, SignedKind.VOTE_COMMIT)

    assert seen.commits(effects) == [1]
    assert [nudge.certificate.height for nudge in seen.sent(effects, Nudge)] == [2]
    assert seen.commits(finished) == [2]
    assert seen.sent(finished, Append) + seen.sent(leader.tick(100), Nudge) == []


def test_transactions_do_not_wait_for_a_nudge(leader: Any, seen: Any) -> None:
    """P1"""
    block = propose(leader, seen, b"tx")
    seal = seen.sent(certify(leader, block), Append)[0].block
    leader.execute(seal)
    certify(leader, seal)

    effects = leader.submit(b"next")

    assert [a.block.header.height for a in seen.sent(effects, Append)] == [3]


def test_ancestors_are_named_when_transactions_are_selected(leader: Any, seen: Any) -> None:
    """P1, V2: what is in flight must not be proposed twice."""
    block = propose(leader, seen, b"tx")

    certify(leader, block)

    assert leader.selected[-1] == (block,)


def test_votes_beyond_a_quorum_are_not_verified(leader: Any, seen: Any) -> None:
    """P2"""
    block = propose(leader, seen, b"tx")
    certify(leader, block)
    checked = leader.keys.checked

    leader.receive(3, leader.reply(3, block))

    assert leader.keys.checked == checked


def test_a_validator_counts_once(leader: Any, seen: Any) -> None:
    """P2, S1"""
    block = propose(leader, seen, b"tx")

    effects = leader.receive(1, leader.reply(1, block)) + leader.receive(1, leader.reply(1, block))

    assert seen.sent(effects, Append) == []
    assert leader.replica.high_rank == (0, 0)


def test_a_vote_in_anothers_name_is_refused(leader: Any, seen: Any) -> None:
    """P2"""
    block = propose(leader, seen, b"tx")

    assert seen.faults(leader.receive(1, leader.reply(2, block))) == ["vote of another validator"]


def test_two_votes_of_one_rank_are_evidence(leader: Any, seen: Any) -> None:
    """P2, R2"""
    block = propose(leader, seen, b"tx")
    leader.receive(1, leader.reply(1, block))
    rival = leader.block(1, envelopes=[b"rival"])

    evidence = seen.of(leader.receive(1, leader.reply(1, rival)), ReportEvidence)

    assert [
        (e.evidence.accused, e.evidence.first.block_hash, e.evidence.second.block_hash) for e in evidence
    ] == [(1, block.block_hash, rival.block_hash)]


def test_under_load_a_leader_lingers_for_a_fuller_block(leader: Any, seen: Any) -> None:
    """P3"""
    block = propose(leader, seen, b"one")
    leader.pending.append(b"two")

    soon = certify(leader, block)
    wake_ms = leader.replica.wake_ms
    later = leader.tick(leader.timing.linger_ms)

    assert seen.sent(soon, Append) == []
    assert wake_ms == leader.now_ms
    assert [a.block.envelopes for a in seen.sent(later, Append)] == [(b"two",)]
    assert leader.replica.wake_ms is None


def test_half_a_block_does_not_linger(leader: Any, seen: Any) -> None:
    """P3"""
    block = propose(leader, seen, b"one")
    leader.pending += [b"%d" % i for i in range(5)]

    assert len(seen.sent(certify(leader, block), Append)) == 1


def test_an_idle_chain_does_not_linger(leader: Any, seen: Any) -> None:
    """P3: neither the sealing block nor the first transaction after it waits."""
    block = propose(leader, seen, b"one")
    seal = seen.sent(certify(leader, block), Append)[0].block
    leader.execute(seal)
    certify(leader, seal)

    assert len(seen.sent(leader.submit(b"two"), Append)) == 1


def test_a_proposal_is_repeated_to_those_who_have_not_voted(leader: Any, seen: Any) -> None:
    """P4"""
    block = propose(leader, seen, b"tx")
    leader.receive(1, leader.reply(1, block))

    effects = leader.tick(leader.timing.heartbeat_ms)

    repeated = [e.to for e in effects if isinstance(getattr(e, "message", None), Append)]
    assert repeated == [2, 3]


def test_a_nudge_is_repeated(leader: Any, seen: Any) -> None:
    """P4"""
    block = propose(leader, seen, b"tx")
    seal = seen.sent(certify(leader, block), Append)[0].block
    leader.execute(seal)
    certify(leader, seal)

    assert len(seen.sent(leader.tick(leader.timing.heartbeat_ms), Nudge)) == 3


def test_a_leader_shows_itself_every_quarter_of_the_base_timeout(leader: Any, seen: Any) -> None:
    """P4"""
    leader.tick()

    early = leader.tick(leader.timing.heartbeat_ms - 1)
    due = leader.tick(1)

    assert seen.sent(early, Heartbeat) == []
    assert len(seen.sent(due, Heartbeat)) == 1


def test_the_last_commit_is_announced_at_once(leader: Any, seen: Any) -> None:
    """P5"""
    block = propose(leader, seen, b"tx")
    seal = seen.sent(certify(leader, block), Append)[0].block
    leader.execute(seal)
    certify(leader, seal)

    effects = certify(leader, seal, SignedKind.VOTE_COMMIT)

    assert [heartbeat.commit_proof.height for heartbeat in seen.sent(effects, Heartbeat)] == [2]


def test_a_follower_commits_from_the_announcement(bench: Any, leader: Any, seen: Any) -> None:
    """P5"""
    block = propose(leader, seen, b"tx")
    bench.follow(block)
    seal = seen.sent(certify(leader, block), Append)[0]
    leader.execute(seal.block)
    bench.receive(0, seal)
    bench.check(seal.block)
    bench.execute(seal.block)

    nudged = bench.receive(0, seen.sent(certify(leader, seal.block), Nudge)[0])
    final = certify(leader, seal.block, SignedKind.VOTE_COMMIT)
    announced = bench.receive(0, seen.sent(final, Heartbeat)[0])

    assert seen.commits(nudged) == [1]
    assert seen.commits(announced) == [2]


def test_a_validator_alone_in_its_network_commits(new_bench: Any, seen: Any) -> None:
    """P1, S1: f = 0 and q = 1."""
    alone = new_bench(0, count=1)
    effects = alone.submit(b"tx")
    alone.pending.clear()
    block = next(iter(alone.replica._core.chain.held())).block
    effects += alone.execute(block)
    seal = list(alone.replica._core.chain.held())[-1].block
    effects += alone.execute(seal)

    assert seen.commits(effects) == [1, 2]
    assert seen.sent(effects, Append) == []
