"""T1 to T5: leaving a leader behind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tanpo.consensus.messages import Append, Heartbeat, Suspect, TermCertificate, Timeout
from tanpo.ledger.types import Term, ValidatorIndex


def test_a_quorum_of_timeouts_opens_the_next_term_and_everybody_is_shown(bench: Any, seen: Any) -> None:
    """T1"""
    bench.receive(0, bench.timeout(0, 1))
    effects = bench.receive(1, bench.timeout(1, 1))

    assert bench.replica.term == 2
    shown = seen.sent(effects, TermCertificate)[0].certificate
    assert [entry.validator for entry in shown.entries] == [0, 1, 3]


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
