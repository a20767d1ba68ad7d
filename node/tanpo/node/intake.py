"""What arrives from other validators: consensus messages go straight on, shared envelopes wait their turn.

All queues are bounded. A link that brings more messages than the replica steps is read more slowly; each
validator has a queue of shared envelopes of its own, served in turn, and what is beyond its bound is dropped,
because whoever admitted it shares it again.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tanpo.consensus import Received
from tanpo.consensus.wire import decode_message
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.types import ValidatorIndex
from tanpo.node.clock import Clock
from tanpo.node.driver import Driver
from tanpo.node.logs import Milestones, get_logger
from tanpo.node.metrics import Metrics

SHARED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Shared envelopes of one validator that wait to be verified, as many as it queues for us itself."""

SHARED_OVERHEAD_BYTES: Final = 128
"""What a waiting envelope costs besides its bytes, so that many tiny ones stay within the bound too."""

SHARED_BATCH: Final = 64
"""Envelopes verified together: enough to fill a chunk of signatures, few enough not to delay a block."""

_LOG = get_logger("intake")


class Intake:
    """The `Inbox` of the transport."""

    def __init__(
        self,
        *,
        driver: Driver,
        names: Sequence[str],
        clock: Clock,
        metrics: Metrics,
        take_shared: Callable[[Sequence[bytes]], Awaitable[None]],
        take_evidence: Callable[[bytes, str], bool],
    ) -> None:
        self._driver = driver
        self._names = names
        self._clock = clock
        self._metrics = metrics
        self._take_shared = take_shared
        self._take_evidence = take_evidence
        self._shared: dict[ValidatorIndex, deque[bytes]] = {}
        self._shared_bytes: Counter[ValidatorIndex] = Counter()
        self._has_shared = asyncio.Event()
        self._milestones = Milestones()

    async def receive(
        self,
        sender: ValidatorIndex,
        messages: Sequence[bytes],
        envelopes: Sequence[bytes],
        evidence: Sequence[bytes] = (),
    ) -> None:
        """Take one frame of an authenticated validator.

        Raises:
            PeerFault: a message or evidence does not stand; those before it were taken.
        """
        self._queue_shared(sender, envelopes)
        try:
            for encoded in messages:
                now_ms, wall_ms = self._clock.read()
                epoch, message = decode_message(encoded)
                self._driver.post(
                    Received(sender=sender, epoch=epoch, message=message, now_ms=now_ms, wall_ms=wall_ms)
                )
            self._metrics.consensus_messages.inc(len(messages))
            for encoded in evidence:
                self._take_evidence(encoded, self._names[sender])
        finally:
            # After a fault too, or one bad message a frame would let a peer outrun the replica.
            await self._driver.wait_for_room()

    async def run(self) -> None:
        """Admit shared envelopes until cancelled."""
        while True:
            await self._has_shared.wait()
            self._has_shared.clear()
            while self._shared:
                for sender in tuple(self._shared):
                    await self._take_batch(sender, self._take(sender))
                    await asyncio.sleep(0)

    def _queue_shared(self, sender: ValidatorIndex, envelopes: Sequence[bytes]) -> None:
        for encoded in envelopes:
            size = len(encoded) + SHARED_OVERHEAD_BYTES
            if self._shared_bytes[sender] + size > SHARED_BYTES_MAX:
                return
            self._shared_bytes[sender] += size
            self._shared.setdefault(sender, deque()).append(encoded)
            self._has_shared.set()

    def _take(self, sender: ValidatorIndex) -> list[bytes]:
        queue = self._shared[sender]
        batch = [queue.popleft() for _ in range(min(SHARED_BATCH, len(queue)))]
        self._shared_bytes[sender] -= sum(len(encoded) + SHARED_OVERHEAD_BYTES for encoded in batch)
        if not queue:
            del self._shared[sender]
        return batch

    async def _take_batch(self, sender: ValidatorIndex, batch: Sequence[bytes]) -> None:
        try:
            await self._take_shared(batch)
        except PeerFault as fault:
            self._metrics.peer_faults.labels(self._names[sender]).inc()
            count = self._milestones.note(sender)
            if count:
                _LOG.warning("shared envelopes refused", validator=sender, fault=str(fault), batches=count)
