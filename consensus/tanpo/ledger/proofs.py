"""Proofs of receipts and of the state, checked against known validators alone: no node is believed (D15).

The header above a block carries the root over that block's receipts, and the root of the state after it (D6).
A chain of headers leads from it to one that a quorum made final.
"""

from __future__ import annotations

from dataclasses import dataclass

from tanpo.ledger.block import Header
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.lineage import Lineage, decode_headers
from tanpo.ledger.merkle import MerkleProof, verify_leaf
from tanpo.ledger.receipt import Receipt, decode_receipt
from tanpo.ledger.stateproof import PartialTree, verify_partial_tree
from tanpo.ledger.types import BlockHash, Height, TxId


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptProof:
    """What a node shows to prove a receipt, unverified."""

    receipt: bytes
    path: MerkleProof
    header: bytes
    descendants: tuple[bytes, ...]
    commit_proof: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedReceipt:
    """A receipt that a quorum of known validators certified, and the proof that convinces others.

    `block_hash` is the block its transaction is in, `certified_by` the header that carries its root.
    """

    receipt: Receipt
    block_hash: BlockHash
    certified_by: Header
    proof: ReceiptProof


@dataclass(frozen=True, slots=True, kw_only=True)
class StateProof:
    """What a node shows to prove part of the state after a block, unverified."""

    partial_tree: bytes
    header: bytes
    descendants: tuple[bytes, ...]
    commit_proof: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedState:
    """Part of the state after the block at `height`. A quorum certified its root with `certified_by`."""

    height: Height
    tree: PartialTree
    certified_by: Header
    proof: StateProof


def verify_receipt_proof(proof: ReceiptProof, tx_id: TxId, lineage: Lineage) -> VerifiedReceipt:
    """Return the receipt of `tx_id` if the proof stands with the validators that the lineage knows.

    Raises:
        PeerFault: with PROOF_INVALID or the fault of the bytes, when it does not; with EPOCH_UNKNOWN, when it
            is of an epoch whose validators are not known.
    """
    receipt = decode_receipt(proof.receipt)
    if receipt.tx_id != tx_id:
        raise _invalid("it is for another transaction", value=receipt.tx_id.hex(), limit=tx_id.hex())
    if receipt.index != proof.path.index:
        raise _invalid("it shows another position", value=proof.path.index, limit=receipt.index)
    headers = decode_headers((proof.header, *proof.descendants))
    if headers[0].height != receipt.height + 1:
        raise _invalid("its header is not the next", value=headers[0].height, limit=receipt.height + 1)
    verify_leaf(headers[0].receipts_root, proof.receipt, proof.path)
    lineage.verify_final(headers, proof.commit_proof)
    return VerifiedReceipt(
        receipt=receipt, block_hash=headers[0].parent_hash, certified_by=headers[0], proof=proof
    )


def verify_state_proof(proof: StateProof, lineage: Lineage, height: int = 0) -> VerifiedState:
    """Return what is proved of the state after the block at `height`, after any block for 0.

    Raises:
        PeerFault: as `verify_receipt_proof`.
    """
    headers = decode_headers((proof.header, *proof.descendants))
    shown = headers[0].height - 1
    if shown < 0 or height not in (0, shown):
        raise _invalid("its header is not the next", value=headers[0].height, limit=height + 1)
    tree = verify_partial_tree(proof.partial_tree, headers[0].state_root)
    lineage.verify_final(headers, proof.commit_proof)
    return VerifiedState(height=Height(shown), tree=tree, certified_by=headers[0], proof=proof)


def compute_epoch_needed(proof: ReceiptProof | StateProof) -> int:
    """Return the epoch up to which validators must be known to check a proof, by its own word."""
    return max(header.epoch for header in decode_headers((proof.header, *proof.descendants)))


def _invalid(why: str, *, value: object = "", limit: object = "") -> PeerFault:
    return PeerFault(
        Reason.PROOF_INVALID, f"receipt proof: {why}", value=value, limit=limit, remedy="ask another node"
    )
