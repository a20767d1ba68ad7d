"""D6 to D8: whoever may have forgotten a promise signs nothing, and how it comes back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tanpo.consensus import Persist
from tanpo.consensus.messages import GetStatus, Status, Suspect, TermCertificate, Timeout
from tanpo.ledger.certificate import SignedKind
from tanpo.ledger.types import Term

COMMIT = SignedKind.VOTE_COMMIT


def forget(new_bench: Any, bench: Any, **options: Any) -> Any:
    """The same validator whose record is gone."""
    return new_bench(3, 4, replace(bench.start, has_forgotten=True), **options)


def test_whoever_ought_to_have_a_record_and_has_none_never_signs(
    new_bench: Any, bench: Any, seen: Any
) -> None:
    """D6: the driver knows that there was one."""
    again = forget(new_bench, bench)

    effects = again.tick() + again.follow(again.block(1)) + again.receive(1, Suspect(term=Term(1)))
    effects += again.receive(2, Suspect(term=Term(1)))

    assert again.replica.has_amnesia
    assert seen.of(effects, Persist) == []
    assert seen.votes(effects) == []
    assert seen.sent(effects, Timeout) == []
    assert "must not sign" in again.replica.stalled


def test_a_restarted_validator_asks_all_others_and_signs_once_enough_answered(bench: Any, seen: Any) -> None:
    """D7"""
    again = bench.restart(bench.tick())
    effects = again.tick()
    asked = [e.to for e in effects if isinstance(getattr(e, "message", None), GetStatus)]
    block = again.block(1)

    waiting = again.follow(block) + again.answer(effects, by=(0,))
    answered = again.answer(effects, by=(1,))

    assert asked == [0, 1, 2]
    assert seen.votes(waiting) == []
    assert [vote.block_hash for vote in seen.votes(answered)] == [block.block_hash]


def test_without_answers_it_waits_a_base_timeout_and_asks_again(bench: Any, seen: Any) -> None:
    """D7: three of four must go on after a power cut without the fourth."""
    again = bench.restart(bench.tick())
    again.tick()
    block = again.block(1)
    again.follow(block)

    soon = again.tick(again.timing.heartbeat_ms)
    late = again.tick(again.timing.base_timeout_ms - again.timing.heartbeat_ms)

    assert len(seen.sent(soon, GetStatus)) == 3
    assert seen.votes(soon) == []
    assert [vote.block_hash for vote in seen.votes(late)] == [block.block_hash]


def test_a_validator_alone_asks_nobody(new_bench: Any, seen: Any) -> None:
    """D7"""
    alone = new_bench(0, 1)

    assert seen.sent(alone.restart(alone.tick()).tick(), GetStatus) == []


@pytest.mark.parametrize("kind", ["prepare", "commit", "timeout"])
def test_a_forgotten_signature_in_an_answer_is_amnesia(bench: Any, seen: Any, kind: str) -> None:
    """D7, D6: an older copy of the disk came back."""
    block = bench.block(1)
    again = bench.restart(bench.tick())
    shown: dict[str, Any] = {"vote": bench.vote(3, block)}
    if kind == "commit":
        shown = {"vote": bench.vote(3, block, COMMIT)}
    if kind == "timeout":
        shown = {"timeout_term": Term(1), "timeout": bench.timeout(3, 1).entry}

    effects = again.answer(again.tick(), by=(0,), **shown) + again.follow(block)
    effects += again.tick(again.timing.base_timeout_ms)

    assert again.replica.has_amnesia
    assert seen.votes(effects) == []


def old_copy(bench: Any) -> tuple[Any, Any]:
    """The validator on a copy of its disk from after its vote for the block, no answers to be had."""
    first = bench.block(1)
    again = bench.restart(bench.tick() + bench.follow(first))
    again.tick()
    again.tick(again.timing.base_timeout_ms)
    return again, first


def test_a_forgotten_vote_in_a_term_certificate_is_amnesia(bench: Any) -> None:
    """D6: its highest certificate is looked at like any other."""
    again, first = old_copy(bench)
    second = again.block(1, first)
    others = [
        again.timeout_fields(signer, 1, again.certify(second, signers=(1, 2, 3))) for signer in range(3)
    ]
    opening = replace(
        again.give_up(1),
        entries=tuple(fields["entry"] for fields in others),
        high_qc=others[0]["high_qc"],
    )

    again.receive(0, TermCertificate(certificate=opening))

    assert again.replica.has_amnesia


def test_a_forgotten_timeout_in_a_term_certificate_is_amnesia(bench: Any) -> None:
    """D6"""
    again, _ = old_copy(bench)
    opening = again.give_up(1)
    entries = (*opening.entries[:2], again.timeout(3, 1).entry)

    again.receive(0, TermCertificate(certificate=replace(opening, entries=entries)))

    assert again.replica.has_amnesia


def test_a_forgotten_commit_vote_in_a_certificate_is_amnesia(bench: Any) -> None:
    """D6"""
    again, first = old_copy(bench)

    again.receive(0, again.heartbeat(high_qc=again.certify(first, COMMIT, signers=(1, 2, 3))))

    assert again.replica.has_amnesia


def test_a_lock_brings_back_what_a_commit_vote_promised(bench: Any) -> None:
    """D6: whoever holds the lock has forgotten nothing that its commit vote said."""
    again, first = old_copy(bench)
    again.receive(0, again.heartbeat(high_qc=again.certify(first)))

    again.receive(0, again.heartbeat(high_qc=again.certify(first, COMMIT, signers=(1, 2, 3))))

    assert not again.replica.has_amnesia


def test_signatures_it_remembers_are_no_amnesia(bench: Any, seen: Any) -> None:
    """D7"""
    block = bench.block(1)
    effects = bench.follow(block)
    again = bench.restart(effects)

    again.answer(again.tick(), vote=bench.vote(3, block))

    assert not again.replica.has_amnesia


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": 1},
        {"by": (3,)},
    ],
    ids=["of an earlier start", "its own"],
)
def test_an_answer_that_is_none_does_not_count(bench: Any, seen: Any, change: dict[str, Any]) -> None:
    """D7"""
    again = bench.restart(bench.tick())
    effects = again.tick()
    options: dict[str, Any] = {"by": (0, 1, 2)} | change

    again.answer(effects, **options)
    if change == {"by": (3,)}:
        again.answer(effects, by=(0,))

    assert seen.votes(again.follow(again.block(1))) == []


@pytest.mark.parametrize(
    "forgery",
    [
        "vote of another",
        "bad vote",
        "timeout of another",
        "bad timeout",
        "no timeout",
        "no proof of the term",
    ],
)
def test_a_forged_answer_is_a_fault_and_does_not_count(bench: Any, seen: Any, forgery: str) -> None:
    """D7: nobody can talk a validator into amnesia."""
    block = bench.block(1)
    again = bench.restart(bench.tick())
    vote, entry = bench.vote(3, block), bench.timeout(3, 1).entry
    shown: dict[str, dict[str, Any]] = {
        "vote of another": {"vote": bench.vote(1, block)},
        "bad vote": {"vote": replace(vote, signature=b"forged")},
        "timeout of another": {"timeout_term": Term(1), "timeout": bench.timeout(1, 1).entry},
        "bad timeout": {"timeout_term": Term(1), "timeout": replace(entry, signature=b"forged")},
        "no timeout": {"timeout_term": Term(5)},
        "no proof of the term": {"term": Term(5)},
    }

    effects = again.answer(again.tick(), by=(0, 1, 2), **shown[forgery])

    assert len(seen.faults(effects)) == 3
    assert not again.replica.has_amnesia
    assert seen.votes(again.follow(block)) == []


def test_an_answer_tells_the_highest_vote_and_timeout_seen_of_the_asker(bench: Any, seen: Any) -> None:
    """D7: also those seen in certificates only."""
    first = bench.block(1)
    second = bench.block(1, first)
    bench.follow(first)
    bench.receive(0, bench.append(second, first))
    bench.receive(0, bench.heartbeat(high_qc=bench.certify(second)))
    bench.receive(2, bench.timeout(2, 1, second))

    effects = bench.receive(2, GetStatus(nonce=77))

    status = seen.sent(effects, Status)[0]
    assert (status.nonce, status.term, status.high_qc.rank) == (77, 1, (1, 2))
    assert status.vote == bench.vote(2, second)
    assert (status.timeout_term, status.timeout) == (1, bench.timeout(2, 1, second).entry)


def test_what_an_answer_says_of_ourselves_is_durable_first(bench: Any, seen: Any) -> None:
    """D1, D8: the asker builds on our term and lock."""
    block = bench.block(1)
    bench.follow(block)
    bench.receive(0, TermCertificate(certificate=bench.give_up(1, block)))

    effects = bench.receive(2, GetStatus(nonce=1))

    assert seen.is_durable_first(effects, Status)
    assert seen.record(effects).term == 2


def test_a_question_is_answered_with_one_of_ours_once_until_all_are_asked_again(
    bench: Any, seen: Any
) -> None:
    """D7: the asker may have missed ours; but questions for questions would have no end."""
    again = bench.restart(bench.tick())
    again.tick()

    first = again.receive(1, GetStatus(nonce=7)) + again.receive(1, GetStatus(nonce=8))
    again.tick(again.timing.heartbeat_ms)
    later = again.receive(1, GetStatus(nonce=9)) + again.receive(1, GetStatus(nonce=10))

    assert [len(seen.sent(effects, GetStatus)) for effects in (first, later)] == [1, 1]
    assert [len(seen.sent(effects, Status)) for effects in (first, later)] == [2, 2]


def test_whoever_has_amnesia_does_not_answer(new_bench: Any, bench: Any, seen: Any) -> None:
    """D7: its word would stand for memory that it has not."""
    again = forget(new_bench, bench, may_rejoin=True)
    again.tick()

    assert again.receive(2, GetStatus(nonce=1)) == []


def test_with_the_operators_word_it_comes_back_above_every_term_it_may_have_signed_in(
    new_bench: Any, bench: Any, seen: Any
) -> None:
    """D8"""
    again = forget(new_bench, bench, may_rejoin=True)
    effects = again.tick()
    lock = again.block(4)
    opening = again.give_up(4, lock)
    entered = again.answer(
        effects, by=(0, 1), term=Term(5), high_qc=again.certify(lock), term_certificate=opening
    )
    before = again.replica.has_amnesia
    entered += again.answer(effects, by=(2,))

    assert before
    assert not again.replica.has_amnesia
    record = seen.record(entered)
    assert (record.floor, record.high_qc.rank) == (6, (4, 1))


def test_up_to_its_floor_a_rejoined_validator_signs_nothing(new_bench: Any, bench: Any, seen: Any) -> None:
    """D8: neither votes nor timeouts; above it, both."""
    again = forget(new_bench, bench, may_rejoin=True)
    again.answer(again.tick())
    block = again.block(2)
    below = again.open_term(2) + again.follow(block, None, opening=again.give_up(1))
    below += again.receive(0, Suspect(term=Term(2))) + again.receive(1, Suspect(term=Term(2)))
    below += again.tick(again.timing.base_timeout_ms)
    above = again.follow(again.block(3), None, opening=again.give_up(2))
    above += again.receive(0, Suspect(term=Term(3))) + again.receive(1, Suspect(term=Term(3)))

    assert seen.votes(below) == []
    assert seen.sent(below, Timeout) == []
    assert [vote.term for vote in seen.votes(above)] == [3]
    assert [timeout.term for timeout in seen.sent(above, Timeout)] == [3]


def test_the_floor_survives_a_restart(new_bench: Any, bench: Any, seen: Any) -> None:
    """D8, D2"""
    rejoining = forget(new_bench, bench, may_rejoin=True)
    effects = rejoining.answer(rejoining.tick())

    again = rejoining.restart(effects, has_forgotten=False)
    again.answer(again.tick())

    assert seen.votes(again.open_term(2) + again.follow(again.block(2), None, opening=again.give_up(1))) == []
    assert "silent up to term 2" in again.replica.stalled


def test_a_vote_from_below_the_floor_is_no_new_amnesia(new_bench: Any, bench: Any) -> None:
    """D8: it is known that such votes are forgotten."""
    again = forget(new_bench, bench, may_rejoin=True)
    again.answer(again.tick())

    again.receive(0, again.heartbeat(high_qc=again.certify(again.block(1), signers=(0, 1, 3))))

    assert not again.replica.has_amnesia


def test_without_the_operators_word_answers_do_not_end_amnesia(new_bench: Any, bench: Any, seen: Any) -> None:
    """D8"""
    again = forget(new_bench, bench)

    assert seen.sent(again.tick() + again.tick(again.timing.base_timeout_ms), GetStatus) == []
    assert again.replica.has_amnesia


def test_fewer_than_a_quorum_of_others_do_not_end_amnesia(new_bench: Any, bench: Any) -> None:
    """D8: the one who knows of our vote may be missing."""
    again = forget(new_bench, bench, may_rejoin=True)
    again.answer(again.tick(), by=(0, 1))
    again.tick(again.timing.base_timeout_ms)

    assert again.replica.has_amnesia
    assert "missing validator 2" in again.replica.stalled


def test_a_lock_is_not_lost_through_a_rejoined_validator(new_bench: Any, bench: Any, seen: Any) -> None:
    """D8: the timeouts it signs later name the highest lock that the others told."""
    again = forget(new_bench, bench, may_rejoin=True)
    effects = again.tick()
    lock = again.block(1)
    again.answer(effects, by=(0,), high_qc=again.certify(lock))
    again.answer(effects, by=(1, 2))
    again.open_term(3)

    effects = again.receive(0, Suspect(term=Term(3))) + again.receive(1, Suspect(term=Term(3)))

    assert [timeout.high_qc.rank for timeout in seen.sent(effects, Timeout)] == [(1, 1)]
