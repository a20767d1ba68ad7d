"""Reads a node's answers into results, trusting none of them: what was not asked for is a `PeerFault`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from tanpo.api.v1 import admin_pb2, ledger_pb2, network_pb2
from tanpo.client.results import (
    Committed,
    CommittedBlock,
    CommittedTransaction,
    ContractSource,
    ContractView,
    EvidenceView,
    NodeStatus,
    Outcome,
    Pending,
    QueryResult,
    Rejected,
    RotatedCertificate,
    TransactionList,
    TransactionPosition,
    Unknown,
    ValidatorsView,
)
from tanpo.client.rpc_errors import error_from_status
from tanpo.ledger.block import compute_tx_root, decode_block
from tanpo.ledger.codec import Reader
from tanpo.ledger.errors import PeerFault, Reason, TransactionRejected, UsageError
from tanpo.ledger.evidence import decode_evidence, verify_evidence
from tanpo.ledger.genesis import Parameters
from tanpo.ledger.lineage import Lineage, decode_headers
from tanpo.ledger.membership import MemberAuthority, Registration
from tanpo.ledger.receipt import Receipt, decode_receipt
from tanpo.ledger.transaction import Envelope, Transaction, decode_envelope
from tanpo.ledger.types import BlockHash, Height, MemberId, NetworkId, StateRoot, TxId
from tanpo.ledger.validators import Validator
from tanpo.ledger.values import Fields, decode_value, read_fields


def read_submitted(
    transactions: Sequence[Transaction], response: ledger_pb2.SubmitResponse
) -> tuple[Outcome, ...]:
    """Return the outcomes of an envelope's transactions, in their order."""
    if len(response.outcomes) != len(transactions):
        raise lying("outcomes of another envelope", value=len(response.outcomes), limit=len(transactions))
    return tuple(
        read_outcome_of(transaction, outcome)
        for transaction, outcome in zip(transactions, response.outcomes, strict=True)
    )


def read_outcome_of(transaction: Transaction, outcome: ledger_pb2.Outcome) -> Outcome:
    """Return what became of a transaction of ours."""
    found = read_outcome(transaction.member, transaction.request_id, outcome)
    if not isinstance(found, Unknown) and found.tx_id != transaction.tx_id:
        raise lying(
            "the outcome of another transaction", value=found.tx_id.hex(), limit=transaction.tx_id.hex()
        )
    return found


def read_outcome(member: MemberId, request_id: str, outcome: ledger_pb2.Outcome) -> Outcome:
    """Return what became of a request."""
    if (outcome.member, outcome.request_id) != (member, request_id):
        raise lying(
            "the outcome of another request",
            value=f"{outcome.member}/{outcome.request_id}",
            limit=f"{member}/{request_id}",
        )
    match outcome.state:
        case ledger_pb2.Outcome.COMMITTED:
            receipt = _read_receipt(outcome.receipt, outcome.tx_id, outcome.height, outcome.index)
            return Committed(member=member, request_id=request_id, receipt=receipt)
        case ledger_pb2.Outcome.REJECTED:
            error = error_from_status(outcome.error)
            return Rejected(member=member, request_id=request_id, tx_id=_tx_id(outcome.tx_id), error=error)
        case ledger_pb2.Outcome.PENDING:
            return Pending(
                member=member,
                request_id=request_id,
                tx_id=_tx_id(outcome.tx_id),
                as_of_height=Height(outcome.as_of_height),
            )
        case ledger_pb2.Outcome.UNKNOWN:
            return Unknown(
                member=member,
                request_id=request_id,
                as_of_height=Height(outcome.as_of_height),
                as_of_time_ms=outcome.as_of_time_ms,
                since_time_ms=outcome.since_time_ms,
            )
    raise lying("an outcome without a state", value=outcome.state, limit="1..4")


def read_query(response: ledger_pb2.QueryResponse) -> QueryResult:
    """Return the value of a view."""
    return QueryResult(
        value=decode_value(response.value),
        height=Height(response.height),
        state_root=StateRoot(_digest(response.state_root)),
    )


def read_receipt(tx_id: TxId, response: ledger_pb2.GetReceiptResponse) -> Receipt:
    """Return the receipt of the transaction asked for."""
    return _read_receipt(response.receipt, tx_id, response.height, response.index)


def read_transactions(response: ledger_pb2.ListTransactionsResponse) -> TransactionList:
    """Return where the transactions of a member are."""
    return TransactionList(
        positions=tuple(
            TransactionPosition(height=Height(one.height), index=one.index, tx_id=_tx_id(one.tx_id))
            for one in response.transactions
        ),
        first_height=Height(response.first_height),
    )


def read_transaction(
    network_id: NetworkId, tx_id: TxId, response: ledger_pb2.GetTransactionResponse
) -> CommittedTransaction:
    """Return the transaction asked for, with its envelope."""
    envelope = _decode_envelope(network_id, response.envelope)
    if response.position >= len(envelope.transactions):
        raise lying(
            "a position outside the envelope", value=response.position, limit=len(envelope.transactions) - 1
        )
    found = envelope.transactions[response.position].tx_id
    if found != tx_id:
        raise lying("another transaction", value=found.hex(), limit=tx_id.hex())
    return CommittedTransaction(
        height=Height(response.height), index=response.index, envelope=envelope, position=response.position
    )


def read_block(
    network_id: NetworkId, lineage: Lineage, height: int, response: ledger_pb2.GetBlockResponse
) -> CommittedBlock:
    """Return the block asked for (0: any), having verified that a quorum made it final."""
    block = decode_block(response.block)
    header = block.header
    if (
        header.network_id != network_id
        or header.height != response.height
        or height not in (0, header.height)
    ):
        raise lying("a block of another height or network", value=header.height, limit=height)
    if response.block_hash != block.block_hash:
        raise lying("another block hash", value=response.block_hash.hex(), limit=block.block_hash.hex())
    headers = [header, *decode_headers(response.descendants)]
    proof = lineage.verify_final(headers, response.commit_proof)
    transactions = tuple(
        transaction
        for encoded in block.envelopes
        for transaction in _decode_envelope(network_id, encoded).transactions
    )
    if compute_tx_root([transaction.tx_id for transaction in transactions]) != header.tx_root:
        raise lying("a body that its header does not commit to", value=header.height)
    if len(response.receipts) != len(transactions):
        raise lying("receipts of another block", value=len(response.receipts), limit=len(transactions))
    receipts = tuple(
        _read_receipt(encoded, transaction.tx_id, header.height, index)
        for index, (encoded, transaction) in enumerate(zip(response.receipts, transactions, strict=True))
    )
    return CommittedBlock(
        block=block,
        descendants=tuple(headers[1:]),
        commit_proof=proof,
        transactions=transactions,
        receipts=receipts,
    )


def find_block_epoch(response: ledger_pb2.GetBlockResponse) -> int:
    """Return the epoch up to which validators must be known to check a block, by the node's word."""
    headers = [decode_block(response.block).header, *decode_headers(response.descendants)]
    return max(header.epoch for header in headers)


def read_status(network_id: NetworkId, response: network_pb2.NodeStatus) -> NodeStatus:
    """Return what the node says of itself. Raises `UsageError` when it serves another network."""
    if response.network_id != network_id:
        raise UsageError(
            Reason.GENESIS_MISMATCH,
            f"the node serves the network {response.network!r} with another genesis than ours",
            value=response.network_id.hex(),
            limit=network_id.hex(),
            remedy="use the genesis file of the node's network, or another address",
        )
    return NodeStatus(
        network=response.network,
        network_id=NetworkId(response.network_id),
        member=MemberId(response.member),
        node=response.node,
        version=response.version,
        height=Height(response.height),
        block_hash=BlockHash(response.block_hash),
        state_root=StateRoot(response.state_root),
        time_ms=response.time_ms,
        epoch=response.epoch,
        term=response.term,
        leader=response.leader,
        is_leader=response.is_leader,
        is_ready=response.is_ready,
        pending_transactions=response.pending_transactions,
        connected_peers=tuple(response.connected_peers),
        stalled_reason=response.stalled_reason,
        first_height=Height(response.first_height),
        clock_ms=response.clock_ms,
        observer_reason=response.observer_reason,
        validators=tuple(response.validators),
        retention=response.retention,
        blocks_bytes=response.blocks_bytes,
        state_bytes=response.state_bytes,
    )


def read_members(response: network_pb2.GetMembersResponse) -> tuple[Registration, ...]:
    """Return the members by the node's word."""
    if any(len(one.ca_certificates) != len(one.ca_added_heights) for one in response.members):
        raise lying("CAs of which it does not say which block added each")
    return tuple(
        Registration(
            member=MemberId(member.member),
            name=member.name,
            lei=member.lei,
            roles=tuple(member.roles),
            authorities=tuple(
                MemberAuthority(certificate=pem.encode("utf-8"), added=added)
                for pem, added in zip(member.ca_certificates, member.ca_added_heights, strict=True)
            ),
            keys=tuple(member.keys),
        )
        for member in response.members
    )


def read_validators(response: network_pb2.GetValidatorsResponse) -> ValidatorsView:
    """Return the validators by the node's word, in the order of their indices."""
    if [validator.index for validator in response.validators] != list(range(len(response.validators))):
        raise lying("validators out of order")
    return ValidatorsView(
        epoch=response.epoch,
        validators=tuple(
            Validator(member=MemberId(found.member), node=found.node, public_key=found.public_key)
            for found in response.validators
        ),
        quorum=response.quorum,
        faulty_max=response.faulty_max,
    )


def read_evidence(lineage: Lineage, response: network_pb2.GetEvidenceResponse) -> tuple[EvidenceView, ...]:
    """Return what the node knows against validators, each piece verified with those of its epoch."""
    return tuple(
        EvidenceView(
            epoch=found.epoch,
            accused=found.accused,
            kind=found.kind,
            height=Height(found.height) if found.height else None,
            evidence=found.evidence,
            is_verified=_is_proof(lineage, found),
        )
        for found in response.evidence
    )


def read_parameters(response: network_pb2.GetParametersResponse) -> Parameters:
    """Return the limits that the network enforces, by the node's word."""
    return Parameters(
        block_transactions_max=response.block_transactions_max,
        block_bytes_max=response.block_bytes_max,
        validity_max_ms=response.validity_max_ms,
        gas_limit_max=response.gas_limit_max,
        block_gas_max=response.block_gas_max,
    )


def read_contracts(response: network_pb2.GetContractsResponse) -> tuple[ContractView, ...]:
    """Return the installed contracts by the node's word."""
    return tuple(
        ContractView(
            name=contract.name,
            version=contract.version,
            height=contract.height,
            source_hash=contract.source_hash,
            language_version=contract.language_version,
            gas_table_version=contract.gas_table_version,
            replaces=contract.replaces,
            interface=_read_interface(contract.interface_json),
        )
        for contract in response.contracts
    )


def read_contract_source(name: str, version: int, response: network_pb2.ContractVersion) -> ContractSource:
    """Return a version of a contract by the node's word. Raises `PeerFault` when it is another."""
    if response.name != name or version not in (0, response.version):
        raise lying(
            "another version of a contract",
            value=f"{response.name} {response.version}",
            limit=f"{name} {version}",
        )
    return ContractSource(
        name=response.name,
        version=response.version,
        height=response.height,
        source_hash=sha256(response.source.encode("utf-8")).digest(),
        language_version=response.language_version,
        gas_table_version=response.gas_table_version,
        replaces=response.replaces,
        source=response.source,
    )


def read_named(encoded: bytes) -> Fields:
    """Return the named values that `encoded` spells. Raises `PeerFault` for any other bytes."""
    reader = Reader(encoded)
    fields = read_fields(reader)
    reader.finish()
    return fields


def lying(what: str, *, value: object = "", limit: object = "") -> PeerFault:
    """Return the error for an answer that is well-formed and not what was asked for."""
    return PeerFault(
        Reason.PROTOCOL, f"the node answered with {what}", value=value, limit=limit, remedy="ask another node"
    )


def _read_receipt(encoded: bytes, tx_id: bytes, height: int, index: int) -> Receipt:
    receipt = decode_receipt(encoded)
    if receipt.tx_id != tx_id:
        raise lying("the receipt of another transaction", value=receipt.tx_id.hex(), limit=tx_id.hex())
    if (receipt.height, receipt.index) != (height, index):
        raise lying(
            "a receipt of another place", value=f"{receipt.height}/{receipt.index}", limit=f"{height}/{index}"
        )
    return receipt


def _decode_envelope(network_id: NetworkId, encoded: bytes) -> Envelope:
    try:
        return decode_envelope(network_id, encoded)
    except TransactionRejected as error:
        raise lying(f"an envelope that no block may hold: {error.message}", value=error.value) from None


def _read_interface(text: str) -> dict[str, Any]:
    try:
        interface = json.loads(text)
    except ValueError:
        interface = None
    if not isinstance(interface, dict):
        raise lying("an interface that is no JSON object")
    return interface


def read_rotated_certificate(answer: admin_pb2.RotateCertificateResponse) -> RotatedCertificate:
    """Return the certificate that a node shows now."""
    return RotatedCertificate(
        is_changed=answer.is_changed, serial=answer.serial, valid_until_ms=answer.valid_until_ms
    )


def _tx_id(value: bytes) -> TxId:
    return TxId(_digest(value))


def _digest(value: bytes) -> bytes:
    if len(value) != 32:
        raise lying("a digest of the wrong length", value=len(value), limit=32)
    return value


def _is_proof(lineage: Lineage, found: network_pb2.Evidence) -> bool:
    try:
        evidence = decode_evidence(found.evidence)
        validators = lineage.get(evidence.epoch)
        verify_evidence(evidence, lineage.network_id, validators)
    except PeerFault:
        return False
    accused = validators.validators[evidence.accused]
    return evidence.epoch == found.epoch and found.accused == f"{accused.member}/{accused.node}"
