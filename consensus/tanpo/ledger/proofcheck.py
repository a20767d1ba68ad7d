"""Checking a proof file against a genesis: link by link from the trusted validators, each failure by name.

Nothing is asked of anybody: a court, a supervisor or another network needs the file and the genesis, or a pin
of a later epoch beside it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from tanpo.ledger.block import Header, compute_block_hash
from tanpo.ledger.contractversion import compute_contract_key
from tanpo.ledger.errors import Reason, TransactionRejected
from tanpo.ledger.genesis import Genesis, collect_keys
from tanpo.ledger.keys import PublicKey
from tanpo.ledger.lineage import EpochPin, decode_header
from tanpo.ledger.membership import KeyOwner
from tanpo.ledger.merkle import MerkleProof, verify_leaf
from tanpo.ledger.prooffile import ProofFile, ReceiptFile, SignerStatus, StateFile
from tanpo.ledger.prooftrail import Certification, Trusted, differs, link, verify_trail
from tanpo.ledger.receipt import Receipt, decode_receipt
from tanpo.ledger.standing import MemberStanding, list_members, verify_owners, verify_standing
from tanpo.ledger.statelayout import StateLayout
from tanpo.ledger.stateproof import PartialTree, verify_partial_tree
from tanpo.ledger.transaction import (
    ENVELOPE_TRANSACTIONS_MAX,
    NAME_PATTERN,
    TX_ID_BYTES,
    Transaction,
    compute_envelope_digest,
    decode_transaction,
)
from tanpo.ledger.types import Height, KeyId, StateRoot
from tanpo.ledger.values import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptVerdict:
    """What a receipt file proves: the transaction, its outcome, who signed it, and the block it is in.

    `standing` has what the members that signed were by the state after that block; None if the file does not
    prove it.
    """

    transaction: Transaction
    receipt: Receipt
    signers: tuple[SignerStatus, ...]
    standing: tuple[MemberStanding, ...] | None
    block: Header
    certification: Certification


@dataclass(frozen=True, slots=True, kw_only=True)
class StateVerdict:
    """What a state file proves of the state after the block at `height`: a value, its absence (None), or all
    members of a group."""

    height: int
    contract: str
    variable: str
    key: Value | None
    value: Value | None
    members: tuple[Value, ...] | None
    certification: Certification


Verdict = ReceiptVerdict | StateVerdict


class ProofChecker:
    """Checks files for somebody who trusts the genesis, and the pinned validators if there is a pin."""

    __slots__ = ("_trusted",)

    def __init__(self, genesis: Genesis, pin: EpochPin | None = None) -> None:
        self._trusted = Trusted.of(genesis, pin)

    def verify(self, file: ProofFile) -> Verdict:
        """Return what a file proves.

        Raises:
            LinkBroken: it proves nothing.
        """
        trusted = self._trusted
        trusted.verify_network(file.network, file.network_id)
        if isinstance(file, ReceiptFile):
            return _verify_receipt(trusted, file)
        return _verify_state(trusted, file)


def verify_proof_file(file: ProofFile, genesis: Genesis, pin: EpochPin | None = None) -> Verdict:
    """Return what one file proves (`ProofChecker`). Raises `LinkBroken` if it proves nothing."""
    return ProofChecker(genesis, pin).verify(file)


def find_signer_status(genesis: Genesis, key_id: KeyId) -> SignerStatus:
    """Return whose a key is by the genesis.

    Raises:
        TransactionRejected: it is nobody's there.
    """
    registered = collect_keys(genesis).get(key_id)
    if registered is None:
        raise TransactionRejected(
            Reason.KEY_UNKNOWN,
            "the genesis registers no such key, and the state that may is not proved",
            value=key_id.hex(),
            remedy="ask a node that holds the state after that block; or is it another network's genesis?",
        )
    public_key = registered.public_key.encoded
    return make_signer_status(KeyOwner(public_key=public_key, member=registered.member, added=0, removed=0))


def make_signer_status(owner: KeyOwner) -> SignerStatus:
    """Return what a file says of a key that is somebody's."""
    return SignerStatus(
        key_id=PublicKey.decode(owner.public_key).key_id,
        member=owner.member,
        public_key=owner.public_key,
        registered_height=owner.added,
    )


def _verify_receipt(trusted: Trusted, file: ReceiptFile) -> ReceiptVerdict:
    certification = verify_trail(trusted, file.trail)
    header = certification.header
    with link("block header"):
        block = decode_header(file.block_header)
        if compute_block_hash(block) != header.parent_hash or block.height + 1 != header.height:
            raise differs("it is not the parent of the certified header", block.height, header.height - 1)
    with link("receipt"):
        receipt = decode_receipt(file.receipt)
        if receipt.height != block.height:
            raise differs("it is of another block", receipt.height, block.height)
    with link("Merkle path"):
        if file.leaf_count != block.tx_count:
            raise differs("its block has another number of receipts", file.leaf_count, block.tx_count)
        path = MerkleProof(index=receipt.index, leaf_count=file.leaf_count, siblings=file.siblings)
        verify_leaf(header.receipts_root, file.receipt, path)
    with link("transaction"):
        transaction = decode_transaction(trusted.network_id, file.payload)
        if transaction.tx_id != receipt.tx_id:
            raise differs(
                "the receipt is of another transaction", transaction.tx_id.hex(), receipt.tx_id.hex()
            )
    _verify_signatures(trusted, file, transaction)
    expected = _find_signers(trusted, file, transaction, block.height, header.state_root)
    with link("signers"):
        if file.signers != expected:
            raise differs("the genesis, or the state, says something else of the keys that signed")
        if transaction.member not in {one.member for one in expected}:
            raise differs("the submitting member is not among those who sign", transaction.member)
    standing = None
    if file.standing is not None:
        with link("standing"):
            standing = verify_standing(file.standing, list_members(expected), header.state_root)
    return ReceiptVerdict(
        transaction=transaction,
        receipt=receipt,
        signers=expected,
        standing=standing,
        block=block,
        certification=certification,
    )


def _find_signers(
    trusted: Trusted, file: ReceiptFile, transaction: Transaction, height: Height, state_root: StateRoot
) -> tuple[SignerStatus, ...]:
    """Return whose keys signed: by the state after the block if the file proves it, else by the genesis."""
    if file.standing is None:
        with link("signers"):
            return tuple(find_signer_status(trusted.genesis, key_id) for key_id in transaction.signers)
    with link("standing"):
        owners = verify_owners(file.standing, transaction.signers, height, state_root)
        return tuple(make_signer_status(owner) for owner in owners)


def _verify_signatures(trusted: Trusted, file: ReceiptFile, transaction: Transaction) -> None:
    with link("envelope"):
        if not 1 <= len(file.envelope) <= ENVELOPE_TRANSACTIONS_MAX:
            raise differs("it has a wrong number of transactions", len(file.envelope))
        if file.envelope.count(transaction.tx_id) != 1 or {*map(len, file.envelope)} != {TX_ID_BYTES}:
            raise differs("the transaction is not in it, or in it twice", transaction.tx_id.hex())
    with link("signatures"):
        # Whose the keys of the file are is another link; that they have these ids is of this one.
        told = [PublicKey.decode(one.public_key) for one in file.signers]
        keys = {key.key_id: key for key in told} | {
            key_id: registered.public_key for key_id, registered in trusted.keys.items()
        }
        signed = [key_id for key_id, _ in file.signatures]
        if any(one >= other for one, other in itertools.pairwise(signed)):
            raise differs("they do not ascend by key")
        missing = set(transaction.signers) - set(signed)
        if missing:
            raise differs("a signer that the transaction names has not signed", min(missing).hex())
        digest = compute_envelope_digest(trusted.network_id, file.envelope)
        for key_id, signature in file.signatures:
            if key_id not in keys:
                raise differs("neither the genesis nor the file has such a key", key_id.hex())
            if not keys[key_id].verify(signature, digest):
                raise differs("a signature is wrong", key_id.hex())


def _verify_state(trusted: Trusted, file: StateFile) -> StateVerdict:
    certification = verify_trail(trusted, file.trail)
    header = certification.header
    with link("height"):
        if file.height + 1 != header.height:
            raise differs("its root is that of another height", file.height, header.height - 1)
    with link("partial tree"):
        tree = verify_partial_tree(file.partial_tree, header.state_root)
    with link("contract entry"):
        if not NAME_PATTERN.fullmatch(file.contract):
            raise differs("no contract can have this name", file.contract)
        tree.verify_value(compute_contract_key(file.contract), file.contract_entry)
        layout = StateLayout.decode(file.contract, file.contract_entry)
    value, members = None, None
    if file.is_listing:
        members = _verify_listing(file, tree, layout)
    else:
        value = _verify_value(file, tree, layout)
    return StateVerdict(
        height=file.height,
        contract=file.contract,
        variable=file.variable,
        key=file.key,
        value=value,
        members=members,
        certification=certification,
    )


def _verify_value(file: StateFile, tree: PartialTree, layout: StateLayout) -> Value | None:
    with link("key"):
        key = layout.spell_key(file.variable, file.key)
        tree.get_value_hash(key)
    with link("value" if file.value is not None else "absence"):
        tree.verify_value(key, file.value)
        return None if file.value is None else layout.read_value(file.variable, file.value)


def _verify_listing(file: StateFile, tree: PartialTree, layout: StateLayout) -> tuple[Value, ...]:
    with link("key"):
        if file.key is None:
            raise differs("a listing is of a group")
        group = layout.spell_group(file.variable, file.key)
    with link("listing"):
        if any(one >= other for one, other in itertools.pairwise(file.group_keys)):
            raise differs("its keys do not ascend")
        found = tree.verify_group(group, file.group_keys)
        return tuple(layout.read_member(file.variable, group, key) for key in found)
