"""T1 to T6: leaving a leader behind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tanpo.consensus.committing import CALM_COMMITS
from tanpo.consensus.messages import Append, Heartbeat, StepDown, Suspect, TermCertificate, Timeout
from tanpo.ledger.certificate import CommitProof, SignedKind
from tanpo.ledger.types import Term, ValidatorIndex

COMMIT = SignedKind.VOTE_COMMIT


def test_a_quorum_of_timeouts_opens_the_next_term_and_everybody_is_shown(bench: Any, seen: Any) -> None:
    """T1"""
    bench.receive(0, bench.timeout(0, 1))
    effects = bench.receive(1, bench.timeout(1, 1))

    assert bench.replica.term == 2
    shown = seen.sent(effects, TermCertificate)[0].certificate
    assert [entry.validator for entry in shown.entries] == [0, 1, 3]


def test_a_timeout_counts_only_with_a_certificate_that_stands(bench: Any, seen: Any) -> None:
    """T1, S1: also when the timeout itself brings the proof that its term is ours."""
    block = bench.block(1)
    bench.receive(0, bench.heartbeat(high_qc=bench.certify(block)))
    forged = replace(bench.certify(block), block_hash=bench.block(1, envelopes=[b"forged"]).block_hash)
    lie = Timeout(**(bench.timeout_fields(0, 2, forged) | {"term_certificate": bench.give_up(1, block)}))

    effects = bench.receive(0, lie)
    effects += bench.receive(1, bench.timeout(1, 2, block))
    alone = bench.replica.term
    effects += bench.receive(2, bench.timeout(2, 2, block))

    assert len(seen.faults(effects)) == 1
    assert (alone, bench.replica.term) == (2, 3)
    shown = seen.sent(effects, TermCertificate)[-1].certificate
    assert ([entry.validator for entry in shown.entries], shown.high_qc) == ([1, 2, 3], bench.certify(block))


def test_a_certificate_of_a_later_term_is_followed(bench: Any) -> None:
    """T1: f+1 honest validators are there already."""
    block = bench.block(5)

    bench.receive(0, bench.heartbeat(high_qc=bench.certify(block)))

    assert bench.replica.term == 5


def test_a_term_never_goes_back(bench: Any) -> None:
    """T1"""
    bench.open_term(5)
    bench.open_term(3)

    assert bench.replica.term == 5


def test_whoever_is_behind_is_shown_the_term_at_a_bounded_rate(bench: Any, seen: Any) -> None:
    """T1"""
    bench.open_term(3)

    first = bench.receive(1, Suspect(term=Term(2)))
    second = bench.receive(1, Suspect(term=Term(2)))
    third = bench.tick(bench.timing.heartbeat_ms) + bench.receive(1, Suspect(term=Term(2)))

    hint = seen.sent(first, Heartbeat)[0]
    assert hint.term_certificate.term == 2
    assert seen.sent(second, Heartbeat) == []
    assert len(seen.sent(third, Heartbeat)) == 1


def test_a_hint_brings_a_replica_into_the_term(bench: Any, new_bench: Any, seen: Any) -> None:
    """T1"""
    bench.open_term(4)
    hint = seen.sent(bench.receive(1, Suspect(term=Term(2))), Heartbeat)[0]
    behind = new_bench(1)

    behind.receive(3, hint)

    assert behind.replica.term == 4


def test_a_silent_leader_is_suspected(bench: Any, seen: Any) -> None:
    """T2"""
    bench.tick()
    patience_ms = bench.timing.base_timeout_ms

    early = bench.tick(patience_ms)
    late = bench.tick(1)

    assert seen.sent(early, Suspect) == []
    assert seen.sent(late, Suspect) == [Suspect(term=Term(1))]
    assert seen.sent(late, Timeout) == []


def test_heartbeats_keep_suspicion_away(bench: Any, seen: Any) -> None:
    """T2"""
    effects = bench.tick()
    for _ in range(20):
        effects += bench.receive(0, bench.heartbeat())
        effects += bench.tick(bench.timing.heartbeat_ms)

    assert seen.sent(effects, Suspect) == []


def test_heartbeats_of_others_do_not_count(bench: Any, seen: Any) -> None:
    """T2"""
    effects = bench.tick()
    for _ in range(6):
        effects += bench.receive(1, bench.heartbeat())
        effects += bench.tick(bench.timing.heartbeat_ms)

    assert seen.sent(effects, Suspect)


def test_a_leader_that_brings_nothing_about_is_suspected(bench: Any, seen: Any) -> None:
    """T2"""
    effects = bench.tick()
    for _ in range(6):
        effects += bench.receive(0, bench.heartbeat())
        effects += bench.tick(bench.timing.heartbeat_ms, pending=True)

    assert seen.sent(effects, Suspect)


def test_work_after_a_long_rest_does_not_count_the_rest(bench: Any, seen: Any) -> None:
    """T2"""
    for _ in range(20):
        bench.receive(0, bench.heartbeat())
        bench.tick(bench.timing.heartbeat_ms)
    bench.receive(0, bench.heartbeat())

    assert seen.sent(bench.tick(1, pending=True), Suspect) == []


def test_a_leader_that_passes_over_a_transaction_is_suspected(bench: Any, seen: Any) -> None:
    """T2"""
    effects = bench.tick()
    for _ in range(9):
        effects += bench.receive(0, bench.heartbeat())
        effects += bench.tick(bench.timing.heartbeat_ms, overdue=True)

    assert seen.sent(effects, Suspect)


def test_f_complaints_depose_nobody(bench: Any, seen: Any) -> None:
    """T2: f validators alone cannot move the network."""
    assert seen.sent(bench.receive(1, Suspect(term=Term(1))), Timeout) == []


def test_f_plus_one_complaints_start_a_timeout(bench: Any, seen: Any) -> None:
    """T2"""
    bench.receive(1, Suspect(term=Term(1)))
    effects = bench.receive(2, Suspect(term=Term(1)))

    timeout = seen.sent(effects, Timeout)[0]
    assert (timeout.term, timeout.entry.validator) == (1, 3)


def test_complaints_expire(bench: Any, seen: Any) -> None:
    """T2: two short disturbances far apart are no reason to leave a leader."""
    bench.receive(1, Suspect(term=Term(1)))
    bench.receive(0, bench.heartbeat())
    bench.tick(bench.timing.base_timeout_ms // 2)
    bench.receive(0, bench.heartbeat())
    bench.tick(bench.timing.base_timeout_ms // 2 + 1)

    assert seen.sent(bench.receive(2, Suspect(term=Term(1))), Timeout) == []


def test_a_complaint_about_a_later_term_counts_for_nothing(bench: Any, seen: Any) -> None:
    """T2, B2"""
    effects = bench.receive(1, Suspect(term=Term(9))) + bench.receive(2, Suspect(term=Term(9)))

    assert seen.sent(effects, Timeout) == []
    assert bench.replica.term == 1


@pytest.mark.parametrize(("term", "factor"), [(1, 1), (2, 2), (3, 4), (4, 8), (7, 60)])
def test_patience_doubles_with_terms_without_a_commit(bench: Any, seen: Any, term: int, factor: int) -> None:
    """T3"""
    bench.tick()
    if term > 1:
        bench.open_term(term)
    if bench.replica.is_leader:
        return
    patience_ms = factor * bench.timing.base_timeout_ms

    early = bench.tick(patience_ms)
    late = bench.tick(1)

    assert seen.sent(early, Suspect) == []
    assert len(seen.sent(late, Suspect)) == 1


def test_a_timeout_is_repeated_unchanged(bench: Any, seen: Any) -> None:
    """T4"""
    bench.receive(1, Suspect(term=Term(1)))
    first = seen.sent(bench.receive(2, Suspect(term=Term(1))), Timeout)
    block = bench.block(1)
    bench.receive(0, bench.heartbeat(high_qc=bench.certify(block)))

    again = bench.tick(2 * bench.timing.heartbeat_ms)

    assert seen.sent(again, Timeout) == first


def test_a_timeout_is_repeated_after_a_restart(bench: Any, seen: Any) -> None:
    """T4, D2"""
    bench.receive(1, Suspect(term=Term(1)))
    effects = bench.receive(2, Suspect(term=Term(1)))
    again = bench.restart(effects)

    assert seen.sent(again.tick(), Timeout) == seen.sent(effects, Timeout)


def test_a_validator_alone_leaves_the_term_it_gave_up_before_a_restart(new_bench: Any, seen: Any) -> None:
    """T1, T4: no other timeout will come that could complete the certificate."""
    alone = new_bench(0, count=1)
    alone.tick(pending=True)
    effects = alone.tick(2 * alone.timing.base_timeout_ms, pending=True)
    assert seen.record(effects).timeout is not None
    again = alone.restart(effects)

    again.tick()

    assert again.replica.term == 2


def test_a_timeout_that_names_another_certificate_than_it_carries_is_refused(bench: Any, seen: Any) -> None:
    """S3"""
    block = bench.block(1)
    timeout = replace(bench.timeout(1, 1), high_qc=bench.certify(block))

    assert seen.faults(bench.receive(1, timeout))


def test_a_timeout_with_a_lock_changed_after_signing_is_refused(bench: Any, seen: Any) -> None:
    """S3: with the lock unsigned, an attacker could hide a commit from the next leader."""
    high, low = bench.timeout(1, 1, bench.block(1)), bench.timeout(1, 1)
    forged = replace(low, entry=replace(low.entry, signature=high.entry.signature))

    assert seen.faults(bench.receive(1, forged)) == ["bad timeout signature of validator 1"]


def test_a_timeout_in_anothers_name_is_refused(bench: Any, seen: Any) -> None:
    """T1"""
    assert seen.faults(bench.receive(ValidatorIndex(2), bench.timeout(1, 1)))


def test_a_new_leader_opens_its_term_with_a_block(new_bench: Any, seen: Any) -> None:
    """T5"""
    second = new_bench(1)

    effects = second.open_term(2)

    append = seen.sent(effects, Append)[0]
    assert (append.block.header.term, append.block.header.tx_count) == (2, 0)
    assert append.term_certificate.term == 1


def test_a_new_leader_extends_the_highest_lock(new_bench: Any, seen: Any) -> None:
    """T5, R4"""
    second = new_bench(1)
    block = second.block(1)
    second.follow(block)

    effects = second.open_term(2, None, block)

    assert seen.sent(effects, Append)[0].block.header.parent_hash == block.block_hash


def test_a_new_leader_without_the_locks_block_fetches_it_first(new_bench: Any, seen: Any) -> None:
    """T5, F1"""
    second = new_bench(1)
    block = second.block(1)

    effects = second.open_term(2, block)

    assert seen.sent(effects, Append) == []


def test_a_drained_leader_gives_its_term_away(leader: Any, seen: Any) -> None:
    """T6: signed, and with its own timeout, durable first."""
    leader.tick()

    effects = leader.drain()

    step_down = seen.sent(effects, StepDown)[0]
    assert step_down.term == 1
    assert seen.sent(effects, Timeout)[0].term == 1
    assert seen.is_durable_first(effects, StepDown)
    assert seen.sent(leader.submit(b"tx"), Append) == []


def test_a_drained_leader_repeats_itself_and_yields_each_term_it_comes_to_lead(
    leader: Any, seen: Any
) -> None:
    """T6"""
    leader.drain()

    again = leader.tick(2 * leader.timing.heartbeat_ms)
    leader.receive(1, TermCertificate(certificate=leader.give_up(4)))
    later = leader.tick()

    assert [m.term for m in seen.sent(again, StepDown)] == [1]
    assert [m.term for m in seen.sent(later, StepDown)] == [5]


def test_a_drained_follower_goes_on_voting(bench: Any, seen: Any) -> None:
    """T6"""
    assert seen.sent(bench.drain() + bench.tick(), StepDown) == []
    assert len(seen.votes(bench.follow(bench.block(1)))) == 1


def test_a_term_given_away_ends_at_once(bench: Any, leader: Any, seen: Any) -> None:
    """T6: without waiting for suspicion."""
    bench.tick()
    step_down = seen.sent(leader.drain(), StepDown)[0]

    effects = bench.receive(0, step_down)

    assert [timeout.term for timeout in seen.sent(effects, Timeout)] == [1]
    assert seen.is_durable_first(effects, Timeout)


def test_only_the_leader_gives_a_term_away(bench: Any, leader: Any, seen: Any) -> None:
    """T6"""
    step_down = seen.sent(leader.drain(), StepDown)[0]
    forged = replace(step_down, signature=b"forged")

    effects = bench.receive(1, forged) + bench.receive(0, replace(step_down, term=Term(2)))

    assert seen.faults(effects) == ["step-down without its leader's signature"]
    assert seen.sent(effects, Timeout) == []


def commit_in(bench: Any, term: int, parent: Any = None) -> Any:
    """Commit one block in a term; its certificates prove the term."""
    block = bench.block(term, parent)
    is_first = term > 1 and (parent is None or parent.header.term < term)
    opening = bench.give_up(term - 1, parent) if is_first else None
    bench.receive(block.header.proposer, bench.append(block, parent, opening))
    bench.receive(0, bench.heartbeat(CommitProof(certificate=bench.certify(block, COMMIT))))
    bench.execute(block)
    bench.stored(block.header.height)
    return block


def test_the_patience_that_succeeded_is_kept(bench: Any, seen: Any) -> None:
    """T3: a term passed without a commit before this one, so the next leader gets twice as long."""
    commit_in(bench, 2)
    bench.open_term(3)

    early = bench.tick(2 * bench.timing.base_timeout_ms)
    late = bench.tick(1)

    assert bench.replica.committed_height == 1
    assert seen.sent(early, Suspect) == []
    assert [suspect.term for suspect in seen.sent(late, Suspect)] == [3]


def test_one_change_of_leader_costs_no_patience(bench: Any, seen: Any) -> None:
    """T3: an ordinary failure must not slow down the next."""
    commit_in(bench, 2, commit_in(bench, 1))
    bench.open_term(3)

    assert seen.sent(bench.tick(bench.timing.base_timeout_ms + 1), Suspect)


def test_after_a_long_calm_patience_is_given_back(bench: Any, seen: Any) -> None:
    """T3: one doubling for each hundred commits in one term."""
    block = commit_in(bench, 2)
    assert bench.replica._core.record.doublings == 1
    for _ in range(CALM_COMMITS - 1):
        block = commit_in(bench, 2, block)
    before = bench.replica._core.record.doublings

    commit_in(bench, 2, block)

    assert (before, bench.replica._core.record.doublings) == (1, 0)


def test_patience_survives_a_restart(bench: Any, seen: Any) -> None:
    """T3, D2"""
    commit_in(bench, 3)
    effects = (
        bench.open_term(5) + bench.receive(0, Suspect(term=Term(5))) + bench.receive(1, Suspect(term=Term(5)))
    )

    assert bench.restart(effects).replica._core.record.doublings == 2
