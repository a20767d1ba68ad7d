"""What arrives from other validators: consensus messages go straight on, shared envelopes wait their turn.

Both queues are bounded. A link that brings more messages than the replica steps is read more slowly; shared
envelopes beyond the bound are dropped, because whoever admitted them shares them again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tanpo.consensus import Received
from tanpo.consensus.wire import decode_message
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.types import ValidatorIndex
from tanpo.node.clock import Clock
from tanpo.node.driver import Driver
from tanpo.node.logs import get_logger
from tanpo.node.metrics import Metrics

SHARED_MAX: Final = 20_000
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
    ) -> None:
        self._driver = driver
        self._names = names
        self._clock = clock
        self._metrics = metrics
        self._take_shared = take_shared
        self._shared: deque[tuple[ValidatorIndex, bytes]] = deque()
        self._has_shared = asyncio.Event()

    async def receive(
        self, sender: ValidatorIndex, messages: Sequence[bytes], envelopes: Sequence[bytes]
    ) -> None:
        """Take one frame of an authenticated validator.

        Raises:
            PeerFault: a message is not well-formed; those before it were taken.
        """
        room = SHARED_MAX - len(self._shared)
        self._shared.extend((sender, encoded) for encoded in envelopes[:room])
        if envelopes:
            self._has_shared.set()
        for encoded in messages:
            now_ms, wall_ms = self._clock.read()
            message = decode_message(encoded)
            self._driver.post(Received(sender=sender, message=message, now_ms=now_ms, wall_ms=wall_ms))
        self._metrics.consensus_messages.inc(len(messages))
        await self._driver.wait_for_room()

    async def run(self) -> None:
        """Admit shared envelopes until cancelled."""
        while True:
            await self._has_shared.wait()
            self._has_shared.clear()
            while self._shared:
                batch = [self._shared.popleft() for _ in range(min(SHARED_BATCH, len(self._shared)))]
                await self._take_batch(batch)
                await asyncio.sleep(0)

    async def _take_batch(self, batch: Sequence[tuple[ValidatorIndex, bytes]]) -> None:
        try:
            await self._take_shared([encoded for _, encoded in batch])
        except PeerFault as fault:
            senders = sorted({sender for sender, _ in batch})
            for sender in senders:
                self._metrics.peer_faults.labels(self._names[sender]).inc()
            _LOG.warning("shared envelope refused", validators=senders, fault=str(fault))
