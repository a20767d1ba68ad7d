"""The queues to a peer, without a peer."""

from __future__ import annotations

from tanpo.node.outbox import MESSAGE_OVERHEAD_BYTES, Outbox, OutboxLimits


class Now:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def make(bytes_max: int = 10_000, messages_max: int = 100, age_max_s: float = 5.0) -> tuple[Outbox, Now]:
    now = Now()
    limits = OutboxLimits(bytes_max=bytes_max, messages_max=messages_max, age_max_s=age_max_s)
    return Outbox(limits, now), now


def test_messages_leave_in_the_order_they_came() -> None:
    outbox, _ = make()
    for number in range(5):
        outbox.put(b"%d" % number)
    assert outbox.take(10_000, 3) == [b"0", b"1", b"2"]
    assert outbox.take(10_000, 3) == [b"3", b"4"]
    assert outbox.take(10_000, 3) == []
    assert (len(outbox), outbox.queued_bytes, outbox.dropped) == (0, 0, 0)


def test_oldest_messages_are_dropped_beyond_the_bytes() -> None:
    outbox, _ = make(bytes_max=3 * (100 + MESSAGE_OVERHEAD_BYTES))
    dropped = [outbox.put(b"%d" % number * 100) for number in range(5)]
    assert dropped == [0, 0, 0, 1, 1]
    assert [message[:1] for message in outbox.take(10_000, 100)] == [b"2", b"3", b"4"]
    assert outbox.dropped == 2


def test_oldest_messages_are_dropped_beyond_the_number() -> None:
    outbox, _ = make(messages_max=2)
    for number in range(4):
        outbox.put(b"%d" % number)
    assert outbox.take(10_000, 100) == [b"2", b"3"]


def test_message_above_the_bound_alone_is_kept() -> None:
    outbox, _ = make(bytes_max=10)
    outbox.put(bytes(1000))
    assert outbox.take(10, 100) == [bytes(1000)]


def test_take_stops_before_the_message_that_does_not_fit() -> None:
    outbox, _ = make()
    for size in (100, 200, 5_000):
        outbox.put(bytes(size))
    assert [len(message) for message in outbox.take(600, 100)] == [100, 200]
    assert [len(message) for message in outbox.take(600, 100)] == [5_000]


def test_aged_messages_are_dropped_when_the_peer_is_back() -> None:
    outbox, now = make(age_max_s=5.0)
    outbox.put(b"old")
    now.time = 4.0
    outbox.put(b"young")
    now.time = 6.0
    assert outbox.take(10_000, 100) == [b"young"]
    assert outbox.dropped == 1
