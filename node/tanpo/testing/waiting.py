"""Waiting for what other processes bring about."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from tanpo.testing.commands import run_tanpo_here

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


def poll_level(folder: Path) -> None:
    """Wait until the nodes of a network that run are all at one height.

    What was committed through one of them is then known to each; whoever asks another at once may be early.
    """

    def is_level() -> bool:
        rows = json.loads(run_tanpo_here("net", "status", "--dir", str(folder), "-o", "json").stdout)
        heights = {row.get("height") for row in rows if row["problem"] != "not running"}
        return len(heights) == 1 and None not in heights

    poll_until(is_level)
