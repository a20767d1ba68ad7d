"""The drill of docs/backup.md, on a network of real processes that works meanwhile.

A node is backed up under load, killed, and its data directory destroyed. Restored, it signs nothing until it
has rejoined; then it votes, and all nodes hold one chain and one state.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import urllib.request
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tanpo.cli.bench.book import open_book
from tanpo.cli.demo.desk import Desk
from tanpo.cli.network import LocalNetwork, launch
from tanpo.cli.provision import plan_network
from tanpo.cli.samples import load_catalog
from tanpo.client import NodeStatus
from tanpo.ledger.types import ValidatorIndex
from tanpo.storage import SafetyStore
from tanpo.testing.swap_load import SwapLoad
from tanpo.testing.waiting import wait_until

WAIT_S = 60.0
TERM_CHANGES_MAX = 6
SWAPS = 6
REST_S = 0.2
"""Between the swaps of one desk: the network works, and leaves the commands of the drill their share."""

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[LocalNetwork]:
    network = LocalNetwork.create(tmp_path / "net", plan_network(4))
    network.start()
    yield network
    network.stop()


async def run(*arguments: str | Path, code: int = 0) -> Any:
    """Run a command, which must end with this code, and return the JSON that it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tanpo.cli", *map(str, arguments), "-o", "json", stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == code, err.decode()
    return json.loads(out) if code == 0 else err.decode()


def read_evidence(network: LocalNetwork) -> list[str]:
    """Return what the nodes count against validators: whoever signs twice is found out by the others."""
    found = []
    for node in network.nodes:
        with urllib.request.urlopen(f"http://{node.ops_address}/metrics", timeout=WAIT_S) as answer:
            lines = answer.read().decode().splitlines()
        found += [line for line in lines if line.startswith("tanpo_evidence_total{")]
    return found


async def has_signed(desk: Desk, witness: str, index: ValidatorIndex, first: int, last: int) -> bool:
    for height in range(first, last + 1):
        proof = (await desk.clients[witness].chain.block(height)).commit_proof
        if index in [signer for signer, _ in proof.certificate.signatures]:
            return True
    return False


async def test_a_destroyed_validator_is_restored_from_a_backup_and_signs_nothing_twice(
    network: LocalNetwork, tmp_path: Path
) -> None:
    victim, witness = "dealer-a", "trust-bank"
    files = network.folder.get_member(victim)
    index = ValidatorIndex(network.members.index(victim))
    backup, secret = tmp_path / "dealer-a.backup", tmp_path / "passphrase"
    secret.touch(0o600)
    secret.write_text("a passphrase for a drill\n")
    locked = ("--passphrase-file", secret)
    async with Desk(network) as desk, asyncio.TaskGroup() as tasks:
        await open_book(desk, load_catalog())
        load = SwapLoad(desk, WAIT_S, rest_s=REST_S)
        workers = [tasks.create_task(load.work(member)) for member in ("dealer-b", witness)]
        await load.wait_more(SWAPS)

        made = await run("node", "backup", "create", backup, "-p", files.operator_profile, *locked)
        await load.wait_more(SWAPS)
        sound = await run("node", "backup", "verify", backup, "--genesis", network.folder.genesis, *locked)
        assert (sound["height"], sound["state_root"]) == (made["height"], made["state_root"])
        refused = await run("node", "backup", "create", backup, "--config", files.config, *locked, code=1)
        assert "DATA_LOCKED" in refused or "exists already" in refused
        await asyncio.to_thread(network.kill, victim)
        shutil.rmtree(files.data)
        restored = await run("node", "backup", "restore", backup, files.config, *locked)
        assert restored["height"] == made["height"]
        audit = await run("node", "audit", files.config)
        assert (audit["equal"], audit["state_root"]) == (True, made["state_root"])

        await asyncio.to_thread(launch, network, victim)

        async def read() -> NodeStatus:
            return await desk.read_status(victim)

        async def follows_in_silence() -> bool:
            # In this order: swaps go on, and whoever is asked last has had the time to get there.
            known, status = (await desk.read_status(witness)).height, await read()
            return "amnesia" in status.stalled_reason and status.height > known - 5

        await wait_until(follows_in_silence)
        silent_from = (await desk.read_status(witness)).height + 1
        await load.wait_more(SWAPS)
        silent_to = (await desk.read_status(witness)).height
        assert not await has_signed(desk, witness, index, silent_from, silent_to)
        assert not SafetyStore.is_present(files.data / "consensus")

        await asyncio.to_thread(network.stop, [victim])
        await asyncio.to_thread(launch, network, victim, may_rejoin=True)

        async def has_rejoined() -> bool:
            return "amnesia" not in (await read()).stalled_reason

        await wait_until(has_rejoined)
        load.stop()
        await asyncio.gather(*workers)
        for _ in range(TERM_CHANGES_MAX):
            if (await read()).is_ready:
                break
            leader = (await desk.read_status(witness)).leader.partition("/")[0]
            await asyncio.to_thread(network.stop, [leader])
            await asyncio.to_thread(network.start, [leader])
        await asyncio.to_thread(network.wait_ready)

        async def agree() -> bool:
            found = [await desk.read_status(member) for member in network.members]
            return len({(one.height, one.block_hash, one.state_root) for one in found}) == 1

        await wait_until(agree)
        assert read_evidence(network) == []
        assert (await read()).height > silent_to
    await asyncio.to_thread(network.stop, [victim])
    assert (await run("node", "audit", files.config))["equal"] is True
