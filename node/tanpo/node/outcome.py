"""What became of one submitted transaction, and who is waiting to hear it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tanpo.ledger.errors import LedgerError


class OutcomeState(StrEnum):
    """How far a transaction got, as this node knows it."""

    COMMITTED = "committed"
    REJECTED = "rejected"
    PENDING = "pending"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The state of one request. `receipt` is set when committed, `error` when rejected.

    `as_of_height` and `as_of_time_ms` name the latest block this node had executed when it answered: an
    unknown request is in no block up to there. But it may be in one before this node's first if it was valid
    until a time before `since_time_ms`.
    """

    state: OutcomeState
    tx_id: bytes
    member: str
    request_id: str
    height: int = 0
    index: int = 0
    receipt: bytes = b""
    error: LedgerError | None = None
    as_of_height: int
    as_of_time_ms: int
    since_time_ms: int = 0


class OutcomeListener(Protocol):
    """Somebody waiting for outcomes, such as one client's stream. Hashed by identity."""

    def deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Take the outcomes of one block. Called on the event loop; must not block or raise."""
        ...


class OutcomeHub:
    """Who waits for which transaction. Bounded by the mempool: only pending transactions are awaited."""

    def __init__(self) -> None:
        self._listeners: dict[bytes, list[OutcomeListener]] = {}
        self._awaited: dict[OutcomeListener, set[bytes]] = {}

    def wait(self, tx_id: bytes, listener: OutcomeListener) -> None:
        """Deliver the outcome of `tx_id` to `listener` when it is known."""
        awaited = self._awaited.setdefault(listener, set())
        if tx_id not in awaited:
            awaited.add(tx_id)
            self._listeners.setdefault(tx_id, []).append(listener)

    def forget(self, listener: OutcomeListener) -> None:
        """Stop delivering to a listener that went away."""
        for tx_id in self._awaited.pop(listener, ()):
            listeners = self._listeners[tx_id]
            listeners.remove(listener)
            if not listeners:
                del self._listeners[tx_id]

    def is_awaited(self, tx_id: bytes) -> bool:
        """Return whether anybody waits for this transaction."""
        return tx_id in self._listeners

    def publish(self, outcomes: Sequence[Outcome]) -> None:
        """Hand each listener its outcomes, all of them in one call."""
        grouped: dict[OutcomeListener, list[Outcome]] = {}
        for outcome in outcomes:
            for listener in self._listeners.pop(outcome.tx_id, ()):
                grouped.setdefault(listener, []).append(outcome)
                self._release(listener, outcome.tx_id)
        for listener, found in grouped.items():
            listener.deliver(found)

    def _release(self, listener: OutcomeListener, tx_id: bytes) -> None:
        awaited = self._awaited[listener]
        awaited.discard(tx_id)
        if not awaited:
            del self._awaited[listener]
