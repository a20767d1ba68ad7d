"""A node that joins more slowly than snapshots are taken, over gRPC: its snapshot waits for it, or goes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from tanpo.api.v1 import peer_pb2, peer_pb2_grpc
from tanpo.cli.network import LocalNetwork
from tanpo.cli.provision import plan_network
from tanpo.ledger.types import Height, MemberId
from tanpo.ledger.values import Value
from tanpo.node.authorities import Authorities
from tanpo.node.config import load_config
from tanpo.node.credentials import load_credentials
from tanpo.node.dialling import find_peers, load_genesis
from tanpo.node.epochs import Lineage
from tanpo.node.identity import CallerVerifier
from tanpo.node.join_peers import SnapshotPeer
from tanpo.node.joining import Joined, Joining
from tanpo.node.metrics import Metrics
from tanpo.node.services.guard import Access, Guard, Policy
from tanpo.node.services.snapshots import SnapshotDesk
from tanpo.node.snapshotting import Snapshotting
from tanpo.node.stopping import StopRequest
from tanpo.node.tls import PEER_MESSAGE_BYTES_MAX, compute_server_options, load_server_credentials
from tanpo.storage.kept import SNAPSHOTS_NAME
from tanpo.storage.snapshots import HELD_S_MAX, IN_USE_S, KEPT, SnapshotStore
from tanpo.testing.joined import follow
from tanpo.testing.town import Town
from tanpo.testing.waiting import wait_until
from typing_extensions import override

PEER = "tanpo.api.v1.Peer"
CHUNK_BYTES = 2_500
EVERY_BLOCKS = 2

pytestmark = pytest.mark.timeout(120)


class BusyNode:
    """A chain that takes a snapshot every other block, and gives them as a node does."""

    def __init__(self, folder: Path) -> None:
        self.town = Town(folder)
        self.town.open_book(dealer_a=1000, dealer_b=10, trust_bank=10, custody_bank=10)
        execution = self.town.chain.execution
        self.now_s = 0.0
        self.store = SnapshotStore.open(
            folder / SNAPSHOTS_NAME, chunk_bytes=CHUNK_BYTES, clock_s=lambda: self.now_s
        )
        self.snapshotting = Snapshotting(
            store=execution.store,
            snapshots=self.store,
            find_validators=Lineage(execution.store, lambda: execution.machine, self.town.chain.genesis).find,
            every_blocks=EVERY_BLOCKS,
            metrics=Metrics(),
        )

    @property
    def heights(self) -> list[int]:
        """The heights of the snapshots that are offered, newest first."""
        return [offer.manifest.height for offer in self.store.offers]

    async def take(self) -> int:
        """Make blocks until there is another snapshot, and return its height."""
        height = self._make_block()
        while height % EVERY_BLOCKS:
            height = self._make_block()
        self._make_block()  # By its header the state is proved.

        async def is_taken() -> bool:
            return self.heights[:1] == [height]

        await wait_until(is_taken)
        return height

    def _make_block(self) -> int:
        chain = self.town.chain
        arguments: dict[str, Value] = {
            "deliverer": "dealer-a",
            "receiver": "dealer-b",
            "instrument": "yen",
            "quantity": 1,
        }
        executed = chain.execute(chain.make_transaction("instruments", "transfer", arguments, "dealer-a"))
        chain.commit(executed)
        self.snapshotting.notice(executed)
        return chain.execution.store.executed_height


class SlowPeer(peer_pb2_grpc.PeerServicer):
    """Serves snapshots over a line so slow that another snapshot is taken while a chunk is on its way.

    With chunk number `waits` the node has held a snapshot for as long as it ever does.
    """

    def __init__(self, node: BusyNode, waits: int) -> None:
        self.given: list[bytes] = []
        self.needed: list[int] = []
        self._node = node
        self._waits = waits
        self._desk = SnapshotDesk(node.snapshotting, lambda: node.now_s)
        self._line = asyncio.Lock()

    @override
    async def Exchange(self, request_iterator: Any, context: Any) -> AsyncIterator[peer_pb2.PeerAnswer]:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "only snapshots are to be had here")
        yield peer_pb2.PeerAnswer()

    @override
    async def GetVitals(self, request: peer_pb2.GetVitalsRequest, context: Any) -> peer_pb2.NodeVitals:
        return peer_pb2.NodeVitals()

    @override
    async def ListSnapshots(
        self, request: peer_pb2.ListSnapshotsRequest, context: Any
    ) -> peer_pb2.ListSnapshotsResponse:
        return self._desk.list_all("joiner", self._node.town.chain.execution.store.executed_height)

    @override
    async def GetSnapshot(
        self, request: peer_pb2.GetSnapshotRequest, context: Any
    ) -> peer_pb2.GetSnapshotResponse:
        return self._desk.get("joiner", request.digest)

    @override
    async def GetSnapshotChunk(
        self, request: peer_pb2.GetSnapshotChunkRequest, context: Any
    ) -> peer_pb2.GetSnapshotChunkResponse:
        async with self._line:
            self._node.now_s += HELD_S_MAX if len(self.given) == self._waits else IN_USE_S / 2
            answer = self._desk.get_chunk("joiner", request.digest, request.position)
            self.given.append(request.digest)
            await self._node.take()
            self.needed.append(self._node.store.needed)
            return answer


@asynccontextmanager
async def serving(node: BusyNode, folder: Path, waits: int) -> AsyncIterator[tuple[SlowPeer, SnapshotPeer]]:
    """Serve a node's snapshots behind TLS and the node's own guard, and connect to it as another member."""
    network = LocalNetwork.create(folder, plan_network(4))
    genesis = load_genesis(network.folder.genesis)
    authorities = Authorities.of_genesis(genesis)
    server_member, joiner_member = network.members[:2]
    certificate, key = (path.read_bytes() for path in network.folder.get_member(server_member).pem("node"))
    policy = Policy(
        access={PEER: Access.NODE},
        own=MemberId(server_member),
        served=frozenset(),
        verifier=CallerVerifier(authorities),
    )
    server = grpc.aio.server(
        interceptors=(Guard(policy=policy, metrics=Metrics(), on_fatal=fail),),
        options=compute_server_options(PEER_MESSAGE_BYTES_MAX),
    )
    peer = SlowPeer(node, waits)
    peer_pb2_grpc.add_PeerServicer_to_server(peer, server)
    roots = authorities.read_roots()
    port = server.add_secure_port("127.0.0.1:0", load_server_credentials(roots, certificate, key))
    await server.start()
    config = load_config(network.folder.get_member(joiner_member).config)
    [address] = [
        one
        for one in find_peers(config, authorities, load_credentials(config, genesis))
        if one.member == server_member
    ]
    caller = SnapshotPeer(replace(address, address=f"127.0.0.1:{port}"))
    making = asyncio.create_task(node.snapshotting.run())
    try:
        yield peer, caller
    finally:
        await caller.close()
        await server.stop(0)
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)
        network.stop()


async def join(node: BusyNode, caller: SnapshotPeer, folder: Path) -> Joined:
    joining = Joining(
        data_dir=folder,
        genesis=node.town.chain.genesis,
        peers=[caller],
        metrics=Metrics(),
        stop=StopRequest(),
    )
    return await joining.run(Height(0))


@pytest.fixture
def node(tmp_path: Path) -> BusyNode:
    (tmp_path / "joiner").mkdir()
    return BusyNode(tmp_path / "node")


def fail(error: BaseException) -> None:
    pytest.fail(f"the guard would stop the node: {error}")


def check_follows(node: BusyNode, folder: Path) -> None:
    """Whoever joined executes the blocks that came since, and ends with the same state."""
    follower = follow(node.town.chain, folder)
    mine, theirs = follower.execution.store, node.town.chain.execution.store
    assert (mine.executed_height, mine.state_root) == (theirs.executed_height, theirs.state_root)
    follower.close()
    node.town.chain.close()


async def test_a_snapshot_waits_for_who_needs_many_intervals_to_fetch_it(
    node: BusyNode, tmp_path: Path
) -> None:
    async with serving(node, tmp_path / "net", waits=10**6) as (peer, caller):
        await node.take()
        height = await node.take()
        joined = await join(node, caller, tmp_path / "joiner")
    chunks = joined.chunks
    assert joined.height == height
    assert chunks > 2 * KEPT
    # Each was asked for once, of this snapshot alone, and by then there were far newer ones.
    assert len(peer.given) == chunks
    assert len(set(peer.given)) == 1
    assert node.heights[0] == height + chunks * EVERY_BLOCKS
    assert node.heights[KEPT:] == [height]
    # The blocks that it goes on with were never let go of.
    assert max(peer.needed) <= height
    check_follows(node, tmp_path / "joiner")


async def test_a_snapshot_that_goes_while_it_is_fetched_is_given_up_for_the_newest(
    node: BusyNode, tmp_path: Path
) -> None:
    async with serving(node, tmp_path / "net", waits=3) as (peer, caller):
        await node.take()
        height = await node.take()
        joined = await join(node, caller, tmp_path / "joiner")
    first, second = Counter(peer.given).items()
    assert (first[0], second[0]) == (peer.given[0], peer.given[-1])
    assert 3 <= first[1] < joined.chunks
    assert second[1] == joined.chunks
    assert joined.height > height + KEPT * EVERY_BLOCKS
    assert not joined.banned
    # What came of the first is gone with it.
    assert height not in node.heights
    check_follows(node, tmp_path / "joiner")
