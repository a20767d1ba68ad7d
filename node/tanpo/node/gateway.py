"""The way in: every envelope is decoded, checked, deduplicated and admitted here, once.

From a client a refusal is an answer; from a peer a refused envelope is dropped, because this node takes
nobody's word for a signature. Nothing is shared or proposed that this node has not verified itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from tanpo.ledger.errors import LedgerError, PeerFault, Reason, TransactionRejected, Unavailable
from tanpo.ledger.genesis import Parameters
from tanpo.ledger.transaction import Envelope, Transaction, decode_envelope
from tanpo.ledger.types import NetworkId
from tanpo.node.admission import AdmissionWindow
from tanpo.node.clock import Clock
from tanpo.node.execution import Execution
from tanpo.node.logs import get_logger
from tanpo.node.mempool import BlockUse, Mempool, reused_request
from tanpo.node.metrics import Metrics
from tanpo.node.outcome import Outcome, OutcomeHub, OutcomeListener, OutcomeState
from tanpo.node.reads import Reads, executed_before
from tanpo.node.verifying import Verifier

CLOCK_SLACK_MS: Final = 2_000
"""How far this node's clock may differ from block time before its word on expiry would be wrong."""

SCREENED_TOGETHER: Final = 16
"""Envelopes of one call screened before others get their turn: a message may hold a thousand of them."""


_REFUSALS: Final = (TransactionRejected, PeerFault, Unavailable)
"""What is the submitter's to know. Damaged data is not: it ends the process."""


_LOG: Final = get_logger("gateway")


class Gateway:
    """Admits envelopes into the mempool and tells the submitters what became of them."""

    def __init__(
        self,
        *,
        network_id: NetworkId,
        parameters: Parameters,
        execution: Execution,
        mempool: Mempool,
        verifier: Verifier,
        reads: Reads,
        outcomes: OutcomeHub,
        admission: AdmissionWindow,
        metrics: Metrics,
        clock: Clock,
        on_admitted: Callable[[Sequence[bytes]], None],
    ) -> None:
        self._network_id = network_id
        self._parameters = parameters
        self._execution = execution
        self._mempool = mempool
        self._verifier = verifier
        self._reads = reads
        self._outcomes = outcomes
        self._admission = admission
        self._metrics = metrics
        self._clock = clock
        self._on_admitted = on_admitted
        self._emptied = asyncio.Event()
        self._is_draining = False
        self._checking_count = 0

    async def submit(self, envelopes: Sequence[bytes], listener: OutcomeListener) -> list[LedgerError | None]:
        """Admit envelopes of a client. Returns per envelope None, or why it was refused whole.

        Outcomes of what was admitted, or had been before, reach `listener`.
        """
        verdicts: list[LedgerError | None] = []
        fresh: list[tuple[int, Envelope]] = []
        try:
            for position, encoded in enumerate(envelopes):
                verdicts.append(self._take_own(position, encoded, listener, fresh))
                if position % SCREENED_TOGETHER == SCREENED_TOGETHER - 1:
                    await asyncio.sleep(0)
            checked = await self._verifier.verify(
                [envelope for _, envelope in fresh], self._execution.keyrings.latest
            )
        finally:
            self._checking_count -= sum(len(envelope.transactions) for _, envelope in fresh)
        self._admit_own(fresh, checked, verdicts, listener)
        for verdict in verdicts:
            if verdict is not None:
                self._metrics.rejected.labels(verdict.reason).inc()
        return verdicts

    async def take_shared(self, envelopes: Sequence[bytes]) -> None:
        """Admit what other validators shared; what does not pass is dropped.

        Raises:
            PeerFault: some were bytes that no honest validator shares; the others were admitted.
        """
        fresh: list[Envelope] = []
        faults: list[LedgerError] = []
        for encoded in envelopes:
            if self._mempool.find(sha256(encoded).digest()) is not None:
                continue
            try:
                envelope = self._decode(encoded)
                self._screen(envelope)
                if self._is_wanted(envelope):
                    fresh.append(envelope)
            except PeerFault as fault:
                faults.append(fault)
            except (TransactionRejected, Unavailable) as error:
                self._metrics.rejected.labels(error.reason).inc()
        verdicts = await self._verifier.verify(fresh, self._execution.keyrings.latest)
        for envelope, verdict in zip(fresh, verdicts, strict=True):
            if verdict is None:
                self._add_shared(envelope)
            else:
                faults.append(verdict)
        if fresh:
            self._on_admitted(())
        _raise_fault(faults)

    def forget(self, listener: OutcomeListener) -> None:
        """Stop delivering to a submitter that went away; its transactions go on."""
        self._outcomes.forget(listener)

    async def drain(self) -> int:
        """Refuse new envelopes from now on and wait until none is pending. Returns what is left: 0."""
        self._is_draining = True
        self._emptied.clear()
        self.notice_removed()
        await self._emptied.wait()
        return len(self._mempool)

    def notice_removed(self) -> None:
        """Hear that transactions left the mempool."""
        if not len(self._mempool):
            self._emptied.set()

    def stop(self) -> None:
        """Refuse new envelopes from now on."""
        self._is_draining = True

    def _take_own(
        self, position: int, encoded: bytes, listener: OutcomeListener, fresh: list[tuple[int, Envelope]]
    ) -> LedgerError | None:
        """Screen one envelope of a client; if its signatures are to be checked next, add it to `fresh`."""
        try:
            self._check_draining()
            envelope = self._decode(encoded)
            # Sent again it is answered by what came of it, even if its keys, or what it calls, are gone.
            if self._answer_executed(envelope, listener):
                return None
            self._screen(envelope)
            # A client is told now what would fail; from a peer such a call costs its sender a failed receipt.
            for transaction in envelope.transactions:
                self._execution.machine.check_call(transaction.call)
            if self._check_requests(envelope, listener):
                fresh.append((position, envelope))
                self._checking_count += len(envelope.transactions)
        except _REFUSALS as error:
            return _as_refusal(error)
        return None

    def _check_draining(self) -> None:
        if self._is_draining:
            raise Unavailable(
                Reason.STOPPING,
                "this node is stopping",
                remedy="send the same envelope to another node, or here after the restart",
            )

    def _decode(self, encoded: bytes) -> Envelope:
        started = time.thread_time()
        envelope = decode_envelope(self._network_id, encoded)
        self._metrics.decode_seconds.inc(time.thread_time() - started)
        return envelope

    def _screen(self, envelope: Envelope) -> None:
        """Check whose keys are to sign an envelope, and that a block can hold it."""
        self._execution.keyrings.latest.check_envelope(envelope)
        parameters = self._parameters
        for transaction in envelope.transactions:
            if transaction.gas_limit > parameters.gas_limit_max:
                raise TransactionRejected(
                    Reason.GAS_LIMIT,
                    "gas limit is above the network's",
                    value=transaction.gas_limit,
                    limit=parameters.gas_limit_max,
                    remedy="set a lower gas limit",
                )
        use = BlockUse().plus(envelope)
        if not use.fits(parameters):
            limit = BlockUse(
                parameters.block_transactions_max, parameters.block_bytes_max, parameters.block_gas_max
            )
            raise TransactionRejected(
                Reason.TOO_LARGE,
                "the envelope does not fit into one block",
                value=use,
                limit=limit,
                remedy="split it into smaller envelopes",
            )

    def _check_time(self, transaction: Transaction) -> None:
        now = max(self._execution.tip_time_ms, self._clock.wall_ms())
        if transaction.valid_until_ms <= self._execution.tip_time_ms or (
            transaction.valid_until_ms + CLOCK_SLACK_MS < now
        ):
            raise TransactionRejected(
                Reason.EXPIRED,
                "valid_until has passed",
                value=transaction.valid_until_ms,
                limit=now,
                remedy="ask for the outcome of the request; if unknown, build it again with a later one",
            )
        latest = now + self._parameters.validity_max_ms
        if transaction.valid_until_ms > latest:
            raise TransactionRejected(
                Reason.VALID_UNTIL_TOO_FAR,
                "valid_until is too far ahead",
                value=transaction.valid_until_ms,
                limit=latest,
                remedy="choose an earlier one; exactly-once memory is kept only so long",
            )

    def _answer_executed(self, envelope: Envelope, listener: OutcomeListener | None) -> bool:
        """Return whether an envelope was executed before; if so, `listener` is told what came of it.

        Raises:
            TransactionRejected: a request id was executed for another transaction.
            Unavailable: one was, or may have been, in a block before those that this node holds.
        """
        executed = [outcome for tx in envelope.transactions if (outcome := self._find_executed(tx))]
        if not executed:
            return False
        if len(executed) != len(envelope.transactions):
            raise reused_request(envelope.transactions[0])
        self._await(envelope, listener)
        self._outcomes.publish(executed)
        return True

    def _check_requests(self, envelope: Envelope, listener: OutcomeListener | None) -> bool:
        """Return whether an envelope that was not executed is new. Other bytes under its ids are refused.

        Raises:
            TransactionRejected: a request id names another transaction, or a new transaction has expired.
            Unavailable: there is no room for a new one.
        """
        if self._mempool.check_requests(envelope):
            self._await(envelope, listener)
            return False
        for transaction in envelope.transactions:
            self._check_time(transaction)
        self._mempool.check_room(envelope)
        if listener is not None:
            self._check_unused(envelope)
            # What is being verified counts, or one call would verify any number before the pool refused it.
            self._admission.check(len(self._mempool) + self._checking_count, envelope)
        return True

    def _check_unused(self, envelope: Envelope) -> None:
        """Refuse a request id that an expired transaction had, as far as this node holds its block.

        Validators forget an id once it has expired: whoever builds a request anew under the same id, late,
        must hear that it had taken effect. Peers may have pruned that, so what they share is not refused.
        """
        for transaction in envelope.transactions:
            if self._execution.store.find_request(transaction.request_digest) is not None:
                raise reused_request(transaction)

    def _find_executed(self, transaction: Transaction) -> Outcome | None:
        """Return the outcome of a transaction that was executed before.

        Raises:
            TransactionRejected: its request id was executed for another transaction.
            Unavailable: it was, or may have been, executed in a block before those that this node holds.
        """
        digest = transaction.request_digest
        may_be_pruned = transaction.valid_until_ms <= self._execution.tip_time_ms
        if not self._execution.is_taken(digest) and not may_be_pruned:
            return None
        outcome = self._reads.outcome(transaction.member, transaction.request_id)
        if outcome.state is not OutcomeState.COMMITTED:
            if transaction.valid_until_ms < self._reads.since_time_ms:
                # That it has expired would read as if it never had taken effect.
                raise executed_before(transaction.request_id)
            return None
        if outcome.tx_id != transaction.tx_id:
            raise reused_request(transaction)
        return outcome

    def _await(self, envelope: Envelope, listener: OutcomeListener | None) -> None:
        if listener is not None:
            for transaction in envelope.transactions:
                self._outcomes.wait(transaction.tx_id, listener)

    def _admit_own(
        self,
        fresh: Sequence[tuple[int, Envelope]],
        checked: Sequence[LedgerError | None],
        verdicts: list[LedgerError | None],
        listener: OutcomeListener,
    ) -> None:
        admitted: list[bytes] = []
        for (position, envelope), verdict in zip(fresh, checked, strict=True):
            if verdict is not None:
                verdicts[position] = verdict
                continue
            try:
                # The pool, the chain and the keys may have changed while signatures were checked.
                if self._answer_executed(envelope, listener):
                    continue
                self._execution.keyrings.latest.check_envelope(envelope)
                if self._check_requests(envelope, listener):
                    self._await(envelope, listener)
                    self._mempool.add(envelope, self._clock.monotonic_ms(), is_own=True)
                    admitted.append(envelope.encoded)
            except _REFUSALS as error:
                verdicts[position] = error
        if admitted:
            self._metrics.admitted.inc(len(admitted))
            self._on_admitted(admitted)
        _log_verdicts(fresh, verdicts)

    def _is_wanted(self, envelope: Envelope) -> bool:
        """Return whether a shared envelope is new here; the one that shared it needs no answer."""
        if any(self._execution.is_taken(tx.request_digest) for tx in envelope.transactions):
            return False
        return not self._answer_executed(envelope, None) and self._check_requests(envelope, None)

    def _add_shared(self, envelope: Envelope) -> None:
        try:
            self._execution.keyrings.latest.check_envelope(envelope)
            if self._is_wanted(envelope):
                self._mempool.add(envelope, self._clock.monotonic_ms(), is_own=False)
        except _REFUSALS as error:
            self._metrics.rejected.labels(error.reason).inc()


def _raise_fault(found: Sequence[LedgerError]) -> None:
    # A key may have been removed between two looks at it: that is nobody's fault.
    for fault in found:
        if fault.reason is not Reason.KEY_UNKNOWN:
            raise PeerFault(fault.reason, f"shared envelope: {fault.message}", value=fault.value)


def _log_verdicts(fresh: Sequence[tuple[int, Envelope]], verdicts: Sequence[LedgerError | None]) -> None:
    for position, envelope in fresh:
        tx_ids, verdict = [tx.tx_id.hex() for tx in envelope.transactions], verdicts[position]
        if verdict is None:
            _LOG.debug("admitted", tx_ids=tx_ids)
        else:
            _LOG.debug("refused", tx_ids=tx_ids, reason=verdict.reason, why=verdict.message)


def committed_outcome(
    transaction: Transaction, *, height: int, index: int, receipt: bytes, time_ms: int
) -> Outcome:
    """Return the outcome of a transaction in the block that was just committed."""
    return Outcome(
        state=OutcomeState.COMMITTED,
        tx_id=transaction.tx_id,
        member=transaction.member,
        request_id=transaction.request_id,
        height=height,
        index=index,
        receipt=receipt,
        as_of_height=height,
        as_of_time_ms=time_ms,
    )


def _as_refusal(error: LedgerError) -> LedgerError:
    """Turn a fault in the bytes into a refusal that tells the client what to correct."""
    if not isinstance(error, PeerFault):
        return error
    return TransactionRejected(
        error.reason, error.message, value=error.value, limit=error.limit, remedy=error.remedy
    )
