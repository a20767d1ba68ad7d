"""Each checker fires on a violation that was made for it, and is silent without one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tanpo.consensus import Broadcast, Roots, Timing
from tanpo.consensus.messages import (
    Append,
    Committed,
    Heartbeat,
    Nudge,
    Status,
    StepDown,
    Suspect,
    TermCertificate,
)
from tanpo.consensus.record import decode_record
from tanpo.ledger.block import EMPTY_ROOT, Block, BlockFlags
from tanpo.ledger.certificate import (
    CommitProof,
    QuorumCertificate,
    TimeoutCertificate,
    genesis_certificate,
)
from tanpo.ledger.evidence import DoubleVote
from tanpo.ledger.types import Epoch, Signature, StateRoot, Term, ValidatorIndex
from tanpo.node.agenda import Turn
from tanpo.simulator import Cluster, Settings, Violation
from tanpo.simulator.checks import (
    Agreement,
    Attribution,
    Beginnings,
    Justifications,
    PromiseBook,
    Promiser,
    Quorums,
    Rebirths,
    Times,
    check_memory,
    check_rest,
    check_results,
)
from tanpo.simulator.reigns import Reign

ROOTS = Roots(state_root=StateRoot(bytes(32)), receipts_root=EMPTY_ROOT)
OTHER_ROOTS = Roots(state_root=StateRoot(b"\x01" * 32), receipts_root=EMPTY_ROOT)


class Speaker:
    """An honest process whose durable record is what the test says."""

    def __init__(self, forge: Any) -> None:
        self.book = PromiseBook(forge.headers.get)
        self.record: bytes | None = forge.record()
        self.has_block = True

    def say(self, message: Any, **durable: Any) -> None:
        promiser = Promiser(
            name="1", epoch=0, record=self.record, is_durable=lambda _hash, _height: self.has_block
        )
        self.book.check(promiser, message)


@pytest.fixture
def speaker(forge: Any) -> Speaker:
    return Speaker(forge)


@pytest.fixture
def agreement(forge: Any) -> Agreement:
    found = Agreement(network_id=forge.network_id, genesis_ms=1_000, precision_ms=500)
    found.latest_wall_ms = 2_000
    return found


def test_a_vote_that_is_durable_and_said_twice_is_fine(forge: Any, speaker: Speaker) -> None:
    block = forge.block(1, 1)
    speaker.record = forge.record(voted=forge.vote(1, block))

    speaker.say(forge.reply(1, block))
    speaker.say(forge.reply(1, block))


def test_two_votes_of_one_rank_are_found(forge: Any, speaker: Speaker) -> None:
    block, rival = forge.block(1, 1), forge.block(1, 1, time_ms=7)
    speaker.record = forge.record(voted=forge.vote(1, block))
    speaker.say(forge.reply(1, block))
    speaker.record = forge.record(voted=forge.vote(1, rival))

    with pytest.raises(Violation, match="promises: 1: two votes at 1/1"):
        speaker.say(forge.reply(1, rival))


def test_two_first_blocks_of_one_term_are_found(forge: Any, speaker: Speaker) -> None:
    low, high = forge.block(2, 1), forge.block(2, 2, parent_term=Term(1))
    lock = forge.certify(forge.block(1, 1))
    speaker.record = forge.record(voted=forge.vote(1, low))
    speaker.say(forge.reply(1, low))
    speaker.record = forge.record(voted=forge.vote(1, high), high_qc=lock)

    with pytest.raises(Violation, match="two first blocks of term 2"):
        speaker.say(forge.reply(1, high))


def test_a_vote_after_the_timeout_of_its_term_is_found(forge: Any, speaker: Speaker) -> None:
    block, timeout = forge.block(1, 1), forge.timeout(1, 1)
    speaker.record = forge.record(voted=forge.vote(1, block), timeout=timeout)
    speaker.say(timeout)

    with pytest.raises(Violation, match="after the timeout"):
        speaker.say(forge.reply(1, block))


def test_a_timeout_below_its_lock_is_found(forge: Any, speaker: Speaker) -> None:
    block = forge.block(1, 1)
    speaker.record = forge.record(high_qc=forge.certify(block))
    speaker.say(Nudge(certificate=forge.certify(block)))
    timeout = forge.timeout(1, 1)
    speaker.record = forge.record(high_qc=forge.certify(block), timeout=timeout)

    with pytest.raises(Violation, match="below its lock"):
        speaker.say(timeout)


@pytest.mark.parametrize("row", ["append", "prepare", "commit", "nudge", "timeout", "step-down", "status"])
def test_each_row_of_the_durability_table_is_looked_at(forge: Any, speaker: Speaker, row: str) -> None:
    """D1: nothing of the record that a message counts on is durable."""
    block = forge.block(1, 1)
    messages = {
        "append": forge.reply(1, block),
        "prepare": forge.reply(1, block),
        "commit": forge.reply(1, block, forge.commit),
        "nudge": Nudge(certificate=forge.certify(block)),
        "timeout": forge.timeout(1, 1),
        "step-down": StepDown(term=Term(1), signature=Signature(b"")),
        "status": Status(
            nonce=1,
            term=Term(2),
            high_qc=forge.certify(block),
            term_certificate=None,
            vote=None,
            timeout_term=Term(0),
            timeout=None,
        ),
    }

    with pytest.raises(Violation, match="durability"):
        speaker.say(messages[row])


def test_a_vote_for_a_block_that_is_not_durable_is_found(forge: Any, speaker: Speaker) -> None:
    block = forge.block(1, 1)
    speaker.record = forge.record(voted=forge.vote(1, block))
    speaker.has_block = False

    with pytest.raises(Violation, match="not durable"):
        speaker.say(forge.reply(1, block))


def test_a_vote_whose_justification_is_not_durable_is_found(forge: Any, speaker: Speaker) -> None:
    block = forge.block(1, 2, forge.block(1, 1))
    speaker.record = forge.record(voted=forge.vote(1, block))

    with pytest.raises(Violation, match="counts on the certificate at 1/1"):
        speaker.say(forge.reply(1, block))


def test_a_promise_without_any_record_is_found(forge: Any, speaker: Speaker) -> None:
    speaker.record = None

    with pytest.raises(Violation, match="before anything is durable"):
        speaker.say(forge.timeout(1, 1))


def test_a_promise_on_a_record_of_another_epoch_is_found(forge: Any, speaker: Speaker) -> None:
    speaker.record = forge.record(epoch=3, timeout=forge.timeout(1, 1))

    with pytest.raises(Violation, match="on an older record"):
        speaker.say(forge.timeout(1, 1))


def _commit(forge: Any, agreement: Agreement, block: Any, **changes: Any) -> bool:
    given: dict[str, Any] = {
        "proof": forge.proof(block),
        "roots": ROOTS,
        "tip_height": block.header.height - 1,
        "keys": forge.keys,
    }
    fields = given | changes
    return agreement.check_commit("1", block, fields.pop("proof"), fields.pop("roots"), **fields)


def test_the_same_commit_by_two_is_agreement(forge: Any, agreement: Agreement) -> None:
    block = forge.block(1, 1)

    assert _commit(forge, agreement, block)
    assert not _commit(forge, agreement, block)
    assert agreement.height == 1


def test_two_blocks_at_one_height_are_found(forge: Any, agreement: Agreement) -> None:
    _commit(forge, agreement, forge.block(1, 1))

    with pytest.raises(Violation, match="agreement: 1: two blocks at height 1"):
        _commit(forge, agreement, forge.block(2, 1))


def test_two_results_of_one_block_are_found(forge: Any, agreement: Agreement) -> None:
    block = forge.block(1, 1)
    _commit(forge, agreement, block)

    with pytest.raises(Violation, match="two results of height 1"):
        _commit(forge, agreement, block, roots=OTHER_ROOTS)


def test_a_commit_that_skips_or_repeats_a_height_is_found(forge: Any, agreement: Agreement) -> None:
    with pytest.raises(Violation, match="commits height 3 after 1"):
        _commit(forge, agreement, forge.block(1, 3), tip_height=1)


def test_a_block_that_does_not_extend_the_one_below_is_found(forge: Any, agreement: Agreement) -> None:
    _commit(forge, agreement, forge.block(1, 1))

    with pytest.raises(Violation, match="does not extend"):
        _commit(forge, agreement, forge.block(1, 2))


@pytest.mark.parametrize("kind", ["too few", "another block", "not a commit"])
def test_a_proof_that_does_not_hold_offline_is_found(forge: Any, agreement: Agreement, kind: str) -> None:
    block = forge.block(1, 1)
    proofs = {
        "too few": CommitProof(certificate=forge.certify(block, forge.commit, signers=(0, 1))),
        "another block": forge.proof(forge.block(1, 1, time_ms=9)),
        "not a commit": CommitProof(certificate=forge.certify(block)),
    }

    with pytest.raises(Violation, match="proof"):
        _commit(forge, agreement, block, proof=proofs[kind])


def test_a_block_not_later_than_its_parent_is_found(forge: Any, agreement: Agreement) -> None:
    with pytest.raises(Violation, match="not later"):
        _commit(forge, agreement, forge.block(1, 1, time_ms=1_000))


def test_a_block_ahead_of_every_honest_clock_is_found(forge: Any, agreement: Agreement) -> None:
    with pytest.raises(Violation, match="ahead of every honest clock"):
        _commit(forge, agreement, forge.block(1, 1, time_ms=2_501))


def test_a_vote_for_a_block_ahead_of_its_voters_clock_is_found(forge: Any) -> None:
    """V3"""
    times, block = Times(Timing()), forge.block(1, 1, time_ms=10_000)
    times.note_clock("1", 9_500)
    times.check_vote("1", block.header, block.block_hash, None)
    times.note_clock("2", 9_499)

    with pytest.raises(Violation, match="ahead of its clock"):
        times.check_vote("2", block.header, block.block_hash, None)


def test_a_vote_for_a_block_that_came_too_late_is_found(forge: Any) -> None:
    """V3: two seconds for the message, doubled by a term without a commit, and the clocks' precision."""
    times, block = Times(Timing()), forge.block(1, 1, time_ms=10_000)
    times.note_clock("1", 20_000)
    times.note_clock("2", 20_000)
    times.note_arrival("1", block.block_hash, 14_500, tip_term=0)
    times.check_vote("1", block.header, block.block_hash, None)
    times.note_arrival("2", block.block_hash, 14_500, tip_term=1)

    with pytest.raises(Violation, match="came too late"):
        times.check_vote("2", block.header, block.block_hash, None)


@pytest.mark.parametrize(("signers", "count"), [((0, 1), 4), ((0, 1, 1), 4), ((0, 1, 2), 5), ((0, 1, 2), 6)])
def test_a_certificate_that_is_none_is_found(forge: Any, signers: tuple[int, ...], count: int) -> None:
    """S1"""
    block = forge.block(1, 1)
    signatures = tuple((index, forge.vote(index, block).signature) for index in signers)
    certificate = replace(forge.certify(block), signatures=signatures)
    keys = Reign.create([str(index) for index in range(count)]).keys

    with pytest.raises(Violation, match=f"no quorum of {count}"):
        Quorums(forge.network_id, lambda _: keys).check("1", Nudge(certificate=certificate))


@pytest.fixture
def quorums(forge: Any) -> Quorums:
    return Quorums(forge.network_id, lambda _: forge.keys)


def _open(forge: Any, high: QuorumCertificate, *, lock: Block | None = None) -> TimeoutCertificate:
    """Return what opens term 2; those who sign it name `lock`."""
    entries = tuple(forge.timeout(index, 1, lock).entry for index in range(3))
    return TimeoutCertificate(epoch=Epoch(0), term=Term(1), entries=entries, high_qc=high)


@pytest.mark.parametrize(
    "kind", ["append", "committed", "heartbeat", "nudge", "proof", "status", "term", "term's lock", "timeout"]
)
def test_a_forged_certificate_is_found_in_every_message(forge: Any, quorums: Quorums, kind: str) -> None:
    """S1, T1"""
    block = forge.block(1, 1)
    genuine = forge.certify(block)
    forged = replace(
        genuine, signatures=tuple((index, Signature(b"none")) for index, _ in genuine.signatures)
    )
    opening = _open(forge, forged, lock=block)
    mixed = tuple(replace(one, signature=opening.entries[0].signature) for one in opening.entries)
    proof = CommitProof(certificate=replace(forged, kind=forge.commit))
    stand: dict[str, Any] = {"high_qc": genuine, "term": Term(2)}
    own: dict[str, Any] = {"nonce": 1, "vote": None, "timeout_term": Term(0), "timeout": None}
    messages = {
        "append": Append(block=block, justify=forged, term_certificate=None, signature=Signature(b"")),
        "committed": Committed(blocks=(), headers=(), proof=proof),
        "heartbeat": Heartbeat(commit_proof=None, term_certificate=opening, **stand),
        "nudge": Nudge(certificate=forged),
        "proof": Heartbeat(commit_proof=proof, term_certificate=None, **stand),
        "status": Status(term_certificate=opening, **stand, **own),
        "term": TermCertificate(certificate=replace(opening, entries=mixed, high_qc=genuine)),
        "term's lock": TermCertificate(certificate=opening),
        "timeout": replace(forge.timeout(1, 2), high_qc=forged),
    }

    with pytest.raises(Violation, match="forged signature"):
        quorums.check("1", messages[kind])


def test_a_term_certificate_with_another_lock_than_it_lists_is_found(forge: Any, quorums: Quorums) -> None:
    """T1"""
    opening = _open(forge, genesis_certificate(forge.network_id), lock=forge.block(1, 1))

    with pytest.raises(Violation, match="another lock than it lists"):
        quorums.check("1", TermCertificate(certificate=opening))


def test_genuine_certificates_and_base_certificates_are_fine(forge: Any, quorums: Quorums) -> None:
    """S1"""
    block = forge.block(1, 1)
    certificate, base = forge.certify(block), genesis_certificate(forge.network_id)

    for high in (certificate, base):
        quorums.check("1", Nudge(certificate=high))
    for high, lock in ((certificate, block), (base, None)):
        quorums.check("1", TermCertificate(certificate=_open(forge, high, lock=lock)))


def test_a_new_signature_before_the_others_answered_is_found(forge: Any) -> None:
    """D7: what is in the record may be said again; two answers, or a base timeout, allow more."""
    old, new = forge.block(1, 1), forge.block(2, 2)
    beginnings = Beginnings(base_timeout_ms=1_000)
    for name in ("asked", "waited", "hasty"):
        beginnings.note_start(name, decode_record(forge.record(voted=forge.vote(1, old))), 100)
        beginnings.note_answer(name, "0")
        beginnings.check(name, forge.reply(1, old), 101, quorum=3)
    beginnings.note_answer("asked", "2")
    beginnings.check("asked", forge.reply(1, new), 101, quorum=3)
    beginnings.check("waited", forge.reply(1, new), 1_100, quorum=3)

    with pytest.raises(Violation, match="signs anew after a start and 1 answers of 2"):
        beginnings.check("hasty", forge.reply(1, new), 1_099, quorum=3)


def test_a_signature_of_a_term_that_is_forgotten_is_found(forge: Any) -> None:
    """D6, D8"""
    rebirths = Rebirths()
    rebirths.check("1", 0, forge.reply(1, forge.block(5, 1)))
    rebirths.note_loss("1", is_known=True)
    rebirths.check("1", 0, forge.reply(1, forge.block(6, 1)))
    rebirths.check("1", 1, forge.reply(1, forge.block(1, 1)))

    with pytest.raises(Violation, match="signs in term 5 of epoch 0, and forgot"):
        rebirths.check("1", 0, forge.reply(1, forge.block(5, 2)))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"state_root": StateRoot(b"\x01" * 32)}, "other roots"),
        ({"receipts_root": b"\x01" * 32}, "other roots"),
        ({"flags": BlockFlags.EPOCH_END, "next_valset_hash": b"\x01" * 32}, "other marks"),
    ],
)
def test_a_vote_against_the_results_is_found(forge: Any, changes: dict[str, Any], what: str) -> None:
    """V4, V5"""
    check_results("1", forge.block(1, 1).header, ROOTS, bytes(32))

    with pytest.raises(Violation, match=what):
        check_results("1", forge.block(1, 1, **changes).header, ROOTS, bytes(32))


def test_a_vote_for_a_block_no_later_than_its_parent_is_found(forge: Any) -> None:
    """V3"""
    times, block = Times(Timing()), forge.block(1, 1, time_ms=10_000)
    times.check_vote("1", block.header, block.block_hash, 9_999)

    with pytest.raises(Violation, match="no later than its parent"):
        times.check_vote("1", block.header, block.block_hash, 10_000)


def _commit_bodies(cluster: Cluster, forge: Any, *bodies: list[bytes]) -> None:
    process = cluster.processes[0]
    for height, body in enumerate(bodies, 1):
        block = Block.create(forge.block(1, height).header, body)
        cluster.checks._check_body(process, block)


@pytest.mark.parametrize(
    ("kind", "is_justified"),
    [("genuine", True), ("below a lock", False), ("too few", False), ("none", False), ("no proposal", False)],
)
def test_a_vote_for_a_first_block_needs_what_opens_the_term(
    forge: Any, kind: str, is_justified: bool
) -> None:
    """R4"""
    found, locked = Justifications(forge.network_id), forge.block(1, 1)
    base = genesis_certificate(forge.network_id)
    block = forge.block(2, 1) if kind == "below a lock" else forge.block(2, 2, locked)
    timeouts = [forge.timeout(i, 1, locked if i == 0 else None) for i in range(2 if kind == "too few" else 3)]
    opening = TimeoutCertificate(
        epoch=Epoch(0),
        term=Term(1),
        entries=tuple(timeout.entry for timeout in timeouts),
        high_qc=forge.certify(locked),
    )
    append = Append(
        block=block,
        justify=base if kind == "below a lock" else forge.certify(locked),
        term_certificate=None if kind == "none" else opening,
        signature=forge.vote(1, block).signature,
    )
    if kind != "no proposal":
        found.note(append)

    def check() -> None:
        found.check_vote("3", forge.vote(3, block), block.header, base=base, keys=forge.keys)

    if is_justified:
        check()
    else:
        with pytest.raises(Violation, match="justification: 3: votes for a first block of term 2"):
            check()


def test_a_transaction_committed_twice_is_found(forge: Any) -> None:
    with pytest.raises(Violation, match="repeats b'tx 1'"):
        _commit_bodies(Cluster(Settings(seed=1)), forge, [b"tx 1", b"tx 2"], [b"tx 1"])


def test_a_malformed_transaction_in_the_chain_is_found(forge: Any) -> None:
    with pytest.raises(Violation, match="malformed"):
        _commit_bodies(Cluster(Settings(seed=1)), forge, [b"bad"])


def test_evidence_against_an_honest_validator_is_found(forge: Any) -> None:
    cluster = Cluster(Settings(seed=1, victims=("3",)))
    block, rival = forge.block(1, 1), forge.block(1, 1, time_ms=7)
    evidence = DoubleVote(epoch=Epoch(0), first=forge.vote(2, block), second=forge.vote(2, rival))

    with pytest.raises(Violation, match="accuses 2, who is honest, of DoubleVote"):
        cluster.checks.on_evidence(cluster.processes[0], evidence)


def test_evidence_that_does_not_stand_is_found(forge: Any) -> None:
    cluster = Cluster(Settings(seed=1, victims=("3",)))
    block = forge.block(1, 1)
    evidence = DoubleVote(epoch=Epoch(0), first=forge.vote(3, block), second=forge.vote(3, block))

    with pytest.raises(Violation, match="for one block, against 3"):
        cluster.checks.on_evidence(cluster.processes[0], evidence)


def test_a_fork_accuses_those_who_voted_twice_and_nobody_else(forge: Any) -> None:
    attribution = Attribution(forge.headers.get, forge.keys, forge.network_id)
    block, rival = forge.block(1, 1), forge.block(1, 1, time_ms=7)
    attribution.note(0, Nudge(certificate=forge.certify(block, signers=(0, 1, 2))))

    attribution.note(0, Nudge(certificate=forge.certify(rival, signers=(0, 2, 3))))

    assert attribution.find_accused() == (0, 2)


def test_a_lying_timeout_accuses(forge: Any) -> None:
    attribution = Attribution(forge.headers.get, forge.keys, forge.network_id)
    block = forge.block(1, 1)
    attribution.note(1, forge.reply(1, block, forge.commit))
    attribution.note(2, forge.reply(2, block, forge.commit))

    attribution.note(1, forge.timeout(1, 2))
    attribution.note(2, forge.timeout(2, 2, block))

    assert attribution.find_accused() == (1,)


def test_two_openings_accuse(forge: Any) -> None:
    attribution = Attribution(forge.headers.get, forge.keys, forge.network_id)
    attribution.note(3, forge.reply(3, forge.block(2, 1)))

    attribution.note(3, forge.reply(3, forge.block(2, 2, parent_term=Term(1))))

    assert attribution.find_accused() == (3,)


def test_memory_beyond_its_bound_is_found() -> None:
    cluster = Cluster(Settings(seed=1))
    cluster.begin()
    replica = cluster.processes[0].replica
    check_memory("0", replica, durable_blocks=0, nodes_max=4)

    with pytest.raises(Violation, match="durable blocks"):
        check_memory("0", replica, durable_blocks=1_000, nodes_max=4)
    replica._core.hinted_ms.update({ValidatorIndex(index): 0 for index in range(9)})
    with pytest.raises(Violation, match="hints"):
        check_memory("0", replica, durable_blocks=0, nodes_max=4)


def test_a_restart_on_another_record_is_found() -> None:
    cluster = Cluster(Settings(seed=1))
    cluster.begin()
    process = cluster.processes[0]

    process.crash()
    process.safety.record = b"other"
    with pytest.raises(Violation, match="another record"):
        process.start()


def test_a_halt_of_an_honest_node_is_a_violation() -> None:
    cluster = Cluster(Settings(seed=1))

    with pytest.raises(Violation, match="halt: 2: it contradicts"):
        cluster.checks.on_halt(cluster.processes[2], "it contradicts")


def test_a_crash_that_ends_in_amnesia_is_a_violation() -> None:
    cluster = Cluster(Settings(seed=1, victims=("3",)))
    cluster.checks.on_loss(cluster.processes[3], is_known=True)

    with pytest.raises(Violation, match="believe that it forgot"):
        cluster.checks.on_loss(cluster.processes[0], is_known=True)


def test_work_at_a_time_of_rest_is_found() -> None:
    check_rest("1", Turn(write=None, effects=()))

    with pytest.raises(Violation, match="rest: 1: is at work while it rests"):
        check_rest("1", Turn(write=None, effects=(Broadcast(message=Suspect(term=Term(1))),)))
