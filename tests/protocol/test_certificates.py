"""S1 to S5: what certificates prove."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tanpo.consensus import Halt
from tanpo.consensus.messages import Heartbeat, Nudge, TermCertificate
from tanpo.consensus.state import compute_leader
from tanpo.ledger.certificate import CommitProof, SignedKind, compute_faulty_max, compute_quorum
from tanpo.ledger.types import Term, ValidatorIndex


@pytest.mark.parametrize("count", range(1, 65))
def test_two_quorums_share_an_honest_validator_and_the_honest_suffice_for_one(count: int) -> None:
    """S1"""
    quorum, faulty_max = compute_quorum(count), compute_faulty_max(count)

    assert 2 * quorum - count >= faulty_max + 1
    assert count - faulty_max >= quorum


def test_a_certificate_below_a_quorum_is_refused(bench: Any, seen: Any) -> None:
    """S1"""
    block = bench.block(1)

    effects = bench.receive(1, Nudge(certificate=bench.certify(block, signers=(0, 1))))

    assert seen.faults(effects) == ["too few signers"]
    assert bench.replica.high_rank == (0, 0)


def test_a_signer_counted_twice_does_not_make_a_quorum(bench: Any, seen: Any) -> None:
    """S1"""
    block = bench.block(1)

    effects = bench.receive(1, Nudge(certificate=bench.certify(block, signers=(0, 1, 1))))

    assert seen.faults(effects) == ["signers must strictly ascend"]


def test_one_bad_signature_spoils_a_certificate(bench: Any, seen: Any) -> None:
    """S1"""
    good, other = bench.certify(bench.block(1)), bench.certify(bench.block(1, time_ms=5))
    mixed = replace(good, signatures=(*good.signatures[:2], other.signatures[2]))

    effects = bench.receive(1, Nudge(certificate=mixed))

    assert seen.faults(effects) == ["quorum certificate: bad signature of validator 2"]


def test_a_certificate_of_another_epoch_is_refused(bench: Any, seen: Any) -> None:
    """S1"""
    certificate = replace(bench.certify(bench.block(1)), epoch=1)

    effects = bench.receive(1, Nudge(certificate=certificate))

    assert seen.faults(effects) == ["certificate of another epoch"]


def test_validators_lead_in_turn(bench: Any, new_bench: Any) -> None:
    """S2"""
    config = bench.replica._core.config

    assert [compute_leader(config, Term(term)) for term in range(1, 6)] == [0, 1, 2, 3, 0]
    assert new_bench(0).replica.is_leader
    assert not bench.replica.is_leader


def test_the_lock_rises_with_any_message_and_never_falls(bench: Any) -> None:
    """S3"""
    first = bench.block(1)
    second = bench.block(1, first)

    bench.receive(0, bench.heartbeat(high_qc=bench.certify(second)))
    bench.receive(0, bench.heartbeat(high_qc=bench.certify(first)))

    assert bench.replica.high_rank == (1, 2)


def test_a_proposals_justify_is_part_of_the_durable_lock(bench: Any, seen: Any) -> None:
    """S3: a follower that votes on a certificate holds it, or a later commit could be forgotten."""
    first = bench.block(1)
    second = bench.block(1, first)
    bench.follow(first)

    effects = bench.follow(second, first)

    assert seen.record(effects).high_qc.rank == (1, 1)


def test_a_child_of_the_same_term_commits_its_parent(bench: Any, seen: Any) -> None:
    """S4"""
    first = bench.block(1)
    second = bench.block(1, first)
    bench.follow(first)
    bench.follow(second, first)

    effects = bench.receive(0, bench.heartbeat(high_qc=bench.certify(second)))

    assert seen.commits(effects) == [1]


def test_a_child_of_another_term_commits_nothing(bench: Any, seen: Any) -> None:
    """S4: the parent may still lose to a block certified in a term between."""
    first = bench.block(1)
    second = bench.block(2, first)
    bench.follow(first)
    bench.follow(second, first, opening=bench.give_up(1, first))

    effects = bench.receive(1, bench.heartbeat(term=Term(2), high_qc=bench.certify(second)))

    assert seen.commits(effects) == []


def test_a_proof_across_terms_is_refused(bench: Any, seen: Any) -> None:
    """S4"""
    first = bench.block(1)
    second = bench.block(2, first)
    proof = CommitProof(certificate=bench.certify(second), child=second.header)

    effects = bench.receive(0, bench.heartbeat(proof))

    assert seen.faults(effects) == ["commit proof's child is not certified in its parent's own term"]


def test_a_commit_certificate_commits_its_block_and_all_ancestors(bench: Any, seen: Any) -> None:
    """S4"""
    first = bench.block(1)
    second = bench.block(2, first)
    bench.follow(first)
    bench.follow(second, first, opening=bench.give_up(1, first))
    proof = CommitProof(certificate=bench.certify(second, SignedKind.VOTE_COMMIT))

    effects = bench.receive(1, bench.heartbeat(proof, term=Term(2)))

    assert seen.commits(effects) == [1, 2]


def test_a_nudge_gets_a_commit_vote_with_the_lock_durable(bench: Any, seen: Any) -> None:
    """S5"""
    block = bench.block(1)
    bench.follow(block)

    effects = bench.receive(0, Nudge(certificate=bench.certify(block)))

    assert [vote.kind for vote in seen.votes(effects)] == [SignedKind.VOTE_COMMIT]
    assert seen.record(effects).high_qc.rank == (1, 1)


def test_a_nudge_of_an_older_term_gets_no_vote_but_help(bench: Any, seen: Any) -> None:
    """S5, T1"""
    block = bench.block(1)
    bench.follow(block)
    bench.open_term(2, block)

    effects = bench.receive(0, Nudge(certificate=bench.certify(block)))

    assert seen.votes(effects) == []
    assert seen.sent(effects, Heartbeat)[0].term == 2


def test_of_two_rival_certificates_only_the_lock_gets_a_commit_vote(bench: Any, seen: Any) -> None:
    """S5, G1: to make the rival takes more than f; who only followed must not stand accused with them."""
    block, rival = bench.block(1), bench.block(1, time_ms=7)
    bench.follow(block)
    bench.receive(0, Nudge(certificate=bench.certify(block)))

    assert seen.votes(bench.receive(0, Nudge(certificate=bench.certify(rival)))) == []
    assert seen.votes(bench.receive(0, Nudge(certificate=bench.certify(block)))) != []


def test_a_nudge_from_anyone_but_the_leader_gets_no_vote(bench: Any, seen: Any) -> None:
    """S5"""
    block = bench.block(1)
    bench.follow(block)

    assert seen.votes(bench.receive(2, Nudge(certificate=bench.certify(block)))) == []


def test_a_nudge_needs_a_prepare_certificate(bench: Any, seen: Any) -> None:
    """S5"""
    certificate = bench.certify(bench.block(1), SignedKind.VOTE_COMMIT)

    assert seen.faults(bench.receive(0, Nudge(certificate=certificate)))


def test_a_term_certificate_with_a_lower_lock_than_it_lists_is_refused(bench: Any, seen: Any) -> None:
    """S3: hiding the highest lock would let a leader pass over a commit."""
    block = bench.block(1)
    honest = bench.give_up(1, block)
    hiding = replace(honest, high_qc=bench.certify(None))

    effects = bench.receive(ValidatorIndex(1), TermCertificate(certificate=hiding))

    assert seen.faults(effects)
    assert bench.replica.term == 1


def test_nothing_halts_on_ordinary_certificates(bench: Any, seen: Any) -> None:
    """H1"""
    block = bench.block(1)

    effects = bench.follow(block) + bench.receive(0, Nudge(certificate=bench.certify(block)))

    assert seen.of(effects, Halt) == []
