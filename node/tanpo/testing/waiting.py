"""Waiting for what other processes bring about."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

_POLL_S: Final = 0.05


async def wait_until(condition: Callable[[], Awaitable[bool]], *, seconds: float = 60.0) -> None:
    """Ask again and again until a condition holds. Raises `TimeoutError` when it does not in time."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - another process brings it about
            await asyncio.sleep(_POLL_S)
