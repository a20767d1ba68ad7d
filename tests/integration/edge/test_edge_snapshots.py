"""Snapshots over the port for peers: for nodes alone, and with errors that say what to do."""

from __future__ import annotations

from typing import Any

import pytest
from tanpo.api.v1 import peer_pb2, peer_pb2_grpc

TIMEOUT_S = 60


async def test_a_node_lists_and_fetches_snapshots(world: Any, start_node: Any) -> None:
    async with (
        start_node("alpha") as node,
        node.channel(world.issue("beta", "node", "n1"), port=node.servers.peer_port) as channel,
    ):
        stub: Any = peer_pb2_grpc.PeerStub(channel)
        listed = await stub.ListSnapshots(peer_pb2.ListSnapshotsRequest(), timeout=TIMEOUT_S)
        [offer] = listed.snapshots
        whole = await stub.GetSnapshot(peer_pb2.GetSnapshotRequest(digest=offer.digest), timeout=TIMEOUT_S)
        request = peer_pb2.GetSnapshotChunkRequest(digest=offer.digest, position=1)
        chunk = await stub.GetSnapshotChunk(request, timeout=TIMEOUT_S)
    held = node.core.snapshots.offer
    assert (offer.height, offer.digest) == (40, held.manifest.digest)
    assert (whole.manifest, whole.proof) == (held.manifest.encoded, held.proof)
    assert chunk.chunk == b"chunk 1"


async def test_what_is_not_there_is_not_found(world: Any, start_node: Any, refused: Any) -> None:
    async with (
        start_node("alpha") as node,
        node.channel(world.issue("beta", "node", "n1"), port=node.servers.peer_port) as channel,
    ):
        stub: Any = peer_pb2_grpc.PeerStub(channel)
        digest = node.core.snapshots.offer.manifest.digest
        request = peer_pb2.GetSnapshotChunkRequest(digest=digest, position=3)
        with refused() as refusal:
            await stub.GetSnapshotChunk(request, timeout=TIMEOUT_S)
        assert refusal.reason == "NOT_FOUND"
        with refused() as refusal:
            await stub.GetSnapshot(peer_pb2.GetSnapshotRequest(digest=bytes(32)), timeout=TIMEOUT_S)
        assert refusal.reason == "NOT_FOUND"
    assert node.fatal == []


@pytest.mark.parametrize("role", ["client", "operator"])
async def test_snapshots_are_for_nodes_alone(world: Any, start_node: Any, refused: Any, role: str) -> None:
    async with (
        start_node("alpha") as node,
        node.channel(world.issue("alpha", role), port=node.servers.peer_port) as channel,
    ):
        stub: Any = peer_pb2_grpc.PeerStub(channel)
        with refused() as refusal:
            await stub.ListSnapshots(peer_pb2.ListSnapshotsRequest(), timeout=TIMEOUT_S)
    assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "CALLER_FORBIDDEN")
