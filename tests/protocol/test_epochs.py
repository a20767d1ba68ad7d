"""E1, E3 to E6, V5, F2: how an epoch ends, how the next begins, and how those who missed it follow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tanpo.consensus import (
    BaseBlock,
    CheckBlock,
    CommittedTip,
    Halt,
    Persist,
    ReplicaStart,
    ReportFault,
    Roots,
    ServeCommitted,
    build_committed,
)
from tanpo.consensus.messages import (
    Append,
    AppendReply,
    Committed,
    GetCommitted,
    GetStatus,
    Heartbeat,
    Nudge,
    Suspect,
)
from tanpo.consensus.record import encode_record
from tanpo.consensus.wire import decode_message, encode_message
from tanpo.ledger.block import EMPTY_ROOT, Block, BlockFlags
from tanpo.ledger.certificate import CommitProof, SignedKind, base_certificate
from tanpo.ledger.codec import U64_MAX
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.types import BlockHash, Epoch, Height, Signature, StateRoot, Term

NEXT = b"\x07" * 32
COMMIT = SignedKind.VOTE_COMMIT


def wanting(bench: Any, block: Block) -> Roots:
    """Results of a block after which the state wants other validators."""
    roots: Roots = replace(bench.roots_after(block), pending_valset=NEXT)
    return roots


def end_block(bench: Any, parent: Block, term: int = 1, **changes: Any) -> Block:
    marks = {"flags": BlockFlags.EPOCH_END, "next_valset_hash": NEXT}
    block: Block = bench.block(term, parent, **(marks | changes))
    return block


def follow_to_end(bench: Any) -> tuple[Block, Block, list[Any]]:
    """A follower that has voted for the last block of the epoch."""
    first = bench.block(1, envelopes=[b"change the validators"])
    effects = bench.receive(0, bench.append(first)) + bench.check(first)
    effects += bench.execute(first, wanting(bench, first))
    last = end_block(bench, first)
    effects += bench.receive(0, bench.append(last, first)) + bench.check(last) + bench.execute(last)
    return first, last, effects


def lead_to_end(leader: Any, seen: Any) -> Block:
    """A leader that has proposed the last block of the epoch."""
    first = seen.sent(leader.submit(b"change the validators"), Append)[0].block
    leader.pending.clear()
    leader.execute(first, wanting(leader, first))
    leader.receive(1, leader.reply(1, first))
    effects = leader.receive(2, leader.reply(2, first))
    last: Block = seen.sent(effects, Append)[0].block
    return last


def test_a_leader_ends_the_epoch_when_the_state_wants_other_validators(leader: Any, seen: Any) -> None:
    """E1: also when no transaction waits."""
    last = lead_to_end(leader, seen)

    assert last.header.flags == BlockFlags.EPOCH_END
    assert last.header.next_valset_hash == NEXT
    assert last.header.valset_hash == bytes(32)


def test_the_last_block_gets_a_vote_and_a_commit_vote(bench: Any, seen: Any) -> None:
    """E1, E3"""
    _, last, effects = follow_to_end(bench)

    assert seen.votes(effects)[-1].block_hash == last.block_hash
    commit = seen.votes(bench.receive(0, Nudge(certificate=bench.certify(last))))
    assert [vote.kind for vote in commit] == [COMMIT]


@pytest.mark.parametrize(
    ("pending", "changes"),
    [
        (NEXT, {"flags": BlockFlags.NONE, "next_valset_hash": bytes(32)}),
        (NEXT, {"next_valset_hash": b"\x08" * 32}),
        (None, {}),
    ],
    ids=["the mark is missing", "another set", "nobody wanted it"],
)
def test_marks_other_than_the_state_asks_for_get_no_vote(
    bench: Any, seen: Any, pending: bytes | None, changes: dict[str, Any]
) -> None:
    """V5"""
    first = bench.block(1)
    bench.receive(0, bench.append(first))
    bench.check(first)
    bench.execute(first, replace(bench.roots_after(first), pending_valset=pending))
    last = end_block(bench, first, **changes)

    effects = bench.receive(0, bench.append(last, first)) + bench.check(last)

    assert seen.votes(effects) == []
    assert seen.faults(effects) == []


def test_marks_that_contradict_each_other_are_the_senders_fault(bench: Any, seen: Any) -> None:
    """V1"""
    block = bench.block(1, flags=BlockFlags.EPOCH_END)

    assert seen.faults(bench.receive(0, bench.append(block))) == [
        "proposal: new validators without their mark"
    ]


def test_certified_marks_that_the_state_does_not_ask_for_halt(bench: Any, seen: Any) -> None:
    """H1, V5"""
    first = bench.block(1)
    bench.follow(first)
    last = end_block(bench, first)

    effects = bench.receive(0, bench.append(last, first))
    effects += bench.receive(0, bench.heartbeat(high_qc=bench.certify(last)))

    assert len(seen.of(effects, Halt)) == 1


def test_nothing_follows_the_last_block(bench: Any, seen: Any) -> None:
    """V5, E3"""
    _, last, _ = follow_to_end(bench)
    beyond = bench.block(1, last)

    effects = bench.receive(0, bench.append(beyond, last))

    assert seen.of(effects, CheckBlock) == []
    assert seen.votes(effects) == []


def test_the_leader_nudges_the_last_block_even_if_transactions_wait(leader: Any, seen: Any) -> None:
    """E3: they go into the next epoch."""
    last = lead_to_end(leader, seen)
    leader.submit(b"tx")
    leader.execute(last)

    effects = leader.receive(1, leader.reply(1, last)) + leader.receive(2, leader.reply(2, last))

    assert seen.sent(effects, Append) == []
    assert seen.sent(effects, Nudge)[0].certificate.block_hash == last.block_hash
    effects = leader.receive(1, leader.reply(1, last, COMMIT)) + leader.receive(
        2, leader.reply(2, last, COMMIT)
    )
    assert seen.commits(effects) == [2]


def test_after_the_end_nothing_is_signed(bench: Any, seen: Any) -> None:
    """E3"""
    _, last, _ = follow_to_end(bench)
    proof = CommitProof(certificate=bench.certify(last, COMMIT))
    bench.receive(0, bench.heartbeat(proof))

    effects = bench.receive(0, Suspect(term=Term(1))) + bench.receive(1, Suspect(term=Term(1)))
    effects += bench.receive(0, Nudge(certificate=bench.certify(last)))

    assert bench.replica.committed_height == 2
    assert seen.of(effects, Persist) == []
    assert seen.votes(effects) == []


def repeat(bench: Any, last: Block, *locks: Block) -> Append:
    """The last block once more, by the leader of term 2."""
    return Append(
        block=last,
        justify=bench.certify(last),
        term_certificate=bench.give_up(1, *locks),
        signature=bench.vote(1, last, term=2).signature,
    )


def test_the_last_block_opens_a_later_term_and_is_nudged_there(bench: Any, seen: Any) -> None:
    """E4"""
    _, last, _ = follow_to_end(bench)

    effects = bench.receive(1, repeat(bench, last, last))

    vote = seen.votes(effects)[0]
    assert (vote.term, vote.height, vote.block_hash) == (2, 2, last.block_hash)
    assert seen.is_durable_first(effects, AppendReply)
    commit = seen.votes(bench.receive(1, Nudge(certificate=bench.certify(last, term=2))))
    assert [(vote.kind, vote.term) for vote in commit] == [(COMMIT, 2)]


def test_a_later_leader_proposes_the_last_block_again(new_bench: Any, seen: Any) -> None:
    """E4"""
    later = new_bench(1)
    _, last, _ = follow_to_end(later)

    effects = later.open_term(2, last)

    append = seen.sent(effects, Append)[0]
    assert append.is_repeat
    assert (append.term, append.block.block_hash) == (2, last.block_hash)
    effects = later.receive(0, AppendReply(vote=later.vote(0, last, term=2)))
    effects += later.receive(2, AppendReply(vote=later.vote(2, last, term=2)))
    assert seen.sent(effects, Nudge)[0].certificate.rank == (2, 2)
    effects = later.receive(0, AppendReply(vote=later.vote(0, last, COMMIT, 2)))
    effects += later.receive(2, AppendReply(vote=later.vote(2, last, COMMIT, 2)))
    assert seen.commits(effects)[-1] == 2


@pytest.mark.parametrize("term", [1, 2], ids=["below the lock", "at the lock"])
def test_a_repeated_block_needs_a_certificate_as_high_as_any_listed(bench: Any, seen: Any, term: int) -> None:
    """E4, R4: the term certificate lists the same block certified in a later term."""
    _, last, _ = follow_to_end(bench)
    high = bench.certify(last, term=2)
    opening = bench.give_up(2, last)
    entries = tuple(bench.resign(2, replace(entry, high_term=Term(2))) for entry in opening.entries)
    append = Append(
        block=last,
        justify=bench.certify(last, term=term),
        term_certificate=replace(opening, entries=entries, high_qc=high),
        signature=bench.vote(2, last, term=3).signature,
    )

    votes = seen.votes(bench.receive(2, append))

    assert bench.replica.term == 3
    assert [vote.term for vote in votes] == ([3] if term == 2 else [])


def test_a_repeated_block_is_one_of_two_first_blocks(bench: Any, seen: Any) -> None:
    """E4, R4: after a vote for the repeated block, no other may open the term."""
    first, last, _ = follow_to_end(bench)
    opening = repeat(bench, last, first).term_certificate
    bench.receive(1, repeat(bench, last, first))
    other = end_block(bench, first, term=2)

    effects = bench.receive(1, replace(bench.append(other, first), term_certificate=opening))

    assert seen.votes(effects) == []


def test_only_the_last_block_of_an_epoch_is_proposed_again(bench: Any, seen: Any) -> None:
    """E4"""
    block = bench.block(1)
    bench.follow(block)

    assert seen.faults(bench.receive(1, repeat(bench, block, block))) == [
        "proposal: only the last block of an epoch is proposed again"
    ]


def test_a_repeated_block_cannot_open_a_term_beyond_the_last_number(bench: Any) -> None:
    """E4: a term certificate is taken at its word until it is verified."""
    last = end_block(bench, bench.block(1))
    forged = Append(
        block=last,
        justify=replace(bench.certify(last), signatures=()),
        term_certificate=replace(bench.give_up(1), term=Term(U64_MAX)),
        signature=Signature(b""),
    )

    with pytest.raises(PeerFault):
        decode_message(encode_message(forged, Epoch(0)))

    below = replace(forged, term_certificate=replace(bench.give_up(1), term=Term(U64_MAX - 1)))
    _, received = decode_message(encode_message(below, Epoch(0)))
    assert any(isinstance(effect, ReportFault) for effect in bench.receive(1, received))


def test_a_certificate_of_a_repeated_block_does_not_commit_its_parent(bench: Any, seen: Any) -> None:
    """E4, S4: the parent is of an earlier term than the certificate."""
    first = bench.block(1)
    bench.receive(0, bench.append(first))
    bench.check(first)
    bench.execute(first, wanting(bench, first))
    last = end_block(bench, first)
    bench.receive(0, bench.append(last, first))

    effects = bench.receive(1, bench.heartbeat(term=Term(2), high_qc=bench.certify(last, term=2)))

    assert bench.replica.high_rank == (2, 2)
    assert seen.commits(effects) == []


def next_epoch(bench: Any, last: Block, index: int | None = 3, **changes: Any) -> Any:
    """A replica of epoch 1, as the driver starts it when the last block is stored."""
    tip = CommittedTip(
        height=last.header.height,
        block_hash=last.block_hash,
        term=last.header.term,
        time_ms=last.header.time_ms,
        roots=bench.roots_after(last),
        proof=CommitProof(certificate=bench.certify(last, COMMIT)),
    )
    return type(bench)(
        index,
        bench.count,
        ReplicaStart(**({"tip": tip} | changes)),
        epoch=Epoch(1),
        valset_hash=NEXT,
        base=BaseBlock(height=last.header.height, block_hash=last.block_hash),
    )


def first_of_next(bench: Any, last: Block) -> Block:
    block: Block = bench.block(1, last, parent_term=Term(0), valset_hash=NEXT, next_valset_hash=NEXT)
    return block


def test_the_next_epoch_starts_at_term_1_from_the_last_block(bench: Any, seen: Any) -> None:
    """E3, S2: the leader of its first term is the next in turn."""
    _, last, effects = follow_to_end(bench)
    after = next_epoch(bench, last, record=seen.of(effects, Persist)[-1].record)
    after.answer(after.tick())
    block = first_of_next(after, last)

    effects = after.receive(1, after.append(block)) + after.check(block)

    assert (after.replica.epoch, after.replica.term, after.replica.leader) == (1, 1, 1)
    assert [(vote.term, vote.height) for vote in seen.votes(effects)] == [(1, 3)]
    assert seen.record(effects).epoch == 1


def test_a_vote_of_one_epoch_is_none_of_the_next(bench: Any, seen: Any) -> None:
    """E3: every signature covers the epoch."""
    _, last, _ = follow_to_end(bench)
    after = next_epoch(bench, last)
    block = first_of_next(after, last)
    forged = replace(after.append(block), signature=bench.vote(1, block).signature)

    assert seen.faults(after.receive(1, forged)) == ["bad vote signature of validator 1"]


def test_terms_of_the_next_epoch_are_not_late_by_those_of_the_last(bench: Any, seen: Any) -> None:
    """T3: terms count anew."""
    _, last, _ = follow_to_end(bench)
    late = end_block(bench, last, term=9)
    after = next_epoch(bench, late, index=0)

    after.tick()

    assert seen.sent(after.tick(after.timing.base_timeout_ms + 1), Suspect)


def test_a_record_of_the_epoch_before_is_followed_by_a_fresh_one_at_its_first_block(
    bench: Any, seen: Any
) -> None:
    """E5: the crash came between storing the last block and the first record of the next epoch."""
    _, last, effects = follow_to_end(bench)
    record = seen.record(effects)
    after = next_epoch(bench, last, record=seen.of(effects, Persist)[-1].record)

    fresh = seen.record(after.tick())

    assert (fresh.epoch, fresh.term, fresh.voted, fresh.timeout) == (1, 1, None, None)
    assert fresh.sequence == record.sequence + 1


def test_a_record_of_an_earlier_epoch_further_on_is_amnesia(bench: Any, seen: Any) -> None:
    """E5, D6: an older copy of the record came back."""
    _, last, effects = follow_to_end(bench)
    record = seen.of(effects, Persist)[-1].record
    reference = next_epoch(bench, last)
    block = first_of_next(reference, last)
    tip = CommittedTip(
        height=Height(3),
        block_hash=block.block_hash,
        term=Term(1),
        time_ms=block.header.time_ms,
        roots=Roots(state_root=StateRoot(bytes(32)), receipts_root=EMPTY_ROOT),
        proof=CommitProof(certificate=reference.certify(block, COMMIT)),
    )
    after = next_epoch(bench, last, tip=tip, record=record)

    effects = after.tick() + after.tick(after.timing.base_timeout_ms)

    assert after.replica.has_amnesia
    assert seen.of(effects, Persist) == []


def test_old_votes_are_no_amnesia_to_whoever_has_a_record_of_a_later_epoch(
    new_bench: Any, bench: Any, seen: Any
) -> None:
    """E5, D6: the ledger was put back from an older copy; every proof on the way shows votes of our own."""
    later = replace(
        seen.record(bench.tick()),
        epoch=Epoch(1),
        high_qc=base_certificate(Epoch(1), Height(5), BlockHash(NEXT)),
    )
    again = new_bench(3, 4, replace(bench.start, record=encode_record(later)))

    again.receive(0, again.heartbeat(high_qc=again.certify(again.block(1), signers=(0, 1, 3))))

    assert not again.replica.has_amnesia


@pytest.mark.parametrize(("floor", "is_forgetful"), [(0, False), (2, False), (3, True), (7, True)])
def test_whoever_rejoined_has_forgotten_the_next_epoch_unless_its_base_is_newer(
    bench: Any, seen: Any, floor: int, is_forgetful: bool
) -> None:
    """D8: those it asked may have missed an epoch that it signed in, with newcomers, before it forgot."""
    first, _, effects = follow_to_end(bench)
    record = encode_record(replace(seen.record(effects), floor=Term(floor)))

    base = end_block(bench, first, term=3)
    after = next_epoch(bench, base, record=record)

    fresh = [effect for effect in after.tick() if isinstance(effect, Persist)]
    assert after.replica.has_amnesia is is_forgetful
    assert bool(fresh) is not is_forgetful


def test_whoever_hears_of_a_later_epoch_asks_for_committed_blocks(bench: Any, seen: Any) -> None:
    """E6"""
    effects = bench.receive(2, Suspect(term=Term(1)), epoch=1)

    assert [
        (e.to, e.message.from_height)
        for e in effects
        if isinstance(getattr(e, "message", None), GetCommitted)
    ] == [(2, 1)]


def test_a_claim_of_a_later_epoch_alone_changes_nothing(bench: Any, seen: Any) -> None:
    """E6: a liar costs one request now and then."""
    bench.receive(2, bench.heartbeat(high_qc=bench.certify(bench.block(7))), epoch=1)
    for _ in range(100):
        effects = bench.receive(2, Suspect(term=Term(9)), epoch=1)

    assert (bench.replica.term, bench.replica.high_rank) == (1, (0, 0))
    assert seen.sent(effects, GetCommitted) == []
    bench.tick(2 * bench.timing.base_timeout_ms)
    assert seen.sent(bench.tick(), GetCommitted) == []


def test_whoever_hears_of_an_earlier_epoch_shows_where_it_stands(bench: Any, seen: Any) -> None:
    """E6: a guest too, and each at a bounded rate."""
    _, last, _ = follow_to_end(bench)
    after = next_epoch(bench, last)

    effects = after.receive(2, Suspect(term=Term(1)), epoch=0) + after.receive(
        9, Suspect(term=Term(1)), epoch=0
    )
    again = after.receive(2, Suspect(term=Term(1)), epoch=0)

    assert [e.to for e in effects if isinstance(getattr(e, "message", None), Heartbeat)] == [2, 9]
    assert seen.sent(again, Heartbeat) == []


def test_a_node_left_behind_takes_the_end_of_its_epoch_from_a_later_one(bench: Any, seen: Any) -> None:
    """E6, C3"""
    first = bench.block(1)
    last = end_block(bench, first)
    bench.receive(2, Suspect(term=Term(1)), epoch=1)
    proof = CommitProof(certificate=bench.certify(last, COMMIT))

    effects = bench.receive(2, Committed(blocks=(first, last), headers=(), proof=proof), epoch=1)
    effects += bench.execute(first, wanting(bench, first)) + bench.execute(last)

    assert seen.commits(effects) == [1, 2]


def test_committed_blocks_of_another_epoch_are_left_alone(bench: Any, seen: Any) -> None:
    """E6: an honest answer can be for somebody who is further."""
    _, last, _ = follow_to_end(bench)
    after = next_epoch(bench, last)
    block = first_of_next(after, last)
    proof = CommitProof(certificate=after.certify(block, COMMIT))
    bench.receive(2, Suspect(term=Term(1)), epoch=1)

    effects = bench.receive(2, Committed(blocks=(block,), headers=(), proof=proof), epoch=1)

    assert seen.faults(effects) == []
    assert seen.of(effects, Halt) == []


def test_what_is_served_never_spans_two_epochs(bench: Any) -> None:
    """E6"""
    first, last, _ = follow_to_end(bench)
    after = next_epoch(bench, last)
    block = first_of_next(after, last)
    end_proof = CommitProof(certificate=bench.certify(last, COMMIT))
    stored = [
        (first, end_proof),
        (last, end_proof),
        (block, CommitProof(certificate=after.certify(block, COMMIT))),
    ]

    answer = build_committed(stored)

    assert answer is not None
    assert answer.blocks == (first, last)
    assert build_committed(stored[2:]) is not None


def test_an_observer_asks_for_what_follows_its_tip(new_bench: Any, seen: Any) -> None:
    """F2: one validator after the other."""
    observer = new_bench(None)

    asked = [seen.of(observer.tick(observer.timing.heartbeat_ms), object) for _ in range(3)]

    assert [(e.to, e.message) for effects in asked for e in effects] == [
        (peer, GetCommitted(from_height=Height(1))) for peer in (0, 1, 2)
    ]


def test_a_guest_is_answered_blocks_only(bench: Any, seen: Any) -> None:
    """F2"""
    bench.follow(bench.block(1))
    bench.receive(0, bench.heartbeat(CommitProof(certificate=bench.certify(bench.block(1), COMMIT))))

    served = bench.receive(17, GetCommitted(from_height=Height(1)))
    ignored = bench.receive(17, Suspect(term=Term(1))) + bench.receive(17, GetStatus(nonce=1))

    assert [(effect.to, effect.from_height) for effect in seen.of(served, ServeCommitted)] == [(17, 1)]
    assert ignored == []
