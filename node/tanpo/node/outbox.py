"""What waits to be sent to one peer: bounded in bytes, in number and in age, oldest dropped first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MESSAGE_OVERHEAD_BYTES: Final = 128
"""What an entry costs besides its bytes, so that many tiny messages stay within the bound too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxLimits:
    """Bounds of one queue."""

    bytes_max: int
    messages_max: int
    age_max_s: float


CONSENSUS_LIMITS: Final = OutboxLimits(bytes_max=32 * 1024 * 1024, messages_max=20_000, age_max_s=5.0)
"""Older messages are of terms long past: consensus repeats what still matters."""

CALLER_LIMITS: Final = OutboxLimits(bytes_max=8 * 1024 * 1024, messages_max=20_000, age_max_s=5.0)
"""The same on streams that others opened: of those there may be many, and what matters is asked for again."""

GOSSIP_LIMITS: Final = OutboxLimits(bytes_max=8 * 1024 * 1024, messages_max=20_000, age_max_s=5.0)
"""Shared transactions are shared again while they wait, so losing them costs a little time only."""

EVIDENCE_LIMITS: Final = OutboxLimits(bytes_max=1024 * 1024, messages_max=64, age_max_s=5.0)
"""As transactions: it is shared again until it is in the chain."""


class Outbox:
    """One queue of messages to one peer."""

    __slots__ = ("_limits", "_messages", "_now", "dropped", "queued_bytes")

    def __init__(self, limits: OutboxLimits, now: Callable[[], float]) -> None:
        self._limits = limits
        self._now = now
        self._messages: deque[tuple[float, bytes]] = deque()
        self.queued_bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: bytes) -> int:
        """Queue a message. Returns how many older ones were dropped for it."""
        self._messages.append((self._now(), message))
        self.queued_bytes += len(message) + MESSAGE_OVERHEAD_BYTES
        dropped = 0
        while (
            self.queued_bytes > self._limits.bytes_max or len(self._messages) > self._limits.messages_max
        ) and len(self._messages) > 1:
            self._pop()
            dropped += 1
        self.dropped += dropped
        return dropped

    def take(self, bytes_max: int, messages_max: int) -> list[bytes]:
        """Return the oldest messages that fit the bounds together, at least one if there is any."""
        self._drop_aged()
        taken: list[bytes] = []
        size = 0
        while self._messages and len(taken) < messages_max:
            if taken and size + len(self._messages[0][1]) + MESSAGE_OVERHEAD_BYTES > bytes_max:
                break
            message = self._pop()
            size += len(message) + MESSAGE_OVERHEAD_BYTES
            taken.append(message)
        return taken

    def _drop_aged(self) -> None:
        oldest = self._now() - self._limits.age_max_s
        while self._messages and self._messages[0][0] < oldest:
            self._pop()
            self.dropped += 1

    def _pop(self) -> bytes:
        _, message = self._messages.popleft()
        self.queued_bytes -= len(message) + MESSAGE_OVERHEAD_BYTES
        return message
