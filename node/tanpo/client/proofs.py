"""Proofs that a receipt is certified, checked against the genesis alone: no node is believed (D15).

The header above the receipt's block carries the root over that block's receipts (D6). A chain of headers
leads from it to one that a quorum made final.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tanpo.api.v1 import ledger_pb2
from tanpo.client.documents import read_document, save_document
from tanpo.ledger.block import Header, compute_block_hash, read_header
from tanpo.ledger.certificate import CommitProof, decode_commit_proof, verify_commit_proof
from tanpo.ledger.codec import Reader
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.merkle import MerkleProof, verify_leaf
from tanpo.ledger.receipt import Receipt, decode_receipt
from tanpo.ledger.types import BlockHash, NetworkId, TxId
from tanpo.ledger.validators import ValidatorSet

DESCENDANTS_MAX: Final = 2048
"""Headers between a receipt's and the final one: ordinarily none or one; bounds the work of checking."""

_FORMAT: Final = "tanpo-proof"


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
    """A receipt that a quorum of the genesis' validators certified, and the proof that convinces others.

    `block_hash` is the block its transaction is in, `certified_by` the header that carries its root.
    """

    receipt: Receipt
    block_hash: BlockHash
    certified_by: Header
    proof: ReceiptProof


def read_proof(response: ledger_pb2.GetProofResponse) -> ReceiptProof:
    """Return the proof in a node's answer, unverified."""
    return ReceiptProof(
        receipt=response.receipt,
        path=MerkleProof(
            index=response.index, leaf_count=response.leaf_count, siblings=tuple(response.siblings)
        ),
        header=response.header,
        descendants=tuple(response.descendants),
        commit_proof=response.commit_proof,
    )


def verify_proof(proof: ReceiptProof, tx_id: TxId, genesis: Genesis) -> VerifiedReceipt:
    """Return the receipt of `tx_id` if the proof stands with the genesis alone.

    Raises:
        PeerFault: with PROOF_INVALID or the fault of the bytes, when it does not; with EPOCH_UNKNOWN, when it
            is of an epoch whose validators the genesis does not name.
    """
    return verify_proof_with(proof, tx_id, genesis.network_id, ValidatorSet(genesis.validators))


def verify_proof_with(
    proof: ReceiptProof, tx_id: TxId, network_id: NetworkId, validators: ValidatorSet
) -> VerifiedReceipt:
    """Do as `verify_proof`, with the genesis already hashed and its keys parsed."""
    receipt = decode_receipt(proof.receipt)
    if receipt.tx_id != tx_id:
        raise _invalid("it is for another transaction", value=receipt.tx_id.hex(), limit=tx_id.hex())
    if receipt.index != proof.path.index:
        raise _invalid("it shows another position", value=proof.path.index, limit=receipt.index)
    headers = decode_headers((proof.header, *proof.descendants))
    if headers[0].height != receipt.height + 1:
        raise _invalid("its header is not the next", value=headers[0].height, limit=receipt.height + 1)
    verify_leaf(headers[0].receipts_root, proof.receipt, proof.path)
    verify_final(headers, proof.commit_proof, network_id, validators)
    return VerifiedReceipt(
        receipt=receipt, block_hash=headers[0].parent_hash, certified_by=headers[0], proof=proof
    )


def decode_headers(encoded: Sequence[bytes]) -> list[Header]:
    """Return the headers of a chain. Raises `PeerFault` for bytes that are none, or for too many."""
    if len(encoded) > DESCENDANTS_MAX + 1:
        raise _invalid("it has too many headers", value=len(encoded), limit=DESCENDANTS_MAX + 1)
    return [_decode_header(header) for header in encoded]


def verify_final(
    headers: Sequence[Header], commit_proof: bytes, network_id: NetworkId, validators: ValidatorSet
) -> CommitProof:
    """Return the proof that makes the last of the headers final, and with it all that it descends from.

    Raises:
        PeerFault: the headers are no chain, the proof is for another block or does not stand, or it is of an
            epoch whose validators are not known.
    """
    _verify_chain(headers, network_id, validators)
    commit = decode_commit_proof(commit_proof)
    top = headers[-1]
    if (commit.block_hash, commit.height) != (compute_block_hash(top), top.height):
        raise _invalid("its commit proof is for another block", value=commit.height, limit=top.height)
    verify_commit_proof(commit, network_id, validators)
    return commit


def save_proof(path: Path | str, proof: ReceiptProof) -> None:
    """Write a proof to a new file, for whoever must be convinced. Raises `UsageError` if it cannot be."""
    save_document(
        path,
        _FORMAT,
        {
            "receipt": proof.receipt.hex(),
            "index": proof.path.index,
            "leaf_count": proof.path.leaf_count,
            "siblings": [sibling.hex() for sibling in proof.path.siblings],
            "header": proof.header.hex(),
            "descendants": [header.hex() for header in proof.descendants],
            "commit_proof": proof.commit_proof.hex(),
        },
    )


def load_proof(path: Path | str) -> ReceiptProof:
    """Return the proof in a file, unverified. Raises `UsageError` for a file that holds none."""
    document = read_document(path, _FORMAT)
    return ReceiptProof(
        receipt=document.hex("receipt"),
        path=MerkleProof(
            index=document.integer("index"),
            leaf_count=document.integer("leaf_count"),
            siblings=document.hex_list("siblings"),
        ),
        header=document.hex("header"),
        descendants=document.hex_list("descendants"),
        commit_proof=document.hex("commit_proof"),
    )


def _verify_chain(headers: Sequence[Header], network_id: NetworkId, validators: ValidatorSet) -> None:
    parent: Header | None = None
    for header in headers:
        if header.network_id != network_id:
            raise _invalid(
                "a header is of another network", value=header.network_id.hex(), limit=network_id.hex()
            )
        if header.epoch:
            raise _unknown_epoch(header)
        if header.valset_hash != validators.valset_hash:
            raise _invalid("a header names validators that the genesis does not", value=header.height)
        if parent is not None and (header.parent_hash, header.height) != (
            compute_block_hash(parent),
            parent.height + 1,
        ):
            raise _invalid("its headers do not follow each other", value=header.height)
        parent = header


def _unknown_epoch(header: Header) -> PeerFault:
    return PeerFault(
        Reason.EPOCH_UNKNOWN,
        f"block {header.height} is certified by the validators of epoch {header.epoch}, "
        "and the genesis names only those of epoch 0",
        value=header.epoch,
        limit="epoch 0",
        remedy="only what was certified before the validators changed can be verified so; read later blocks "
        "at your own member's node",
    )


def _decode_header(encoded: bytes) -> Header:
    reader = Reader(encoded)
    header = read_header(reader)
    reader.finish()
    return header


def _invalid(why: str, *, value: object = "", limit: object = "") -> PeerFault:
    return PeerFault(
        Reason.PROOF_INVALID, f"receipt proof: {why}", value=value, limit=limit, remedy="ask another node"
    )
