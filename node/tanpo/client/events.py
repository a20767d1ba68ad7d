"""Reading events from any position on, across lost connections and nodes, each event once and in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from tanpo.api.v1 import ledger_pb2
from tanpo.client.answers import lying, read_named
from tanpo.client.plan import Attempts, Pause, Route
from tanpo.ledger.errors import LedgerError, Reason, TransactionRejected, Unavailable
from tanpo.ledger.types import BlockHash, Height, TxId
from tanpo.ledger.values import Value

RECONNECT_FOR_S: Final = 60.0
"""How long a reader goes on dialling before it gives up: a node restarts and catches up well within it."""

STEADY_AFTER_S: Final = 5.0
"""A stream that stood this long was in order although nothing happened on it."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Checkpoint:
    """A position in the chain's events: the next one read is at or after it. (0, 0) is the beginning."""

    height: int = 0
    index: int = 0

    def __str__(self) -> str:
        return f"{self.height}/{self.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEvent:
    """An event of a committed block, by the node's word. Save `checkpoint` with what you did about it."""

    height: Height
    index: int
    tx_id: TxId
    contract: str
    name: str
    fields: Mapping[str, Value]
    time_ms: int
    block_hash: BlockHash

    @property
    def checkpoint(self) -> Checkpoint:
        """Where to resume after this event."""
        return Checkpoint(height=self.height, index=self.index + 1)


class EventCursor:
    """Where a reader stands. It asks for what follows, and refuses answers out of order."""

    def __init__(
        self,
        route: Route,
        *,
        contracts: Iterable[str] = (),
        checkpoint: Checkpoint | None = None,
        reconnect_for_s: float = RECONNECT_FOR_S,
    ) -> None:
        self.checkpoint = checkpoint or Checkpoint()
        self._contracts = tuple(sorted(set(contracts)))
        self._route = route
        self._attempts = Attempts(route, reconnect_for_s)
        self._opened_at = route.now()
        self._has_read = False

    def open_stream(self) -> tuple[int, ledger_pb2.StreamEventsRequest]:
        """Return the node to ask and the request that continues where the last event left off."""
        self._opened_at = self._route.now()
        return self._attempts.choose_node(), ledger_pb2.StreamEventsRequest(
            from_height=self.checkpoint.height,
            from_index=self.checkpoint.index,
            contracts=self._contracts,
        )

    def on_batch(self, batch: ledger_pb2.EventBatch) -> list[LedgerEvent]:
        """Return the events of a batch and move past it.

        Raises:
            PeerFault: the batch repeats, skips back, or holds what was not asked for. Nothing is moved.
        """
        position = self.checkpoint
        events: list[LedgerEvent] = []
        for found in batch.events:
            event = _read_event(batch, found)
            at = Checkpoint(height=event.height, index=event.index)
            if at < position:
                raise lying("an event again or out of order", value=at, limit=f"at or after {position}")
            if self._contracts and event.contract not in self._contracts:
                raise lying("an event of a contract that was not asked for", value=event.contract)
            events.append(event)
            position = event.checkpoint
        after = Checkpoint(height=batch.next_height, index=batch.next_index)
        # A position further on would silently skip what no batch has shown.
        furthest = Checkpoint(height=batch.height + 1)
        if not position <= after <= furthest:
            raise lying("a wrong position to resume from", value=after, limit=f"{position} to {furthest}")
        self.checkpoint = after
        self._has_read = True
        self._attempts.restart()
        return events

    def after_failure(self, error: LedgerError | None) -> Pause:
        """Return the pause before reconnecting; None stands for a stream that the node ended.

        Raises:
            LedgerError: the reader cannot go on, or no node has answered for too long.
        """
        if self._route.now() - self._opened_at >= STEADY_AFTER_S:
            self._attempts.restart()
        if error is None:
            error = Unavailable(Reason.STOPPING, "the node ended the stream of events", remedy="try again")
        if (
            self._has_read
            and isinstance(error, TransactionRejected)
            and error.reason is Reason.HEIGHT_UNKNOWN
        ):
            # The next node lags behind the one we read from; it will get there.
            error = Unavailable(error.reason, error.message, value=error.value, limit=error.limit)
        return self._attempts.after_failure(error)


def _read_event(batch: ledger_pb2.EventBatch, event: ledger_pb2.Event) -> LedgerEvent:
    return LedgerEvent(
        height=Height(batch.height),
        index=event.index,
        tx_id=TxId(event.tx_id),
        contract=event.contract,
        name=event.name,
        fields=MappingProxyType(dict(read_named(event.fields))),
        time_ms=batch.time_ms,
        block_hash=BlockHash(batch.block_hash),
    )
