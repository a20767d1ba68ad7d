"""Compares this machine's clock with the peers' while a node runs: a clock goes wrong after the start too.

A running node is not stopped for it: consensus is safe whatever clocks say. It says so in its log and its
metrics, and among the reasons when nothing moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from tanpo.node.logs import get_logger
from tanpo.node.metrics import Metrics
from tanpo.node.peer_link import PeerAddress
from tanpo.node.survey import compute_skew, describe_side, survey_peers

INTERVAL_S: Final = 60.0
"""How often; a clock that drifts takes hours, one that is set wrong should show within a scrape or two."""

_LOG: Final = get_logger("clock")


class ClockWatch:
    """Knows how far our clock was off when the peers were last asked."""

    def __init__(
        self,
        *,
        find_peers: Callable[[], Sequence[PeerAddress]],
        read_clock_ms: Callable[[], int],
        precision_ms: int,
        metrics: Metrics,
    ) -> None:
        self._find_peers = find_peers
        self._read_clock_ms = read_clock_ms
        self._precision_ms = precision_ms
        self._metrics = metrics
        self._skew_ms = 0

    def explain(self) -> str:
        """Return that our clock is off by more than members agreed to; empty if it is not, or is unknown."""
        if abs(self._skew_ms) <= self._precision_ms:
            return ""
        seconds, side = abs(self._skew_ms) / 1000, describe_side(self._skew_ms)
        return f"our clock is {seconds:.1f} s {side} the peers' clocks: set it (NTP)"

    async def run(self) -> None:
        """Ask again and again, until cancelled."""
        while True:
            await self.measure()
            await asyncio.sleep(INTERVAL_S)

    async def measure(self) -> None:
        """Ask the peers once."""
        skew_ms = compute_skew(await survey_peers(self._find_peers(), self._read_clock_ms))
        if skew_ms is None:
            return
        was_off, self._skew_ms = bool(self.explain()), skew_ms
        self._metrics.clock_skew_seconds.set(skew_ms / 1000)
        if self.explain() and not was_off:
            _LOG.warning(self.explain(), skew_ms=skew_ms, limit_ms=self._precision_ms)
        elif was_off and not self.explain():
            _LOG.info("our clock is right again", skew_ms=skew_ms)
