"""`tanpo.api.v1.Ledger`: submissions, outcomes, reads and events for clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from tanpo.api.v1 import ledger_pb2
from tanpo.ledger.errors import Reason, TransactionRejected, Unavailable
from tanpo.ledger.transaction import decode_envelope
from tanpo.node.outcome import Outcome
from tanpo.node.services.convert import (
    check_contracts,
    check_height,
    check_limit,
    check_name,
    check_request_id,
    check_tx_id,
    events_to_message,
    outcome_to_message,
)
from tanpo.node.services.guard import Context
from tanpo.node.services.ports import NodePort
from tanpo.node.services.proving import ProofMethods
from tanpo.node.services.submission import BatchSession, EnvelopeWaiter, list_tx_ids
from typing_extensions import override

WAIT_MAX_S: Final = 30.0
"""How long `Submit` waits at most; a call without a deadline must end too."""

ANSWER_MARGIN_S: Final = 0.25
"""How long before its deadline a call is answered, so that "pending" arrives before the caller gives up."""

BATCH_ENVELOPES_MAX: Final = 1_000
"""Most envelopes in one message of a batch: each costs memory and an answer however few bytes it has."""

TRANSACTIONS_MAX: Final = 1_000
"""Most transactions of a member in one answer."""

LAG_MAX: Final = 10_000
"""How far ahead of this node a reader of events may be: a node that lags, not a wrong number."""


class LedgerService(ProofMethods):
    """The public API of the ledger."""

    def __init__(self, core: NodePort) -> None:
        super().__init__(core)
        self._network_id = core.genesis.network_id

    @override
    async def Submit(self, request: ledger_pb2.SubmitRequest, context: Context) -> ledger_pb2.SubmitResponse:
        tx_ids = list_tx_ids(self._network_id, request.envelope)
        waiter = EnvelopeWaiter(tx_ids)
        try:
            (refusal,) = await self._core.gateway.submit([request.envelope], waiter)
            if refusal is not None:
                raise refusal
            if not request.no_wait:
                await waiter.wait(compute_wait(context.time_remaining()))
        finally:
            if not waiter.is_done:
                self._core.gateway.forget(waiter)
        outcomes = dict(waiter.outcomes)
        if len(outcomes) < len(set(tx_ids)):
            outcomes = self._pending(request.envelope) | outcomes
        return ledger_pb2.SubmitResponse(outcomes=[outcome_to_message(outcomes[tx_id]) for tx_id in tx_ids])

    @override
    async def SubmitBatch(
        self, request_iterator: AsyncIterator[ledger_pb2.SubmitBatchRequest], context: Context
    ) -> AsyncIterator[ledger_pb2.SubmitBatchResponse]:
        session = BatchSession()
        reader = asyncio.create_task(self._read_batches(request_iterator, session))
        try:
            while (response := await session.next_response()) is not None:
                yield response
            await reader
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            if not session.is_settled:
                self._core.gateway.forget(session)

    @override
    async def GetOutcome(self, request: ledger_pb2.GetOutcomeRequest, context: Context) -> ledger_pb2.Outcome:
        member = check_name("member", request.member)
        return outcome_to_message(self._core.reads.outcome(member, check_request_id(request.request_id)))

    @override
    async def GetBlock(
        self, request: ledger_pb2.GetBlockRequest, context: Context
    ) -> ledger_pb2.GetBlockResponse:
        read = self._core.reads.block(request.height)
        return ledger_pb2.GetBlockResponse(
            height=read.height,
            block_hash=read.block_hash,
            block=read.block,
            commit_proof=read.proof,
            descendants=read.descendants,
            receipts=read.receipts,
        )

    @override
    async def GetTransaction(
        self, request: ledger_pb2.GetTransactionRequest, context: Context
    ) -> ledger_pb2.GetTransactionResponse:
        read = self._core.reads.transaction(check_tx_id(request.tx_id))
        return ledger_pb2.GetTransactionResponse(
            height=read.height, index=read.index, envelope=read.envelope, position=read.position
        )

    @override
    async def GetReceipt(
        self, request: ledger_pb2.GetReceiptRequest, context: Context
    ) -> ledger_pb2.GetReceiptResponse:
        read = self._core.reads.receipt(check_tx_id(request.tx_id))
        return ledger_pb2.GetReceiptResponse(height=read.height, index=read.index, receipt=read.receipt)

    @override
    async def ListTransactions(
        self, request: ledger_pb2.ListTransactionsRequest, context: Context
    ) -> ledger_pb2.ListTransactionsResponse:
        member = check_name("member", request.member)
        limit = check_limit(request.limit, TRANSACTIONS_MAX)
        position = (check_height(request.before_height), request.before_index)
        before = position if request.before_height else None
        found = self._core.reads.list_of_party(member, before, limit)
        return ledger_pb2.ListTransactionsResponse(
            transactions=[
                ledger_pb2.TransactionPosition(height=height, index=index, tx_id=tx_id)
                for height, index, tx_id in found
            ],
            first_height=self._core.reads.first_height,
        )

    @override
    async def Query(self, request: ledger_pb2.QueryRequest, context: Context) -> ledger_pb2.QueryResponse:
        read = await self._core.reads.view(
            check_name("contract", request.contract),
            check_name("view", request.view),
            request.arguments,
            request.height,
        )
        return ledger_pb2.QueryResponse(value=read.value, height=read.height, state_root=read.state_root)

    @override
    async def StreamEvents(
        self, request: ledger_pb2.StreamEventsRequest, context: Context
    ) -> AsyncIterator[ledger_pb2.EventBatch]:
        self._check_position(request.from_height)
        stream = self._core.events.stream(
            from_height=request.from_height,
            from_index=request.from_index,
            contracts=check_contracts(request.contracts),
        )
        async for read in stream:
            yield events_to_message(read)

    async def _read_batches(
        self, requests: AsyncIterator[ledger_pb2.SubmitBatchRequest], session: BatchSession
    ) -> None:
        position = 0
        try:
            async for request in requests:
                await session.wait_room()
                _check_count(len(request.envelopes))
                envelopes = list(request.envelopes)
                tx_ids = [list_tx_ids(self._network_id, envelope) for envelope in envelopes]
                for ids in tx_ids:
                    session.expect(ids)
                verdicts = await self._core.gateway.submit(envelopes, session)
                for offset, refusal in enumerate(verdicts):
                    if refusal is not None:
                        session.refuse(position + offset, tx_ids[offset], refusal)
                position += len(envelopes)
        finally:
            session.end_input()

    def _pending(self, envelope: bytes) -> dict[bytes, Outcome]:
        """Return an outcome of every transaction of an admitted envelope, as of now."""
        reads = self._core.reads
        found: dict[bytes, Outcome] = {}
        for transaction in decode_envelope(self._network_id, envelope).transactions:
            found[transaction.tx_id] = reads.outcome(transaction.member, transaction.request_id)
        return found

    def _check_position(self, from_height: int) -> None:
        next_height = self._core.status().height + 1
        if from_height <= next_height:
            return
        if from_height > next_height + LAG_MAX:
            raise TransactionRejected(
                Reason.HEIGHT_UNKNOWN,
                "there is no such height yet",
                value=from_height,
                limit=next_height,
                remedy="resume from the position that the last batch named, or from 0",
            )
        raise Unavailable(
            Reason.HEIGHT_UNKNOWN,
            "this node has not reached that height yet",
            value=from_height,
            limit=next_height,
            remedy="wait for this node to catch up, or resume at another one",
        )


def _check_count(count: int) -> None:
    if count > BATCH_ENVELOPES_MAX:
        raise TransactionRejected(
            Reason.TOO_LARGE,
            "too many envelopes in one message",
            value=count,
            limit=BATCH_ENVELOPES_MAX,
            remedy="send them in several messages on the same stream",
        )


def compute_wait(time_remaining_s: float | None) -> float:
    """Return how long a call may wait for an outcome and still be answered in time."""
    if time_remaining_s is None:
        return WAIT_MAX_S
    margin = min(ANSWER_MARGIN_S, time_remaining_s / 4)
    return max(0.0, min(WAIT_MAX_S, time_remaining_s - margin))
