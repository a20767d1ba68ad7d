"""The exec object: contracts, tree and stores behind one seam (PIPELINE.md).

It executes a block in an overlay on its parent, while votes are being collected, and writes it when it is
final. It is synchronous and single-threaded; `begin` hands out slices so that whoever drives it can let
votes pass in between.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tanpo.ledger.block import EMPTY_ROOT, BlockFlags, decode_block, encode_block
from tanpo.ledger.certificate import CommitProof, encode_commit_proof
from tanpo.ledger.errors import CorruptState, LedgerError, Reason, invariant
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.receipt import Event, Receipt, encode_receipt
from tanpo.ledger.transaction import Call, Transaction
from tanpo.ledger.types import BlockHash, Height, MerkleRoot, NetworkId, StateRoot, Term
from tanpo.node.body import DecodedBlock, decode_body
from tanpo.node.epochs import EpochStart, begin_epoch, load_epoch, settle_pending
from tanpo.node.evidence import compute_changes
from tanpo.node.installing import install_genesis, load_contracts
from tanpo.node.keyring import KeyRing
from tanpo.node.metrics import Metrics
from tanpo.node.requests import REQUESTS_PREFIX, RequestMemory, RequestStep, decode_record
from tanpo.storage import BlockCommit, LedgerStore, Overlay, Plan, StoredBlock
from tanpo.vm import GAS_LIMIT_MAX, CallContext, CompiledContract, Machine, Outcome, Session

SLICE_TRANSACTIONS: Final = 100
"""Transactions run between two looks at the network: fewer raise the p99, more delay votes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutedBlock:
    """A block's results, in memory until the block is final. `receipts` are encoded; `pending_valset` is the
    hash of the validator set that the state wants next, if any."""

    decoded: DecodedBlock
    receipts: tuple[bytes, ...]
    succeeded_count: int
    receipts_root: MerkleRoot
    state_root: StateRoot
    changes: dict[bytes, bytes | None]
    overlay: Overlay
    plan: Plan
    step: RequestStep
    pending_valset: bytes | None

    @property
    def block_hash(self) -> BlockHash:
        """The block these are the results of."""
        return self.decoded.block.block_hash

    @property
    def parent_hash(self) -> BlockHash:
        """The block it was executed on."""
        return self.decoded.block.header.parent_hash


class Execution:
    """Executes, holds and commits blocks. `store`, `contracts` and `machine` are for reading by others."""

    def __init__(
        self,
        *,
        store: LedgerStore,
        contracts: Mapping[str, CompiledContract],
        keyring: KeyRing,
        memory: RequestMemory,
        metrics: Metrics,
    ) -> None:
        self.store = store
        self.contracts = contracts
        self.machine = Machine(contracts)
        # Blocks run one after the other and views between their slices: one session for each will do.
        self._session = self.machine.open_session(store)
        self._views = self.machine.open_session(store)
        self._keyring = keyring
        self._memory = memory
        self._metrics = metrics
        self._executed: dict[BlockHash, ExecutedBlock] = {}
        self.tip_term = Term(0)
        self.tip_time_ms = 0

    @classmethod
    def open(cls, *, store: LedgerStore, genesis: Genesis, keyring: KeyRing, metrics: Metrics) -> Execution:
        """Return the exec object on a store, after installing genesis or re-executing what is behind.

        Raises:
            CorruptState: re-execution of the stored blocks gives other roots than their headers carry.
        """
        if not store.is_initialised:
            store.initialise(
                install_genesis(genesis),
                block_hash=BlockHash(genesis.network_id),
                receipts_root=EMPTY_ROOT,
            )
        records = store.scan(REQUESTS_PREFIX, REQUESTS_PREFIX + b"\xff" * 9, 1 << 30)
        execution = cls(
            store=store,
            contracts=load_contracts(store),
            keyring=keyring,
            memory=RequestMemory(decode_record(value) for _, value in records),
            metrics=metrics,
        )
        execution._load_tip(genesis)
        execution._replay(genesis.network_id)
        return execution

    def is_taken(self, digest: bytes) -> bool:
        """Return whether the committed chain has executed this request and it has not expired."""
        return self._memory.holds(digest)

    def find(self, block_hash: BlockHash) -> ExecutedBlock | None:
        """Return the results of a block that is executed and not yet committed."""
        return self._executed.get(block_hash)

    def get(self, block_hash: BlockHash) -> ExecutedBlock:
        """Return the results of a block that was executed and is not yet committed."""
        return self._executed[block_hash]

    def begin(self, decoded: DecodedBlock) -> Iterator[None]:
        """Execute a block on its parent, in slices: advance the iterator until it ends, then `find` it."""
        header = decoded.block.header
        parent = self._executed.get(header.parent_hash)
        invariant(
            parent is not None or header.parent_hash == self.store.executed_hash,
            f"block {header.height} is executed before its parent",
        )
        started = time.thread_time()
        session = self._session
        session.restart(parent.overlay if parent else self.store)
        if header.flags & BlockFlags.EPOCH_END:
            begin_epoch(session, header)
        receipts: list[Receipt] = []
        for index, transaction in enumerate(decoded.transactions):
            if index and index % SLICE_TRANSACTIONS == 0:
                self._metrics.execute_seconds.inc(time.thread_time() - started)
                yield
                started = time.thread_time()
            receipts.append(self._run(session, decoded, transaction, index))
        self._metrics.execute_seconds.inc(time.thread_time() - started)
        yield
        self._finish(decoded, parent, session, receipts)

    def discard(self, block_hashes: tuple[BlockHash, ...]) -> None:
        """Forget blocks that can no longer become final."""
        for block_hash in block_hashes:
            self._executed.pop(block_hash, None)

    def commit(self, block_hash: BlockHash, proof: CommitProof) -> ExecutedBlock:
        """Write an executed block whose parent is committed; when this returns it is on disk.

        Raises:
            CorruptState: the write failed; nothing was applied, and the process must stop.
            Unavailable: the disk is full; the same holds.
        """
        executed = self._executed[block_hash]
        started = time.thread_time()
        block = executed.decoded.block
        self.store.append_block(
            StoredBlock(
                height=block.header.height,
                block_hash=block_hash,
                block=encode_block(block),
                proof=encode_commit_proof(proof),
            )
        )
        self._write(executed)
        self._metrics.store_seconds.inc(time.thread_time() - started)
        return executed

    def load_epoch(self, genesis: Genesis) -> EpochStart:
        """Return the epoch that goes on above the latest committed block.

        Raises:
            CorruptState: the state and the stored blocks name different epochs.
        """
        return load_epoch(self.store, self.machine, genesis)

    def view(self, call: Call, *, time_ms: int) -> Outcome:
        """Run a view on the committed state. Raises `TransactionRejected` for one that does not exist."""
        self.machine.check_view(call)
        context = CallContext(
            sender="", signers=(), time_ms=time_ms, height=self.store.executed_height, tx_id=bytes(32)
        )
        self._views.restart(self.store)
        return self._views.view(call, context, GAS_LIMIT_MAX)

    def get_ancestor_steps(self, block_hash: BlockHash) -> list[RequestStep]:
        """Return the request steps of a block's uncommitted chain, itself included, oldest first."""
        steps: list[RequestStep] = []
        executed = self._executed.get(block_hash)
        while executed is not None:
            steps.append(executed.step)
            executed = self._executed.get(executed.parent_hash)
        return steps[::-1]

    def _run(self, session: Session, decoded: DecodedBlock, tx: Transaction, index: int) -> Receipt:
        header = decoded.block.header
        context = CallContext(
            sender=tx.member,
            signers=self._keyring.get_signing_members(tx.signers),
            time_ms=header.time_ms,
            height=header.height,
            tx_id=tx.tx_id,
        )
        outcome = session.run(tx.call, context, tx.gas_limit)
        return make_receipt(outcome, tx, header.height, index)

    def _finish(
        self,
        decoded: DecodedBlock,
        parent: ExecutedBlock | None,
        session: Session,
        receipts: list[Receipt],
    ) -> None:
        started = time.thread_time()
        encoded = tuple(encode_receipt(receipt) for receipt in receipts)
        header = decoded.block.header
        step = self._memory.compute_step(
            header.height,
            header.time_ms,
            decoded.transactions,
            self.get_ancestor_steps(header.parent_hash),
        )
        pending_valset = settle_pending(session, header, decoded.transactions)
        recorded = compute_changes(header.height, decoded.evidence)
        changes = {**session.collect_changes(), **step.changes, **recorded}
        plan = self.store.tree.begin(header.height, changes, parent.plan if parent else None)
        self._executed[decoded.block.block_hash] = ExecutedBlock(
            decoded=decoded,
            receipts=encoded,
            succeeded_count=sum(receipt.succeeded for receipt in receipts),
            receipts_root=compute_merkle_root(encoded),
            state_root=plan.state_root,
            changes=changes,
            overlay=Overlay(parent.overlay if parent else self.store, changes),
            plan=plan,
            step=step,
            pending_valset=pending_valset,
        )
        self._metrics.tree_seconds.inc(time.thread_time() - started)

    def _write(self, executed: ExecutedBlock) -> None:
        header = executed.decoded.block.header
        self.store.commit(
            BlockCommit(
                height=header.height,
                block_hash=executed.block_hash,
                changes=executed.changes,
                plan=executed.plan,
                receipts=executed.receipts,
                receipts_root=executed.receipts_root,
                tx_ids=tuple(tx.tx_id for tx in executed.decoded.transactions),
                request_digests=tuple(tx.request_digest for tx in executed.decoded.transactions),
            )
        )
        self.tip_term, self.tip_time_ms = header.term, header.time_ms
        self._memory.apply_step(executed.step)
        del self._executed[executed.block_hash]
        for child in self._executed.values():
            if child.parent_hash == executed.block_hash:
                child.overlay.rebase(self.store)

    def _load_tip(self, genesis: Genesis) -> None:
        self.tip_time_ms = genesis.time_ms
        if self.store.executed_height:
            header = decode_block(self.store.read_block(self.store.executed_height).block).header
            self.tip_term, self.tip_time_ms = header.term, header.time_ms

    def _replay(self, network_id: NetworkId) -> None:
        """Execute again the blocks that reached the segments but not the database before a crash."""
        for number in range(self.store.executed_height + 1, self.store.segment_height + 1):
            stored = self.store.read_block(Height(number))
            try:
                decoded = decode_body(decode_block(stored.block), network_id, lambda _: None)
            except LedgerError as error:
                raise _diverged(number, error.message) from None
            header = decoded.block.header
            if header.state_root != self.store.state_root:
                raise _diverged(number, "the state before it is not the one its header carries")
            for _ in self.begin(decoded):
                pass
            self._write(self._executed[decoded.block.block_hash])


def make_receipt(outcome: Outcome, tx: Transaction, height: Height, index: int) -> Receipt:
    """Return the receipt of a transaction's outcome."""
    return Receipt(
        tx_id=tx.tx_id,
        height=height,
        index=index,
        succeeded=outcome.ok,
        code=outcome.code,
        details=outcome.details,
        contract=outcome.contract,
        line=outcome.line,
        gas_used=outcome.gas_used,
        value=outcome.value if outcome.value is not None else (),
        events=tuple(
            Event(contract=event.contract, name=event.name, fields=event.fields) for event in outcome.events
        ),
    )


def _diverged(height: int, why: str) -> CorruptState:
    return CorruptState(
        Reason.DATA_CORRUPT,
        f"stored block {height} cannot be executed again: {why}",
        value=height,
        remedy="run the software version the network runs; if it does, put blocks/, state/, guard and "
        "network of another stopped node in place of these, and leave consensus/ as it is",
    )
