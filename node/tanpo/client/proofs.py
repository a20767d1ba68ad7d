"""Proofs in a node's answers and in files, and checking them against the genesis alone (D15)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tanpo.api.v1 import ledger_pb2
from tanpo.client.documents import read_document, save_document, save_text
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.lineage import EpochStep, Lineage
from tanpo.ledger.merkle import MerkleProof
from tanpo.ledger.prooffile import ProofFile, encode_proof_file
from tanpo.ledger.proofs import ReceiptProof, StateProof, VerifiedReceipt, verify_receipt_proof
from tanpo.ledger.types import TxId

_FORMAT: Final = "tanpo-proof"


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


def read_state_proof(response: ledger_pb2.GetStateProofResponse) -> StateProof:
    """Return the proof in a node's answer, unverified."""
    return StateProof(
        partial_tree=response.partial_tree,
        header=response.header,
        descendants=tuple(response.descendants),
        commit_proof=response.commit_proof,
    )


def verify_proof(
    proof: ReceiptProof, tx_id: TxId, genesis: Genesis, steps: Iterable[EpochStep] = ()
) -> VerifiedReceipt:
    """Return the receipt of `tx_id` if the proof stands with the genesis and nothing else.

    `steps` lead from the validators of the genesis to those that certified it, if it is of a later epoch.

    Raises:
        PeerFault: with PROOF_INVALID or the fault of the bytes, when it does not; with EPOCH_UNKNOWN, when
            the steps do not lead to its epoch.
    """
    lineage = Lineage.of_genesis(genesis)
    for step in steps:
        lineage.extend(step)
    return verify_receipt_proof(proof, tx_id, lineage)


def save_proof_file(path: Path | str, file: ProofFile) -> None:
    """Write a proof that stands alone to a new file. Raises `UsageError` if it cannot be."""
    save_text(path, encode_proof_file(file))


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
