"""A node's ledger as it streams in: what it is of, then its files in parts."""

from __future__ import annotations

from dataclasses import dataclass

from tanpo.api.v1 import admin_pb2
from tanpo.client.context import Context
from tanpo.client.requests import check_single
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.types import BlockHash, Epoch, Height, MemberId, MerkleRoot, NetworkId, StateRoot

_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupOrigin:
    """The block that a backup is of, and the node that it is made of, by that node's word."""

    network_id: NetworkId
    member: MemberId
    node: str
    height: Height
    block_hash: BlockHash
    state_root: StateRoot
    receipts_root: MerkleRoot
    epoch: Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupData:
    """Bytes of a file; those with the same name follow each other."""

    name: str
    data: bytes


class BackupCursor:
    """Reads the parts of one stream. `BackupOrigin` comes first, and only then."""

    def __init__(self, context: Context) -> None:
        check_single(context, "a backup")
        self._network_id = context.config.network_id
        self._has_origin = False

    def on_part(self, part: admin_pb2.BackupPart) -> BackupOrigin | BackupData:
        """Return a part. Raises `PeerFault` when they are not in order, or of another network."""
        is_origin = part.WhichOneof("part") == "origin"
        if is_origin == self._has_origin:
            raise self._wrong("its parts are not in order")
        if not is_origin:
            return BackupData(name=part.data.name, data=part.data.data)
        self._has_origin = True
        origin = part.origin
        digests = (origin.block_hash, origin.state_root, origin.receipts_root)
        if origin.network_id != self._network_id or any(len(one) != _DIGEST_BYTES for one in digests):
            raise self._wrong("it is of another network, or of none")
        return BackupOrigin(
            network_id=self._network_id,
            member=MemberId(origin.member),
            node=origin.node,
            height=Height(origin.height),
            block_hash=BlockHash(origin.block_hash),
            state_root=StateRoot(origin.state_root),
            receipts_root=MerkleRoot(origin.receipts_root),
            epoch=Epoch(origin.epoch),
        )

    def finish(self) -> None:
        """Hear that the stream ended well. Raises `PeerFault` when nothing came."""
        if not self._has_origin:
            raise self._wrong("nothing came")

    def _wrong(self, why: str) -> PeerFault:
        return PeerFault(Reason.PROTOCOL, f"the node sent no backup: {why}")
