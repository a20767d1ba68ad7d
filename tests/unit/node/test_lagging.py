"""When a node joins by a snapshot, and gives up the chain before it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tanpo.api.v1 import peer_pb2
from tanpo.ledger.errors import Reason, Unavailable
from tanpo.ledger.types import Height
from tanpo.node.joining import Candidate, Giver, Joining, Offers
from tanpo.node.lagging import PATIENCE_LOOKS, REPLACED_MAX, FarBehind, LagWatch, is_far_behind
from tanpo.node.metrics import Metrics
from tanpo.node.stopping import StopRequest
from tanpo.testing.chain import Chain
from tanpo.testing.joined import ChainPeer, open_snapshots, take_snapshot


def make_offers(*heights: int, first: int = 1, is_complete: bool = True) -> Offers:
    candidates = [Candidate(height=Height(height), digest=bytes(32), peers=()) for height in heights]
    return Offers(candidates=candidates, first_height=Height(first), is_complete=is_complete)


@pytest.mark.parametrize(("own", "is_far"), [(0, True), (899, True), (900, False), (2000, False)])
def test_a_node_joins_beyond_the_limit_that_its_operator_set(own: int, is_far: bool) -> None:
    assert is_far_behind(Height(own), make_offers(1000, 500), 100) is is_far


def test_without_a_limit_the_chain_is_kept_however_far_behind() -> None:
    assert not is_far_behind(Height(0), make_offers(1_000_000), 0)


def test_a_node_joins_where_no_peer_has_its_next_block() -> None:
    assert is_far_behind(Height(5), make_offers(1000, first=7), 0)
    assert not is_far_behind(Height(6), make_offers(1000, first=7), 0)


def test_a_peer_that_does_not_answer_may_have_the_next_block() -> None:
    assert not is_far_behind(Height(5), make_offers(1000, first=7, is_complete=False), 0)


def test_a_peer_that_does_not_answer_is_not_waited_for_for_ever(node: Watched) -> None:
    [peer] = node.peers
    assert isinstance(peer, ChainPeer)
    peer.first_height = 4
    node.peers.append(Absent())
    watch = node.watch()
    look(watch)  # It has just begun to stand still.
    look(watch, PATIENCE_LOOKS)
    assert node.told[-1].startswith("no peer that answers has block 1")
    node.height = 1
    look(watch)
    look(watch, PATIENCE_LOOKS)  # It moved meanwhile.
    with pytest.raises(FarBehind) as found:
        look(watch)
    assert not found.value.waits_for_all
    assert is_far_behind(Height(1), make_offers(1000, first=7, is_complete=False), 0, waits_for_all=False)


def test_a_peer_that_has_the_next_block_is_waited_for(node: Watched) -> None:
    node.peers.append(Absent())
    look(node.watch(), PATIENCE_LOOKS + 3)
    assert set(node.told) == {""}


def test_without_an_offer_there_is_nothing_to_join_by() -> None:
    assert not is_far_behind(Height(5), make_offers(first=7), 100)


@dataclass
class Liar:
    """Offers a snapshot of a height that nobody is at, and shows a true one for it."""

    true: ChainPeer
    name: str = "liar"

    async def list_all(self) -> peer_pb2.ListSnapshotsResponse:
        offer = peer_pb2.SnapshotOffer(height=1 << 20, digest=self.true.snapshots.offers[0].manifest.digest)
        return peer_pb2.ListSnapshotsResponse(height=1 << 20, first_height=1, snapshots=[offer])

    async def get(self, digest: bytes) -> tuple[bytes, bytes]:
        manifest, proof = await self.true.get(digest)
        return manifest, proof[:-1] + bytes([proof[-1] ^ 1])

    async def get_chunk(self, digest: bytes, position: int) -> bytes:
        raise AssertionError("a watch asks for no chunk")


@dataclass
class Absent:
    """Does not answer."""

    name: str = "absent"

    async def list_all(self) -> peer_pb2.ListSnapshotsResponse:
        raise Unavailable(Reason.UNREACHABLE, "connection refused")

    async def get(self, digest: bytes) -> tuple[bytes, bytes]:
        raise AssertionError("it offers nothing")

    async def get_chunk(self, digest: bytes, position: int) -> bytes:
        raise AssertionError("it offers nothing")


@dataclass
class Watched:
    """A node at a height, its watch, and what the watch told."""

    folder: Path
    chain: Chain
    height: int = 0
    limit: int = 0
    peers: list[Giver] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def watch(self) -> LagWatch:
        self.folder.mkdir(exist_ok=True)
        return LagWatch(
            joining=Joining(
                data_dir=self.folder,
                genesis=self.chain.genesis,
                peers=self.peers,
                metrics=Metrics(),
                stop=StopRequest(),
            ),
            data_dir=self.folder,
            limit=self.limit,
            get_height=lambda: self.height,
            tell=self.told.append,
        )


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Watched]:
    """A node at genesis whose only peer has a snapshot of height 4."""
    chain = Chain(tmp_path / "chain")
    while chain.execution.store.executed_height < 3:
        chain.run()
    take_snapshot(chain)
    yield Watched(tmp_path / "data", chain, peers=[ChainPeer(open_snapshots(chain), 5)])
    chain.close()


def look(watch: LagWatch, times: int = 1) -> None:
    async def run() -> None:
        for _ in range(times):
            await watch.look()

    asyncio.run(run())


def test_a_running_node_joins_beyond_the_limit(node: Watched) -> None:
    node.limit = 4
    look(node.watch(), 2)
    node.limit = 3
    with pytest.raises(FarBehind) as found:
        look(node.watch())
    assert (found.value.height, found.value.snapshot_height) == (0, 4)


def test_a_running_node_joins_once_it_stands_still_and_nobody_has_its_next_block(node: Watched) -> None:
    watch = node.watch()
    look(watch, 3)
    peer = node.peers[0]
    assert isinstance(peer, ChainPeer)
    peer.first_height = 4
    node.height = 1
    look(watch)  # It moves.
    with pytest.raises(FarBehind):
        look(watch)
    node.height = 3
    look(node.watch(), 3)  # The peer has block 4.


def test_a_peer_that_makes_up_a_snapshot_does_not_stop_a_node(node: Watched) -> None:
    [peer] = node.peers
    assert isinstance(peer, ChainPeer)
    node.peers.append(Liar(peer))
    node.limit = 4
    watch = node.watch()
    look(watch, 3)
    node.limit = 3
    watch = node.watch()
    look(watch)  # It finds the liar out.
    with pytest.raises(FarBehind) as found:
        look(watch)
    assert found.value.snapshot_height == 4


def test_a_node_that_joined_often_says_so_and_fills_no_disk(node: Watched) -> None:
    node.limit = 3
    watch = node.watch()
    for number in range(REPLACED_MAX):
        (node.folder / f"replaced-{number}").mkdir()
    look(watch)
    assert "replaced-*" in node.told[-1]
    node.height = 2
    look(watch)
    assert not node.told[-1]
    (node.folder / "replaced-0").rmdir()
    node.height = 0
    with pytest.raises(FarBehind):
        look(watch)
