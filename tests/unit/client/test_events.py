"""A cursor over events: each once, in order, and never past what was shown."""

from __future__ import annotations

from typing import Any

import pytest
from tanpo.api.v1 import ledger_pb2
from tanpo.client import Checkpoint, Unreachable
from tanpo.client.context import Context
from tanpo.client.events import EventCursor
from tanpo.ledger.errors import PeerFault, Reason, TransactionRejected, Unavailable

GONE = Unreachable(Reason.UNREACHABLE, "gone")


def make_batch(height: int, *indices: int, after: tuple[int, int] | None = None) -> ledger_pb2.EventBatch:
    next_height, next_index = after or (height + 1, 0)
    return ledger_pb2.EventBatch(
        height=height,
        events=[
            ledger_pb2.Event(index=index, contract="notes", name="Written", fields=bytes(4))
            for index in indices
        ],
        next_height=next_height,
        next_index=next_index,
    )


@pytest.fixture
def context(make_context: Any) -> Context:
    made: Context = make_context()
    return made


def test_a_cursor_asks_for_what_follows(context: Context) -> None:
    cursor = EventCursor(context.route, contracts=["b", "a", "b"], checkpoint=Checkpoint(height=3, index=2))

    node, request = cursor.open_stream()

    assert (node, request.from_height, request.from_index) == (0, 3, 2)
    assert list(request.contracts) == ["a", "b"]


def test_a_block_may_come_in_parts(context: Context) -> None:
    cursor = EventCursor(context.route)
    cursor.on_batch(make_batch(1, 0, 1, after=(1, 2)))
    events = cursor.on_batch(make_batch(1, 2))

    assert [event.index for event in events] == [2]
    assert cursor.checkpoint == Checkpoint(height=2)


def test_an_empty_batch_moves_the_position(context: Context) -> None:
    cursor = EventCursor(context.route, contracts=["notes"])

    assert cursor.on_batch(make_batch(100)) == []
    assert cursor.checkpoint == Checkpoint(height=101)


@pytest.mark.parametrize(
    "batch",
    [
        make_batch(4, 0),
        make_batch(5, 1),
        make_batch(5, 3, 3),
        make_batch(5, 4, 3),
        make_batch(5, 2, after=(5, 2)),
        make_batch(5, 2, after=(5, 1)),
        make_batch(5, 2, after=(7, 0)),
        make_batch(5, 2, after=(6, 1)),
        make_batch(3),
        ledger_pb2.EventBatch(height=5, events=[ledger_pb2.Event(index=2, fields=b"?")], next_height=6),
    ],
)
def test_a_wrong_batch_moves_nothing(context: Context, batch: ledger_pb2.EventBatch) -> None:
    start = Checkpoint(height=5, index=2)
    cursor = EventCursor(context.route, checkpoint=start)

    with pytest.raises(PeerFault):
        cursor.on_batch(batch)
    assert cursor.checkpoint == start


def test_a_reader_gives_up_after_its_patience(context: Context, clock: Any) -> None:
    cursor = EventCursor(context.route, reconnect_for_s=20.0)
    began = clock.now

    def dial_on() -> None:
        for _ in range(100):
            cursor.open_stream()
            clock.now += cursor.after_failure(GONE).seconds

    with pytest.raises(Unreachable):
        dial_on()
    assert 10.0 <= clock.now - began <= 20.0


def test_progress_renews_the_patience(context: Context, clock: Any) -> None:
    cursor = EventCursor(context.route, reconnect_for_s=20.0)
    for height in range(1, 50):
        cursor.open_stream()
        clock.now += cursor.after_failure(GONE).seconds
        cursor.on_batch(make_batch(height))


def test_a_quiet_stream_that_stood_counts_as_progress(context: Context, clock: Any) -> None:
    cursor = EventCursor(context.route, reconnect_for_s=20.0)
    for _ in range(50):
        cursor.open_stream()
        clock.now += 6.0
        clock.now += cursor.after_failure(None).seconds


def test_a_node_that_lags_is_waited_for(context: Context) -> None:
    lagging = TransactionRejected(Reason.HEIGHT_UNKNOWN, "not yet")
    cursor = EventCursor(context.route)
    with pytest.raises(TransactionRejected):
        cursor.after_failure(lagging)

    cursor.on_batch(make_batch(7))

    assert cursor.after_failure(lagging).seconds > 0


def test_a_reader_too_slow_for_the_node_goes_on(context: Context) -> None:
    cursor = EventCursor(context.route)

    assert cursor.after_failure(Unavailable(Reason.SLOW_READER, "slow")).seconds > 0
