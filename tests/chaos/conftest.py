from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from tanpo.testing.chaos.network import ChaosNetwork
from tanpo.testing.chaos.probes import Probes

WAIT_S = 90.0
POLL_S = 0.1


@pytest.fixture(scope="session")
def faulty_node() -> Path:
    """The program of nodes that misbehave."""
    return Path(__file__).with_name("faulty_node.py")


@pytest_asyncio.fixture
async def network(tmp_path: Path) -> AsyncIterator[ChaosNetwork]:
    """Four nodes, made but not started."""
    async with await ChaosNetwork.create(tmp_path / "net", 4, seed=1) as network:
        yield network


@pytest_asyncio.fixture
async def probes(network: ChaosNetwork) -> AsyncIterator[Probes]:
    async with Probes(network) as probes:
        yield probes


Reasons = Callable[[str, Callable[[str], bool]], Awaitable[str]]


@pytest.fixture
def wait_reasons(probes: Probes) -> Reasons:
    """Wait until what a node says of a stall satisfies a condition; return it, one reason a line."""

    async def wait(member: str, is_enough: Callable[[str], bool]) -> str:
        deadline = time.monotonic() + WAIT_S
        text = ""
        while time.monotonic() < deadline:
            text = "\n".join(await probes.why_stalled(member))
            if is_enough(text):
                return text
            await asyncio.sleep(POLL_S)
        pytest.fail(f"{member} says only: {text!r}")

    return wait
