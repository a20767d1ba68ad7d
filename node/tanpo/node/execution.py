"""The exec object: contracts, tree and stores behind one seam (PIPELINE.md).

It executes a block in an overlay on its parent, while votes are being collected, and writes it when it is
final. What runs the transactions is behind a seam of its own (`running`). `begin` pauses wherever it waits,
and often enough that whoever drives it can let votes pass in between.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from tanpo.ledger.block import EMPTY_ROOT, BlockFlags, Header, decode_block, encode_block
from tanpo.ledger.certificate import CommitProof, encode_commit_proof
from tanpo.ledger.errors import invariant
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.receipt import Receipt, decode_receipt, is_success
from tanpo.ledger.transaction import Call
from tanpo.ledger.types import BlockHash, Height, MerkleRoot, StateRoot, Term
from tanpo.node.agreed import Agreed, Settled, announce, find_agreed, may_agree, settle_agreed
from tanpo.node.body import DecodedBlock
from tanpo.node.contract_sets import Programs
from tanpo.node.epochs import VALIDATORS_CONTRACT, EpochStart, begin_epoch, load_epoch, settle_pending
from tanpo.node.evidence import compute_changes
from tanpo.node.installing import install_genesis
from tanpo.node.keyring import KeyRing
from tanpo.node.keyrings import KeyRings
from tanpo.node.logs import get_logger
from tanpo.node.metrics import Metrics
from tanpo.node.parties import find_parties
from tanpo.node.past import PastViews
from tanpo.node.requests import REQUESTS_PREFIX, RequestMemory, RequestStep, decode_record
from tanpo.node.running import BlockRun, Runner, Scene, Steps
from tanpo.node.tasks import Task
from tanpo.node.versions import InstalledContracts, load_contracts
from tanpo.node.views import Views
from tanpo.storage import BlockCommit, LedgerStore, Overlay, Plan, StoredBlock
from tanpo.vm import Machine

_TOLD: Final = ("number", "contract", "version", "code")

_LOG = get_logger("contracts")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutedBlock:
    """A block's results, in memory until the block is final. `receipts` are encoded.

    `pending_valset` is the hash of the validator set that the state wants next, if any; `contracts` and
    `keyring` are those of the next block.
    """

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
    contracts: InstalledContracts
    keyring: KeyRing

    @property
    def block_hash(self) -> BlockHash:
        """The block these are the results of."""
        return self.decoded.block.block_hash

    @property
    def parent_hash(self) -> BlockHash:
        """The block it was executed on."""
        return self.decoded.block.header.parent_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ran:
    """What came of a block's transactions, and what they agreed."""

    receipts: tuple[bytes, ...]
    changes: dict[bytes, bytes | None]
    pending_valset: bytes | None
    agreed: Agreed | None


class Execution:
    """Executes, holds and commits blocks. `store`, `contracts`, `machine` and `runner` are for reading.
    `past_views` are those of earlier heights.

    `contracts` are the committed state's, `keyrings` those of each state; `programs` compile sources that are
    proposed ahead of their block.
    """

    def __init__(
        self,
        *,
        store: LedgerStore,
        contracts: InstalledContracts,
        programs: Programs,
        runner: Runner,
        views: Runner,
        keyrings: KeyRings,
        memory: RequestMemory,
        metrics: Metrics,
    ) -> None:
        self.store = store
        self.contracts = contracts
        self.programs = programs
        self.runner = runner
        self.views = Views(store, views)
        self.past_views = PastViews(store, self.views, programs)
        self.keyrings = keyrings
        self._memory = memory
        self._metrics = metrics
        self._executed: dict[BlockHash, ExecutedBlock] = {}
        self.tip_term = Term(0)
        self.tip_time_ms = self._validity_max_ms = 0
        self._since = (Height(0), 0)

    @classmethod
    def open(
        cls,
        *,
        store: LedgerStore,
        genesis: Genesis,
        metrics: Metrics,
        programs: Programs,
        runner: Runner,
        views: Runner,
    ) -> Execution:
        """Return the exec object on a store, after installing genesis in a new one.

        Stored blocks that are not executed are `replaying.catch_up`'s: call it before anything else.
        """
        if not store.is_initialised:
            store.initialise(
                install_genesis(genesis, programs),
                block_hash=BlockHash(genesis.network_id),
                receipts_root=EMPTY_ROOT,
            )
        records = store.scan(REQUESTS_PREFIX, REQUESTS_PREFIX + b"\xff" * 9, 1 << 30)
        execution = cls(
            store=store,
            contracts=load_contracts(store, programs),
            programs=programs,
            runner=runner,
            views=views,
            keyrings=KeyRings(store.executed_hash, KeyRing.load(store, genesis)),
            memory=RequestMemory(decode_record(value) for _, value in records),
            metrics=metrics,
        )
        execution._load_tip(genesis)
        return execution

    @property
    def machine(self) -> Machine:
        """The machine of the committed state's contracts."""
        return self.contracts.machine

    @property
    def since_time_ms(self) -> int:
        """A request that was valid until a time before this may be in a block that is not held; 0 if all are.

        A request in the block of the beginning, or before it, was valid for as long as is allowed after it at
        most, and the state forgets it too once it has expired.
        """
        first = self.store.beginning.height
        if self._since[0] != first:
            begun_ms = decode_block(self.store.read_block(first).block).header.time_ms
            self._since = (first, begun_ms + self._validity_max_ms + 1)
        return self._since[1]

    def is_taken(self, digest: bytes) -> bool:
        """Return whether the committed chain has executed this request and it has not expired."""
        return self._memory.holds(digest)

    def find(self, block_hash: BlockHash) -> ExecutedBlock | None:
        """Return the results of a block that is executed and not yet committed."""
        return self._executed.get(block_hash)

    def get(self, block_hash: BlockHash) -> ExecutedBlock:
        """Return the results of a block that was executed and is not yet committed."""
        return self._executed[block_hash]

    def begin(self, decoded: DecodedBlock) -> Steps[None]:
        """Execute a block on its parent: let it pause until it ends, then `find` the block."""
        header = decoded.block.header
        parent = self._executed.get(header.parent_hash)
        invariant(
            parent is not None or header.parent_hash == self.store.executed_hash,
            f"block {header.height} is executed before its parent",
        )
        contracts, base = (parent.contracts, parent.overlay) if parent else (self.contracts, self.store)
        tasks = _make_tasks(decoded, parent.keyring if parent else self.keyrings.latest)
        scene = Scene(
            block_hash=decoded.block.block_hash,
            parent_hash=header.parent_hash,
            committed_hash=self.store.executed_hash,
            height=header.height,
            time_ms=header.time_ms,
            contracts=contracts.sources,
            state=base,
        )
        if may_agree(contracts, decoded.transactions):
            ran, settled = yield from self._run_both(scene, decoded, contracts, tasks)
        else:
            ran = yield from self.runner.run(scene, lambda run: _play(run, decoded, contracts, tasks))
            settled = None
        self._finish(decoded, parent, ran, settled)

    def discard(self, block_hashes: tuple[BlockHash, ...]) -> None:
        """Forget blocks that can no longer become final."""
        for block_hash in block_hashes:
            self._executed.pop(block_hash, None)
            self.keyrings.forget(block_hash)

    def commit(self, block_hash: BlockHash, proof: CommitProof | None) -> ExecutedBlock:
        """Write an executed block whose parent is committed; when this returns it is on disk.

        Without a proof the block is one of the segments, where it is not added again.

        Raises:
            CorruptState: the write failed; nothing was applied, and the process must stop.
            Unavailable: the disk is full; the same holds.
        """
        executed = self._executed[block_hash]
        started = time.thread_time()
        if proof is not None:
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

    async def view(self, call: Call, *, time_ms: int) -> Receipt:
        """Run a view on the committed state; the state is that of the moment at which this returns.

        Raises:
            TransactionRejected: there is no such view, or it takes other arguments.
            Unavailable: it could not be run now.
        """
        self.machine.check_view(call)
        return await self.views.run(call, lambda: self.contracts.sources, time_ms)

    def get_ancestor_steps(self, block_hash: BlockHash) -> list[RequestStep]:
        """Return the request steps of a block's uncommitted chain, itself included, oldest first."""
        steps: list[RequestStep] = []
        executed = self._executed.get(block_hash)
        while executed is not None:
            steps.append(executed.step)
            executed = self._executed.get(executed.parent_hash)
        return steps[::-1]

    def _run_both(
        self, scene: Scene, decoded: DecodedBlock, contracts: InstalledContracts, tasks: Sequence[Task]
    ) -> Steps[tuple[_Ran, Settled]]:
        """Run a block's transactions, and then, as if it were a block of its own, what they agreed."""
        middle = BlockHash(sha256(b"before its end" + scene.block_hash).digest())
        ran = yield from self.runner.run(
            replace(scene, block_hash=middle), lambda run: _play(run, decoded, contracts, tasks)
        )
        after = replace(scene, parent_hash=middle, state=Overlay(scene.state, ran.changes))
        settled = yield from settle_agreed(self.runner, after, ran.agreed, contracts, self.programs)
        return ran, settled

    def _finish(
        self, decoded: DecodedBlock, parent: ExecutedBlock | None, ran: _Ran, settled: Settled | None
    ) -> None:
        started = time.thread_time()
        header = decoded.block.header
        step = self._memory.compute_step(
            header.height,
            header.time_ms,
            decoded.transactions,
            self.get_ancestor_steps(header.parent_hash),
        )
        recorded = compute_changes(header.height, decoded.evidence)
        receipts, contracts, agreed = ran.receipts, parent.contracts if parent else self.contracts, {}
        if settled is not None:
            receipts = announce(settled, [tx.tx_id for tx in decoded.transactions], receipts)
            contracts, agreed = settled.contracts, settled.changes
            _note(settled, header)
        changes = {**ran.changes, **agreed, **step.changes, **recorded}
        plan = self.store.tree.begin(header.height, changes, parent.plan if parent else None)
        overlay = Overlay(parent.overlay if parent else self.store, changes)
        keyring = (parent.keyring if parent else self.keyrings.latest).follow(changes, overlay)
        self._executed[decoded.block.block_hash] = ExecutedBlock(
            decoded=decoded,
            receipts=receipts,
            succeeded_count=sum(is_success(receipt) for receipt in receipts),
            receipts_root=compute_merkle_root(receipts),
            state_root=plan.state_root,
            changes=changes,
            overlay=overlay,
            plan=plan,
            step=step,
            pending_valset=ran.pending_valset,
            contracts=contracts,
            keyring=keyring,
        )
        self.keyrings.note_executed(decoded.block.block_hash, keyring)
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
                parties=self._find_parties(executed),
            )
        )
        self.tip_term, self.tip_time_ms = header.term, header.time_ms
        self.contracts = executed.contracts
        self.keyrings.note_committed(executed.block_hash)
        self._memory.apply_step(executed.step)
        del self._executed[executed.block_hash]
        for child in self._executed.values():
            if child.parent_hash == executed.block_hash:
                child.overlay.rebase(self.store)

    def _find_parties(self, executed: ExecutedBlock) -> tuple[tuple[str, ...], ...]:
        # Those whose keys the block was executed with, and whom it admitted.
        keyring = self.keyrings.latest
        find_members, members = keyring.get_signing_members, keyring.names | executed.keyring.names
        return tuple(
            find_parties(tx, find_members(tx.signers), decode_receipt(receipt), members)
            for tx, receipt in zip(executed.decoded.transactions, executed.receipts, strict=True)
        )

    def _load_tip(self, genesis: Genesis) -> None:
        self.tip_time_ms = genesis.time_ms
        if self.store.executed_height:
            header = decode_block(self.store.read_block(self.store.executed_height).block).header
            self.tip_term, self.tip_time_ms = header.term, header.time_ms
        self._validity_max_ms = genesis.parameters.validity_max_ms


def _make_tasks(decoded: DecodedBlock, keyring: KeyRing) -> list[Task]:
    """Return a block's transactions with the members that signed each, by the keys of the parent's state."""
    header = decoded.block.header
    invariant(
        all(keyring.holds(envelope) for envelope in decoded.envelopes),
        f"block {header.height} is certified, and holds a signature by a key that its parent's state has not",
    )
    find_members = keyring.get_signing_members
    return [Task.of_transaction(tx, find_members(tx.signers)) for tx in decoded.transactions]


def _play(
    run: BlockRun, decoded: DecodedBlock, contracts: InstalledContracts, tasks: Sequence[Task]
) -> Steps[_Ran]:
    header = decoded.block.header
    if header.flags & BlockFlags.EPOCH_END:
        yield from begin_epoch(run)
    receipts = yield from run.execute(tasks)
    pending_valset = None
    if VALIDATORS_CONTRACT in contracts.compiled:
        pending_valset = yield from settle_pending(run, header, decoded.transactions)
    agreed = None
    if may_agree(contracts, decoded.transactions):
        agreed = yield from find_agreed(run, contracts)
    changes = yield from run.collect()
    return _Ran(receipts=tuple(receipts), changes=changes, pending_valset=pending_valset, agreed=agreed)


def _note(settled: Settled, header: Header) -> None:
    """Tell operators what became of a contract that was agreed: the last thing that was announced."""
    for event in settled.events[-1:]:
        told = {name: value for name, value in event.fields if name in _TOLD}
        _LOG.info(f"contract {event.name.lower()}", height=header.height, **told)
