"""The parts of the scenario runner: names, letters, telling, and the witness that no file can overrule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tanpo.consensus import messages
from tanpo.ledger.block import EMPTY_ROOT, Block, BlockFlags, Header, compute_body_hash
from tanpo.ledger.certificate import CommitProof, QuorumCertificate, SignedKind, vote_bytes
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.types import Epoch, Height, MerkleRoot, StateRoot, Term, ValidatorIndex
from tanpo.ledger.vote import Vote
from tanpo.simulator import Violation
from tanpo.testing.scenario.__main__ import play_file
from tanpo.testing.scenario.archive import GENESIS_HASH, NETWORK, Archive, execute, is_allowed
from tanpo.testing.scenario.disk import Stored
from tanpo.testing.scenario.keys import sign
from tanpo.testing.scenario.network import Choice, Letter, Network
from tanpo.testing.scenario.process import Clock, Outgoing, Process
from tanpo.testing.scenario.replaying import replay
from tanpo.testing.scenario.script import ScenarioError, parse_script
from tanpo.testing.scenario.telling import Told, tell
from tanpo.testing.scenario.witness import Witness

CAST = ("alice", "bob", "carol", "dave")


def build_block(*names: str, term: int = 1, **changes: Any) -> Block:
    envelopes = tuple(name.encode() for name in names)
    header = Header(
        network_id=NETWORK,
        epoch=Epoch(0),
        term=Term(term),
        height=Height(1),
        parent_hash=GENESIS_HASH,
        parent_term=Term(0),
        time_ms=1,
        proposer=ValidatorIndex(0),
        tx_root=compute_merkle_root(envelopes),
        tx_count=len(envelopes),
        body_hash=compute_body_hash(envelopes),
        state_root=StateRoot(bytes(32)),
        receipts_root=MerkleRoot(bytes(32)),
        valset_hash=bytes(32),
        next_valset_hash=bytes(32),
        flags=BlockFlags.NONE,
        evidence_root=EMPTY_ROOT,
    )
    return Block.create(replace(header, **changes), envelopes)


def vote_for(name: str, block: Block, kind: SignedKind = SignedKind.VOTE_PREPARE) -> Vote:
    claim: Any = {"term": block.header.term, "height": block.header.height, "block_hash": block.block_hash}
    message = vote_bytes(kind, NETWORK, Epoch(0), **claim)
    index = ValidatorIndex(CAST.index(name))
    return Vote(kind=kind, validator=index, signature=sign(name, message), **claim)


def send_vote(name: str, block: Block) -> Outgoing:
    reply = messages.AppendReply(vote=vote_for(name, block))
    return Outgoing(to=("alice",), epoch=Epoch(0), message=reply)


def store(process: Process, archive: Archive, block: Block, *signers: str) -> None:
    archive.note(block)
    votes = [vote_for(name, block, SignedKind.VOTE_COMMIT) for name in signers]
    certificate = QuorumCertificate(
        kind=SignedKind.VOTE_COMMIT,
        epoch=Epoch(0),
        term=block.header.term,
        height=block.header.height,
        block_hash=block.block_hash,
        signatures=tuple((vote.validator, vote.signature) for vote in votes),
    )
    state = archive.find_state(block.block_hash)
    assert state is not None
    proof = CommitProof(certificate=certificate)
    process.disk.chain.append(Stored(block=block, proof=proof, roots=state.roots))


def build_letter(**changes: Any) -> Letter:
    letter = Letter(
        number=0,
        sender="alice",
        sender_key="alice",
        receiver="bob",
        kind="vote",
        term=1,
        block="1@1",
        encoded=b"",
    )
    return replace(letter, **changes)


@pytest.fixture
def archive() -> Archive:
    return Archive(CAST)


@pytest.fixture
def processes(archive: Archive) -> list[Process]:
    clock = Clock()
    return [Process(name=name, key=name, clock=clock, archive=archive) for name in CAST]


def test_rivals_of_one_rank_have_names_of_their_own(archive: Archive) -> None:
    first, second, third = (build_block(name) for name in ("a", "b", "c"))

    assert [archive.note(block) for block in (first, second, first, third)] == ["1@1", "1@1b", "1@1", "1@1c"]


def test_validators_change_only_if_those_that_stay_are_a_quorum() -> None:
    assert is_allowed(CAST, (*CAST, "erin"))
    assert is_allowed(CAST, ("bob", "carol", "dave", "erin"))
    assert not is_allowed(CAST, ("alice", "bob", "erin", "frank"))
    assert not is_allowed(CAST, CAST)
    assert not is_allowed(CAST, ("alice", "alice", "bob", "carol"))


def test_the_wanted_validators_are_in_force_after_the_last_block(archive: Archive) -> None:
    genesis = archive.find_state(GENESIS_HASH)
    assert genesis is not None
    asked = execute(genesis, build_block("validators:alice,bob,carol"))
    ended = execute(asked, build_block(flags=BlockFlags.EPOCH_END))

    assert (asked.validators, asked.wanted) == (CAST, ("alice", "bob", "carol"))
    assert (ended.validators, ended.wanted) == (("alice", "bob", "carol"), None)


def test_what_is_sent_over_a_cut_link_is_lost_for_good() -> None:
    network = Network()
    network.cut(["alice"], ["bob"])

    assert network.post(build_letter()) is None
    network.heal()
    assert network.waiting == []
    assert network.post(build_letter()) is not None


def test_held_letters_wait_until_they_are_released() -> None:
    network = Network()
    network.hold(Choice(kinds=frozenset({"vote"}), receivers=frozenset({"bob"})))
    network.post(build_letter())
    network.post(build_letter(receiver="carol"))

    arrived = [network.next_letter(), network.next_letter()]
    network.release()

    assert [letter and letter.receiver for letter in [*arrived, network.next_letter()]] == [
        "carol",
        None,
        "bob",
    ]


def test_the_same_deed_of_several_is_told_once() -> None:
    told = [
        Told(name=name, deed="committed", what=what) for what in ("1@1", "2@1") for name in ("bob", "alice")
    ]
    told.append(Told(name="bob", deed="locked on", what="2@1", is_detail=True))

    assert tell(told, is_close=False) == ["alice bob committed 1@1, 2@1"]
    assert tell(told, is_close=True) == ["alice bob committed 1@1, 2@1", "bob locked on 2@1"]


def test_different_commits_at_one_height_are_a_violation(archive: Archive, processes: list[Process]) -> None:
    witness = Witness(archive)
    store(processes[0], archive, build_block("a"), "alice", "bob", "carol")
    witness.check_commits(processes)
    store(processes[1], archive, build_block("b"), "bob", "carol", "dave")

    with pytest.raises(Violation, match="at height 1 alice committed 1@1, bob 1@1b"):
        witness.check_commits(processes)


def test_a_commit_without_a_quorum_is_a_violation(archive: Archive, processes: list[Process]) -> None:
    store(processes[0], archive, build_block("a"), "alice", "bob")

    with pytest.raises(Violation, match="alice: committed without proof: too few signers"):
        Witness(archive).check_commits(processes)


def test_an_undone_commit_is_a_violation(archive: Archive, processes: list[Process]) -> None:
    witness = Witness(archive)
    store(processes[0], archive, build_block("a"), "alice", "bob", "carol")
    witness.check_commits(processes)
    processes[0].disk.chain.clear()
    store(processes[0], archive, build_block("b"), "alice", "bob", "carol")

    with pytest.raises(Violation, match="alice: undid a commit"):
        witness.check_commits(processes)


def test_a_vote_that_is_not_on_disk_is_a_violation(archive: Archive, processes: list[Process]) -> None:
    block = build_block("a")
    archive.note(block)

    with pytest.raises(Violation, match="bob: AppendReply leaves before anything is durable"):
        Witness(archive).check_message(processes[1], send_vote("bob", block))


def test_evidence_against_the_honest_is_a_violation(archive: Archive, processes: list[Process]) -> None:
    processes[0].evidence[b"made up"] = "bob"

    Witness(archive).check_accused(processes[0], ["bob"])
    with pytest.raises(Violation, match="alice: holds evidence against honest bob"):
        Witness(archive).check_accused(processes[0], ["carol"])


def test_a_file_that_cannot_be_read_fails_with_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    binary = tmp_path / "binary.scenario"
    binary.write_bytes(b"\xff")

    for path in (binary, tmp_path / "missing.scenario"):
        assert not play_file(path, is_rewriting=False)
        assert capsys.readouterr().out.startswith(f"FAILED {path} cannot be read")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("wait -5s", "'-5s' goes back in time; allowed: 2s, 250ms, 1m"),
        ("run -1m", "'-1m' goes back in time; allowed: 2s, 250ms, 1m"),
        ("clock alice +99999999m", "'+99999999m' is too long; allowed: at most 999999m"),
        ("restart alice", "'alice' is up; allowed: first crash alice"),
        ("observer bob", "'bob' is somebody already; allowed: a new name"),
        ("twin alice as=bob", "'bob' is somebody already; allowed: a new name"),
    ],
)
def test_a_line_that_cannot_be_carried_out_is_told_with_what_is_allowed(line: str, told: str) -> None:
    script = parse_script("x", f"# A title.\n# Source: none\nvalidators alice bob carol dave\n{line}\n")

    with pytest.raises(ScenarioError) as refused:
        replay(script)

    assert str(refused.value) == f"x:4: {told}"


def test_a_validator_that_is_named_twice_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ScenarioError, match="names somebody twice; allowed: each name once"):
        replay(parse_script("x", "# A title.\n# Source: none\nvalidators alice alice\n"))
