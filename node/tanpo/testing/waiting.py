"""Waiting for what other processes bring about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

_POLL_S: Final = 0.05


async def wait_until(condition: Callable[[], Awaitable[bool]], *, seconds: float = 60.0) -> None:
    """Ask again and again until a condition holds. Raises `TimeoutError` when it does not in time."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - another process brings it about
            await asyncio.sleep(_POLL_S)


def poll_until(condition: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Do the same where there is no loop. Raises `TimeoutError` when the condition does not hold in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            raise TimeoutError(f"what is waited for did not come about in {seconds:.0f} s")
        time.sleep(_POLL_S)
