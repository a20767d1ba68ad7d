"""Many envelopes on one stream (D12): what to send next, what is still in flight, and what came of each.

Every transaction handed in yields exactly one result. What a lost connection leaves open is sent again with
the same bytes, and what has no answer by its deadline is reported as unresolved: nothing is lost in silence.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from tanpo.api.v1 import ledger_pb2
from tanpo.client.answers import lying, read_outcome_of
from tanpo.client.context import Context
from tanpo.client.errors import OutcomeUnknown
from tanpo.client.plan import Attempts, Pause
from tanpo.client.requests import is_final, may_be_admitted
from tanpo.client.results import BatchResult, Committed, Pending, Rejected, Unresolved
from tanpo.client.rpc_errors import error_from_status
from tanpo.ledger.errors import LedgerError, PeerFault, Reason, Unavailable, UsageError
from tanpo.ledger.transaction import Envelope, Transaction
from tanpo.ledger.types import TxId

WINDOW: Final = 1000
"""Envelopes in flight at most: half a second at twice the rate one network has been seen to sustain."""

MESSAGE_ENVELOPES_MAX: Final = 100
MESSAGE_BYTES_SOFT_MAX: Final = 1024 * 1024
"""A message stops growing here; with one more envelope it stays well below the 4 MB a node takes."""

LINGER_S: Final = 0.005
"""How long envelopes may wait for others to fill their message."""


@dataclass(slots=True, kw_only=True)
class _Item:
    """An envelope in flight: `waiting` are its transactions without a result, by id."""

    envelope: Envelope
    waiting: dict[TxId, Transaction]
    ends: float
    position: int | None = None
    failures: int = 0
    may_be_admitted: bool = False
    is_queued: bool = field(default=True)


class Batch:
    """The envelopes in flight on one stream, which may have to be opened again."""

    def __init__(self, context: Context, *, deadline_s: float, window: int = WINDOW) -> None:
        self._route = context.route
        self._attempts = Attempts(context.route, deadline_s)
        self._deadline_s = deadline_s
        self._window = window
        self._items: dict[int, _Item] = {}
        self._by_tx: dict[TxId, int] = {}
        self._by_position: dict[int, int] = {}
        self._queue: deque[int] = deque()
        self._queued_at = 0.0
        self._delayed: list[tuple[float, int]] = []
        self._added = 0
        self._position = 0
        self._heard_at = context.route.now()
        self._fault: PeerFault | None = None

    @property
    def has_room(self) -> bool:
        """Whether another envelope may be added now."""
        return len(self._items) < self._window

    @property
    def is_idle(self) -> bool:
        """Whether every transaction added has its result."""
        return not self._items

    def add(self, envelope: Envelope) -> None:
        """Take in an envelope. Raises `UsageError` for one with a transaction that is in flight already."""
        for transaction in envelope.transactions:
            if transaction.tx_id in self._by_tx:
                raise UsageError(
                    Reason.MISUSE,
                    "the batch holds this transaction already",
                    value=transaction.tx_id.hex(),
                    remedy="submit each envelope once; repeating it is the client's work",
                )
        number, self._added = self._added, self._added + 1
        self._items[number] = _Item(
            envelope=envelope,
            waiting={transaction.tx_id: transaction for transaction in envelope.transactions},
            ends=self._route.now() + self._deadline_s,
        )
        self._by_tx.update((transaction.tx_id, number) for transaction in envelope.transactions)
        self._append(number)

    def open_stream(self) -> int:
        """Return the node to open a stream to; all that is in flight will be sent on it."""
        self._heard_at = self._route.now()
        self._fault = None
        return self._attempts.choose_node()

    def find_fault(self) -> LedgerError | None:
        """Return why the stream should be given up, if it should: a wrong answer, or none for too long."""
        if self._fault is None and self._route.now() >= self._compute_stall():
            return Unavailable(Reason.DEADLINE, "the node has long said nothing of what it was sent")
        return self._fault

    def take_message(self) -> ledger_pb2.SubmitBatchRequest | None:
        """Return the next message to send, None when nothing is due."""
        now = self._route.now()
        while self._delayed and self._delayed[0][0] <= now:
            self._append(heapq.heappop(self._delayed)[1])
        message = ledger_pb2.SubmitBatchRequest()
        size = 0
        if self._compute_due() > now:
            return None
        while (
            self._queue and len(message.envelopes) < MESSAGE_ENVELOPES_MAX and size < MESSAGE_BYTES_SOFT_MAX
        ):
            number = self._queue.popleft()
            item = self._items.get(number)
            if item is None:
                continue
            item.is_queued = False
            item.position, self._position = self._position, self._position + 1
            self._by_position[item.position] = number
            message.envelopes.append(item.envelope.encoded)
            size += len(item.envelope.encoded)
        if len(self._by_position) == len(message.envelopes):
            self._heard_at = now
        return message if message.envelopes else None

    def on_response(self, response: ledger_pb2.SubmitBatchResponse) -> list[BatchResult]:
        """Return the results in a message, up to an answer that contradicts what was sent: see `find_fault`.

        Late and repeated answers are dropped.
        """
        self._heard_at = self._route.now()
        results: list[BatchResult] = []
        try:
            for outcome in response.outcomes:
                results += self._on_outcome(outcome)
            for refusal in response.refusals:
                results += self._on_refusal(refusal)
            self._attempts.restart()
        except PeerFault as fault:
            self._fault = fault
        return results

    def on_stream_end(self, error: LedgerError | None) -> Pause:
        """Return the pause before opening another stream; None stands for one that the node ended.

        Raises:
            LedgerError: no node takes the stream. Call `abandon` for what is in flight.
        """
        if error is None:
            error = Unavailable(Reason.STOPPING, "the node ended the stream", remedy="try again")
        self._position = 0
        self._by_position.clear()
        for number, item in self._items.items():
            if item.position is None:
                continue
            item.position = None
            item.may_be_admitted = item.may_be_admitted or may_be_admitted(error)
            self._enqueue(number, item)
        return self._attempts.after_failure(error)

    def expire(self) -> list[BatchResult]:
        """Return as unresolved what has had no answer by its deadline."""
        now = self._route.now()
        results: list[BatchResult] = []
        # Envelopes were added in the order of their deadlines.
        while (number := next(iter(self._items), None)) is not None and self._items[number].ends <= now:
            late = Unavailable(Reason.DEADLINE, f"no answer within {self._deadline_s} s")
            results += self._give_up(number, self._items[number], late)
        return results

    def abandon(self, error: LedgerError) -> list[BatchResult]:
        """Return all that is in flight as unresolved because of `error`."""
        return [
            result
            for number, item in list(self._items.items())
            for result in self._give_up(number, item, error)
        ]

    def compute_wait(self) -> float:
        """Return for how many seconds nothing but an answer can change anything."""
        oldest = next(iter(self._items.values()), None)
        due = [at for at, _ in self._delayed[:1]] + ([oldest.ends] if oldest is not None else [])
        due.append(self._compute_stall())
        if self._queue:
            due.append(self._compute_due())
        return min(max(min(due) - self._route.now(), 0.0), self._deadline_s)

    def _on_outcome(self, outcome: ledger_pb2.Outcome) -> list[BatchResult]:
        tx_id = TxId(outcome.tx_id)
        number = self._by_tx.get(tx_id)
        if number is None:
            return []
        item = self._items[number]
        found = read_outcome_of(item.waiting[tx_id], outcome)
        if is_final(found) and isinstance(found, Committed | Rejected):
            self._finish(number, item, tx_id)
            return [found]
        if not isinstance(found, Pending):
            item.may_be_admitted = True
            self._delay(number, item)
        return []

    def _on_refusal(self, refusal: ledger_pb2.Refusal) -> list[BatchResult]:
        if refusal.position >= self._position:
            raise lying("a refusal of what was not sent", value=refusal.position, limit=self._position - 1)
        number = self._by_position.get(refusal.position)
        if number is None:
            return []
        item = self._items[number]
        error = error_from_status(refusal.error)
        if isinstance(error, Unavailable) and error.retriable:
            item.may_be_admitted = item.may_be_admitted or may_be_admitted(error)
            self._delay(number, item)
            return []
        # A refusal of what an earlier stream may have got through proves nothing.
        if item.may_be_admitted or may_be_admitted(error):
            return self._give_up(number, item, error)
        return [self._reject(number, item, transaction, error) for transaction in list(item.waiting.values())]

    def _reject(self, number: int, item: _Item, transaction: Transaction, error: LedgerError) -> Rejected:
        self._finish(number, item, transaction.tx_id)
        return Rejected(
            member=transaction.member,
            request_id=transaction.request_id,
            tx_id=transaction.tx_id,
            error=error,
        )

    def _give_up(self, number: int, item: _Item, cause: LedgerError) -> list[BatchResult]:
        unknown = OutcomeUnknown(item.envelope, cause.message)
        unknown.__cause__ = cause
        transactions = list(item.waiting.values())
        for transaction in transactions:
            self._finish(number, item, transaction.tx_id)
        return [
            Unresolved(
                member=transaction.member,
                request_id=transaction.request_id,
                tx_id=transaction.tx_id,
                error=unknown,
            )
            for transaction in transactions
        ]

    def _finish(self, number: int, item: _Item, tx_id: TxId) -> None:
        del item.waiting[tx_id], self._by_tx[tx_id]
        if not item.waiting:
            del self._items[number]
            self._forget_position(item)

    def _delay(self, number: int, item: _Item) -> None:
        item.failures += 1
        self._forget_position(item)
        if not item.is_queued:
            item.is_queued = True
            at = self._route.now() + self._route.policy.compute_delay(item.failures)
            heapq.heappush(self._delayed, (at, number))

    def _forget_position(self, item: _Item) -> None:
        if item.position is not None:
            self._by_position.pop(item.position, None)
            item.position = None

    def _enqueue(self, number: int, item: _Item) -> None:
        if not item.is_queued:
            item.is_queued = True
            self._append(number)

    def _append(self, number: int) -> None:
        if not self._queue:
            self._queued_at = self._route.now()
        self._queue.append(number)

    def _compute_stall(self) -> float:
        """Return when a silent stream counts as stuck: never where there is no other node to turn to."""
        if self._route.count == 1 or not self._by_position:
            return math.inf
        return self._heard_at + self._attempts.compute_share()

    def _compute_due(self) -> float:
        """Return when what is queued should go: at once when the stream is idle or a message is full."""
        is_full = len(self._queue) >= MESSAGE_ENVELOPES_MAX
        return self._queued_at if is_full or not self._by_position else self._queued_at + LINGER_S
