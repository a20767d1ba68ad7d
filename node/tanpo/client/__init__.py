"""The client SDK: submit, query, follow events, and verify proofs without trusting any node."""

from tanpo.client.aio import AsyncClient
from tanpo.client.backups import BackupData, BackupOrigin
from tanpo.client.batch import WINDOW
from tanpo.client.blocking import Client
from tanpo.client.config import DEADLINE_S, GAS_LIMIT, VALID_FOR_S, ClientConfig, load_genesis
from tanpo.client.draft import (
    Draft,
    PartialSignature,
    build_draft,
    load_draft,
    load_envelope,
    load_signature,
    save_draft,
    save_envelope,
    save_signature,
)
from tanpo.client.errors import ContractFailed, HandshakeFailed, NodeFailed, OutcomeUnknown, Unreachable
from tanpo.client.events import Checkpoint, LedgerEvent
from tanpo.client.identity import Identity
from tanpo.client.keyfile import FileSigner, load_key, save_key
from tanpo.client.plan import RetryPolicy
from tanpo.client.profile import Profile, load_profile, parse_profile, render_profile
from tanpo.client.proofs import load_proof, save_proof, save_proof_file, verify_proof
from tanpo.client.results import (
    BatchResult,
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
    Result,
    RotatedCertificate,
    TransactionList,
    TransactionPosition,
    Unknown,
    Unresolved,
    ValidatorsView,
)
from tanpo.client.statereads import Holdings, Position, StateListing, StateValue, read_position
from tanpo.ledger.lineage import EpochPin
from tanpo.ledger.proofs import ReceiptProof, VerifiedReceipt

__all__ = [
    "DEADLINE_S",
    "GAS_LIMIT",
    "VALID_FOR_S",
    "WINDOW",
    "AsyncClient",
    "BackupData",
    "BackupOrigin",
    "BatchResult",
    "Checkpoint",
    "Client",
    "ClientConfig",
    "Committed",
    "CommittedBlock",
    "CommittedTransaction",
    "ContractFailed",
    "ContractSource",
    "ContractView",
    "Draft",
    "EpochPin",
    "EvidenceView",
    "FileSigner",
    "HandshakeFailed",
    "Holdings",
    "Identity",
    "LedgerEvent",
    "NodeFailed",
    "NodeStatus",
    "Outcome",
    "OutcomeUnknown",
    "PartialSignature",
    "Pending",
    "Position",
    "Profile",
    "QueryResult",
    "ReceiptProof",
    "Rejected",
    "Result",
    "RetryPolicy",
    "RotatedCertificate",
    "StateListing",
    "StateValue",
    "TransactionList",
    "TransactionPosition",
    "Unknown",
    "Unreachable",
    "Unresolved",
    "ValidatorsView",
    "VerifiedReceipt",
    "build_draft",
    "load_draft",
    "load_envelope",
    "load_genesis",
    "load_key",
    "load_profile",
    "load_proof",
    "load_signature",
    "parse_profile",
    "read_position",
    "render_profile",
    "save_draft",
    "save_envelope",
    "save_key",
    "save_proof",
    "save_proof_file",
    "save_signature",
    "verify_proof",
]
