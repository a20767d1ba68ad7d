"""Every unary call of the API as a plan: the request, how its answer is read, and when submitting is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tanpo.api.v1 import admin_pb2 as admin
from tanpo.api.v1 import ledger_pb2 as ledger
from tanpo.api.v1 import network_pb2 as network
from tanpo.client import answers
from tanpo.client.context import Context
from tanpo.client.errors import HandshakeFailed, OutcomeUnknown, Unreachable
from tanpo.client.following import call_verified, follow_all
from tanpo.client.plan import Attempts, Plan, Rpc, call
from tanpo.client.proofs import read_proof
from tanpo.client.results import (
    Committed,
    CommittedBlock,
    CommittedTransaction,
    ContractSource,
    ContractView,
    EvidenceView,
    NodeStatus,
    Outcome,
    QueryResult,
    Rejected,
    Result,
    RotatedCertificate,
    TransactionList,
    TransactionPosition,
    ValidatorsView,
)
from tanpo.client.statereads import check_height
from tanpo.ledger.blockexport import ExportedBlock
from tanpo.ledger.codec import Writer
from tanpo.ledger.errors import (
    LedgerError,
    PeerFault,
    Reason,
    TransactionRejected,
    Unavailable,
    UsageError,
    invariant,
)
from tanpo.ledger.genesis import Parameters
from tanpo.ledger.lineage import EpochPin
from tanpo.ledger.membership import Registration
from tanpo.ledger.proofs import VerifiedReceipt, compute_epoch_needed, verify_receipt_proof
from tanpo.ledger.receipt import Receipt
from tanpo.ledger.transaction import TX_ID_BYTES, Envelope
from tanpo.ledger.types import MemberId, TxId
from tanpo.ledger.values import Value, write_fields

SUBMIT: Final[Rpc[ledger.SubmitRequest, ledger.SubmitResponse]] = Rpc("ledger", "Submit")
OUTCOME: Final[Rpc[ledger.GetOutcomeRequest, ledger.Outcome]] = Rpc("ledger", "GetOutcome")
BLOCK: Final[Rpc[ledger.GetBlockRequest, ledger.GetBlockResponse]] = Rpc("ledger", "GetBlock")
TRANSACTION: Final[Rpc[ledger.GetTransactionRequest, ledger.GetTransactionResponse]] = Rpc(
    "ledger", "GetTransaction"
)
RECEIPT: Final[Rpc[ledger.GetReceiptRequest, ledger.GetReceiptResponse]] = Rpc("ledger", "GetReceipt")
TRANSACTIONS: Final[Rpc[ledger.ListTransactionsRequest, ledger.ListTransactionsResponse]] = Rpc(
    "ledger", "ListTransactions"
)
QUERY: Final[Rpc[ledger.QueryRequest, ledger.QueryResponse]] = Rpc("ledger", "Query")
PROOF: Final[Rpc[ledger.GetProofRequest, ledger.GetProofResponse]] = Rpc("ledger", "GetProof")
STATUS: Final[Rpc[network.GetStatusRequest, network.NodeStatus]] = Rpc("network", "GetStatus")
MEMBERS: Final[Rpc[network.GetMembersRequest, network.GetMembersResponse]] = Rpc("network", "GetMembers")
VALIDATORS: Final[Rpc[network.GetValidatorsRequest, network.GetValidatorsResponse]] = Rpc(
    "network", "GetValidators"
)
PARAMETERS: Final[Rpc[network.GetParametersRequest, network.GetParametersResponse]] = Rpc(
    "network", "GetParameters"
)
CONTRACT_VERSION: Final[Rpc[network.GetContractVersionRequest, network.ContractVersion]] = Rpc(
    "network", "GetContractVersion"
)
CONTRACTS: Final[Rpc[network.GetContractsRequest, network.GetContractsResponse]] = Rpc(
    "network", "GetContracts"
)
EVIDENCE: Final[Rpc[network.GetEvidenceRequest, network.GetEvidenceResponse]] = Rpc("network", "GetEvidence")
WHY_STALLED: Final[Rpc[admin.WhyStalledRequest, admin.WhyStalledResponse]] = Rpc("admin", "WhyStalled")
SET_LOG_LEVEL: Final[Rpc[admin.SetLogLevelRequest, admin.SetLogLevelResponse]] = Rpc("admin", "SetLogLevel")
ROTATE: Final[Rpc[admin.RotateCertificateRequest, admin.RotateCertificateResponse]] = Rpc(
    "admin", "RotateCertificate"
)
DRAIN: Final[Rpc[admin.DrainRequest, admin.DrainResponse]] = Rpc("admin", "Drain")

TRANSACTIONS_MAX: Final = 1_000
"""Most transactions of a member that a node lists at once."""

_NOT_ADMITTED: Final = frozenset({Reason.MEMPOOL_FULL, Reason.MEMBER_QUOTA, Reason.STARTING})
"""Refusals to come back from later, which a node gives before it takes anything in."""


def submit(context: Context, envelope: Envelope, deadline_s: float) -> Plan[tuple[Result, ...]]:
    """Submit until every transaction's outcome is final, always with the same bytes.

    Raises:
        TransactionRejected, UsageError: refused whole, and no earlier attempt can have been admitted.
        Unavailable: no attempt reached a node that took it in.
        OutcomeUnknown: anything else: it may yet be committed.
    """
    attempts = Attempts(context.route, deadline_s)
    request = ledger.SubmitRequest(envelope=envelope.encoded)
    is_doubtful = False
    while True:
        failure: LedgerError | None = None
        try:
            response = yield attempts.next_attempt(SUBMIT, request)
            outcomes = answers.read_submitted(envelope.transactions, response)
            final = tuple(found for found in outcomes if is_final(found))
            if len(final) == len(outcomes):
                return _settle(final)
        except LedgerError as error:
            failure = error
        # A refusal after an attempt that may have got through proves nothing: the node that refuses may lag
        # behind the one that committed.
        is_doubtful = is_doubtful or failure is None or may_be_admitted(failure)
        try:
            yield attempts.after_waiting() if failure is None else attempts.after_failure(failure)
        except LedgerError as last:
            if is_doubtful:
                raise OutcomeUnknown(envelope, last.message) from last
            raise


def submit_one(context: Context, envelope: Envelope, deadline_s: float) -> Plan[Committed]:
    """Submit an envelope of one transaction; raises as `submit` does."""
    results = yield from submit(context, envelope, deadline_s)
    invariant(len(results) == 1, "the envelope held one transaction")
    return results[0].raise_for_failure() if isinstance(results[0], Rejected) else results[0]


def outcome(context: Context, member: MemberId, request_id: str) -> Plan[Outcome]:
    """Ask what became of a request."""
    return call(
        context.route,
        OUTCOME,
        ledger.GetOutcomeRequest(member=member, request_id=request_id),
        lambda answer: answers.read_outcome(member, request_id, answer),
        context.config.deadline_s,
    )


def query(
    context: Context, contract: str, view: str, arguments: Mapping[str, Value], height: int = 0
) -> Plan[QueryResult]:
    """Run a view of a contract. Raises `TransactionRejected` at once for arguments that no view takes."""
    writer = Writer()
    write_fields(writer, tuple(sorted(arguments.items())))
    request = ledger.QueryRequest(contract=contract, view=view, arguments=writer.finish(), height=height)
    return call(context.route, QUERY, request, answers.read_query, context.config.deadline_s)


def block(context: Context, height: int) -> Plan[CommittedBlock]:
    """Fetch a block and verify that it is final."""
    return call_verified(
        context,
        BLOCK,
        ledger.GetBlockRequest(height=check_height(height)),
        answers.find_block_epoch,
        lambda answer, lineage: answers.read_block(context.config.network_id, lineage, height, answer),
    )


def exported_block(context: Context, height: int) -> Plan[ExportedBlock]:
    """Fetch a block with its receipts as they are, unverified: whoever has the whole file checks it."""
    return call(
        context.route,
        BLOCK,
        ledger.GetBlockRequest(height=check_height(height)),
        lambda answer: ExportedBlock(
            block=answer.block,
            receipts=tuple(answer.receipts),
            commit_proof=b"" if answer.descendants else answer.commit_proof,
        ),
        context.config.deadline_s,
    )


def transaction(context: Context, tx_id: TxId) -> Plan[CommittedTransaction]:
    """Fetch a committed transaction."""
    return call(
        context.route,
        TRANSACTION,
        ledger.GetTransactionRequest(tx_id=_check_tx_id(tx_id)),
        lambda answer: answers.read_transaction(context.config.network_id, tx_id, answer),
        context.config.deadline_s,
    )


def receipt(context: Context, tx_id: TxId) -> Plan[Receipt]:
    """Fetch the receipt of a committed transaction, by the node's word."""
    return call(
        context.route,
        RECEIPT,
        ledger.GetReceiptRequest(tx_id=_check_tx_id(tx_id)),
        lambda answer: answers.read_receipt(tx_id, answer),
        context.config.deadline_s,
    )


def transactions(
    context: Context, member: str, before: TransactionPosition | None, limit: int
) -> Plan[TransactionList]:
    """Fetch the latest transactions that concern a member, by the node's word."""
    request = ledger.ListTransactionsRequest(
        member=member,
        before_height=before.height if before else 0,
        before_index=before.index if before else 0,
        limit=_check_limit(limit),
    )
    deadline_s = context.config.deadline_s
    return call(context.route, TRANSACTIONS, request, answers.read_transactions, deadline_s)


def prove(context: Context, tx_id: TxId) -> Plan[VerifiedReceipt]:
    """Fetch the proof of a receipt and verify it with the validators that are trusted."""
    return call_verified(
        context,
        PROOF,
        ledger.GetProofRequest(tx_id=_check_tx_id(tx_id)),
        lambda answer: compute_epoch_needed(read_proof(answer)),
        lambda answer, lineage: verify_receipt_proof(read_proof(answer), tx_id, lineage),
    )


def status(context: Context) -> Plan[NodeStatus]:
    """Ask a node for its status."""
    network_id = context.config.network_id
    return call(
        context.route,
        STATUS,
        network.GetStatusRequest(),
        lambda answer: answers.read_status(network_id, answer),
        context.config.deadline_s,
    )


def members(context: Context) -> Plan[tuple[Registration, ...]]:
    """Ask for the members."""
    request = network.GetMembersRequest()
    return call(context.route, MEMBERS, request, answers.read_members, context.config.deadline_s)


def validators(context: Context) -> Plan[ValidatorsView]:
    """Ask for the validators of the current epoch."""
    request = network.GetValidatorsRequest()
    return call(context.route, VALIDATORS, request, answers.read_validators, context.config.deadline_s)


def parameters(context: Context) -> Plan[Parameters]:
    """Ask for the limits that the network enforces."""
    request = network.GetParametersRequest()
    return call(context.route, PARAMETERS, request, answers.read_parameters, context.config.deadline_s)


def contracts(context: Context) -> Plan[tuple[ContractView, ...]]:
    """Ask for the installed contracts."""
    request = network.GetContractsRequest()
    return call(context.route, CONTRACTS, request, answers.read_contracts, context.config.deadline_s)


def contract_source(context: Context, name: str, version: int) -> Plan[ContractSource]:
    """Ask for a version of a contract with its source, 0 for the one in force."""
    return call(
        context.route,
        CONTRACT_VERSION,
        network.GetContractVersionRequest(name=name, version=version),
        lambda answer: answers.read_contract_source(name, version, answer),
        context.config.deadline_s,
    )


def evidence(context: Context) -> Plan[tuple[EvidenceView, ...]]:
    """Ask what is known against validators, and verify it with those of its epoch, where these are proved."""
    lineage = yield from follow_all(context)
    found = yield from call(
        context.route,
        EVIDENCE,
        network.GetEvidenceRequest(),
        lambda answer: answers.read_evidence(lineage, answer),
        context.config.deadline_s,
    )
    return found


def pin(context: Context) -> Plan[EpochPin]:
    """Follow the validators to the current epoch, and return its pin."""
    lineage = yield from follow_all(context)
    epoch = lineage.newest
    return EpochPin(epoch=epoch, valset_hash=lineage.get(epoch).valset_hash)


def drain(context: Context) -> Plan[int]:
    """Have the one node of this client lead no more and admit nothing more; return what is still pending."""
    check_single(context, "draining")
    request = admin.DrainRequest()
    return call(
        context.route, DRAIN, request, lambda answer: answer.pending_transactions, context.config.deadline_s
    )


def why_stalled(context: Context) -> Plan[tuple[str, ...]]:
    """Return why nothing moves, as the one node of this client sees it; empty while all is well."""
    check_single(context, "asking why nothing moves")
    request = admin.WhyStalledRequest()
    return call(
        context.route, WHY_STALLED, request, lambda answer: tuple(answer.reasons), context.config.deadline_s
    )


def set_log_level(context: Context, level: str) -> Plan[str]:
    """Change how much the one node of this client logs; return the level before."""
    check_single(context, "a log level")
    request = admin.SetLogLevelRequest(level=level)
    return call(
        context.route, SET_LOG_LEVEL, request, lambda answer: answer.previous, context.config.deadline_s
    )


def rotate_certificate(context: Context) -> Plan[RotatedCertificate]:
    """Have the one node of this client take over the certificate in its files."""
    check_single(context, "rotating a certificate")
    request = admin.RotateCertificateRequest()
    return call(context.route, ROTATE, request, answers.read_rotated_certificate, context.config.deadline_s)


def check_single(context: Context, what: str) -> None:
    """Raise `UsageError` unless the client is of one node, the one that an operator means."""
    addresses = context.config.addresses
    if len(addresses) != 1:
        raise UsageError(
            Reason.CONFIGURATION,
            f"{what} needs a client of one node",
            value=", ".join(addresses),
            limit="one address",
            remedy="use the operator's profile of the node that is meant",
        )


def is_final(found: Outcome) -> bool:
    """Return whether an outcome is the last word. A refusal to come back from later is not."""
    return isinstance(found, Committed) or (
        isinstance(found, Rejected) and not isinstance(found.error, Unavailable)
    )


def may_be_admitted(failure: LedgerError) -> bool:
    """Return whether the node may have taken the envelope in although the call failed."""
    if isinstance(failure, Unreachable | HandshakeFailed):
        return False
    if isinstance(failure, Unavailable):
        return failure.reason not in _NOT_ADMITTED
    return isinstance(failure, PeerFault)


def _settle(final: tuple[Outcome, ...]) -> tuple[Result, ...]:
    results = tuple(found for found in final if isinstance(found, Committed | Rejected))
    refused = [found for found in results if isinstance(found, Rejected)]
    if len(refused) == len(results):
        raise refused[0].error
    return results


def _check_limit(limit: int) -> int:
    if not 1 <= limit <= TRANSACTIONS_MAX:
        raise UsageError(
            Reason.MISUSE,
            "so many transactions are not listed at once",
            value=limit,
            limit=f"1..{TRANSACTIONS_MAX}",
            remedy="ask for less, and then for those before the last one",
        )
    return limit


def _check_tx_id(tx_id: bytes) -> TxId:
    if len(tx_id) != TX_ID_BYTES:
        raise TransactionRejected(
            Reason.MALFORMED,
            "a transaction id has a wrong length",
            value=tx_id.hex(),
            limit=f"{TX_ID_BYTES} bytes",
            remedy="give the id that a result or receipt carries",
        )
    return TxId(tx_id)
