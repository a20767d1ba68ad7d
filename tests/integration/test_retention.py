"""A validator that prunes, as a process among archives: killed at random, asked for what is gone, rebuilt."""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
from tanpo.cli.demo.desk import Desk
from tanpo.cli.network import LocalNetwork
from tanpo.cli.provision import plan_network
from tanpo.cli.samples import load_catalog
from tanpo.client import AsyncClient, Committed, load_profile
from tanpo.ledger.errors import LedgerError, Reason
from tanpo.ledger.transaction import Call
from tanpo.testing.commands import read_json_here
from tanpo.testing.waiting import wait_until

EVERY_BLOCKS = 25
BLOCKS = 100
ROUNDS = 2
WAIT_S = 60.0

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalNetwork]:
    """Four validators, of which one prunes."""
    monkeypatch.setenv("TANPO_SNAPSHOTS__EVERY_BLOCKS", str(EVERY_BLOCKS))
    network = LocalNetwork.create(tmp_path / "net", plan_network(4))
    config = network.folder.get_member(network.members[3]).config
    assert "[retention]" in config.read_text()
    bounds = f'[retention]\nmode = "pruned"\nblocks = {BLOCKS}\nstate_window = 20\n'
    config.write_text(config.read_text().partition("[retention]")[0] + bounds)
    network.start()
    yield network
    network.stop()


async def grow(desk: Desk, numbers: Iterator[int], blocks: int) -> list[Committed]:
    """Commit so many transactions, each in a block of its own. They expire soon, some perhaps too soon."""
    template = load_catalog().get_instrument("usd-deposit")
    instrument: Any = template.to_arguments()["instrument"]
    done: list[Committed] = []
    for number in islice(numbers, blocks):
        call = Call.create("instruments", "define", {"instrument": {**instrument, "id": f"usd-{number}"}})
        envelope = desk.sign(call, (template.registrar,), request_id=f"define-{number}", valid_for_s=3.0)
        results = await desk.clients[template.registrar].submit_envelope(envelope, deadline_s=WAIT_S)
        done += [result for result in results if isinstance(result, Committed)]
    return done


def read_metric(network: LocalNetwork, member: str, name: str) -> float:
    url = f"http://{network.get_node(member).ops_address}/metrics"
    with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))


async def prune_and_kill(
    network: LocalNetwork, desk: Desk, numbers: Iterator[int]
) -> tuple[int, list[Committed]]:
    """Grow the chain, kill the node that prunes while it does, and return its first height."""
    pruned, chance, first = network.members[3], random.Random(5), 1
    done: list[Committed] = []
    for _ in range(ROUNDS):
        done += await grow(desk, numbers, chance.randrange(40, 60))
        await asyncio.to_thread(network.kill, pruned)
        await asyncio.to_thread(network.start, [pruned])
        found = int(await asyncio.to_thread(read_metric, network, pruned, "tanpo_first_height"))
        assert found >= first, "what was pruned came back"
        first = found
    async with asyncio.timeout(2 * WAIT_S):
        while first == 1:
            done += await grow(desk, numbers, 10)
            first = int(await asyncio.to_thread(read_metric, network, pruned, "tanpo_first_height"))
    return first, done


def check_pruned(refusal: LedgerError, height: int) -> None:
    """A refusal because of what is gone names what there is, which begins above this height."""
    assert refusal.reason is Reason.HEIGHT_PRUNED
    named = re.search(r"[0-9]+", str(refusal.limit))
    assert named is not None
    assert int(named.group()) > height


async def check_answers(network: LocalNetwork, first: int, done: list[Committed]) -> None:
    """Whatever is asked of the pruned node is answered as by an archive, or refused as pruned.

    `first` is the first height that it held a moment ago; it may go on pruning meanwhile.
    """
    members = network.members
    profiles = [
        load_profile(network.folder.get_member(member).profile) for member in (members[0], members[3])
    ]
    alone = replace(profiles[1], addresses=profiles[1].addresses[:1])
    async with AsyncClient(profiles[0]) as archive, AsyncClient(alone) as pruned:
        for committed in done[:: max(1, len(done) // 25)]:
            wanted = await archive.chain.block(committed.height)
            assert committed.tx_id in [transaction.tx_id for transaction in wanted.transactions]
            try:
                assert (await pruned.chain.block(committed.height)).receipts == wanted.receipts
                assert (await pruned.chain.prove(committed.tx_id)).receipt == committed.receipt
                assert committed.height >= first
            except LedgerError as refusal:
                check_pruned(refusal, committed.height)
                with pytest.raises(LedgerError) as no_proof:
                    await pruned.chain.prove(committed.tx_id)
                check_pruned(no_proof.value, committed.height)
    # A client that knows other nodes too asks one of them.
    async with AsyncClient(profiles[1]) as client:
        assert (await client.chain.prove(done[0].tx_id)).receipt == done[0].receipt


async def test_a_node_that_prunes_is_killed_asked_and_made_anew(
    network: LocalNetwork, tmp_path: Path
) -> None:
    members, numbers = network.members, count()
    files = network.folder.get_member(members[3])
    async with Desk(network) as desk:
        first, done = await prune_and_kill(network, desk, numbers)
        status = await desk.read_status(members[3])
        assert status.first_height >= first > 1
        assert status.retention == f"pruned to the last {BLOCKS} blocks"
        assert status.blocks_bytes > 0
        await check_answers(network, status.first_height, done)

        # An archive shows what is gone, in a file that needs neither of them.
        exported = str(tmp_path / "old.blocks")
        profile = str(network.folder.get_member(members[0]).profile)
        await asyncio.to_thread(
            read_json_here,
            "block",
            "export",
            "-p",
            profile,
            "--from",
            "1",
            "--to",
            str(first),
            "--out",
            exported,
        )

    await asyncio.to_thread(network.stop, [members[3]])
    genesis = str(network.folder.genesis)
    verdict = read_json_here("verify", exported, "--genesis", genesis)
    assert (verdict["first_height"], verdict["last_height"]) == (1, first)
    backup = str(tmp_path / "backup")
    assert (
        read_json_here("node", "backup", "create", backup, "--config", str(files.config))["height"] >= first
    )
    assert read_json_here("node", "backup", "verify", backup, "--genesis", genesis)["sound"]
    assert read_json_here("node", "audit", str(files.config))["equal"]
    shutil.rmtree(files.data / "state")
    rebuilt = read_json_here("node", "rebuild", str(files.config))
    await asyncio.to_thread(network.start, [members[3]])
    async with Desk(network) as desk:
        more: list[Committed] = []
        while not more:
            more = await grow(desk, numbers, 3)
        assert more[-1].height >= rebuilt["height"]

        async def is_ready() -> bool:
            status = await desk.read_status(members[3])
            return status.is_ready and status.height >= more[-1].height

        await wait_until(is_ready)
