"""What an operator reads when nothing moves: who or what is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tanpo.consensus.effects import Send
from tanpo.consensus.messages import GetCommitted, Suspect
from tanpo.ledger.certificate import CommitProof, SignedKind
from tanpo.ledger.types import Term


def test_nothing_is_amiss_on_an_idle_chain(bench: Any) -> None:
    bench.tick()

    assert bench.replica.stalled is None


def test_a_silent_leader_is_named(bench: Any) -> None:
    bench.tick()
    bench.tick(1001)

    assert bench.replica.stalled == "term 1, leader validator 0: the leader is silent"


def test_an_observer_makes_nothing_of_a_leader_that_tells_it_nothing(new_bench: Any) -> None:
    """F2: nobody tells an observer anything, so silence is no sign of a stall."""
    observer = new_bench(None)
    observer.tick()
    observer.tick(60_000, pending=True)

    assert observer.replica.stalled is None


def test_the_missing_voters_are_named(leader: Any) -> None:
    leader.tick()
    leader.submit(b"tx")
    leader.receive(2, leader.reply(2, next(iter(leader.replica._core.chain.held())).block))
    leader.tick(1001, pending=True)

    assert leader.replica.stalled == (
        "term 1, leader validator 0: nothing commits; height 1 has 2 of 3 votes, "
        "missing those of validator 1, validator 3"
    )


def test_the_missing_timeouts_are_named(bench: Any) -> None:
    bench.receive(1, Suspect(term=Term(1)))
    bench.receive(2, Suspect(term=Term(1)))

    assert bench.replica.stalled == (
        "gave up term 1: timeouts of 1 of 3 needed, missing those of validator 0, validator 1, validator 2"
    )


def test_validators_are_told_by_name_where_names_are_known(bench: Any) -> None:
    bench.receive(1, Suspect(term=Term(1)))
    bench.receive(2, Suspect(term=Term(1)))

    assert bench.replica.explain_stall(("a", "b", "c", "d")) == (
        "gave up term 1: timeouts of 1 of 3 needed, missing those of a, b, c"
    )


def test_an_inquiry_after_a_start_tells_who_has_answered(bench: Any) -> None:
    """D7"""
    again = bench.restart(bench.tick())
    again.answer(again.tick(), by=(1,))

    assert again.replica.explain_stall(("a", "b", "c", "d")) == (
        "starting: this validator signs nothing new until 2 of 3 others told what they saw of it; "
        "b did, missing a, c"
    )


def test_a_validator_that_rejoins_tells_who_has_answered(new_bench: Any, bench: Any) -> None:
    """D8"""
    again = new_bench(3, 4, replace(bench.start, has_forgotten=True), may_rejoin=True)
    effects = again.tick()
    asked = again.replica.explain_stall(("a", "b", "c", "d"))
    again.answer(effects, by=(0, 1, 2))

    assert asked == (
        "amnesia: what this validator signed is forgotten: it follows, and must not sign until 3 of 3 others "
        "told what they saw of it; none did, missing a, b, c"
    )
    assert again.replica.stalled == (
        "rejoined: silent up to term 2, now 1; each drain or restart of a leader ends a term"
    )


def test_catching_up_is_named(bench: Any) -> None:
    block = None
    for _ in range(20):
        block = bench.block(1, block)
    proof = CommitProof(certificate=bench.certify(block, SignedKind.VOTE_COMMIT))
    bench.receive(0, bench.heartbeat(proof))

    assert bench.replica.stalled == "catching up from height 1, asking validator 0"


def test_one_liar_that_claims_a_later_epoch_makes_nobody_unready(bench: Any) -> None:
    """Its word is enough to ask, not to call ourselves behind; that of f+1 is."""
    bench.tick()
    asked = bench.receive(1, Suspect(term=Term(1)), epoch=7)
    assert any(isinstance(effect, Send) and isinstance(effect.message, GetCommitted) for effect in asked)
    assert bench.replica.stalled is None

    bench.receive(2, Suspect(term=Term(1)), epoch=7)
    told = bench.replica.explain_stall(("a", "b", "c", "d"))
    assert told == "catching up from height 1, asking b"


def test_guests_that_claim_a_later_epoch_make_nobody_unready(bench: Any, seen: Any) -> None:
    """E6: a member has as many of them as it likes; the question costs nothing."""
    bench.follow(bench.block(1))
    effects = []
    for guest in (4, 5, 6):
        effects += bench.receive(guest, Suspect(term=Term(1)), epoch=9)

    assert len(seen.sent(effects, GetCommitted)) == 1
    assert "catching up" not in (bench.replica.stalled or "")


def test_a_proposal_without_our_vote_is_explained(bench: Any) -> None:
    first = bench.block(1)
    bench.tick()
    bench.receive(0, bench.append(first))
    bench.tick(1001, pending=True)
    checking = bench.replica.stalled
    bench.check(first, "expired transaction")

    assert checking.endswith("proposal at height 1 is not voted for: its body is still being checked")
    assert bench.replica.stalled.endswith("proposal at height 1 is not voted for: expired transaction")
