"""Waiting for outcomes: one envelope of a unary call, or all envelopes of a stream."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final

from tanpo.api.v1 import ledger_pb2
from tanpo.ledger.codec import Reader
from tanpo.ledger.errors import LedgerError, PeerFault, Reason, Unavailable
from tanpo.ledger.transaction import PAYLOAD_BYTES_MAX, compute_tx_id
from tanpo.ledger.types import NetworkId, TxId
from tanpo.node.outcome import Outcome
from tanpo.node.services.convert import outcome_to_message
from tanpo.node.status import build_status

UNREAD_PAUSE: Final = 2_048
"""Unread outcomes of a stream at which no more envelopes are taken from it."""

UNREAD_MAX: Final = 32_768
"""Unread outcomes of a stream at which it is ended: more than may be pending at once, so nobody who reads
ever meets it."""

RESPONSE_BYTES_MAX: Final = 1024 * 1024
"""Receipts in one response, well below the message limit of clients."""


def list_tx_ids(network_id: NetworkId, envelope: bytes) -> tuple[TxId, ...]:
    """Return the ids of an envelope's transactions, none when it is no envelope: the gateway says why."""
    reader = Reader(envelope)
    try:
        reader.u8()
        return tuple(compute_tx_id(network_id, reader.blob(PAYLOAD_BYTES_MAX)) for _ in range(reader.u16()))
    except PeerFault:
        return ()


class EnvelopeWaiter:
    """Waits until every transaction of one envelope has an outcome."""

    def __init__(self, tx_ids: Sequence[TxId]) -> None:
        self.outcomes: dict[bytes, Outcome] = {}
        self._missing: set[bytes] = set(tx_ids)
        self._is_done = asyncio.Event()

    @property
    def is_done(self) -> bool:
        """Whether all outcomes are here."""
        return not self._missing

    def deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Take outcomes."""
        for outcome in outcomes:
            self.outcomes[outcome.tx_id] = outcome
            self._missing.discard(outcome.tx_id)
        if not self._missing:
            self._is_done.set()

    async def wait(self, timeout_s: float) -> None:
        """Wait until all outcomes are here or the time is over."""
        if self._missing:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._is_done.wait()
            except TimeoutError:
                pass


class BatchSession:
    """One stream of envelopes: what is still awaited, and what the client has not read yet."""

    def __init__(self) -> None:
        self._awaited: Counter[bytes] = Counter()
        self._outcomes: deque[Outcome] = deque()
        self._refusals: list[ledger_pb2.Refusal] = []
        self._has_news = asyncio.Event()
        self._has_room = asyncio.Event()
        self._is_overrun = False
        self._is_input_over = False

    def deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Take the outcomes of one block."""
        for outcome in outcomes:
            self._awaited.pop(outcome.tx_id, None)
        if len(self._outcomes) + len(outcomes) > UNREAD_MAX:
            self._is_overrun = True
        else:
            self._outcomes.extend(outcomes)
        self._has_news.set()

    def expect(self, tx_ids: Sequence[TxId]) -> None:
        """Note transactions about to be submitted: their outcomes may come before they are admitted."""
        self._awaited.update(tx_ids)

    def refuse(self, position: int, tx_ids: Sequence[TxId], error: LedgerError) -> None:
        """Note an envelope that was refused whole; the same transactions may wait in another one."""
        for tx_id in tx_ids:
            if self._awaited[tx_id] > 1:
                self._awaited[tx_id] -= 1
            else:
                del self._awaited[tx_id]
        self._refusals.append(ledger_pb2.Refusal(position=position, error=build_status(error)))
        self._has_news.set()

    def end_input(self) -> None:
        """Note that the client sends no more, or that reading it failed."""
        self._is_input_over = True
        self._has_news.set()

    @property
    def is_settled(self) -> bool:
        """Whether nothing is awaited any more."""
        return not self._awaited

    async def wait_room(self) -> None:
        """Wait until the client has read enough to be given more."""
        while len(self._outcomes) + len(self._refusals) >= UNREAD_PAUSE:
            self._has_room.clear()
            await self._has_room.wait()

    async def next_response(self) -> ledger_pb2.SubmitBatchResponse | None:
        """Return what there is to tell, waiting for it; None when all has been told.

        Raises:
            Unavailable: with SLOW_READER, the client does not read what it is told.
        """
        while not (self._outcomes or self._refusals):
            if self._is_overrun:
                break
            if self._is_input_over and not self._awaited:
                return None
            self._has_news.clear()
            await self._has_news.wait()
        if self._is_overrun:
            raise Unavailable(
                Reason.SLOW_READER,
                "the client does not read its outcomes",
                value=f"{len(self._outcomes)} unread",
                limit=UNREAD_MAX,
                remedy="open a new stream, read it while sending, and ask for what is missing by request id",
            )
        return self._take_response()

    def _take_response(self) -> ledger_pb2.SubmitBatchResponse:
        refusals, self._refusals = self._refusals, []
        outcomes: list[ledger_pb2.Outcome] = []
        size = 0
        while self._outcomes and size < RESPONSE_BYTES_MAX:
            outcome = self._outcomes.popleft()
            size += len(outcome.receipt) + 256
            outcomes.append(outcome_to_message(outcome))
        self._has_room.set()
        return ledger_pb2.SubmitBatchResponse(outcomes=outcomes, refusals=refusals)
