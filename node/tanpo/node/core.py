"""One node without its network edge: stores, execution, mempool, replica and the tasks that join them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from tanpo.consensus import (
    Replica,
    StepDownAsked,
    Timing,
)
from tanpo.ledger.errors import Reason, Unavailable, UsageError
from tanpo.ledger.evidence import Evidence
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.membership import Registration, find_members
from tanpo.ledger.transaction import Transaction
from tanpo.ledger.types import MemberId
from tanpo.node.admission import AdmissionWindow
from tanpo.node.backups import BackupSource, copy_node
from tanpo.node.bodies import Bodies
from tanpo.node.clock import Clock
from tanpo.node.config import ExecutionMode
from tanpo.node.driver import Driver, Links
from tanpo.node.epochs import EpochStart, Lineage
from tanpo.node.events import EventHub
from tanpo.node.evidence import EvidencePool, EvidenceRead
from tanpo.node.execution import ExecutedBlock, Execution
from tanpo.node.gateway import Gateway, committed_outcome
from tanpo.node.intake import Intake
from tanpo.node.keyring import key_removed
from tanpo.node.logs import get_logger
from tanpo.node.mempool import Mempool, MempoolLimits, has_expired, overtaken, reused_request
from tanpo.node.metrics import Metrics
from tanpo.node.opening import open_execution
from tanpo.node.outcome import Outcome, OutcomeHub, OutcomeState
from tanpo.node.preparing import Preparation
from tanpo.node.promises import Promises, verify_rejoin
from tanpo.node.proofs import Proofs
from tanpo.node.reads import Reads
from tanpo.node.replaying import Watch, catch_up
from tanpo.node.retention import Retention, RetentionPolicy
from tanpo.node.roster import Roster, compute_name
from tanpo.node.snapshotting import Snapshotting
from tanpo.node.succession import Succession
from tanpo.node.ticking import Ticking
from tanpo.node.verifying import Verifier
from tanpo.storage import LedgerStore

RESHARE_MS: Final = 1_000
RESHARE_BYTES_MAX: Final = 1_000_000
EXPIRY_SLACK_MS: Final = 10_000
"""How long after its expiry by the wall clock a transaction is kept: clocks of leaders differ."""

HOUSEKEEPING_S: Final = 0.5

_LOG: Final = get_logger("core")


class Transport(Links, Protocol):
    """The links to other nodes, with the way for admitted envelopes."""

    def share(self, to: str, envelopes: Sequence[bytes]) -> None:
        """Queue envelopes for one node."""
        ...

    def share_evidence(self, to: str, evidence: Sequence[bytes]) -> None:
        """Queue evidence for one node."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSettings:
    """What an operator may tune; none of it is consensus."""

    timing: Timing = field(default_factory=Timing)
    mempool: MempoolLimits = field(default_factory=MempoolLimits)
    verify_threads: int = 1
    may_rejoin: bool = False
    """The operator's word that this validator may sign again after it lost its promises (D8)."""
    execution: ExecutionMode = ExecutionMode.IN_PROCESS
    snapshot_every_blocks: int = 0
    """A snapshot for those who join is taken at each multiple of this height; 0 for none."""
    retention: RetentionPolicy = field(default_factory=RetentionPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreStatus:
    """Where a node stands. `leader` is a node's name; `stalled_reason` is empty while all moves, and
    `observer_reason` while the node votes. `retention` says what stays of the past."""

    height: int
    block_hash: bytes
    state_root: bytes
    time_ms: int
    epoch: int
    term: int
    leader: str
    is_leader: bool
    pending_transactions: int
    stalled_reason: str
    observer_reason: str
    retention: str
    blocks_bytes: int
    state_bytes: int


class Core:
    """Everything of a node but its servers. Open, `attach` a transport, `run`, `close`.

    `on_members` hears of the members whenever one of them, its keys or its CAs have changed.
    """

    def __init__(
        self,
        *,
        genesis: Genesis,
        place: EpochStart,
        roster: Roster,
        signing_key: PrivateKey | None,
        execution: Execution,
        promises: Promises,
        settings: CoreSettings,
        metrics: Metrics,
        clock: Clock,
        evidence: EvidencePool,
        data_dir: Path,
        snapshots: Snapshotting,
        retention: Retention,
    ) -> None:
        self.genesis, self._data_dir = genesis, data_dir
        self.roster, self.snapshots, self._retention = roster, snapshots, retention
        self._execution = execution
        self._promises, self._settings = promises, settings
        self._metrics = metrics
        self._clock = clock
        self._evidence = evidence
        self._keyring = execution.keyrings.latest
        self.on_members: Callable[[Sequence[Registration]], None] = lambda _: None
        self._mempool = Mempool(settings.mempool)
        self._outcomes = OutcomeHub()
        self._admission = AdmissionWindow()
        self._preparation = Preparation(execution)
        self._transport: Transport | None = None
        self._driver: Driver | None = None
        network_id = genesis.network_id
        verifier = self._verifier = Verifier(metrics, settings.verify_threads)
        self.reads = Reads(execution=execution, mempool=self._mempool, network_id=network_id)
        self.proofs = Proofs.create(execution, genesis)
        self.events = EventHub(execution.store)
        self.gateway = Gateway(
            network_id=network_id,
            parameters=genesis.parameters,
            execution=execution,
            mempool=self._mempool,
            verifier=verifier,
            reads=self.reads,
            outcomes=self._outcomes,
            admission=self._admission,
            metrics=metrics,
            clock=clock,
            on_admitted=self._on_admitted,
        )
        self._bodies = Bodies(
            network_id=network_id,
            parameters=genesis.parameters,
            execution=execution,
            mempool=self._mempool,
            verifier=verifier,
            evidence=evidence,
        )
        self._succession = self._make_succession(place, signing_key)

    @classmethod
    def open(
        cls,
        *,
        genesis: Genesis,
        data_dir: Path,
        member: MemberId,
        node: str,
        signing_key: PrivateKey | None,
        settings: CoreSettings,
        metrics: Metrics,
        clock: Clock | None = None,
        watch: Watch | None = None,
    ) -> Core:
        """Open a node's stores, recover what a crash left, and return its core; `watch` hears of long work.

        Raises:
            Stopped: `watch` was asked to end it. CorruptState: what is stored contradicts itself.
            UsageError: the directory belongs to another network or process, this validator is to rejoin
                and cannot, or contracts are to run in a worker and cannot. Unavailable: the disk is full.
        """
        kept = settings.retention
        with contextlib.ExitStack() as closing:
            store = LedgerStore.open(data_dir, network_id=genesis.network_id, window=kept.state_window)
            closing.callback(store.close)
            execution = open_execution(store, genesis, metrics, settings.execution, closing)
            catch_up(execution, genesis.network_id, watch)
            place = execution.load_epoch(genesis)
            if settings.may_rejoin:
                verify_rejoin(place.validators.validator_count)
            lineage = Lineage(store, lambda: execution.machine, genesis)
            evidence = EvidencePool.open(
                data_dir,
                network_id=genesis.network_id,
                store=store,
                find_validators=lineage.find,
                metrics=metrics,
            )
            every = settings.snapshot_every_blocks
            snapshots = Snapshotting.open(
                data_dir, store=store, lineage=lineage, every_blocks=every, metrics=metrics
            )
            retention = Retention.open(data_dir, store, genesis, kept, snapshots, lineage, metrics)
            promises = Promises.open(data_dir, may_rejoin=settings.may_rejoin, key=signing_key)
            closing.pop_all()
        return cls(
            genesis=genesis,
            place=place,
            roster=_make_roster(member, node, signing_key, place),
            signing_key=signing_key,
            execution=execution,
            promises=promises,
            settings=settings,
            metrics=metrics,
            clock=clock or Clock.system(),
            evidence=evidence,
            data_dir=data_dir,
            snapshots=snapshots,
            retention=retention,
        )

    def attach(self, transport: Transport) -> Intake:
        """Join the core to its links and return the inbox that they deliver to."""
        self._transport = transport
        driver = Driver(
            execution=self._execution,
            promises=self._promises,
            bodies=self._bodies,
            links=transport,
            roster=self.roster,
            metrics=self._metrics,
            clock=self._clock,
            on_committed=self._on_committed,
            on_evidence=self._on_evidence,
            begin_epoch=self._succession.begin_epoch,
        )
        self._driver = driver
        self._succession.begin()
        self._intake = Intake(
            driver=driver,
            roster=self.roster,
            clock=self._clock,
            metrics=self._metrics,
            take_shared=self.gateway.take_shared,
            take_evidence=self._evidence.take,
        )
        return self._intake

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            InvariantViolation: this node contradicts what a quorum certified; it must not go on.
            CorruptState: a write failed; the process must stop.
            Unavailable: the disk is full; the same holds.
        """
        driver, replica = self._attached()
        self._show_tip(self._execution.store.executed_height, self._execution.tip_time_ms)
        tasks = [
            asyncio.ensure_future(driver.run(replica)),
            asyncio.ensure_future(self._make_ticking(driver).run()),
            asyncio.ensure_future(self._intake.run()),
            asyncio.ensure_future(self._keep_house()),
            asyncio.ensure_future(self._preparation.run()),
            asyncio.ensure_future(self.snapshots.run()),
            asyncio.ensure_future(self._retention.run()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """Close the stores. All that was acknowledged is on disk already."""
        self.events.close()
        self._verifier.close()
        self._promises.close()
        self._execution.runner.close()
        self._execution.views.close()
        self.snapshots.close()
        self._execution.store.close()

    def read_position(self) -> dict[str, int]:
        """Return where this node stands, for every line of its log."""
        replica = self._succession.replica
        return {"height": self.executed_height, **({} if replica is None else {"term": replica.term})}

    @property
    def executed_height(self) -> int:
        """How far the chain is executed; of use before there is a transport too."""
        return self._execution.store.executed_height

    @property
    def members(self) -> tuple[Registration, ...]:
        """The members of the committed state, with the roles they hold now."""
        return find_members(self._execution.store) or self._keyring.members

    async def hand_over(self) -> None:
        """Lead no more while this process runs (T6); wait a moment until another leads.

        What waits for a block is known to the next leader; so nobody waits for a timeout when we stop.
        """
        driver, _ = self._attached()
        now_ms, wall_ms = self._clock.read()
        driver.post(StepDownAsked(now_ms=now_ms, wall_ms=wall_ms))
        if not self.roster.others:
            return
        with contextlib.suppress(TimeoutError):
            # As long as until a lost timeout is repeated (T4): without a quorum there is nothing to wait for.
            async with asyncio.timeout(self._settings.timing.base_timeout_ms / 2000):
                while self._attached()[1].is_leader:
                    await driver.wait_for_term()

    def copy(self) -> BackupSource:
        """Return the source of a backup of the ledger as it is now; this node goes on meanwhile."""
        member, _, node = self.roster.own_name.partition("/")
        return copy_node(
            self._execution.store,
            self.genesis,
            self._data_dir,
            member=member,
            node=node,
            epoch=self._attached()[1].epoch,
        )

    def evidence(self) -> list[EvidenceRead]:
        """Return what is known against validators: in the chain, or waiting for a block."""
        return self._evidence.read_all()

    def status(self) -> CoreStatus:
        """Return where this node stands."""
        _, replica = self._attached()
        store = self._execution.store
        return CoreStatus(
            height=store.executed_height,
            block_hash=store.executed_hash,
            state_root=store.state_root,
            time_ms=self._execution.tip_time_ms,
            epoch=replica.epoch,
            term=replica.term,
            leader=self.roster.names[replica.leader],
            is_leader=replica.is_leader,
            pending_transactions=len(self._mempool),
            stalled_reason=self._execution.runner.explain_stall() or self._succession.explain_stall(),
            observer_reason=self.roster.explain_silence(),
            retention=self._retention.describe(),
            blocks_bytes=self._retention.blocks_bytes,
            state_bytes=self._retention.state_bytes,
        )

    def _make_ticking(self, driver: Driver) -> Ticking:
        return Ticking(
            driver=driver,
            mempool=self._mempool,
            evidence=self._evidence,
            admission=self._admission,
            clock=self._clock,
            request_timeout_ms=self._settings.timing.request_timeout_ms,
        )

    def _make_succession(self, place: EpochStart, signing_key: PrivateKey | None) -> Succession:
        return Succession(
            genesis=self.genesis,
            execution=self._execution,
            promises=self._promises,
            place=place,
            roster=self.roster,
            signing_key=signing_key,
            payloads=self._bodies,
            timing=self._settings.timing,
            may_rejoin=self._settings.may_rejoin,
            metrics=self._metrics,
        )

    def _attached(self) -> tuple[Driver, Replica]:
        if self._driver is None or self._succession.replica is None:
            raise UsageError(Reason.MISUSE, "the core has no transport yet", remedy="call `attach` first")
        return self._driver, self._succession.replica

    def _on_admitted(self, own: Sequence[bytes]) -> None:
        driver, _ = self._attached()
        if own:
            self._share(own)
        driver.post_pending()

    def _share(self, envelopes: Sequence[bytes]) -> None:
        if self._transport is not None:
            for name in self.roster.others:
                self._transport.share(name, envelopes)

    def _on_evidence(self, evidence: Evidence) -> None:
        """Hold what the replica can prove; `_keep_house` shares it, and a leader puts it into a block."""
        self._evidence.add(evidence, "this node")

    def _on_committed(self, executed: ExecutedBlock) -> None:
        """Tell everybody who waits what the block did; it is on disk."""
        self.snapshots.notice(executed)
        self._retention.notice(executed.decoded.block.header.time_ms)
        header = executed.decoded.block.header
        outcomes = [
            committed_outcome(
                transaction,
                height=header.height,
                index=index,
                receipt=executed.receipts[index],
                time_ms=header.time_ms,
            )
            for index, transaction in enumerate(executed.decoded.transactions)
            if self._outcomes.is_awaited(transaction.tx_id)
        ]
        committed = {transaction.tx_id for transaction in executed.decoded.transactions}
        dropped = self._mempool.remove_requests(executed.decoded.digests)
        outcomes += self._refuse_unregistered(executed)
        outcomes += [
            self._overtaken_outcome(transaction, executed.decoded.digests)
            for transaction in dropped
            if transaction.tx_id not in committed
        ]
        self.gateway.notice_removed()
        self._evidence.notice_committed(executed.decoded.evidence)
        self._outcomes.publish(outcomes)
        _LOG.debug("committed", height=header.height, tx_ids=[tx_id.hex() for tx_id in committed])
        self.events.announce()
        self._preparation.notice(executed)
        self._count(executed)

    def _refuse_unregistered(self, executed: ExecutedBlock) -> list[Outcome]:
        """Drop what waits and is signed by a key that a block has removed, and return what to tell of it."""
        keyring = executed.keyring
        if keyring is self._keyring:
            return []
        self._keyring = keyring
        self.on_members(keyring.members)
        return [
            self.reads.make_outcome(
                # A removed key never comes back. What others signed may wait elsewhere in another envelope.
                OutcomeState.UNKNOWN if keyring.has(transaction.signers) else OutcomeState.REJECTED,
                tx_id=transaction.tx_id,
                member=transaction.member,
                request_id=transaction.request_id,
                error=key_removed(transaction.member),
            )
            for transaction in self._mempool.remove(lambda envelope: not keyring.accepts(envelope))
        ]

    def _overtaken_outcome(self, transaction: Transaction, committed: Set[bytes]) -> Outcome:
        """Return what became of a transaction whose envelope shares a request with a committed one."""
        # Its own request is used up for good. If it is another's of its envelope, only the envelope is: the
        # same transaction may wait elsewhere in one that can still enter a block.
        is_certain = transaction.request_digest in committed
        return self.reads.make_outcome(
            OutcomeState.REJECTED if is_certain else OutcomeState.UNKNOWN,
            tx_id=transaction.tx_id,
            member=transaction.member,
            request_id=transaction.request_id,
            error=reused_request(transaction) if is_certain else overtaken(transaction),
        )

    def _count(self, executed: ExecutedBlock) -> None:
        metrics, header = self._metrics, executed.decoded.block.header
        self._admission.note_committed(len(executed.receipts), self._clock.monotonic_ms())
        self._show_tip(header.height, header.time_ms)
        metrics.commits.inc()
        metrics.block_transactions.observe(len(executed.receipts))
        metrics.transactions.labels("succeeded").inc(executed.succeeded_count)
        metrics.transactions.labels("failed").inc(len(executed.receipts) - executed.succeeded_count)

    def _show_tip(self, height: int, time_ms: int) -> None:
        self._metrics.height.set(height)
        self._metrics.block_time_ms.set(time_ms)

    async def _keep_house(self) -> None:
        """Share again what a leader may have missed, drop what has expired, refresh the gauges."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            again = self._mempool.take_unshared(self._clock.monotonic_ms(), RESHARE_MS, RESHARE_BYTES_MAX)
            if again:
                self._share(again)
            if self._evidence.has_waiting and self._transport is not None:
                # Whoever leads may hold none of it.
                for name in self.roster.others:
                    self._transport.share_evidence(name, self._evidence.list_held())
            self._drop_expired()
            _, replica = self._attached()
            self._metrics.term.set(replica.term)
            self._metrics.is_leader.set(replica.is_leader)
            self._metrics.certified_height.set(replica.committed_height)
            self._metrics.mempool_transactions.set(len(self._mempool))
            self._metrics.mempool_bytes.set(self._mempool.byte_count)

    def _drop_expired(self) -> None:
        """Forget what has expired, and tell those who wait."""
        block_time_ms = self._execution.tip_time_ms
        time_ms = max(block_time_ms, self._clock.wall_ms() - EXPIRY_SLACK_MS)
        expired = self._mempool.remove(lambda envelope: has_expired(envelope, time_ms))
        self._outcomes.publish([self._expired_outcome(tx, block_time_ms) for tx in expired])
        self.gateway.notice_removed()

    def _expired_outcome(self, transaction: Transaction, block_time_ms: int) -> Outcome:
        # Only block time is certain: by the wall clock alone another leader's block may still hold it.
        is_certain = transaction.valid_until_ms < block_time_ms
        return self.reads.make_outcome(
            OutcomeState.REJECTED if is_certain else OutcomeState.UNKNOWN,
            tx_id=transaction.tx_id,
            member=transaction.member,
            request_id=transaction.request_id,
            error=Unavailable(
                Reason.EXPIRED,
                "valid_until passed before the transaction reached a block",
                value=transaction.valid_until_ms,
                limit=block_time_ms,
                remedy="build it again with a later valid_until",
            ),
        )


def _make_roster(member: MemberId, node: str, signing_key: PrivateKey | None, place: EpochStart) -> Roster:
    return Roster(
        own_name=compute_name(member, node),
        public_key=None if signing_key is None else signing_key.public_key.encoded,
        epoch=place.epoch,
        validators=place.validators,
    )
