"""A leader that is drained or stopped gives its term away: no timeout passes, nothing is lost (T6)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tanpo.cli.bench.book import SwapPress, open_book
from tanpo.cli.demo.desk import Desk
from tanpo.cli.network import LocalNetwork
from tanpo.cli.provision import plan_network
from tanpo.cli.samples import load_catalog
from tanpo.client import Client, Committed, load_profile

BASE_TIMEOUT_MS = 30_000
"""Long: a term that ends by a timeout is never mistaken for one that was given away, on no machine."""
SHORT_TIMEOUT_MS = 3000
"""Where a timeout is waited for."""
CHUNK = 40
DEADLINE_S = 60.0

pytestmark = pytest.mark.timeout(400)


@dataclass
class Load:
    """Swaps, one after the other through each of some members, and what came of them."""

    desk: Desk
    acknowledged: list[Committed] = field(default_factory=list)
    is_stopping: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self, member: str, press: SwapPress) -> None:
        while not self.is_stopping:
            for envelope in press.sign(CHUNK):
                if self.is_stopping:
                    return
                (result,) = await self.desk.clients[member].submit_envelope(envelope, deadline_s=DEADLINE_S)
                self.acknowledged.append(result.raise_for_failure())
                self._changed.set()

    async def wait_more(self, count: int) -> None:
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(DEADLINE_S):
            while len(self.acknowledged) < wanted:
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
def base_timeout_ms() -> int:
    return BASE_TIMEOUT_MS


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base_timeout_ms: int) -> Iterator[LocalNetwork]:
    monkeypatch.setenv("TANPO_TIMING__BASE_TIMEOUT_MS", str(base_timeout_ms))
    network = LocalNetwork.create(tmp_path / "net", plan_network(4))
    network.start()
    yield network
    network.stop()


@asynccontextmanager
async def under_load(network: LocalNetwork) -> AsyncIterator[tuple[Load, str]]:
    """Yield a load that does not go through the leader's own node, and the leader."""
    async with Desk(network) as desk:
        await open_book(desk, load_catalog())
        leader = (await desk.read_status(network.members[0])).leader.partition("/")[0]
        load, press = Load(desk), SwapPress(desk)
        async with asyncio.TaskGroup() as group:
            for member in network.members:
                if member != leader:
                    group.create_task(load.work(member, press))
            await load.wait_more(30)
            yield load, leader
            load.is_stopping = True


async def find_longest_gap_ms(desk: Desk, member: str, first: int) -> int:
    """Return the longest time between blocks from a height on."""
    height = (await desk.read_status(member)).height
    times = [
        (await desk.clients[member].chain.block(at)).block.header.time_ms for at in range(first, height + 1)
    ]
    return max(after - before for before, after in itertools.pairwise(times))


async def check_all_there(load: Load, member: str) -> None:
    for one in tuple(load.acknowledged):
        assert (await load.desk.clients[member].chain.receipt(one.tx_id)).height == one.height


def drain(network: LocalNetwork, member: str) -> None:
    with Client(load_profile(network.folder.get_member(member).operator_profile)) as client:
        client.admin.drain()


def stop(network: LocalNetwork, member: str) -> None:
    assert network.stop([member]) == []


@pytest.mark.parametrize("end", [drain, stop])
async def test_a_leader_that_is_drained_or_stopped_costs_no_timeout_and_no_transaction(
    network: LocalNetwork, end: Callable[[LocalNetwork, str], None]
) -> None:
    async with under_load(network) as (load, leader):
        witness = next(member for member in network.members if member != leader)
        before = await load.desk.read_status(witness)
        await asyncio.to_thread(end, network, leader)
        await load.wait_more(30)
        after = await load.desk.read_status(witness)
        assert (after.term, after.leader) > (before.term, "")
        assert not after.leader.startswith(f"{leader}/")
        gap_ms = await find_longest_gap_ms(load.desk, witness, before.height)
        assert gap_ms < BASE_TIMEOUT_MS / 3
        await check_all_there(load, witness)


@pytest.mark.parametrize("base_timeout_ms", [SHORT_TIMEOUT_MS])
async def test_a_killed_leader_costs_a_timeout(network: LocalNetwork) -> None:
    """The figure to compare with."""
    async with under_load(network) as (load, leader):
        witness = next(member for member in network.members if member != leader)
        before = await load.desk.read_status(witness)
        await asyncio.to_thread(network.kill, leader)
        await load.wait_more(30)
        gap_ms = await find_longest_gap_ms(load.desk, witness, before.height)
        # Its silence counts from its last heartbeat, up to a quarter of that earlier.
        assert gap_ms >= SHORT_TIMEOUT_MS / 2
        await check_all_there(load, witness)
