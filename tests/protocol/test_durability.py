"""D1 to D6: what a replica knows after a crash, and that nothing leaves before it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tanpo.consensus import CommittedTip, Persist
from tanpo.consensus.messages import Append, AppendReply, Heartbeat, Nudge, Suspect, Timeout
from tanpo.consensus.record import decode_record, encode_record
from tanpo.ledger.certificate import CommitProof
from tanpo.ledger.errors import CorruptState
from tanpo.ledger.types import Height, Term


def test_the_first_record_is_made_before_anything_else(bench: Any, seen: Any) -> None:
    """D1, D6: a later start without a record can then only mean that it was lost."""
    effects = bench.tick()

    assert isinstance(effects[0], Persist)


def test_vote_block_and_lock_are_durable_before_the_vote_leaves(bench: Any, seen: Any) -> None:
    """D1: prepare vote"""
    first = bench.block(1)
    second = bench.block(1, first)
    bench.follow(first)
    bench.receive(0, bench.append(second, first))

    effects = bench.check(second)

    record, persist = seen.record(effects), seen.of(effects, Persist)[-1]
    assert seen.is_durable_first(effects, AppendReply)
    assert record.voted == seen.votes(effects)[0]
    assert record.high_qc.rank == (1, 1)
    assert persist.blocks == (second,)


def test_the_leaders_vote_and_block_are_durable_before_the_proposal_leaves(leader: Any, seen: Any) -> None:
    """D1: own proposal"""
    leader.tick()

    effects = leader.submit(b"tx")

    append = seen.sent(effects, Append)[0]
    record = seen.record(effects)
    assert seen.is_durable_first(effects, Append)
    assert record.voted.block_hash == append.block.block_hash
    assert record.justify == append.justify
    assert seen.of(effects, Persist)[-1].blocks == (append.block,)


def test_the_lock_is_durable_before_a_commit_vote_leaves(bench: Any, seen: Any) -> None:
    """D1: commit vote"""
    block = bench.block(1)
    bench.follow(block)

    effects = bench.receive(0, Nudge(certificate=bench.certify(block)))

    assert seen.is_durable_first(effects, AppendReply)
    assert seen.record(effects).high_qc.rank == (1, 1)


def test_the_timeout_is_durable_before_it_leaves(bench: Any, seen: Any) -> None:
    """D1: timeout"""
    block = bench.block(1)
    bench.follow(block)
    bench.receive(0, bench.heartbeat(high_qc=bench.certify(block)))
    bench.receive(1, Suspect(term=Term(1)))

    effects = bench.receive(2, Suspect(term=Term(1)))

    record = seen.record(effects)
    assert seen.is_durable_first(effects, Timeout)
    assert record.timeout == seen.sent(effects, Timeout)[0]
    assert record.high_qc.rank == (1, 1)


def test_what_others_signed_waits_for_no_disk(bench: Any, seen: Any) -> None:
    """D1: heartbeats, suspicions and certificates promise nothing."""
    bench.tick()
    effects = bench.receive(0, bench.heartbeat(high_qc=bench.certify(bench.block(1))))
    effects += bench.open_term(3)
    effects += bench.receive(1, Suspect(term=Term(1)))

    assert seen.sent(effects, Heartbeat)
    assert seen.of(effects, Persist) == []


def test_every_record_has_a_higher_sequence(bench: Any, seen: Any) -> None:
    """D2: an older copy can be told from a newer one."""
    effects = bench.tick() + bench.follow(bench.block(1)) + bench.receive(1, Suspect(term=Term(1)))
    effects += bench.receive(2, Suspect(term=Term(1)))

    sequences = [decode_record(persist.record).sequence for persist in seen.of(effects, Persist)]
    assert sequences == sorted(set(sequences))
    assert len(sequences) == 3


def test_a_restart_resumes_term_vote_and_lock(bench: Any, seen: Any) -> None:
    """D2"""
    first = bench.block(1)
    effects = bench.follow(first)
    block = bench.block(2, first)
    effects += bench.follow(block, first, opening=bench.give_up(1, first))
    record = seen.record(effects)

    again = bench.restart(effects)

    assert again.replica.term == 2
    assert again.replica.high_rank == (1, 1)
    assert again.replica._core.record == record


def test_a_restart_learns_from_the_proof_of_its_chain(bench: Any, seen: Any) -> None:
    """D2, S3: the chain may be stored while the last certificate was not."""
    first = bench.block(1)
    second = bench.block(1, first)
    effects = bench.follow(first) + bench.follow(second, first)
    tip = CommittedTip(
        height=Height(1),
        block_hash=first.block_hash,
        term=Term(1),
        time_ms=first.header.time_ms,
        roots=bench.roots_after(first),
        proof=CommitProof(certificate=bench.certify(second), child=second.header),
    )

    again = bench.restart(effects, tip=tip)

    assert again.replica.committed_height == 1
    assert again.replica.high_rank == (1, 2)


@pytest.mark.parametrize("position", [0, 20, -1])
def test_a_damaged_record_is_an_error(bench: Any, seen: Any, position: int) -> None:
    """D2: going on as if nothing had been promised could vote twice."""
    record = bytearray(seen.of(bench.tick(), Persist)[0].record)
    record[position] ^= 1
    start = replace(bench.start, record=bytes(record))

    with pytest.raises(CorruptState, match="do not sign"):
        type(bench)(3, 4, start)


def test_a_record_of_a_later_epoch_is_kept_and_nothing_is_signed_until_there(bench: Any, seen: Any) -> None:
    """E5: the chain lost its end, the promises did not."""
    record = replace(seen.record(bench.tick()), epoch=7)
    again = type(bench)(3, 4, replace(bench.start, record=encode_record(record)))

    effects = again.tick() + again.follow(again.block(1))

    assert seen.votes(effects) == []
    assert seen.of(effects, Persist) == []
    assert not again.replica.has_amnesia
    assert "epoch" in again.replica.stalled


def test_a_certified_block_becomes_durable_with_the_next_promise(bench: Any, seen: Any) -> None:
    """D3: whoever votes on top of it must be able to hand it on."""
    first = bench.block(1)
    second = bench.block(1, first)
    bench.receive(0, bench.append(first))
    bench.receive(0, bench.append(second, first))
    bench.execute(first)

    effects = bench.check(second)

    assert seen.of(effects, Persist)[-1].blocks == (first, second)


def test_a_committed_block_is_kept_until_it_is_stored(bench: Any, seen: Any) -> None:
    """D4: a crash of all nodes between commit and storing must not lose it."""
    first = bench.block(1)
    second = bench.block(1, first)
    third = bench.block(1, second)
    fourth = bench.block(1, third)
    bench.follow(first)
    bench.follow(second, first)

    committed = bench.follow(third, second)
    bench.stored(1)
    after = bench.follow(fourth, third)

    assert seen.commits(committed) == [1]
    assert [d for p in seen.of(committed, Persist) for d in p.dropped] == []
    assert [d for p in seen.of(after, Persist) for d in p.dropped] == [first.block_hash]


def test_blocks_left_over_below_the_tip_are_dropped_after_a_restart(bench: Any, seen: Any) -> None:
    """D4"""
    first = bench.block(1)
    tip = CommittedTip(
        height=Height(1),
        block_hash=first.block_hash,
        term=Term(1),
        time_ms=first.header.time_ms,
        roots=bench.roots_after(first),
        proof=CommitProof(certificate=bench.certify(first)),
    )
    again = bench.restart(bench.follow(first), tip=tip)

    effects = again.receive(1, Suspect(term=Term(1))) + again.receive(2, Suspect(term=Term(1)))

    assert [d for p in seen.of(effects, Persist) for d in p.dropped] == [first.block_hash]


def test_a_restarted_leader_repeats_its_stored_proposal(leader: Any, seen: Any) -> None:
    """D5"""
    effects = leader.submit(b"tx")
    again = leader.restart(effects)
    again.pending = [b"other"]

    repeated = seen.sent(again.tick(), Append)

    assert repeated == seen.sent(effects, Append) * 3


def test_a_restarted_leader_goes_on_once_its_proposal_is_certified(leader: Any, seen: Any) -> None:
    """D5"""
    effects = leader.submit(b"tx")
    block = seen.sent(effects, Append)[0].block
    again = leader.restart(effects)
    again.answer(again.tick())
    again.receive(1, again.reply(1, block))
    again.receive(2, again.reply(2, block))

    following = seen.sent(again.execute(block), Append)[0].block

    assert following.header.parent_hash == block.block_hash


def test_a_chain_without_a_record_never_signs_again(bench: Any, seen: Any) -> None:
    """D6"""
    first = bench.block(1)
    tip = CommittedTip(
        height=Height(1),
        block_hash=first.block_hash,
        term=Term(1),
        time_ms=first.header.time_ms,
        roots=bench.roots_after(first),
        proof=CommitProof(certificate=bench.certify(first)),
    )
    forgetful = type(bench)(3, 4, replace(bench.start, tip=tip))
    second = bench.block(1, first)

    effects = forgetful.follow(second, first)
    effects += forgetful.receive(1, Suspect(term=Term(1))) + forgetful.receive(2, Suspect(term=Term(1)))

    assert seen.votes(effects) + seen.sent(effects, Timeout) == []
    assert "must not sign" in forgetful.replica.stalled


def test_a_first_start_may_sign(bench: Any, seen: Any) -> None:
    """D6"""
    assert bench.start.record is None
    assert len(seen.votes(bench.follow(bench.block(1)))) == 1


def test_a_vote_of_ours_that_we_do_not_remember_ends_our_signing(bench: Any, seen: Any) -> None:
    """D6: a validator started on an empty folder learns from a certificate that it has voted before."""
    first = bench.block(1)
    second = bench.block(1, first)
    forgotten = bench.certify(first, signers=(0, 1, 3))

    effects = bench.receive(0, replace(bench.append(second, first), justify=forgotten))
    effects += bench.check(first) + bench.check(second)
    effects += bench.receive(1, Suspect(term=Term(1))) + bench.receive(2, Suspect(term=Term(1)))

    assert seen.votes(effects) + seen.sent(effects, Timeout) == []
    assert "must not sign" in bench.replica.stalled


def test_a_vote_of_ours_that_we_remember_changes_nothing(bench: Any, seen: Any) -> None:
    """D6"""
    first = bench.block(1)
    bench.follow(first)
    second = bench.block(1, first)

    remembered = bench.certify(first, signers=(0, 1, 3))
    bench.receive(0, replace(bench.append(second, first), justify=remembered))

    assert len(seen.votes(bench.check(second))) == 1
