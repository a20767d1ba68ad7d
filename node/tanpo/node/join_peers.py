"""Asking other nodes for snapshots, before this one takes part in anything."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final, TypeVar

import grpc
import grpc.aio
from tanpo.api.v1 import peer_pb2, peer_pb2_grpc
from tanpo.ledger.errors import Reason, Unavailable
from tanpo.node.link_errors import explain_link_failure
from tanpo.node.peer_link import PeerAddress
from tanpo.node.pki import compute_host_name
from tanpo.node.tls import compute_peer_channel_options

LIST_TIMEOUT_S: Final = 3.0
"""A peer that is not there refuses at once; one that hangs must not hold up every start."""

CHUNK_TIMEOUT_S: Final = 60.0
"""Time for a chunk of the largest size over a line of 2 Mbit/s."""

Answer = TypeVar("Answer")


class SnapshotPeer:
    """One peer, by its name. Whatever it answers is unverified."""

    def __init__(self, address: PeerAddress) -> None:
        self.name = address.label
        self._host_name = compute_host_name(address.member, address.node)
        self._channel = grpc.aio.secure_channel(
            address.address,
            address.credentials,
            options=compute_peer_channel_options(address.member, address.node),
        )
        self._stub: Any = peer_pb2_grpc.PeerStub(self._channel)

    async def list_all(self) -> peer_pb2.ListSnapshotsResponse:
        """Return what the peer offers. Raises `Unavailable` if it does not answer."""
        request = peer_pb2.ListSnapshotsRequest()
        answer: peer_pb2.ListSnapshotsResponse = await self._call(
            self._stub.ListSnapshots(request, timeout=LIST_TIMEOUT_S)
        )
        return answer

    async def get(self, digest: bytes) -> tuple[bytes, bytes]:
        """Return manifest and proof of a snapshot. Raises `Unavailable` if it is not to be had."""
        request = peer_pb2.GetSnapshotRequest(digest=digest)
        answer: peer_pb2.GetSnapshotResponse = await self._call(
            self._stub.GetSnapshot(request, timeout=CHUNK_TIMEOUT_S)
        )
        return answer.manifest, answer.proof

    async def get_chunk(self, digest: bytes, position: int) -> bytes:
        """Return a chunk.

        Raises:
            Unavailable: it is not to be had now; with NOT_FOUND, not from this peer.
        """
        request = peer_pb2.GetSnapshotChunkRequest(digest=digest, position=position)
        answer: peer_pb2.GetSnapshotChunkResponse = await self._call(
            self._stub.GetSnapshotChunk(request, timeout=CHUNK_TIMEOUT_S)
        )
        return answer.chunk

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close(None)

    async def _call(self, call: Awaitable[Answer]) -> Answer:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise self._explain(error) from None

    def _explain(self, error: grpc.aio.AioRpcError) -> Unavailable:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            reason = Reason.NOT_FOUND
        elif error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            reason = Reason.MEMBER_QUOTA
        else:
            reason = Reason.UNREACHABLE
        why = explain_link_failure(error.code().name, error.details() or "", self._host_name)
        return Unavailable(reason, f"{self.name}: {why}", value=self.name)
