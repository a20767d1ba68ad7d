"""What waits for a node leaves in frames, bounded and in order."""

from __future__ import annotations

import asyncio
from typing import Any

from tanpo.node.frames import FRAME_EVIDENCE_MAX, FRAME_MESSAGES_MAX, MESSAGE_BYTES_MAX, FrameQueue
from tanpo.node.metrics import Metrics
from tanpo.node.outbox import CALLER_LIMITS


def make(metrics: Metrics | None = None) -> FrameQueue:
    return FrameQueue(name="beta/n1", metrics=metrics or Metrics(), limits=CALLER_LIMITS)


async def test_a_frame_takes_along_whatever_waits() -> None:
    queue = make()
    queue.share([b"e1"])
    queue.share_evidence([b"proof"])
    queue.send(b"m1")
    frame = queue.take()
    assert frame is not None
    assert (frame.messages, frame.envelopes, frame.evidence) == ([b"m1"], [b"e1"], [b"proof"])
    assert queue.take() is None
    assert (queue.queued_bytes, queue.has_work.is_set()) == (0, True)


async def test_frames_hold_a_bounded_number_of_each_kind() -> None:
    queue = make()
    for _ in range(FRAME_MESSAGES_MAX + 1):
        queue.send(b"m")
    queue.share_evidence([b"proof"] * (FRAME_EVIDENCE_MAX + 1))
    sizes = []
    while (frame := queue.take()) is not None:
        sizes.append((len(frame.messages), len(frame.evidence)))
    assert sizes == [(FRAME_MESSAGES_MAX, FRAME_EVIDENCE_MAX), (1, 1)]


async def test_envelopes_alone_wait_for_others_on_a_busy_link() -> None:
    queue = make()
    queue.share([b"e1"])
    assert queue.has_work.is_set()
    queue.take()
    queue.has_work.clear()
    queue.share([b"e2"])
    assert not queue.has_work.is_set()
    async with asyncio.timeout(60):
        await queue.has_work.wait()


async def test_a_message_that_fits_no_frame_is_counted_and_dropped() -> None:
    metrics = Metrics()
    queue = make(metrics)
    queue.send(bytes(MESSAGE_BYTES_MAX + 1))
    assert queue.take() is None
    assert queue.dropped_messages == 1
    dropped: Any = metrics.peer_dropped
    assert dropped.labels("beta/n1", "consensus")._value.get() == 1
