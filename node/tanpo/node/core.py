"""One node without its network edge: stores, execution, mempool, replica and the tasks that join them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from tanpo.consensus import (
    CommittedTip,
    Replica,
    ReplicaConfig,
    ReplicaStart,
    Roots,
    StepDownAsked,
    Ticked,
    Timing,
)
from tanpo.ledger.block import decode_block
from tanpo.ledger.certificate import compute_signed_digest, decode_commit_proof
from tanpo.ledger.errors import InvariantViolation, Reason, Unavailable, UsageError
from tanpo.ledger.evidence import Evidence
from tanpo.ledger.genesis import Genesis, collect_keys
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.transaction import Transaction
from tanpo.ledger.types import Epoch, MemberId, Signature, ValidatorIndex
from tanpo.ledger.validators import ValidatorSet
from tanpo.node.admission import AdmissionWindow
from tanpo.node.bodies import Bodies
from tanpo.node.clock import Clock
from tanpo.node.driver import Driver, Links
from tanpo.node.events import EventHub
from tanpo.node.evidence import EvidencePool, EvidenceRead
from tanpo.node.execution import ExecutedBlock, Execution
from tanpo.node.gateway import Gateway, committed_outcome
from tanpo.node.intake import Intake
from tanpo.node.keyring import KeyRing
from tanpo.node.mempool import Mempool, MempoolLimits, overtaken, reused_request
from tanpo.node.metrics import Metrics
from tanpo.node.outcome import Outcome, OutcomeHub, OutcomeState
from tanpo.node.promises import AMNESIA_REMEDY, Promises, encode_first_record, verify_rejoin
from tanpo.node.reads import Reads
from tanpo.node.verifying import Verifier
from tanpo.storage import LedgerStore, SafetyWrite

TICK_S: Final = 0.02
"""How often the replica hears of time; well below the shortest of its delays."""

RESHARE_MS: Final = 1_000
RESHARE_BYTES_MAX: Final = 1_000_000
EXPIRY_SLACK_MS: Final = 10_000
"""How long after its expiry by the wall clock a transaction is kept: clocks of leaders differ."""

HOUSEKEEPING_S: Final = 0.5


class Transport(Links, Protocol):
    """The links to the other validators, with the way for admitted envelopes."""

    def share(self, envelopes: Sequence[bytes]) -> None:
        """Queue envelopes for every other validator."""
        ...

    def share_evidence(self, evidence: Sequence[bytes]) -> None:
        """Queue evidence for every other validator."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSettings:
    """What an operator may tune; none of it is consensus."""

    timing: Timing = field(default_factory=Timing)
    mempool: MempoolLimits = field(default_factory=MempoolLimits)
    verify_threads: int = 1
    may_rejoin: bool = False
    """The operator's word that this validator may sign again after it lost its promises (D8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreStatus:
    """Where a node stands. `leader` is a validator index; `stalled_reason` is empty while all moves."""

    height: int
    block_hash: bytes
    state_root: bytes
    time_ms: int
    epoch: int
    term: int
    leader: int
    is_leader: bool
    pending_transactions: int
    stalled_reason: str


class Core:
    """Everything of a node but its servers. Open, `attach` a transport, `run`, `close`."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        validators: ValidatorSet,
        validator: ValidatorIndex | None,
        signing_key: PrivateKey | None,
        execution: Execution,
        promises: Promises,
        settings: CoreSettings,
        metrics: Metrics,
        clock: Clock,
        keyring: KeyRing,
        evidence: EvidencePool,
    ) -> None:
        self.genesis = genesis
        self.validators = validators
        self._validator = validator
        self._signing_key = signing_key
        self._execution = execution
        self._promises = promises
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._evidence = evidence
        self._mempool = Mempool(settings.mempool)
        self._outcomes = OutcomeHub()
        self._admission = AdmissionWindow()
        self._transport: Transport | None = None
        self._names = [f"{validator.member}/{validator.node}" for validator in genesis.validators]
        self._replica: Replica | None = None
        self._driver: Driver | None = None
        network_id = genesis.network_id
        verifier = Verifier(keyring, metrics, settings.verify_threads)
        self._verifier = verifier
        self.reads = Reads(execution=execution, mempool=self._mempool, network_id=network_id)
        self.events = EventHub(execution.store)
        self.gateway = Gateway(
            network_id=network_id,
            parameters=genesis.parameters,
            execution=execution,
            mempool=self._mempool,
            keyring=keyring,
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
            keyring=keyring,
            verifier=verifier,
            evidence=evidence,
        )

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
    ) -> Core:
        """Open the stores of a node, recover what a crash left behind, and return its core.

        Raises:
            UsageError: the directory belongs to another network or process, the key to another validator, or
                this one is to rejoin and cannot.
            CorruptState: what is stored contradicts itself.
            Unavailable: the disk is full.
        """
        validators = ValidatorSet(genesis.validators)
        if settings.may_rejoin:
            verify_rejoin(validators.validator_count)
        validator = _find_validator(genesis, validators, member, node, signing_key)
        keyring = KeyRing(collect_keys(genesis))
        store = LedgerStore.open(data_dir, network_id=genesis.network_id)
        try:
            execution = Execution.open(store=store, genesis=genesis, keyring=keyring, metrics=metrics)
            evidence = EvidencePool.open(
                data_dir,
                network_id=genesis.network_id,
                store=store,
                find_validators=lambda epoch: None if epoch else validators,
                metrics=metrics,
            )
            promises = Promises.open(data_dir, may_rejoin=settings.may_rejoin)
        except BaseException:
            store.close()
            raise
        return cls(
            genesis=genesis,
            validators=validators,
            validator=validator,
            signing_key=signing_key,
            execution=execution,
            promises=promises,
            settings=settings,
            metrics=metrics,
            clock=clock or Clock.system(),
            keyring=keyring,
            evidence=evidence,
        )

    def attach(self, transport: Transport) -> Intake:
        """Join the core to its links and return the inbox that they deliver to."""
        self._transport = transport
        names = self._names
        driver = Driver(
            execution=self._execution,
            promises=self._promises,
            bodies=self._bodies,
            links=transport,
            names=names,
            metrics=self._metrics,
            clock=self._clock,
            on_committed=self._on_committed,
            on_evidence=self._on_evidence,
        )
        self._driver = driver
        self._replica = self._make_replica()
        self._intake = Intake(
            driver=driver,
            names=names,
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
        tasks = [
            asyncio.ensure_future(driver.run(replica)),
            asyncio.ensure_future(self._tick(driver)),
            asyncio.ensure_future(self._intake.run()),
            asyncio.ensure_future(self._keep_house()),
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
        self._execution.store.close()

    async def hand_over(self) -> None:
        """Lead no more while this process runs (T6); wait a moment until another leads.

        What waits for a block is known to the next leader; so nobody waits for a timeout when we stop.
        """
        driver, replica = self._attached()
        now_ms, wall_ms = self._clock.read()
        driver.post(StepDownAsked(now_ms=now_ms, wall_ms=wall_ms))
        if self.validators.validator_count == 1:
            return
        with contextlib.suppress(TimeoutError):
            # As long as until a lost timeout is repeated (T4): without a quorum there is nothing to wait for.
            async with asyncio.timeout(self._settings.timing.base_timeout_ms / 2000):
                while replica.is_leader:
                    await driver.wait_for_term()

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
            epoch=0,
            term=replica.term,
            leader=replica.leader,
            is_leader=replica.is_leader,
            pending_transactions=len(self._mempool),
            stalled_reason=self._explain_stall(replica),
        )

    def _attached(self) -> tuple[Driver, Replica]:
        if self._driver is None or self._replica is None:
            raise UsageError(Reason.MISUSE, "the core has no transport yet", remedy="call `attach` first")
        return self._driver, self._replica

    def _explain_stall(self, replica: Replica) -> str:
        reason = replica.explain_stall(self._names)
        if reason is not None and replica.has_amnesia and not self._settings.may_rejoin:
            return f"{reason}; {AMNESIA_REMEDY}"
        return reason or ""

    def _make_replica(self) -> Replica:
        image = self._promises.load()
        record, height = image.record, self._execution.store.executed_height
        if record is None and self._validator is not None and not (height or self._promises.has_forgotten):
            record = encode_first_record(self.genesis.network_id)
            self._promises.save(SafetyWrite(record=record))
        config = ReplicaConfig(
            network_id=self.genesis.network_id,
            epoch=Epoch(0),
            validator=self._validator,
            validator_count=self.validators.validator_count,
            valset_hash=self.validators.valset_hash,
            parameters=self.genesis.parameters,
            timing=self._settings.timing,
            may_rejoin=self._settings.may_rejoin,
        )
        start = ReplicaStart(
            tip=self._read_tip(),
            record=record,
            blocks=tuple(decode_block(encoded) for _, encoded in sorted(image.blocks.items())),
            has_forgotten=self._promises.has_forgotten,
        )
        return Replica(config, self.validators, self._sign, self._bodies, start)

    def _sign(self, message: bytes) -> Signature:
        if self._signing_key is None:
            raise InvariantViolation("an observer was asked to sign")
        return self._signing_key.sign(compute_signed_digest(message))

    def _read_tip(self) -> CommittedTip:
        store = self._execution.store
        height = store.executed_height
        return CommittedTip(
            height=height,
            block_hash=store.executed_hash,
            term=self._execution.tip_term,
            time_ms=self._execution.tip_time_ms,
            roots=Roots(state_root=store.state_root, receipts_root=store.receipts_root),
            proof=decode_commit_proof(store.read_block(height).proof) if height else None,
        )

    def _on_admitted(self, own: Sequence[bytes]) -> None:
        driver, _ = self._attached()
        if own and self._transport is not None:
            self._transport.share(own)
        driver.post_pending()

    def _on_evidence(self, evidence: Evidence) -> None:
        """Hold what the replica can prove; `_keep_house` shares it, and a leader puts it into a block."""
        self._evidence.add(evidence, "this node")

    def _on_committed(self, executed: ExecutedBlock) -> None:
        """Tell everybody who waits what the block did; it is on disk."""
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
        outcomes += [
            self._overtaken_outcome(transaction, executed.decoded.digests)
            for transaction in dropped
            if transaction.tx_id not in committed
        ]
        self.gateway.notice_removed()
        self._evidence.notice_committed(executed.decoded.evidence)
        self._outcomes.publish(outcomes)
        self.events.announce()
        self._count(executed)

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
        metrics.height.set(header.height)
        metrics.block_time_ms.set(header.time_ms)
        metrics.commits.inc()
        metrics.block_transactions.observe(len(executed.receipts))
        metrics.transactions.labels("succeeded").inc(executed.succeeded_count)
        metrics.transactions.labels("failed").inc(len(executed.receipts) - executed.succeeded_count)

    async def _tick(self, driver: Driver) -> None:
        timing = self._settings.timing
        evidence_ms: int | None = None
        while True:
            await asyncio.sleep(TICK_S)
            now_ms, wall_ms = self._clock.read()
            oldest = self._mempool.oldest_arrival_ms(wall_ms)
            if not self._evidence.has_waiting:
                evidence_ms = None
            else:
                # Work like any other: an accused leader must not leave it out for ever.
                evidence_ms = now_ms if evidence_ms is None else evidence_ms
                oldest = evidence_ms if oldest is None else min(oldest, evidence_ms)
            patience_ms = timing.request_timeout_ms + self._admission.compute_queue_ms(len(self._mempool))
            driver.post(
                Ticked(
                    now_ms=now_ms,
                    wall_ms=wall_ms,
                    has_pending=oldest is not None,
                    has_overdue=oldest is not None and now_ms - oldest > patience_ms,
                )
            )

    async def _keep_house(self) -> None:
        """Share again what a leader may have missed, drop what has expired, refresh the gauges."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            again = self._mempool.take_unshared(self._clock.monotonic_ms(), RESHARE_MS, RESHARE_BYTES_MAX)
            if again and self._transport is not None:
                self._transport.share(again)
            if self._evidence.has_waiting and self._transport is not None:
                # Whoever leads may hold none of it.
                self._transport.share_evidence(self._evidence.list_held())
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
        expired = self._mempool.remove_expired(max(block_time_ms, self._clock.wall_ms() - EXPIRY_SLACK_MS))
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


def _find_validator(
    genesis: Genesis,
    validators: ValidatorSet,
    member: MemberId,
    node: str,
    signing_key: PrivateKey | None,
) -> ValidatorIndex | None:
    """Return this node's index among the validators, None for an observer."""
    index = validators.find_index(member, node)
    if index is None or signing_key is None:
        return None
    if genesis.validators[index].public_key != signing_key.public_key.encoded:
        raise UsageError(
            Reason.CONFIGURATION,
            f"the signing key is not the one genesis names for {member}/{node}",
            value=signing_key.key_id.hex(),
            remedy="configure the key that was made for this validator",
        )
    return index
