"""The head of a snapshot: its manifest and the proof of its root, from a peer or from a disk, verified."""

from __future__ import annotations

from dataclasses import dataclass

from tanpo.ledger.block import compute_block_hash, encode_block
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.snapshotproof import (
    SnapshotProof,
    VerifiedSnapshot,
    decode_snapshot_proof,
    verify_snapshot_proof,
)
from tanpo.storage import StoredBlock
from tanpo.storage.manifest import Manifest
from tanpo.storage.snapshot_building import Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotHead:
    """A snapshot whose root the validators since genesis made final. `encoded_proof` shows it to others."""

    manifest: Manifest
    proof: SnapshotProof
    encoded_proof: bytes
    verified: VerifiedSnapshot

    def make_arrival(self) -> Arrival:
        """Return what besides the state a ledger begins with."""
        block = self.verified.block
        return Arrival(
            block=StoredBlock(
                height=block.header.height,
                block_hash=block.block_hash,
                block=encode_block(block),
                proof=self.proof.tip.commit_proof,
            ),
            receipts_root=self.verified.header.receipts_root,
            links=self.proof.steps,
        )


def verify_head(manifest: Manifest, encoded_proof: bytes, genesis: Genesis) -> SnapshotHead:
    """Return the head of a snapshot, with no trust in anybody but the validators of the genesis.

    Raises:
        PeerFault: the proof does not stand, or is of another state than the manifest.
    """
    proof = decode_snapshot_proof(encoded_proof)
    verified = verify_snapshot_proof(proof, genesis)
    header = verified.header
    shown = (manifest.height + 1, manifest.header_hash, manifest.state_root)
    if shown != (header.height, compute_block_hash(header), header.state_root):
        raise PeerFault(
            Reason.PROOF_INVALID,
            "the manifest is of another state than the one that is proved",
            value=manifest.state_root.hex(),
            limit=header.state_root.hex(),
        )
    return SnapshotHead(manifest=manifest, proof=proof, encoded_proof=encoded_proof, verified=verified)
