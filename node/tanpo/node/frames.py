"""What waits for one node: messages, shared envelopes and evidence, taken from here a frame at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tanpo.node.logs import get_logger
from tanpo.node.metrics import Metrics
from tanpo.node.outbox import (
    CONSENSUS_LIMITS,
    EVIDENCE_LIMITS,
    GOSSIP_LIMITS,
    MESSAGE_OVERHEAD_BYTES,
    Outbox,
    OutboxLimits,
)
from tanpo.node.tls import PEER_MESSAGE_BYTES_MAX

FRAME_BYTES_MAX: Final = 4 * 1024 * 1024
"""A frame ends here unless one message is longer, so that urgent messages do not wait behind megabytes."""

MESSAGE_BYTES_MAX: Final = PEER_MESSAGE_BYTES_MAX - 64 * 1024
"""The longest message there may be: it fits a frame together with the frame's own fields."""

FRAME_MESSAGES_MAX: Final = 4096
"""Of each kind in a frame; a receiver refuses more, because each costs memory beyond its bytes."""

FRAME_EVIDENCE_MAX: Final = 16
"""Of evidence: each costs a receiver several signature checks."""

GOSSIP_LINGER_S: Final = 0.025
"""Least time between two frames sent for envelopes alone: a frame costs as much as checking a signature, on
both sides and for every peer, so on a busy link envelopes share frames."""

_LOG: Final = get_logger("peers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What leaves together."""

    messages: list[bytes]
    envelopes: list[bytes]
    evidence: list[bytes]


class FrameQueue:
    """The messages and envelopes for one node, and word of them for whoever sends."""

    def __init__(self, *, name: str, metrics: Metrics, limits: OutboxLimits = CONSENSUS_LIMITS) -> None:
        now = asyncio.get_running_loop().time
        self.has_work = asyncio.Event()
        """Set when there is something to take; whoever sends clears it before it takes."""
        self.name = name
        """What the node is called in metrics."""
        self._consensus = Outbox(limits, now)
        self._gossip = Outbox(GOSSIP_LIMITS, now)
        self._evidence = Outbox(EVIDENCE_LIMITS, now)
        self._shared_at = -GOSSIP_LINGER_S
        self._linger: asyncio.TimerHandle | None = None
        self._metrics = metrics
        self._queue_gauge = metrics.peer_queue_bytes.labels(name)
        metrics.begin_peer(name)

    @property
    def queued_bytes(self) -> int:
        """How much waits."""
        return sum(outbox.queued_bytes for outbox in (self._consensus, self._gossip, self._evidence))

    @property
    def dropped_messages(self) -> int:
        """How many messages, envelopes and pieces of evidence were dropped, for number, size or age."""
        return sum(outbox.dropped for outbox in (self._consensus, self._gossip, self._evidence))

    def send(self, message: bytes) -> None:
        """Queue a consensus message; it takes along whatever waits."""
        self._put(self._consensus, "consensus", message)
        self.has_work.set()

    def share(self, envelopes: Sequence[bytes]) -> None:
        """Queue envelopes. They leave at once on a quiet link, else together with those of a few ms."""
        for envelope in envelopes:
            self._put(self._gossip, "gossip", envelope)
        loop = asyncio.get_running_loop()
        due = self._shared_at + GOSSIP_LINGER_S
        if loop.time() >= due:
            self.has_work.set()
        elif self._linger is None:
            self._linger = loop.call_at(due, self._end_linger)

    def share_evidence(self, evidence: Sequence[bytes]) -> None:
        """Queue evidence; it takes along whatever waits."""
        for encoded in evidence:
            self._put(self._evidence, "evidence", encoded)
        self.has_work.set()

    def take(self) -> Frame | None:
        """Return the next frame, None when nothing is left that is young enough to be sent."""
        if not (self._consensus or self._gossip or self._evidence):
            return None
        messages = self._consensus.take(FRAME_BYTES_MAX, FRAME_MESSAGES_MAX)
        room = FRAME_BYTES_MAX - sum(len(message) + MESSAGE_OVERHEAD_BYTES for message in messages)
        envelopes = self._gossip.take(room, FRAME_MESSAGES_MAX) if room > 0 else []
        if envelopes:
            self._shared_at = asyncio.get_running_loop().time()
        evidence = self._evidence.take(room, FRAME_EVIDENCE_MAX) if room > 0 else []
        self._queue_gauge.set(self.queued_bytes)
        if not (messages or envelopes or evidence):
            return None
        return Frame(messages=messages, envelopes=envelopes, evidence=evidence)

    def _put(self, outbox: Outbox, kind: str, message: bytes) -> None:
        if len(message) > MESSAGE_BYTES_MAX:
            outbox.dropped += 1
            self._metrics.peer_dropped.labels(self.name, kind).inc()
            _LOG.error("message too long to send", peer=self.name, kind=kind, size=len(message))
            return
        dropped = outbox.put(message)
        if dropped:
            self._metrics.peer_dropped.labels(self.name, kind).inc(dropped)

    def _end_linger(self) -> None:
        self._linger = None
        self.has_work.set()
