"""What callers get of snapshots, and how fast."""

from __future__ import annotations

from hashlib import sha256

import pytest
from tanpo.ledger.errors import PeerFault, Unavailable
from tanpo.ledger.types import BlockHash, Height, StateRoot
from tanpo.node.services.snapshots import BURST_S, CALLERS_MAX, RATE_BYTES_S, SnapshotDesk
from tanpo.storage.manifest import ChunkPlace, Manifest
from tanpo.storage.snapshots import Offer

CHUNK = bytes(8 << 20)


class Source:
    """One snapshot of one chunk."""

    first_height = 7

    def __init__(self) -> None:
        place = ChunkPlace(start=0, size=len(CHUNK), digest=sha256(CHUNK).digest())
        manifest = Manifest(
            height=Height(40),
            header_hash=BlockHash(bytes(32)),
            state_root=StateRoot(bytes(32)),
            chunks=(place,),
        )
        self.offer = Offer(manifest=manifest, proof=b"a proof")
        self.reads = 0

    def offers(self) -> tuple[Offer, ...]:
        return (self.offer,)

    def read_chunk(self, digest: bytes, position: int) -> bytes:
        self.reads += 1
        return CHUNK


class Clock:
    """Stands still until it is set: then nobody waits for real."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_offers_are_listed_with_what_the_node_holds(source: Source, clock: Clock) -> None:
    answer = SnapshotDesk(source, clock).list_all("a/1", 55)
    assert (answer.height, answer.first_height) == (55, 7)
    assert [(one.height, one.digest) for one in answer.snapshots] == [(40, source.offer.manifest.digest)]


def test_manifest_and_proof_are_found_by_digest(source: Source, clock: Clock) -> None:
    desk = SnapshotDesk(source, clock)
    answer = desk.get("a/1", source.offer.manifest.digest)
    assert (answer.manifest, answer.proof) == (source.offer.manifest.encoded, b"a proof")
    with pytest.raises(Unavailable) as refusal:
        desk.get("a/1", bytes(32))
    assert refusal.value.reason == "NOT_FOUND"


def test_a_greedy_caller_is_refused_and_others_are_not(source: Source, clock: Clock) -> None:
    desk, digest = SnapshotDesk(source, clock), source.offer.manifest.digest
    fitting = int(BURST_S * RATE_BYTES_S / len(CHUNK))
    for _ in range(fitting):
        desk.get_chunk("a/1", digest, 0)
    with pytest.raises(Unavailable) as refusal:
        desk.get_chunk("a/1", digest, 0)
    assert refusal.value.reason == "MEMBER_QUOTA"
    assert source.reads == fitting
    desk.get_chunk("b/1", digest, 0)
    clock.time += BURST_S
    desk.get_chunk("a/1", digest, 0)


def test_what_is_remembered_of_callers_is_bounded(source: Source, clock: Clock) -> None:
    desk = SnapshotDesk(source, clock)
    for number in range(CALLERS_MAX + 50):
        desk.list_all(f"a/{number}", 55)
    assert len(desk._free_at) == CALLERS_MAX


def test_a_digest_of_another_length_is_a_fault(source: Source, clock: Clock) -> None:
    with pytest.raises(PeerFault, match="digest of a snapshot"):
        SnapshotDesk(source, clock).get_chunk("a/1", b"short", 0)
    assert source.reads == 0
