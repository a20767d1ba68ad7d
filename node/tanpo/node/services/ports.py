"""What the services need of the core, and no more: fakes in tests, `Core` in a node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    # Types alone: the services must load without the machinery behind them.
    from tanpo.ledger.contractversion import ContractVersion
    from tanpo.ledger.errors import LedgerError
    from tanpo.ledger.genesis import Genesis
    from tanpo.ledger.membership import Registration
    from tanpo.ledger.types import Height
    from tanpo.node.backups import BackupSource
    from tanpo.node.events import EventRead
    from tanpo.node.evidence import EvidenceRead
    from tanpo.node.outcome import Outcome, OutcomeListener
    from tanpo.node.peer_link import PeerState
    from tanpo.node.proofs import LineageRead, StateProofRead, StateQuestion
    from tanpo.node.reads import (
        BlockRead,
        ContractRead,
        ReceiptProofRead,
        ReceiptRead,
        TransactionRead,
        ViewRead,
    )
    from tanpo.node.roster import Roster
    from tanpo.storage import Position
    from tanpo.storage.snapshots import Offer


class StatusRead(Protocol):
    """What the core says of itself."""

    @property
    def height(self) -> int:
        """Height of the latest executed block."""
        ...

    @property
    def block_hash(self) -> bytes:
        """Its hash."""
        ...

    @property
    def state_root(self) -> bytes:
        """The state root after it."""
        ...

    @property
    def time_ms(self) -> int:
        """Its time."""
        ...

    @property
    def epoch(self) -> int:
        """The epoch now."""
        ...

    @property
    def term(self) -> int:
        """The term now."""
        ...

    @property
    def leader(self) -> str:
        """The term's leader, as member/node."""
        ...

    @property
    def is_leader(self) -> bool:
        """Whether this node leads."""
        ...

    @property
    def pending_transactions(self) -> int:
        """How many transactions wait for a block."""
        ...

    @property
    def stalled_reason(self) -> str:
        """Why there is no progress; empty while there is."""
        ...

    @property
    def observer_reason(self) -> str:
        """Why this node does not vote; empty when it does."""
        ...

    @property
    def retention(self) -> str:
        """What is kept of the past, in words."""
        ...

    @property
    def blocks_bytes(self) -> int:
        """Bytes of the files of blocks."""
        ...

    @property
    def state_bytes(self) -> int:
        """Bytes of the files of the state."""
        ...


class StatusSource(Protocol):
    """Where the status comes from."""

    def status(self) -> StatusRead:
        """Return the status now."""
        ...


class PeerSource(Protocol):
    """Where the state of the peers comes from."""

    def peers(self) -> list[PeerState]:
        """Return every peer and how it is doing."""
        ...


class Submissions(Protocol):
    """The way in for envelopes."""

    async def submit(self, envelopes: Sequence[bytes], listener: OutcomeListener) -> list[LedgerError | None]:
        """Admit envelopes; per envelope None or why it was refused whole."""
        ...

    def forget(self, listener: OutcomeListener) -> None:
        """Stop delivering to a listener."""
        ...

    async def drain(self) -> int:
        """Refuse new envelopes and wait until none is pending."""
        ...


class ReadPort(Protocol):
    """Answers from committed state; each raises a `LedgerError` when there is none."""

    @property
    def first_height(self) -> Height:
        """The first block whose transactions, receipts and events are held."""
        ...

    def outcome(self, member: str, request_id: str) -> Outcome:
        """Return what became of a request."""
        ...

    def block(self, height: int) -> BlockRead:
        """Return a block."""
        ...

    def transaction(self, tx_id: bytes) -> TransactionRead:
        """Return a transaction."""
        ...

    def receipt(self, tx_id: bytes) -> ReceiptRead:
        """Return a receipt."""
        ...

    def receipt_proof(self, tx_id: bytes) -> ReceiptProofRead:
        """Return a receipt's proof."""
        ...

    def list_of_party(self, member: str, before: tuple[int, int] | None, limit: int) -> list[Position]:
        """Return the latest transactions that concern a member."""
        ...

    async def view(self, contract: str, view: str, arguments: bytes, height: int) -> ViewRead:
        """Run a view."""
        ...

    def contracts(self) -> list[ContractRead]:
        """Return the installed contracts."""
        ...

    def contract_version(self, name: str, version: int) -> ContractVersion:
        """Return a version of a contract, the one in force for 0."""
        ...


class ProofPort(Protocol):
    """Proofs of committed state; each raises a `LedgerError` when there is none."""

    async def state(self, question: StateQuestion) -> StateProofRead:
        """Return the proof of part of the state after a block."""
        ...

    def lineage(self, from_epoch: int) -> LineageRead:
        """Return who validated an epoch, and the steps to those after it."""
        ...


class EventSource(Protocol):
    """Events from any position on."""

    def stream(
        self, *, from_height: int, from_index: int, contracts: frozenset[str]
    ) -> AsyncIterator[EventRead]:
        """Yield the events at or after a position, then as blocks commit."""
        ...


class SnapshotSource(Protocol):
    """The snapshots that a node offers."""

    @property
    def first_height(self) -> int:
        """The first block that the node holds."""
        ...

    def offers(self) -> Sequence[Offer]:
        """Return the snapshots, newest first."""
        ...

    def read_chunk(self, digest: bytes, position: int) -> bytes:
        """Return a chunk. Raises `Unavailable` if it is not there."""
        ...


class NodePort(StatusSource, Protocol):
    """All of the core that the services use."""

    @property
    def genesis(self) -> Genesis:
        """The genesis of the network."""
        ...

    @property
    def members(self) -> tuple[Registration, ...]:
        """The members of now."""
        ...

    def evidence(self) -> list[EvidenceRead]:
        """Return what is known against validators."""
        ...

    def copy(self) -> BackupSource:
        """Return the source of a backup of the ledger as it is now."""
        ...

    async def hand_over(self) -> None:
        """Lead no more, and wait a moment until another does."""
        ...

    @property
    def roster(self) -> Roster:
        """Who votes in the current epoch."""
        ...

    @property
    def gateway(self) -> Submissions:
        """The way in."""
        ...

    @property
    def reads(self) -> ReadPort:
        """The way out."""
        ...

    @property
    def proofs(self) -> ProofPort:
        """What can be proved of the state."""
        ...

    @property
    def events(self) -> EventSource:
        """The events."""
        ...

    @property
    def snapshots(self) -> SnapshotSource:
        """The snapshots for those who join."""
        ...
