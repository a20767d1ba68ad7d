"""R1 to R4, V1 to V4, L1: which proposals get a vote."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tanpo.consensus import CheckBlock, ReportEvidence
from tanpo.consensus.chain import LAG_MAX
from tanpo.consensus.messages import GetBlock, Heartbeat, Nudge, Suspect, Timeout
from tanpo.ledger.block import BlockFlags
from tanpo.ledger.certificate import SignedKind
from tanpo.ledger.evidence import DoubleVote
from tanpo.ledger.types import Term


def give_up(bench: Any) -> None:
    """Two others complain, and the replica signs a timeout."""
    bench.receive(1, Suspect(term=Term(1)))
    bench.receive(2, Suspect(term=Term(1)))
    assert bench.replica._core.has_timed_out


def test_no_vote_of_either_kind_after_a_timeout(bench: Any, seen: Any) -> None:
    """R1"""
    first = bench.block(1)
    bench.follow(first)
    give_up(bench)

    prepare = bench.follow(bench.block(1, first), first)
    commit = bench.receive(0, Nudge(certificate=bench.certify(first)))

    assert seen.votes(prepare) == []
    assert seen.votes(commit) == []


def test_a_timeout_outlives_a_restart(bench: Any, seen: Any) -> None:
    """R1, D2"""
    effects = bench.receive(1, Suspect(term=Term(1))) + bench.receive(2, Suspect(term=Term(1)))
    again = bench.restart(effects)

    assert seen.votes(again.follow(again.block(1))) == []


def test_a_rival_of_the_same_rank_gets_no_vote_but_is_evidence(bench: Any, seen: Any) -> None:
    """R2"""
    bench.follow(bench.block(1))
    rival = bench.block(1, envelopes=[b"other"])

    effects = bench.follow(rival)

    assert seen.votes(effects) == []
    evidence = seen.of(effects, ReportEvidence)[0].evidence
    assert isinstance(evidence, DoubleVote)
    assert (evidence.accused, evidence.first.height, evidence.second.height) == (0, 1, 1)


def test_a_rival_gets_no_vote_after_a_restart(bench: Any, seen: Any) -> None:
    """R2, D2"""
    again = bench.restart(bench.follow(bench.block(1)))

    assert seen.votes(again.follow(again.block(1, envelopes=[b"other"]))) == []


def test_the_same_proposal_gets_the_stored_vote_again(bench: Any, seen: Any) -> None:
    """R2, D2: refusing it after a restart would stop the chain."""
    block = bench.block(1)
    effects = bench.follow(block)
    again = bench.restart(effects)

    assert seen.votes(again.follow(block)) == seen.votes(effects)


def test_a_lower_proposal_gets_no_vote(bench: Any, seen: Any) -> None:
    """R2"""
    first = bench.block(1)
    second = bench.block(1, first)
    bench.follow(first)
    bench.follow(second, first)

    assert seen.votes(bench.follow(bench.block(1, envelopes=[b"late"]))) == []


def test_the_terms_next_block_extends_its_certified_block(bench: Any, seen: Any) -> None:
    """R3"""
    first = bench.block(1)
    second = bench.block(1, first)
    bench.follow(first)

    assert [vote.height for vote in seen.votes(bench.follow(second, first))] == [2]


def test_a_block_above_an_uncertified_one_gets_no_vote(bench: Any, seen: Any) -> None:
    """R3"""
    first = bench.block(1)
    second = bench.block(1, first)
    bench.follow(first)
    append = replace(bench.append(second, first), justify=bench.certify(first, signers=(0, 1)))

    effects = bench.receive(0, append)

    assert seen.votes(effects) == []
    assert seen.faults(effects)


def test_one_first_block_a_term_even_at_another_height(bench: Any, seen: Any) -> None:
    """R4: two first blocks at different heights have different ranks, so R2 alone lets both pass."""
    first = bench.block(1)
    second = bench.block(1, first)
    bench.follow(first)
    bench.follow(second, first)
    opening = bench.give_up(1, first)
    low = bench.block(2, first)
    bench.follow(low, first, opening=opening)
    high = bench.block(2, second)

    assert seen.votes(bench.follow(high, second, opening=opening)) == []


def test_a_first_block_below_a_listed_lock_gets_no_vote(bench: Any, seen: Any) -> None:
    """R4: the lock may stand for a commit."""
    first = bench.block(1)
    bench.follow(first)
    rival = bench.block(2, envelopes=[b"rival"])

    assert seen.votes(bench.follow(rival, opening=bench.give_up(1, None, first))) == []


def test_a_first_block_on_the_highest_listed_lock_gets_a_vote(bench: Any, seen: Any) -> None:
    """R4"""
    first = bench.block(1)
    bench.follow(first)
    block = bench.block(2, first)

    effects = bench.follow(block, first, opening=bench.give_up(1, None, first))

    assert [vote.rank for vote in seen.votes(effects)] == [(2, 2)]


def test_a_vote_does_not_depend_on_the_voters_own_lock(bench: Any, seen: Any) -> None:
    """R4: a lock that the term certificate does not list cannot stand for a commit, so it blocks nobody."""
    first = bench.block(1)
    bench.follow(first)
    bench.receive(0, bench.heartbeat(high_qc=bench.certify(first)))
    rival = bench.block(2, envelopes=[b"rival"])

    effects = bench.follow(rival, opening=bench.give_up(1, None))

    assert [vote.rank for vote in seen.votes(effects)] == [(2, 1)]


def test_a_first_block_without_its_term_certificate_gets_no_vote(bench: Any, seen: Any) -> None:
    """R4"""
    first = bench.block(1)
    bench.follow(first)
    bench.open_term(2, first)

    assert seen.votes(bench.follow(bench.block(2, first), first)) == []


def test_a_first_block_with_an_older_terms_certificate_gets_no_vote(bench: Any, seen: Any) -> None:
    """R4"""
    bench.open_term(3)

    assert seen.votes(bench.follow(bench.block(3), opening=bench.give_up(1))) == []


def test_a_forged_term_certificate_gets_no_vote_in_a_term_entered_before(bench: Any, seen: Any) -> None:
    """R4: the term is ours already, but what the leader claims about locks is still verified."""
    first = bench.block(1)
    bench.follow(first)
    bench.open_term(2, first)
    honest = bench.give_up(1)
    forged = replace(honest, entries=tuple(replace(entry, signature=b"forged") for entry in honest.entries))
    rival = bench.block(2, envelopes=[b"rival"])

    effects = bench.receive(1, bench.append(rival, opening=forged)) + bench.check(rival)

    assert seen.votes(effects) == []
    assert seen.faults(effects) == ["timeout certificate: bad signature of validator 0"]


def test_term_one_starts_from_genesis_only(bench: Any, seen: Any) -> None:
    """R4"""
    assert [vote.rank for vote in seen.votes(bench.follow(bench.block(1)))] == [(1, 1)]


@pytest.mark.parametrize(
    "changes",
    [
        {"network_id": bytes(32)},
        {"epoch": 1},
        {"height": 2},
        {"parent_hash": bytes(32)},
        {"parent_term": 1},
        {"term": 0},
        {"proposer": 1},
        {"valset_hash": b"\x01" * 32},
        {"next_valset_hash": b"\x01" * 32},
        {"flags": BlockFlags.EPOCH_END},
        {"tx_count": 11},
    ],
    ids=str,
)
def test_a_malformed_proposal_is_the_senders_fault(bench: Any, seen: Any, changes: dict[str, Any]) -> None:
    """V1"""
    block = bench.block(**({"term": 1} | changes))

    effects = bench.receive(0, bench.append(block))

    assert len(seen.faults(effects)) == 1
    assert seen.votes(effects) == []


def test_a_proposal_not_signed_by_its_leader_is_refused(bench: Any, seen: Any) -> None:
    """V1"""
    block = bench.block(1)
    append = replace(bench.append(block), signature=bench.vote(1, block).signature)

    assert seen.faults(bench.receive(0, append)) == ["bad vote signature of validator 0"]


def test_a_body_the_driver_refuses_gets_no_vote(bench: Any, seen: Any) -> None:
    """V2"""
    block = bench.block(1)
    bench.receive(0, bench.append(block))

    effects = bench.check(block, "expired transaction") + bench.receive(0, bench.append(block))

    assert seen.votes(effects) == []


def test_the_check_gets_the_uncommitted_ancestors(bench: Any, seen: Any) -> None:
    """V2: a transaction repeated from an uncommitted ancestor must be found."""
    first = bench.block(1)
    second = bench.block(1, first)
    bench.follow(first)

    check = seen.of(bench.receive(0, bench.append(second, first)), CheckBlock)[0]

    assert check.ancestors == (first,)
    assert check.parent_time_ms == first.header.time_ms


def test_a_block_from_the_future_waits_for_the_clock(bench: Any, seen: Any) -> None:
    """V3"""
    ahead_ms = bench.timing.precision_ms + 100
    block = bench.block(1, time_ms=bench.times()["wall_ms"] + ahead_ms)

    early = bench.follow(block)
    later = bench.tick(100)

    assert seen.votes(early) == []
    assert len(seen.votes(later)) == 1


def test_a_block_from_the_past_is_refused(bench: Any, seen: Any) -> None:
    """V3"""
    oldest_ms = bench.timing.message_delay_ms * 2 + bench.timing.precision_ms
    block = bench.block(1, time_ms=bench.times()["wall_ms"] - oldest_ms - 1)

    assert seen.votes(bench.follow(block)) == []


def test_the_tolerance_for_old_blocks_doubles_with_terms_without_a_commit(bench: Any, seen: Any) -> None:
    """V3: a message delay set too low must not stop the chain for ever."""
    bench.open_term(3)
    age_ms = bench.timing.message_delay_ms * 8
    block = bench.block(3, time_ms=bench.times()["wall_ms"] - age_ms)

    assert len(seen.votes(bench.follow(block, opening=bench.give_up(2)))) == 1


def test_a_time_not_above_the_parents_is_refused(bench: Any, seen: Any) -> None:
    """V3"""
    first = bench.block(1)
    bench.follow(first)
    second = bench.block(1, first, time_ms=first.header.time_ms)

    assert seen.votes(bench.follow(second, first)) == []


def test_results_that_differ_from_ours_get_no_vote(bench: Any, seen: Any) -> None:
    """V4"""
    first = bench.block(1)
    bench.follow(first)
    second = bench.block(1, first, state_root=b"\x07" * 32)

    assert seen.votes(bench.follow(second, first)) == []


def test_the_vote_waits_for_the_execution_of_the_parent(bench: Any, seen: Any) -> None:
    """V4"""
    first = bench.block(1)
    second = bench.block(1, first)
    bench.receive(0, bench.append(first))
    bench.check(first)

    waiting = bench.receive(0, bench.append(second, first)) + bench.check(second)
    executed = bench.execute(first)

    assert seen.votes(waiting) == []
    assert [vote.height for vote in seen.votes(executed)] == [2]


def test_votes_stop_a_bounded_way_above_the_stored_height(bench: Any, seen: Any) -> None:
    """L1"""
    parent, voted = None, []
    for _ in range(LAG_MAX + 1):
        block = bench.block(1, parent)
        voted += seen.votes(bench.follow(block, parent))
        parent = block

    assert [vote.height for vote in voted] == list(range(1, LAG_MAX + 1))
    bench.stored(1)
    assert [vote.height for vote in seen.votes(bench.check(parent))] == [LAG_MAX + 1]


def test_a_proposal_of_an_older_term_gets_help_and_no_vote(bench: Any, seen: Any) -> None:
    """R2, T1"""
    bench.open_term(2)

    effects = bench.follow(bench.block(1))

    assert seen.votes(effects) == []
    assert seen.sent(effects, Heartbeat)[0].term == 2


def test_an_observer_signs_nothing(new_bench: Any, seen: Any) -> None:
    """R1: it follows and commits all the same."""
    bench = new_bench(None)
    first = bench.block(1)
    second = bench.block(1, first)
    effects = bench.follow(first) + bench.follow(second, first)
    effects += bench.receive(0, bench.heartbeat(high_qc=bench.certify(second)))
    effects += bench.receive(1, Suspect(term=Term(1))) + bench.receive(2, Suspect(term=Term(1)))
    effects += bench.tick(5000, pending=True)

    assert seen.votes(effects) == []
    assert seen.sent(effects, Timeout) == []


def test_a_commit_vote_is_not_a_prepare_vote(leader: Any, seen: Any) -> None:
    """S1: one signature counts for one purpose."""
    leader.submit(b"tx")
    block = leader.replica._core.current.proposal
    assert block is None
    held = next(iter(leader.replica._core.chain.held()))
    vote = leader.vote(1, held.block, SignedKind.VOTE_COMMIT)
    forged = replace(leader.reply(1, held.block), vote=replace(vote, kind=SignedKind.VOTE_PREPARE))

    assert seen.faults(leader.receive(1, forged)) == ["bad vote signature of validator 1"]


def test_any_number_of_terms_that_certified_a_block_and_committed_none_is_gone_on_from(
    new_bench: Any, seen: Any
) -> None:
    """L1: only what waits for our own disk holds us back."""
    bench = new_bench(3)
    parent: Any = None
    for term in range(1, LAG_MAX + 6):
        opening = bench.give_up(term - 1, parent) if term > 1 else None
        block = bench.block(term, parent)
        if block.header.proposer == 3:
            bench.open_term(term, parent)  # Ours to propose: somebody else's is not to be had.
            continue
        votes = seen.votes(bench.follow(block, parent, opening=opening))

        assert [vote.height for vote in votes] == [block.header.height]
        parent = block
    assert parent.header.height > LAG_MAX + 1


def test_a_block_far_above_the_tip_is_asked_for_by_hash_if_nothing_is_proven(bench: Any, seen: Any) -> None:
    """L1, F1: peers have not committed it either, so no range of theirs holds it."""
    parent: Any = None
    for term in range(1, LAG_MAX + 3):
        parent = bench.block(term, parent)

    effects = bench.receive(0, bench.heartbeat(high_qc=bench.certify(parent)))

    assert [asked.block_hash for asked in seen.sent(effects, GetBlock)] == [parent.block_hash]
