"""Snapshots for nodes that join: what there is, and chunk after chunk, at a bounded rate for each caller."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from tanpo.api.v1 import peer_pb2
from tanpo.ledger.errors import PeerFault, Reason, Unavailable
from tanpo.node.services.ports import SnapshotSource

RATE_BYTES_S: Final = 32 << 20
"""What one caller gets in a second at most: a twentieth of what reading and hashing chunks could give."""

BURST_S: Final = 2.0
"""How far ahead of its rate a caller may be: 64 MB at once, and then no faster."""

CALLERS_MAX: Final = 256
"""Callers whose rate is remembered; only nodes of members call, and of those few join at once."""

_DIGEST_BYTES: Final = 32
_OTHER_BYTES: Final = 64 << 10
"""What a call costs besides its chunk."""


class SnapshotDesk:
    """Answers the calls for snapshots."""

    def __init__(self, source: SnapshotSource, now: Callable[[], float]) -> None:
        self._source = source
        self._now = now
        self._free_at: OrderedDict[str, float] = OrderedDict()

    def list_all(self, caller: str, height: int) -> peer_pb2.ListSnapshotsResponse:
        """Return what snapshots there are; `height` is that of the node's latest block."""
        self._admit(caller, 0)
        return peer_pb2.ListSnapshotsResponse(
            height=height,
            first_height=self._source.first_height,
            snapshots=[
                peer_pb2.SnapshotOffer(height=offer.manifest.height, digest=offer.manifest.digest)
                for offer in self._source.offers()
            ],
        )

    def get(self, caller: str, digest: bytes) -> peer_pb2.GetSnapshotResponse:
        """Return manifest and proof of a snapshot. Raises `Unavailable` (NOT_FOUND) if it is not here."""
        for offer in self._source.offers():
            if offer.manifest.digest == digest:
                self._admit(caller, len(offer.manifest.encoded) + len(offer.proof))
                return peer_pb2.GetSnapshotResponse(manifest=offer.manifest.encoded, proof=offer.proof)
        raise Unavailable(
            Reason.NOT_FOUND,
            "this snapshot is not here",
            value=digest.hex(),
            limit="the snapshots that the node lists",
            remedy="list the snapshots again, or ask another node",
        )

    def get_chunk(self, caller: str, digest: bytes, position: int) -> peer_pb2.GetSnapshotChunkResponse:
        """Return a chunk.

        Raises:
            Unavailable: it is not here (NOT_FOUND), or the caller has had its share (MEMBER_QUOTA).
            PeerFault: no snapshot has such a name.
        """
        if len(digest) != _DIGEST_BYTES:
            raise PeerFault(
                Reason.MALFORMED,
                "the digest of a snapshot",
                value=len(digest),
                limit=f"{_DIGEST_BYTES} bytes",
            )
        self._admit(caller, 0)
        chunk = self._source.read_chunk(digest, position)
        self._free_at[caller] = self._free_at.get(caller, self._now()) + len(chunk) / RATE_BYTES_S
        return peer_pb2.GetSnapshotChunkResponse(chunk=chunk)

    def _admit(self, caller: str, size: int) -> None:
        """Note what a caller is given, and refuse if it has had its share. Nothing waits: it would hold
        memory."""
        now = self._now()
        free_at = max(now, self._free_at.pop(caller, now))
        if free_at - now > BURST_S:
            self._free_at[caller] = free_at
            raise Unavailable(
                Reason.MEMBER_QUOTA,
                "this node gives snapshots no faster",
                value=caller,
                limit=f"{RATE_BYTES_S} bytes a second",
                remedy="wait a second, and repeat this call",
            )
        self._free_at[caller] = free_at + (_OTHER_BYTES + size) / RATE_BYTES_S
        while len(self._free_at) > CALLERS_MAX:
            self._free_at.popitem(last=False)
