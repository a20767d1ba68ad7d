"""Work for a real network while something happens to it: swaps without end, and what was acknowledged."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from tanpo.cli.bench.book import SwapPress
from tanpo.cli.demo.desk import Desk
from tanpo.client import Committed, OutcomeUnknown

CHUNK: Final = 20
"""Swaps signed at a time."""


class SwapLoad:
    """Swaps through the clients of members, whose book `open_book` opened, and every acknowledgement.

    Who rests between two swaps leaves the machine to what happens meanwhile.
    """

    def __init__(self, desk: Desk, deadline_s: float, *, rest_s: float = 0.0) -> None:
        self._desk = desk
        self._deadline_s = deadline_s
        self._rest_s = rest_s
        self._press = SwapPress(desk)
        self._queue = self._press.sign(CHUNK)
        self._is_stopping = False
        self._has_news = asyncio.Event()
        self.acknowledged: list[Committed] = []

    def stop(self) -> None:
        """Let everybody finish the swap in hand."""
        self._is_stopping = True

    async def work(self, member: str) -> None:
        """Submit one swap after the other until `stop`. Raises whatever refuses one."""
        client = self._desk.clients[member]
        while not self._is_stopping:
            if not self._queue:
                self._queue = self._press.sign(CHUNK)
            envelope = self._queue.pop()
            with suppress(OutcomeUnknown):
                (result,) = await client.submit_envelope(envelope, deadline_s=self._deadline_s)
                self.acknowledged.append(result.raise_for_failure())
            self._has_news.set()
            await asyncio.sleep(self._rest_s)

    async def wait_more(self, count: int) -> None:
        """Wait until so many more swaps are acknowledged. Raises `TimeoutError` after the deadline."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(self._deadline_s):
            while len(self.acknowledged) < wanted:
                self._has_news.clear()
                await self._has_news.wait()
