"""Which of the snapshots that peers offer a node joins by, and what it keeps of one that it has begun."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tanpo.api.v1 import peer_pb2
from tanpo.ledger.errors import Reason, Unavailable
from tanpo.ledger.types import Height
from tanpo.node import joining as joining_module
from tanpo.node.joining import Joined, Joining
from tanpo.node.metrics import Metrics
from tanpo.node.stopping import StopRequest
from tanpo.storage.manifest import Manifest
from tanpo.storage.snapshot_building import JOINING_NAME, SnapshotBuilder, find_plan
from tanpo.storage.snapshots import SnapshotStore
from tanpo.testing.chain import Chain
from tanpo.testing.joined import ChainPeer, open_snapshots, take_snapshot
from tanpo.testing.town import Town

BEGUN = 1
"""Chunks that are in before the node was interrupted."""


@dataclass(slots=True)
class Peer(ChainPeer):
    """A peer of a chain with two snapshots, that notes what it gives; `limits` has the most by digest."""

    limits: dict[bytes, int] = field(default_factory=dict)
    given: list[bytes] = field(default_factory=list)

    async def get_chunk(self, digest: bytes, position: int) -> bytes:
        await asyncio.sleep(0)
        if self.given.count(digest) >= self.limits.get(digest, 1 << 20):
            raise Unavailable(Reason.NOT_FOUND, "not here")
        self.given.append(digest)
        return self.snapshots.read_chunk(digest, position)


@dataclass(slots=True)
class Forgetful(Peer):
    """Does not list a snapshot any more once it has given all that it does of it."""

    async def list_all(self) -> peer_pb2.ListSnapshotsResponse:
        answer = await Peer.list_all(self)
        kept = [
            one for one in answer.snapshots if self.given.count(one.digest) < self.limits.get(one.digest, 1)
        ]
        return peer_pb2.ListSnapshotsResponse(height=answer.height, first_height=1, snapshots=kept)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining_module, "ATTEMPT_PAUSE_S", 0)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    """A chain with two snapshots of several chunks."""
    town = Town(tmp_path / "chain")
    town.open_book(dealer_a=10, dealer_b=10, trust_bank=10, custody_bank=10)
    for _ in range(2):
        town.transfer(1)
        take_snapshot(town.chain)
    yield town.chain
    town.chain.close()


def list_manifests(snapshots: SnapshotStore) -> tuple[Manifest, Manifest]:
    """Return the older and the newer one."""
    newer, older = (offer.manifest for offer in snapshots.offers)
    assert min(len(newer.chunks), len(older.chunks)) > BEGUN + 2
    return older, newer


def begin(folder: Path, snapshots: SnapshotStore, manifest: Manifest) -> None:
    """Leave what a join leaves that was interrupted."""
    folder.mkdir()
    builder = SnapshotBuilder.open(folder / JOINING_NAME, manifest)
    for position in range(BEGUN):
        chunk = builder.verify(position, snapshots.read_chunk(manifest.digest, position))
        builder.insert(position, chunk)
    builder.close()
    assert find_plan(folder / JOINING_NAME) == manifest.digest


def join(chain: Chain, folder: Path, *peers: ChainPeer) -> Joined:
    joining = Joining(
        data_dir=folder, genesis=chain.genesis, peers=peers, metrics=Metrics(), stop=StopRequest()
    )
    return asyncio.run(joining.run(Height(0)))


def test_the_best_snapshot_is_taken_where_none_was_begun(chain: Chain, tmp_path: Path) -> None:
    snapshots = open_snapshots(chain)
    (tmp_path / "data").mkdir()
    assert find_plan(tmp_path / "data" / JOINING_NAME) is None
    assert join(chain, tmp_path / "data", Peer(snapshots, 5)).height == list_manifests(snapshots)[1].height


def test_what_was_begun_is_gone_on_with_while_a_peer_offers_it(chain: Chain, tmp_path: Path) -> None:
    snapshots = open_snapshots(chain)
    older, _ = list_manifests(snapshots)
    begin(tmp_path / "data", snapshots, older)
    peer = Peer(snapshots, 5)
    assert join(chain, tmp_path / "data", peer).height == older.height
    assert peer.given == [older.digest] * (len(older.chunks) - BEGUN)


def test_a_snapshot_that_nobody_offers_any_more_is_given_up_for_a_newer_one(
    chain: Chain, tmp_path: Path
) -> None:
    snapshots = open_snapshots(chain)
    older, newer = list_manifests(snapshots)
    begin(tmp_path / "data", snapshots, older)
    # Each gives one chunk of it, and one of them offers it still: that one is asked for the rest first.
    peers = (
        Forgetful(snapshots, 5, limits={older.digest: 1, newer.digest: 1 << 20}),
        Peer(snapshots, 5, name="last", limits={older.digest: 1}),
    )
    assert join(chain, tmp_path / "data", *peers).height == newer.height
    assert [peer.given.count(older.digest) for peer in peers] == [1, 1]
    assert sum(peer.given.count(newer.digest) for peer in peers) == len(newer.chunks)


def test_who_offers_what_was_begun_and_gives_nothing_holds_nobody_up(chain: Chain, tmp_path: Path) -> None:
    snapshots = open_snapshots(chain)
    older, newer = list_manifests(snapshots)
    begin(tmp_path / "data", snapshots, older)
    assert join(chain, tmp_path / "data", Peer(snapshots, 5, limits={older.digest: 0})).height == newer.height
