"""Exporting proofs into files that stand alone: everything that a checker needs besides the genesis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from tanpo.api.v1 import ledger_pb2 as ledger
from tanpo.client import requests, statereads
from tanpo.client.context import Context
from tanpo.client.plan import Plan
from tanpo.client.results import CommittedBlock
from tanpo.ledger.block import encode_header
from tanpo.ledger.blockexport import ExportAbove, ExportHead, ExportWriter
from tanpo.ledger.certificate import encode_commit_proof
from tanpo.ledger.contractversion import compute_contract_key
from tanpo.ledger.errors import LedgerError, Reason, TransactionRejected, UsageError
from tanpo.ledger.genesis import MEMBERS_CONTRACT
from tanpo.ledger.lineage import EpochPin
from tanpo.ledger.membership import OWNERS_VARIABLE, RECORDS_VARIABLE, ROLES_VARIABLE, read_owner
from tanpo.ledger.proofcheck import find_signer_status, make_signer_status, verify_proof_file
from tanpo.ledger.prooffile import ProofFile, ReceiptFile, SignerStatus, Standing, StateFile, Trail
from tanpo.ledger.proofs import ReceiptProof, StateProof, compute_epoch_needed
from tanpo.ledger.standing import list_members
from tanpo.ledger.types import KeyId, TxId
from tanpo.ledger.values import Value

_NO_STANDING: Final = frozenset({Reason.HEIGHT_PRUNED, Reason.CONTRACT_UNKNOWN, Reason.ARGUMENT_UNKNOWN})


def receipt_file(context: Context, tx_id: TxId) -> Plan[ReceiptFile]:
    """Fetch all that proves what became of a transaction."""
    verified = yield from requests.prove(context, tx_id)
    found = yield from requests.transaction(context, tx_id)
    block = yield from requests.block(context, verified.receipt.height)
    config = context.config
    key_ids = found.transaction.signers
    proved = yield from _read_standing(context, verified.receipt.height, key_ids)
    if proved is None:
        standing, signers = None, tuple(find_signer_status(config.genesis, one) for one in key_ids)
    else:
        standing, signers = proved
    file = ReceiptFile(
        network=config.genesis.network,
        network_id=config.network_id,
        payload=found.transaction.payload,
        envelope=tuple(one.tx_id for one in found.envelope.transactions),
        # Others signed for other transactions of the envelope; whose their keys are is not proved here.
        signatures=tuple(one for one in found.envelope.signatures if one[0] in key_ids),
        signers=signers,
        standing=standing,
        receipt=verified.proof.receipt,
        leaf_count=verified.proof.path.leaf_count,
        siblings=verified.proof.path.siblings,
        block_header=encode_header(block.block.header),
        trail=_make_trail(context, verified.proof),
    )
    _check(context, file)
    return file


def value_file(
    context: Context, contract: str, variable: str, key: Value | None, height: int
) -> Plan[StateFile]:
    """Fetch all that proves a value of a contract, or that there is none."""
    layout = yield from statereads.load_layout(context, contract, variable, verified=True)
    entry_key, spelled = compute_contract_key(contract), layout.spell_key(variable, key)
    request = ledger.GetStateProofRequest(height=statereads.check_height(height), keys=[entry_key, spelled])
    shown = yield from statereads.ask_verified(context, request)
    file = StateFile(
        network=context.config.genesis.network,
        network_id=context.config.network_id,
        height=shown.height,
        contract=contract,
        contract_entry=_get_entry(shown, contract),
        variable=variable,
        key=key,
        is_listing=False,
        value=shown.entries.get(spelled),
        group_keys=(),
        partial_tree=shown.proof.partial_tree,
        trail=_make_trail(context, shown.proof),
    )
    _check(context, file)
    return file


def listing_file(
    context: Context, contract: str, variable: str, group: Value, height: int
) -> Plan[StateFile]:
    """Fetch all that proves who the members of a group of an index are."""
    layout = yield from statereads.load_layout(context, contract, variable, verified=True)
    request = ledger.GetStateProofRequest(
        height=statereads.check_height(height),
        keys=[compute_contract_key(contract)],
        group=layout.spell_group(variable, group),
    )
    shown = yield from statereads.ask_verified(context, request)
    file = StateFile(
        network=context.config.genesis.network,
        network_id=context.config.network_id,
        height=shown.height,
        contract=contract,
        contract_entry=_get_entry(shown, contract),
        variable=variable,
        key=group,
        is_listing=True,
        value=None,
        group_keys=shown.group_keys,
        partial_tree=shown.proof.partial_tree,
        trail=_make_trail(context, shown.proof),
    )
    _check(context, file)
    return file


def block_file(context: Context, first: int, last: int, write: Callable[[bytes], object]) -> Plan[None]:
    """Fetch blocks with their receipts and all that proves them; hand the parts of the file to `write`."""
    if not 1 <= first <= last:
        raise UsageError(
            Reason.HEIGHT_UNKNOWN,
            "these are no heights of blocks",
            value=f"{first}..{last}",
            limit="1 or later, in ascending order",
            remedy="name the first and the last block",
        )
    # The header above the last block is asked for first: it says up to which epoch validators are needed.
    above = yield from _read_above(context, first, last)
    lineage = context.trust.get_lineage()
    epoch = lineage.pin.epoch
    headers = (above.block.header, *above.descendants)
    steps = range(epoch, max(header.epoch for header in headers))
    writer = ExportWriter(write)
    writer.write_head(
        ExportHead(
            network=context.config.genesis.network,
            network_id=context.config.network_id,
            first=first,
            last=last,
            epoch=epoch,
            validators=lineage.get(epoch).validators,
            steps=tuple(context.trust.steps[number] for number in steps),
        )
    )
    for height in range(first, last + 1):
        writer.write_block((yield from requests.exported_block(context, height)))
    writer.finish(
        ExportAbove(
            headers=tuple(encode_header(header) for header in headers),
            commit_proof=encode_commit_proof(above.commit_proof),
        )
    )


def _read_above(context: Context, first: int, last: int) -> Plan[CommittedBlock]:
    """Fetch the block above the last one. A refusal names the blocks that were asked for, not that one."""
    try:
        return (yield from requests.block(context, last + 1))
    except LedgerError as refusal:
        if refusal.reason is Reason.HEIGHT_PRUNED:
            raise UsageError(
                refusal.reason,
                f"the node does not hold blocks {first} to {last} any more",
                value=f"{first}..{last}",
                limit=refusal.limit,
                remedy=refusal.remedy,
            ) from None
        if refusal.reason is not Reason.HEIGHT_UNKNOWN:
            raise
        highest = int(refusal.limit) - 1 if refusal.limit.isdecimal() else 0
        raise TransactionRejected(
            refusal.reason,
            f"block {last} is not in the chain yet, or nothing above it proves what it did",
            value=last,
            limit=f"up to {highest} now",
            remedy="name an earlier last block, or wait until there is one above it",
        ) from None


def _read_standing(
    context: Context, height: int, key_ids: Sequence[KeyId]
) -> Plan[tuple[Standing, tuple[SignerStatus, ...]] | None]:
    """Fetch what proves whose keys signed, and their roles; None where that state is not to be had."""
    try:
        layout = yield from statereads.load_layout(context, MEMBERS_CONTRACT, OWNERS_VARIABLE, verified=True)
        entry = compute_contract_key(MEMBERS_CONTRACT)
        keys = [layout.spell_key(OWNERS_VARIABLE, key_id) for key_id in key_ids]
        shown = yield from _ask_members(context, height, [entry, *keys])
        owners = [read_owner(layout, shown.entries.get(key) or b"") for key in keys]
        signers = tuple(make_signer_status(owner) for owner in owners)
        members = list_members(signers)
        roles = [layout.spell_key(ROLES_VARIABLE, member) for member in members]
        records = [layout.spell_key(RECORDS_VARIABLE, member) for member in members]
        shown = yield from _ask_members(context, height, [entry, *keys, *roles, *records])
    except (UsageError, TransactionRejected) as refusal:
        if refusal.reason not in _NO_STANDING:
            raise
        return None
    standing = Standing(
        contract_entry=_get_entry(shown, MEMBERS_CONTRACT),
        owners=tuple(shown.entries.get(key) or b"" for key in keys),
        roles=tuple(shown.entries.get(key) for key in roles),
        records=tuple(shown.entries.get(key) for key in records),
        partial_tree=shown.proof.partial_tree,
    )
    return standing, signers


def _ask_members(context: Context, height: int, keys: Sequence[bytes]) -> Plan[statereads.Shown]:
    request = ledger.GetStateProofRequest(height=height, keys=keys)
    return (yield from statereads.ask_verified(context, request))


def _get_entry(shown: statereads.Shown, contract: str) -> bytes:
    entry = shown.entries.get(compute_contract_key(contract))
    if entry is None:
        raise TransactionRejected(
            Reason.CONTRACT_UNKNOWN,
            f"there was no such contract after block {shown.height}",
            value=contract,
            remedy="name a later height",
        )
    return entry


def _make_trail(context: Context, proof: ReceiptProof | StateProof) -> Trail:
    """Return the way from whom this client trusts to the header of a proof that it has verified."""
    trust = context.trust
    lineage = trust.get_lineage()
    first = lineage.pin.epoch
    return Trail(
        epoch=first,
        validators=lineage.get(first).validators,
        steps=tuple(trust.steps[epoch] for epoch in range(first, compute_epoch_needed(proof))),
        header=proof.header,
        descendants=proof.descendants,
        commit_proof=proof.commit_proof,
    )


def _check(context: Context, file: ProofFile) -> None:
    """Raise `PeerFault` unless the file stands alone: the node's answers may not fit together."""
    pin: EpochPin | None = context.config.pin
    verify_proof_file(file, context.config.genesis, pin)
