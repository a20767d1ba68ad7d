"""Nodes and workers killed at random under load lose no acknowledged transaction and never fork.

`TANPO_KILL_ROUNDS=50 TANPO_KILL_SEED=7 pytest tests/integration/test_kill.py` does it at length; the seed
picks who dies and when, and stands in the note of a failure.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tanpo.cli.bench.book import FUND, open_book
from tanpo.cli.demo.desk import Desk
from tanpo.cli.demo.journal import run_all
from tanpo.cli.demo.stream import wait_agreed
from tanpo.cli.network import LocalNetwork
from tanpo.cli.provision import plan_network
from tanpo.cli.samples import load_catalog
from tanpo.testing.swap_load import SwapLoad

ROUNDS = int(os.environ.get("TANPO_KILL_ROUNDS", "3"))
WORKERS = 8
DEADLINE_S = 60.0
ASKED_AT_ONCE = 20
"""Positions: a busy machine answers hundreds, but not within the deadline of each."""

pytestmark = pytest.mark.timeout(120 + 40 * ROUNDS)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[LocalNetwork]:
    network = LocalNetwork.create(tmp_path / "net", plan_network(4))
    for member in network.members[:2]:
        config = tmp_path / "net" / member / "node.toml"
        text = config.read_text()
        assert 'execution = "in-process"' in text
        config.write_text(text.replace('"in-process"', '"worker"'))
    network.start()
    yield network
    network.stop()


def kill_worker(network: LocalNetwork, member: str) -> None:
    """Kill what runs the contracts of a member's node; its views' worker, if there is one, dies too."""
    node = network.find_process(member)
    assert node is not None
    children = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()
    assert children, f"{member} has no worker"
    for child in children:
        os.kill(int(child), signal.SIGKILL)


async def kill_rounds(network: LocalNetwork, load: SwapLoad, chance: random.Random) -> None:
    for _ in range(ROUNDS):
        await load.wait_more(chance.randrange(1, 60))
        kill_worker(network, chance.choice(network.members[:2]))
        victim = chance.choice(network.members)
        await load.wait_more(chance.randrange(1, 60))
        await asyncio.to_thread(network.kill, victim)
        await load.wait_more(chance.randrange(1, 60))
        await asyncio.to_thread(network.start, [victim])
    # At last all of them at once, as when the power fails.
    await load.wait_more(chance.randrange(1, 60))
    await run_all(asyncio.to_thread(network.kill, member) for member in network.members)
    await asyncio.to_thread(network.start)
    await load.wait_more(10)


async def check_ledger(desk: Desk, load: SwapLoad) -> None:
    statuses = await wait_agreed(desk)
    height = statuses[desk.network.members[0]].height
    found: dict[bytes, tuple[int, int]] = {}
    for at in range(1, height + 1):
        blocks = await desk.read_blocks(at)
        assert len({block.block_hash for block in blocks}) == 1, f"fork at height {at}"
        assert len({block.receipts for block in blocks}) == 1, f"different receipts at height {at}"
        for receipt in blocks[0].receipts:
            assert receipt.tx_id not in found, "a transaction is in two blocks"
            found[receipt.tx_id] = (receipt.height, receipt.index)
            assert receipt.succeeded, receipt
    for one in load.acknowledged:
        assert found.get(one.tx_id) == (one.height, one.index), "an acknowledged transaction was lost"
    supply = await desk.ask("instruments", "supply", instrument=FUND)
    holders: list[str] = []
    while page := await desk.ask(
        "instruments", "holders", instrument=FUND, after=holders[-1] if holders else "", limit=100
    ):
        holders += page
    held = 0
    for start in range(0, len(holders), ASKED_AT_ONCE):
        asked = holders[start : start + ASKED_AT_ONCE]
        held += sum(one.held for one in await run_all(desk.get_position(account, FUND) for account in asked))
    assert held == supply["minted"] - supply["burned"]


async def test_killed_nodes_lose_nothing_and_never_fork(network: LocalNetwork) -> None:
    seed = int(os.environ.get("TANPO_KILL_SEED") or secrets.randbelow(10**6))
    try:
        await play(network, random.Random(seed))
    except BaseException as error:
        error.add_note(f"TANPO_KILL_SEED={seed} TANPO_KILL_ROUNDS={ROUNDS}")
        raise


async def play(network: LocalNetwork, chance: random.Random) -> None:
    async with Desk(network) as desk:
        await open_book(desk, load_catalog())
        load = SwapLoad(desk, DEADLINE_S)
        members = network.members * (WORKERS // len(network.members))
        async with asyncio.TaskGroup() as group:
            for member in members:
                group.create_task(load.work(member))
            await kill_rounds(network, load, chance)
            load.stop()
        await check_ledger(desk, load)
        assert len({one.tx_id for one in load.acknowledged}) == len(load.acknowledged)
