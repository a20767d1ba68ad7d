"""Evidence: held on disk until it is in the chain, one piece for each accusation, verified first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tanpo.ledger.block import BLOCK_EVIDENCE_MAX
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.evidence import DoubleVote, encode_evidence
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.types import Epoch, Height, MemberId, NetworkId, ValidatorIndex
from tanpo.ledger.validators import Validator, ValidatorSet
from tanpo.node.evidence import Claim, EvidenceKind, EvidencePool, compute_changes, make_claim
from tanpo.node.metrics import Metrics
from tanpo.testing.accusation import make_double_vote

NETWORK = NetworkId(bytes(32))
EPOCH = Epoch(0)
KEYS = tuple(PrivateKey.generate() for _ in range(20))
VALIDATORS = ValidatorSet(
    tuple(
        Validator(member=MemberId(f"member-{number}"), node="n1", public_key=key.public_key.encoded)
        for number, key in enumerate(KEYS)
    )
)


class FakeStore:
    """The state."""

    def __init__(self) -> None:
        self.state: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.state.get(key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        return [(key, self.state[key]) for key in sorted(self.state) if start <= key < stop][:limit]

    def record(self, height: int, *evidence: DoubleVote) -> None:
        for key, value in compute_changes(Height(height), evidence).items():
            assert value is not None
            self.state[key] = value


def accuse(accused: int = 0, height: int = 1) -> DoubleVote:
    return make_double_vote(NETWORK, KEYS[accused], accused, height=height)


Opener = Callable[[], EvidencePool]


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def open_pool(tmp_path: Path, store: FakeStore, metrics: Metrics) -> Opener:
    def open_it() -> EvidencePool:
        return EvidencePool.open(
            tmp_path,
            network_id=NETWORK,
            store=store,  # type: ignore[arg-type]  # a fake: the pool asks no more of it
            find_validators=lambda epoch: None if epoch else VALIDATORS,
            metrics=metrics,
        )

    return open_it


def test_what_is_held_survives_a_restart(open_pool: Opener) -> None:
    evidence = accuse()
    assert open_pool().add(evidence, "here")
    assert open_pool().list_held() == [encode_evidence(evidence)]


def test_one_piece_is_held_for_each_accusation(open_pool: Opener, metrics: Metrics) -> None:
    pool = open_pool()
    assert pool.add(accuse(0), "here")
    assert not pool.add(accuse(0, height=7), "here")
    assert pool.add(accuse(1), "here")
    assert len(pool.list_held()) == 2
    counted = metrics.registry.get_sample_value(
        "tanpo_evidence_total", {"accused": "member-0/n1", "kind": "double-vote"}
    )
    assert counted == 1


def test_a_torn_file_is_dropped_and_the_rest_is_held(open_pool: Opener, tmp_path: Path) -> None:
    pool = open_pool()
    pool.add(accuse(0), "here")
    pool.add(accuse(1), "here")
    path = tmp_path / "evidence" / "0-0-double-vote"
    path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / "evidence" / "0-2-double-vote.new").write_bytes(b"half")
    assert len(open_pool().list_held()) == 1
    assert [path.name for path in (tmp_path / "evidence").iterdir()] == ["0-1-double-vote"]


def test_what_a_peer_shares_is_verified_first(open_pool: Opener) -> None:
    pool, good = open_pool(), accuse()
    forged = replace(good, second=replace(good.second, signature=good.first.signature))
    for wrong in (encode_evidence(forged), b"", encode_evidence(replace(good, epoch=Epoch(1)))):
        with pytest.raises(PeerFault):
            pool.take(wrong, "peer")
    assert not pool.has_waiting
    assert pool.take(encode_evidence(good), "peer")
    assert not pool.take(encode_evidence(replace(good, first=good.second, second=good.first)), "peer")


def test_committed_evidence_waits_no_longer_and_is_known_after_a_restart(
    open_pool: Opener, store: FakeStore, tmp_path: Path
) -> None:
    pool = open_pool()
    pool.add(accuse(), "here")
    store.record(5, accuse())
    pool.notice_committed([accuse()])
    assert not pool.has_waiting
    assert [(one.name, one.height) for one in pool.read_all()] == [("member-0/n1", 5)]
    again = open_pool()
    assert not again.add(accuse(), "here")
    assert not list((tmp_path / "evidence").iterdir())


def test_a_crash_between_the_commit_and_the_removal_of_the_file_is_made_good(
    open_pool: Opener, store: FakeStore, tmp_path: Path
) -> None:
    open_pool().add(accuse(), "here")
    store.record(5, accuse())
    assert not open_pool().has_waiting
    assert not list((tmp_path / "evidence").iterdir())


def test_a_block_may_carry_new_evidence(open_pool: Opener) -> None:
    open_pool().check(EPOCH, [accuse(0), accuse(1)], set())


def test_a_block_may_not_repeat_or_forge_evidence(open_pool: Opener, store: FakeStore) -> None:
    pool, good = open_pool(), accuse()
    forged = replace(good, second=replace(good.second, signature=good.first.signature))
    with pytest.raises(PeerFault, match="twice"):
        pool.check(EPOCH, [good, accuse(0, height=2)], set())
    with pytest.raises(PeerFault, match="in the chain already"):
        pool.check(EPOCH, [good], {make_claim(good)})
    with pytest.raises(PeerFault, match="signature"):
        pool.check(EPOCH, [forged], set())
    with pytest.raises(PeerFault, match="later epoch"):
        pool.check(EPOCH, [replace(good, epoch=Epoch(1))], set())
    with pytest.raises(PeerFault, match="unknown here"):
        pool.check(Epoch(2), [replace(good, epoch=Epoch(1))], set())
    store.record(3, good)
    with pytest.raises(PeerFault, match="in the chain already"):
        pool.check(EPOCH, [good], set())


def test_a_leader_gets_what_no_ancestor_has_up_to_the_limit_of_a_block(open_pool: Opener) -> None:
    pool, made = open_pool(), [accuse(number) for number in range(len(KEYS))]
    for one in made:
        pool.add(one, "here")
    chosen = pool.select({Claim(EPOCH, ValidatorIndex(0), EvidenceKind.DOUBLE_VOTE)})
    assert chosen == tuple(encode_evidence(one) for one in made[1 : BLOCK_EVIDENCE_MAX + 1])
