"""Proofs in files that stand alone: one file and the genesis convince, without any node (docs/proofs.md).

Every field is checked, none is a mere remark: what a file says beyond what it proves would be believed by
whoever reads it. `proofparse` reads files, `proofcheck` checks them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tanpo.ledger.lineage import EpochStep
from tanpo.ledger.types import Epoch, KeyId, MemberId, Signature, TxId
from tanpo.ledger.validators import Validator
from tanpo.ledger.values import Value, value_to_json

FILE_VERSION: Final = 1
RECEIPT_VERSION: Final = 3
"""Versions 1 and 2, which named a CA by the genesis alone, were never released."""

RECEIPT_FORMAT: Final = "tanpo-receipt-proof"
VALUE_FORMAT: Final = "tanpo-value-proof"
LISTING_FORMAT: Final = "tanpo-listing-proof"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """From trusted validators to a header: the validators of `epoch`, the steps to the epoch of the header,
    and what makes the header final."""

    epoch: Epoch
    validators: tuple[Validator, ...]
    steps: tuple[EpochStep, ...]
    header: bytes
    descendants: tuple[bytes, ...]
    commit_proof: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerStatus:
    """Whose a signing key is, and the height of the block that registered it: 0 for the genesis."""

    key_id: KeyId
    member: MemberId
    public_key: bytes
    registered_height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the contract `members` kept after the block of a receipt; `contract_entry` says how to read it.

    `owners` are of each key that signs for the payload, in its order: whose it is, and since when. `roles`
    and `records` are those of each member that signed, in ascending order of name; None for one that was no
    member.
    """

    contract_entry: bytes
    owners: tuple[bytes, ...]
    roles: tuple[bytes | None, ...]
    records: tuple[bytes | None, ...]
    partial_tree: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptFile:
    """What became of one transaction: its bytes and signatures, its receipt, and the way to the trusted
    validators. `envelope` are the ids of all transactions that were signed together.

    `standing` is None where the state after the block was not held any more when the file was made, or has no
    contract `members`. Then only keys of the genesis are known to be somebody's.
    """

    network: str
    network_id: bytes
    payload: bytes
    envelope: tuple[TxId, ...]
    signatures: tuple[tuple[KeyId, Signature], ...]
    signers: tuple[SignerStatus, ...]
    standing: Standing | None
    receipt: bytes
    leaf_count: int
    siblings: tuple[bytes, ...]
    block_header: bytes
    trail: Trail


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFile:
    """What a contract kept after the block at `height`, or did not keep.

    A value: `key` is the key of a `Map`, None for a plain variable; `value` is None if there was none.
    A listing: `key` is the group of an `Index`, and `group_keys` are the raw keys in its range.
    """

    network: str
    network_id: bytes
    height: int
    contract: str
    contract_entry: bytes
    variable: str
    key: Value | None
    is_listing: bool
    value: bytes | None
    group_keys: tuple[bytes, ...]
    partial_tree: bytes
    trail: Trail


ProofFile = ReceiptFile | StateFile


def encode_proof_file(file: ProofFile) -> str:
    """Return the text of a file; `proofparse.decode_proof_file` is its inverse."""
    document = _receipt_to_json(file) if isinstance(file, ReceiptFile) else _state_to_json(file)
    return json.dumps(document, indent=1, ensure_ascii=True) + "\n"


def _receipt_to_json(file: ReceiptFile) -> dict[str, Any]:
    return {
        "format": RECEIPT_FORMAT,
        "version": RECEIPT_VERSION,
        "network": file.network,
        "network_id": file.network_id.hex(),
        "payload": file.payload.hex(),
        "envelope": [tx_id.hex() for tx_id in file.envelope],
        "signatures": [
            {"key_id": key_id.hex(), "signature": signature.hex()} for key_id, signature in file.signatures
        ],
        "signers": [_status_to_json(status) for status in file.signers],
        "standing": _standing_to_json(file.standing),
        "receipt": file.receipt.hex(),
        "leaf_count": file.leaf_count,
        "siblings": [sibling.hex() for sibling in file.siblings],
        "block_header": file.block_header.hex(),
        "trail": _trail_to_json(file.trail),
    }


def _state_to_json(file: StateFile) -> dict[str, Any]:
    about: dict[str, Any] = {
        "format": LISTING_FORMAT if file.is_listing else VALUE_FORMAT,
        "version": FILE_VERSION,
        "network": file.network,
        "network_id": file.network_id.hex(),
        "height": file.height,
        "contract": file.contract,
        "contract_entry": file.contract_entry.hex(),
        "variable": file.variable,
    }
    key = None if file.key is None else value_to_json(file.key)
    if file.is_listing:
        about |= {"group": key, "group_keys": [one.hex() for one in file.group_keys]}
    else:
        about |= {"key": key, "value": None if file.value is None else file.value.hex()}
    return {**about, "partial_tree": file.partial_tree.hex(), "trail": _trail_to_json(file.trail)}


def _trail_to_json(trail: Trail) -> dict[str, Any]:
    return {
        "epoch": trail.epoch,
        "validators": _validators_to_json(trail.validators),
        "steps": [
            {
                "header": step.header.hex(),
                "commit_proof": step.commit_proof.hex(),
                "validators": _validators_to_json(step.validators),
            }
            for step in trail.steps
        ],
        "header": trail.header.hex(),
        "descendants": [header.hex() for header in trail.descendants],
        "commit_proof": trail.commit_proof.hex(),
    }


def _validators_to_json(validators: Sequence[Validator]) -> list[dict[str, str]]:
    return [
        {"member": one.member, "node": one.node, "public_key": one.public_key.hex()} for one in validators
    ]


def _standing_to_json(standing: Standing | None) -> dict[str, Any] | None:
    if standing is None:
        return None
    return {
        "contract_entry": standing.contract_entry.hex(),
        "owners": [one.hex() for one in standing.owners],
        "roles": [None if one is None else one.hex() for one in standing.roles],
        "records": [None if one is None else one.hex() for one in standing.records],
        "partial_tree": standing.partial_tree.hex(),
    }


def _status_to_json(status: SignerStatus) -> dict[str, Any]:
    return {
        "key_id": status.key_id.hex(),
        "member": status.member,
        "public_key": status.public_key.hex(),
        "registered_height": status.registered_height,
    }
