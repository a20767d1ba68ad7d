"""When the replica hears of time: often while it is at work, and by its next duty while it is not.

Fifty ticks a second took most of what an idle node takes of a core. The replica knows until when nothing
will be to do; the driver ends the wait before, if something happens that changes the answer.
"""

from __future__ import annotations

import asyncio
from typing import Final

from tanpo.consensus import Ticked
from tanpo.node.admission import AdmissionWindow
from tanpo.node.clock import Clock
from tanpo.node.driver import Driver
from tanpo.node.evidence import EvidencePool
from tanpo.node.mempool import Mempool

TICK_S: Final = 0.02
"""How often the replica hears of time while it is at work; well below the shortest of its delays."""


class Ticking:
    """Tells the driver of time, and of what waits for a block and for how long."""

    def __init__(
        self,
        *,
        driver: Driver,
        mempool: Mempool,
        evidence: EvidencePool,
        admission: AdmissionWindow,
        clock: Clock,
        request_timeout_ms: int,
    ) -> None:
        self._driver = driver
        self._mempool = mempool
        self._evidence = evidence
        self._admission = admission
        self._clock = clock
        self._request_timeout_ms = request_timeout_ms
        self._evidence_ms: int | None = None

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            if not self._evidence.has_waiting:
                await self._driver.rest()
            self._driver.post(self._read())

    def _read(self) -> Ticked:
        now_ms, wall_ms = self._clock.read()
        oldest_ms = self._mempool.oldest_arrival_ms(wall_ms)
        if not self._evidence.has_waiting:
            self._evidence_ms = None
        else:
            # Work like any other: an accused leader must not leave it out for ever.
            self._evidence_ms = now_ms if self._evidence_ms is None else self._evidence_ms
            oldest_ms = self._evidence_ms if oldest_ms is None else min(oldest_ms, self._evidence_ms)
        patience_ms = self._request_timeout_ms + self._admission.compute_queue_ms(len(self._mempool))
        return Ticked(
            now_ms=now_ms,
            wall_ms=wall_ms,
            has_pending=oldest_ms is not None,
            has_overdue=oldest_ms is not None and now_ms - oldest_ms > patience_ms,
        )
