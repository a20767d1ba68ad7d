"""G1 to G4, B3: contradictions are found in whatever is verified, proven to anybody, and put into blocks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tanpo.consensus import ReportEvidence
from tanpo.consensus.messages import Append, GetStatus, Status, Timeout
from tanpo.consensus.seen import Seen
from tanpo.consensus.witness import TIMEOUTS_MAX, VOTES_MAX
from tanpo.ledger.certificate import SignedKind
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.evidence import (
    DoubleOpening,
    DoubleVote,
    Evidence,
    LyingTimeout,
    decode_evidence,
    encode_evidence,
    verify_evidence,
)
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.types import Height, Term, ValidatorIndex

COMMIT = SignedKind.VOTE_COMMIT


def found(seen: Any, effects: Any) -> list[Evidence]:
    return [effect.evidence for effect in seen.of(effects, ReportEvidence)]


def check(bench: Any, evidence: Evidence, accused: int) -> None:
    """It survives its encoding and stands before somebody who has nothing but the keys."""
    again = decode_evidence(encode_evidence(evidence))
    assert again == evidence
    assert again.accused == accused
    verify_evidence(again, bench.config.network_id, bench.keys)


def test_rival_certificates_show_who_voted_twice(bench: Any, seen: Any) -> None:
    """G1, G4: q + q - n validators, of whom at most f are not honest."""
    block, rival = bench.block(1), bench.block(1, envelopes=[b"rival"])
    bench.receive(0, bench.heartbeat(high_qc=bench.certify(block, signers=(0, 1, 2))))

    effects = bench.receive(1, bench.append(bench.block(1, rival), rival))

    evidence = found(seen, effects)
    assert {type(item) for item in evidence} == {DoubleVote}
    assert [item.accused for item in evidence] == [0, 1, 2]
    for item in evidence:
        check(bench, item, item.accused)


def test_two_votes_of_the_commit_kind_compete_too(bench: Any, seen: Any) -> None:
    """G1"""
    block, rival = bench.block(1), bench.block(1, envelopes=[b"rival"])
    bench.receive(0, bench.heartbeat(high_qc=bench.certify(block, COMMIT)))
    proof = bench.certify(rival, COMMIT)

    effects = bench.receive(2, Timeout(**bench.timeout_fields(2, 1, proof)))

    assert {item.accused for item in found(seen, effects)} >= {0, 1, 2}


def test_a_prepare_and_a_commit_vote_do_not_compete(bench: Any, seen: Any) -> None:
    """G1: an honest validator gives both."""
    block = bench.block(1)
    effects = bench.follow(block) + bench.receive(0, bench.heartbeat(high_qc=bench.certify(block)))
    effects += bench.receive(0, bench.heartbeat(high_qc=bench.certify(block, COMMIT)))

    assert found(seen, effects) == []


def test_two_first_blocks_of_one_term_are_evidence_against_their_leader(bench: Any, seen: Any) -> None:
    """G2: at different heights, so that they are no double vote."""
    first = bench.block(1)
    bench.follow(first)
    low, high = bench.block(2), bench.block(2, first)
    bench.receive(1, bench.append(low, None, bench.give_up(1)))

    effects = bench.receive(1, bench.append(high, first, bench.give_up(1, first)))

    evidence = found(seen, effects)
    assert [type(item) for item in evidence] == [DoubleOpening]
    check(bench, evidence[0], 1)


def test_a_vote_in_the_far_future_hides_no_double_opening(bench: Any, seen: Any) -> None:
    """G2, B2: a leader opens a term that it will never see, so that its present ones seem old."""
    block = bench.block(1)
    bench.follow(block)
    bench.receive(0, bench.heartbeat(high_qc=bench.certify(block)))
    bench.receive(0, bench.append(bench.block(4_000_000_001)))

    opening = bench.give_up(4)
    effects = bench.receive(0, bench.append(bench.block(5), None, opening))
    effects += bench.receive(0, bench.append(bench.block(5, block), block, opening))

    assert [type(item) for item in found(seen, effects)] == [DoubleOpening]


def test_a_block_and_its_child_of_the_same_term_are_no_double_opening(bench: Any, seen: Any) -> None:
    """G2"""
    first = bench.block(1)

    effects = bench.follow(first) + bench.follow(bench.block(1, first), first)

    assert found(seen, effects) == []


@pytest.mark.parametrize("is_vote_first", [True, False])
def test_a_timeout_below_the_lock_of_a_prepare_vote_is_a_lie(
    bench: Any, seen: Any, is_vote_first: bool
) -> None:
    """G3: whoever votes for the child holds the certificate of the parent."""
    first = bench.block(1)
    second = bench.block(1, first)
    bench.follow(first)
    bench.receive(0, bench.append(second, first))
    shown = bench.heartbeat(high_qc=bench.certify(second, signers=(0, 1, 2)))
    lie = bench.timeout(2, 1)
    messages = [(0, shown), (2, lie)] if is_vote_first else [(2, lie), (0, shown)]

    effects = [effect for sender, message in messages for effect in bench.receive(sender, message)]

    evidence = found(seen, effects)
    assert [type(item) for item in evidence] == [LyingTimeout]
    check(bench, evidence[0], 2)


def test_a_lie_in_a_term_certificate_is_found(bench: Any, seen: Any) -> None:
    """G3, G4: of a later term, against a commit vote."""
    first = bench.block(1)
    bench.follow(first)
    bench.receive(0, bench.heartbeat(high_qc=bench.certify(first, COMMIT, signers=(0, 1, 2))))

    effects = bench.open_term(4)

    evidence = found(seen, effects)
    assert [(type(item), item.accused) for item in evidence] == [(LyingTimeout, index) for index in (0, 1, 2)]
    check(bench, evidence[0], 0)


def test_a_lie_after_the_truth_is_found(bench: Any, seen: Any) -> None:
    """G3: the second of two timeouts in one term is the one that may count."""
    first = bench.block(1)
    bench.receive(0, bench.heartbeat(high_qc=bench.certify(first, COMMIT, signers=(0, 1, 2))))
    bench.receive(2, bench.timeout(2, 1, first))

    effects = bench.receive(2, bench.timeout(2, 1))

    [lie] = found(seen, effects)
    assert isinstance(lie, LyingTimeout)
    check(bench, lie, 2)


def test_a_timeout_that_names_the_lock_is_no_lie(bench: Any, seen: Any) -> None:
    """G3"""
    first = bench.block(1)
    bench.follow(first)
    effects = bench.receive(0, bench.heartbeat(high_qc=bench.certify(first, COMMIT, signers=(0, 1, 2))))

    effects += bench.receive(2, bench.timeout(2, 1, first)) + bench.open_term(4, first)

    assert found(seen, effects) == []


def test_a_vote_after_an_honest_timeout_of_an_earlier_term_is_no_lie(bench: Any, seen: Any) -> None:
    """G3: locks rise between the terms."""
    effects = bench.receive(2, bench.timeout(2, 1)) + bench.open_term(2)
    first = bench.block(2)
    effects += bench.follow(first, None, opening=bench.give_up(1))
    second = bench.block(2, first)
    bench.receive(1, bench.append(second, first))
    effects += bench.receive(1, bench.heartbeat(term=Term(2), high_qc=bench.certify(second)))

    assert found(seen, effects) == []


def test_the_same_fault_is_reported_once(bench: Any, seen: Any) -> None:
    """G4: whoever lies all day must not fill the disk."""
    bench.follow(bench.block(1))
    effects = []
    for number in range(5):
        effects += bench.receive(0, bench.append(bench.block(1, envelopes=[b"rival %d" % number])))

    assert len(found(seen, effects)) == 1


def test_evidence_against_ourselves_means_that_we_forgot(bench: Any, seen: Any) -> None:
    """G4, D6"""
    bench.follow(bench.block(1))
    rival = bench.block(1, envelopes=[b"rival"])

    bench.receive(0, bench.heartbeat(high_qc=bench.certify(rival, signers=(0, 1, 3))))
    bench.receive(0, bench.heartbeat(high_qc=bench.certify(bench.block(2), signers=(0, 1, 3))))

    assert bench.replica.has_amnesia


def test_a_leader_proposes_evidence_although_no_transaction_waits(leader: Any, seen: Any) -> None:
    """G4, P1"""
    leader.evidence.append(b"evidence")

    effects = leader.tick()

    block = seen.sent(effects, Append)[0].block
    assert block.evidence == (b"evidence",)
    assert block.header.evidence_root == compute_merkle_root([b"evidence"])


@pytest.mark.parametrize("change", ["signature", "hash", "rank", "validator", "kind"])
def test_changed_evidence_proves_nothing(bench: Any, seen: Any, change: str) -> None:
    """G1"""
    bench.follow(bench.block(1))
    evidence = found(seen, bench.receive(0, bench.append(bench.block(1, envelopes=[b"rival"]))))[0]
    assert isinstance(evidence, DoubleVote)
    second = {
        "signature": replace(evidence.second, signature=evidence.first.signature),
        "hash": evidence.first,
        "rank": replace(evidence.second, height=Height(2)),
        "validator": replace(evidence.second, validator=ValidatorIndex(1)),
        "kind": replace(evidence.second, kind=COMMIT),
    }[change]

    with pytest.raises(PeerFault, match="evidence"):
        verify_evidence(replace(evidence, second=second), bench.config.network_id, bench.keys)


def test_an_honest_timeout_is_no_evidence(bench: Any) -> None:
    """G3"""
    first = bench.block(1)
    second = bench.block(1, first)
    honest = LyingTimeout(
        epoch=bench.epoch,
        vote=bench.vote(2, second),
        header=second.header,
        term=Term(1),
        entry=bench.timeout(2, 1, first).entry,
    )
    earlier = replace(honest, vote=bench.vote(2, bench.block(3)), header=bench.block(3).header)

    for evidence in (honest, earlier, replace(honest, header=None), replace(honest, header=first.header)):
        with pytest.raises(PeerFault, match="evidence"):
            verify_evidence(evidence, bench.config.network_id, bench.keys)


def test_old_certificates_push_no_later_vote_out_of_memory(bench: Any, seen: Any) -> None:
    """B3, D7: what a validator is told of itself must be the latest."""
    blocks = [bench.block(1)]
    for _ in range(VOTES_MAX + 1):
        blocks.append(bench.block(1, blocks[-1]))
    bench.receive(0, bench.heartbeat(high_qc=bench.certify(blocks[-1], signers=(0, 1, 2))))
    for block in blocks[:-1]:
        bench.receive(0, bench.timeout(0, 1, block))

    [status] = seen.sent(bench.receive(1, GetStatus(nonce=7)), Status)

    assert status.vote.rank == (1, len(blocks))


def test_what_is_remembered_of_a_validator_is_bounded(bench: Any) -> None:
    """B3"""
    for term in range(2, 60):
        bench.open_term(term)
        block = bench.block(term)
        opening = bench.give_up(term - 1)
        bench.receive(block.header.proposer, bench.append(block, None, opening))
        bench.receive(0, bench.heartbeat(term=Term(term), high_qc=bench.certify(block)))

    remembered: list[Seen] = list(bench.replica._core.witness.values())
    assert len(remembered) <= bench.count
    assert max(len(item.votes) for item in remembered) <= VOTES_MAX
    assert max(len(item.timeouts) for item in remembered) <= TIMEOUTS_MAX
