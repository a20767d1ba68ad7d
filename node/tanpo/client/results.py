"""What a node answers, typed and checked: outcomes, chain data and the network's description."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from tanpo.client.errors import ContractFailed, OutcomeUnknown
from tanpo.ledger.block import Block, Header
from tanpo.ledger.certificate import CommitProof
from tanpo.ledger.errors import LedgerError
from tanpo.ledger.receipt import Event, Receipt
from tanpo.ledger.transaction import Envelope, Transaction
from tanpo.ledger.types import BlockHash, Height, MemberId, NetworkId, StateRoot, TxId
from tanpo.ledger.validators import Validator
from tanpo.ledger.values import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """Final: in the block at `height`. Whether its contract succeeded is in the receipt."""

    member: MemberId
    request_id: str
    receipt: Receipt

    @property
    def succeeded(self) -> bool:
        """Whether it took effect."""
        return self.receipt.succeeded

    @property
    def tx_id(self) -> TxId:
        """The transaction's id."""
        return self.receipt.tx_id

    @property
    def height(self) -> Height:
        """The block it is in."""
        return self.receipt.height

    @property
    def index(self) -> int:
        """Its position among the block's transactions."""
        return self.receipt.index

    @property
    def value(self) -> Value:
        """What the entry point returned, an empty tuple for nothing or after a failure."""
        return self.receipt.value

    @property
    def events(self) -> tuple[Event, ...]:
        """What its contracts announced."""
        return self.receipt.events

    def raise_for_failure(self) -> Committed:
        """Return this result. Raises `ContractFailed` if its contract failed."""
        if not self.succeeded:
            raise ContractFailed(self.receipt)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The node refused it: it is in no block and, by this node's word, never will be."""

    member: MemberId
    request_id: str
    tx_id: TxId
    error: LedgerError

    @property
    def succeeded(self) -> bool:
        """Whether it took effect: no."""
        return False

    def raise_for_failure(self) -> Committed:
        """Raise the error it was refused with."""
        raise self.error


@dataclass(frozen=True, slots=True, kw_only=True)
class Unresolved:
    """No answer came in time: it may still be committed until `error.valid_until_ms`."""

    member: MemberId
    request_id: str
    tx_id: TxId
    error: OutcomeUnknown

    @property
    def succeeded(self) -> bool:
        """Whether it is known to have taken effect: no."""
        return False

    def raise_for_failure(self) -> Committed:
        """Raise `OutcomeUnknown`."""
        raise self.error


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """Admitted by the node and waiting for its block."""

    member: MemberId
    request_id: str
    tx_id: TxId
    as_of_height: Height


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """In no block up to `as_of_height`, whose block time is `as_of_time_ms`, and not waiting at this node.

    It may be in a block that this node does not hold if it was valid until a time before `since_time_ms`.
    """

    member: MemberId
    request_id: str
    as_of_height: Height
    as_of_time_ms: int
    since_time_ms: int

    def has_expired(self, valid_until_ms: int) -> bool:
        """Return whether a transaction valid until then is in no block and can enter none any more.

        Where this is false although its time has passed, ask a node that holds the chain from its genesis.
        """
        return self.since_time_ms <= valid_until_ms < self.as_of_time_ms


Result: TypeAlias = Committed | Rejected
"""The final outcome of one transaction."""

BatchResult: TypeAlias = Committed | Rejected | Unresolved
"""What each transaction of a batch ends with, exactly once."""

Outcome: TypeAlias = Committed | Rejected | Pending | Unknown
"""What a node says of a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """The value of a view, on the state after the block at `height`, by the node's word."""

    value: Value
    height: Height
    state_root: StateRoot


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedBlock:
    """A block whose commit proof was verified, with the receipts of its transactions.

    `commit_proof` is for the last of `descendants`, the headers above the block, or for the block itself when
    there are none. The receipts are the node's word until `prove` shows one of them under the next header.
    """

    block: Block
    descendants: tuple[Header, ...]
    commit_proof: CommitProof
    transactions: tuple[Transaction, ...]
    receipts: tuple[Receipt, ...]

    @property
    def height(self) -> Height:
        """Its position in the chain."""
        return self.block.header.height

    @property
    def block_hash(self) -> BlockHash:
        """The hash that was voted for."""
        return self.block.block_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedTransaction:
    """A transaction in a block, and the envelope it came in with all signatures."""

    height: Height
    index: int
    envelope: Envelope
    position: int

    @property
    def transaction(self) -> Transaction:
        """The transaction itself."""
        return self.envelope.transactions[self.position]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionPosition:
    """Where a committed transaction is: its block, its index in the block, and its id."""

    height: Height
    index: int
    tx_id: TxId


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionList:
    """Transactions that concern a member, the latest first.

    Of blocks before `first_height`, which is 1 where a node holds all, it lists none.
    """

    positions: tuple[TransactionPosition, ...]
    first_height: Height

    @property
    def is_of_whole_chain(self) -> bool:
        """Whether the node holds every block, so that what it does not list is not there."""
        return self.first_height <= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceView:
    """What a node knows against a validator. `height` is that of the block it stands in, None while it waits.

    `is_verified` tells whether `evidence`, checked with the validators of its epoch, proves it; these are
    followed from the trusted ones, and False is the answer where they cannot be. `height` is the node's word.
    """

    epoch: int
    accused: str
    kind: str
    height: Height | None
    evidence: bytes
    is_verified: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """What a node says of itself. `leader` and `validators` are "member/node"; `stalled_reason` is empty
    while all is well, and `observer_reason` while the node votes. `first_height` is the first block of which
    the node holds transactions, receipts and events; `retention` says in words what stays."""

    network: str
    network_id: NetworkId
    member: MemberId
    node: str
    version: str
    height: Height
    block_hash: BlockHash
    state_root: StateRoot
    time_ms: int
    epoch: int
    term: int
    leader: str
    is_leader: bool
    is_ready: bool
    pending_transactions: int
    connected_peers: tuple[str, ...]
    stalled_reason: str
    clock_ms: int
    observer_reason: str
    validators: tuple[str, ...]
    first_height: Height
    retention: str
    blocks_bytes: int
    state_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RotatedCertificate:
    """The certificate that a node shows now: its serial number in hex, when it expires in Unix ms, and
    whether another was in use before."""

    is_changed: bool
    serial: str
    valid_until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorsView:
    """The validators of the current epoch by a node's word; proofs are checked against the genesis."""

    epoch: int
    validators: tuple[Validator, ...]
    quorum: int
    faulty_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractView:
    """An installed contract. `interface` has its entries, views, records and events.

    `version` counts from 1, `height` is the block that put it in force (0 for genesis), and `replaces` the
    source hash of the version before it, empty for the first.
    """

    name: str
    version: int
    height: int
    source_hash: bytes
    language_version: int
    gas_table_version: int
    replaces: bytes
    interface: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractSource:
    """The source of one version of a contract, with what `ContractView` says of it."""

    name: str
    version: int
    height: int
    source_hash: bytes
    language_version: int
    gas_table_version: int
    replaces: bytes
    source: str


def in_order_of(envelopes: Iterable[Envelope], results: Iterable[BatchResult]) -> tuple[BatchResult, ...]:
    """Return the results of a finished batch in the order of its envelopes' transactions."""
    by_tx_id = {result.tx_id: result for result in results}
    return tuple(
        by_tx_id[transaction.tx_id] for envelope in envelopes for transaction in envelope.transactions
    )
