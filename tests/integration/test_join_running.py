"""A node joins by a snapshot while it runs, and a validator that skipped an epoch by joining rejoins."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tanpo.cli.demo.desk import Desk
from tanpo.cli.layout import NODE_NAME
from tanpo.cli.network import LocalNetwork, launch
from tanpo.cli.provision import plan_network
from tanpo.cli.samples import load_catalog
from tanpo.client import NodeStatus, load_genesis, load_key
from tanpo.ledger.errors import LedgerError
from tanpo.ledger.transaction import Call
from tanpo.ledger.types import Height
from tanpo.ledger.values import Value
from tanpo.node.config import ExecutionMode
from tanpo.node.rebuilding import rebuild_state
from tanpo.node.replaying import Watch
from tanpo.storage.segments import BlockSegments
from tanpo.testing.waiting import wait_until

EVERY_BLOCKS = 10
WAIT_S = 60.0
SETTLE_S = 15.0
TERM_CHANGES_MAX = 6

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalNetwork]:
    """Four validators and an observer."""
    monkeypatch.setenv("TANPO_SNAPSHOTS__EVERY_BLOCKS", str(EVERY_BLOCKS))
    network = LocalNetwork.create(tmp_path / "net", plan_network(5, 4))
    network.start()
    yield network
    network.stop()


class Town:
    """Makes blocks, through the node of the registrar."""

    def __init__(self, desk: Desk, network: LocalNetwork) -> None:
        self._desk = desk
        self._network = network
        self._template = load_catalog().get_instrument("usd-deposit")
        self._made = 0
        self.witness = self._template.registrar

    async def grow(self, count: int) -> int:
        """Commit so many blocks at least, and return the height of the last."""
        height = 0
        for _ in range(count):
            self._made += 1
            instrument: Any = self._template.to_arguments()["instrument"]
            named = {"instrument": {**instrument, "id": f"usd-{self._made}"}}
            call = Call.create("instruments", "define", named)
            height = (await self._desk.settle("define", call, (self.witness,))).height
        return height

    async def take_snapshot(self, members: Sequence[str]) -> int:
        """Make blocks until these nodes offer a new snapshot of the same height, and return it.

        One that is not done with the last yet skips a height; while no blocks come, all of them get done.
        """
        tip = await self.grow(1)
        async with asyncio.timeout(2 * WAIT_S):
            while True:
                height = (tip // EVERY_BLOCKS + 1) * EVERY_BLOCKS
                while tip <= height:
                    tip = await self.grow(1)
                with suppress(TimeoutError):
                    await self._wait_offered(members, height)
                    return height

    async def _wait_offered(self, members: Sequence[str], height: int) -> None:
        async def is_offered() -> bool:
            name = "tanpo_snapshot_height"
            return {await asyncio.to_thread(self.read_metric, one, name) for one in members} == {height}

        await wait_until(is_offered, seconds=SETTLE_S)

    async def status(self, member: str) -> NodeStatus | None:
        """Return what a node says of itself, None while it says nothing."""
        try:
            return await self._desk.read_status(member)
        except LedgerError:
            return None

    async def wait_reason(self, member: str, words: str) -> str:
        """Wait until a node says why it stands still in these words, and return all of it."""

        said: list[str] = []

        async def says() -> bool:
            status = await self.status(member)
            if status is not None:
                said.append(status.stalled_reason)
            return bool(said) and words in said[-1]

        await wait_until(says)
        return said[-1]

    async def wait_equal(self, members: Sequence[str]) -> None:
        """Wait until these nodes have the same state."""

        async def is_equal() -> bool:
            found = [await self.status(member) for member in members]
            return len({None if one is None else one.state_root for one in found}) == 1 and None not in found

        await wait_until(is_equal)

    def read_metric(self, member: str, name: str) -> float:
        url = f"http://{self._network.get_node(member).ops_address}/metrics"
        with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
            lines = answer.read().decode().splitlines()
        return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))


def forget_before(network: LocalNetwork, member: str, height: int) -> None:
    """Leave a stopped node what one has that joined at this height: later blocks, and their state."""
    data = network.folder.get_member(member).data
    genesis = load_genesis(network.folder.genesis)
    old = BlockSegments.open(data / "blocks", network_id=genesis.network_id, synced=Height(height))
    stored = [old.read(Height(number)) for number in range(height, old.height + 1)]
    old.close()
    shutil.rmtree(data / "blocks")
    new = BlockSegments.open(
        data / "blocks", network_id=genesis.network_id, synced=Height(height - 1), first=height
    )
    for block in stored:
        new.append(block)
    new.close()
    done = rebuild_state(data, genesis, ExecutionMode.IN_PROCESS, Watch(lambda _: None))
    assert done.began_with == height


async def test_a_running_node_joins_where_nobody_has_its_next_block(network: LocalNetwork) -> None:
    *validators, observer = network.members
    async with Desk(network) as desk:
        town = Town(desk, network)
        await town.grow(3)
        await town.wait_equal(network.members)
        record = network.find_process(observer)
        assert record is not None
        network.kill(observer, signal.SIGSTOP)
        height = await town.take_snapshot(validators)
        await asyncio.to_thread(network.stop, validators)
        for member in validators:
            await asyncio.to_thread(forget_before, network, member, height)
        await asyncio.to_thread(network.start, validators)
        await town.grow(2)
        os.kill(record.pid, signal.SIGCONT)

        async def has_joined() -> bool:
            status = await town.status(observer)
            return status is not None and status.first_height > height

        await wait_until(has_joined)
        await town.grow(3)
        await town.wait_equal(network.members)
        assert network.find_process(observer) == record
        assert town.read_metric(observer, "tanpo_joins_total") == 1
        log = network.folder.get_member(observer).log.read_text()
        for event in ("far behind", "joined"):
            assert f'"event": "{event}"' in log
        assert "Traceback" not in log
        assert list(network.folder.get_member(observer).data.glob("replaced-*"))
        assert await asyncio.to_thread(network.stop, [observer]) == []
        last = json.loads(network.folder.get_member(observer).log.read_text().splitlines()[-1])
        assert last["event"] == "stopped"
        audit = run_command("node", "audit", str(network.folder.get_member(observer).config), "-o", "json")
        found = json.loads(audit.stdout)
        assert (found["equal"], found["began_with"] >= height, found["difference"]) == (True, True, None)
        profile = network.folder.get_member(town.witness).operator_profile
        listed = run_command("tx", "list", "-p", str(profile), "--member", town.witness, "-o", "json")
        assert f"no transactions of before block {height + 1}" in listed.stderr
        assert {row["height"] > height for row in json.loads(listed.stdout)} == {True}


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `tanpo` as an operator does."""
    command = [sys.executable, "-m", "tanpo.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=2 * WAIT_S)
    assert done.returncode == 0, done.stderr
    return done


async def replace_validators(desk: Desk, network: LocalNetwork, members: Sequence[str]) -> None:
    """Vote for these members' nodes."""
    validators: tuple[Value, ...] = tuple(
        {
            "member": member,
            "node": NODE_NAME,
            "public_key": load_key(network.folder.get_member(member).validator_key).public_key.encoded,
        }
        for member in members
    )
    call = Call.create("validators", "replace", {"validators": validators})
    voters = sorted(network.members, key=lambda member: network.find_process(member) is None)
    await desk.settle("epoch", call, voters)


async def end_term(town: Town, network: LocalNetwork) -> None:
    """Restart the leader, as for an upgrade: it gives its term away first."""
    status = await town.status(town.witness)
    assert status is not None
    leader = status.leader.partition("/")[0]
    await asyncio.to_thread(network.stop, [leader])
    await asyncio.to_thread(network.start, [leader])


async def test_a_validator_that_skipped_the_end_of_an_epoch_says_how_it_votes_again(
    network: LocalNetwork,
) -> None:
    async with Desk(network) as desk:
        town = Town(desk, network)
        await town.grow(3)
        await town.wait_equal(network.members)
        away = next(member for member in network.members[:4] if member != town.witness)
        index = network.members.index(away)
        others = [member for member in network.members if member != away]
        await asyncio.to_thread(network.stop, [away])
        await replace_validators(desk, network, network.members)
        await town.take_snapshot(others)
        await asyncio.to_thread(run_command, "node", "join", str(network.folder.get_member(away).config))

        await asyncio.to_thread(launch, network, away)
        reason = await town.wait_reason(away, "amnesia")
        assert "joined at block" in reason
        assert "after epoch 1 began" in reason
        assert "--rejoin" in reason
        await town.grow(2)

        await asyncio.to_thread(network.stop, [away])
        await asyncio.to_thread(launch, network, away, may_rejoin=True)
        await town.wait_reason(away, "rejoined: silent up to term")
        for _ in range(TERM_CHANGES_MAX):
            status = await town.status(away)
            if status is not None and status.is_ready:
                break
            await end_term(town, network)
        await asyncio.to_thread(network.wait_ready)
        # With one of the others down each commit of five needs the vote of all who are left.
        spare = next(member for member in others if member != town.witness)
        await asyncio.to_thread(network.kill, spare)
        height = await town.grow(3)
        proof = (await desk.clients[town.witness].chain.block(height)).commit_proof
        assert index in [signer for signer, _ in proof.certificate.signatures]
        assert town.read_metric(away, "tanpo_has_amnesia") == 0
