"""Damaged files and full disks of a real node: it notices, says what to do, and lies to nobody."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import pytest
from tanpo.client import AsyncClient, load_profile
from tanpo.storage.guard import SLOT_BYTES, SLOTS
from tanpo.testing.chaos.audit import audit_chain, check_logs, wait_converged
from tanpo.testing.chaos.contract import BENCH_CONTRACT
from tanpo.testing.chaos.damage import (
    copy_chain,
    fill_disk,
    flip_bit,
    flip_bit_at,
    free_disk,
    list_blocks,
    list_promises,
    list_state,
    mount_small_disk,
    set_aside,
    unmount,
)
from tanpo.testing.chaos.network import ChaosNetwork, wait_end, wait_start
from tanpo.testing.chaos.probes import Probes
from tanpo.testing.chaos.repair import DISK_FULL, REFUSED

pytestmark = pytest.mark.timeout(400)

TRUST, VICTIM = "trust-bank", "dealer-b"
WRITES = 12
ROOM_BYTES = "200000"
"""In one file: enough for what the genesis writes, which is half of it, and soon used up."""
WAIT_S = 60.0


async def write(network: ChaosNetwork, count: int = WRITES) -> None:
    async with AsyncClient(load_profile(network.local.folder.get_member(TRUST).profile)) as client:
        for value in range(count):
            done = await client.submit(
                BENCH_CONTRACT, "write", {"key": f"k{value}", "value": value}, deadline_s=WAIT_S
            )
            done.raise_for_failure()


async def check(network: ChaosNetwork, probes: Probes) -> None:
    """Check that all honest nodes that run hold one chain with all that was written."""
    assert await wait_converged(network, probes, WAIT_S) == []
    audit = await audit_chain(network, probes, (), proofs_max=1000, chance=Random(1))
    assert audit.violations == []
    assert audit.proofs == audit.transactions >= WRITES
    assert check_logs(network) == []


async def test_a_damaged_chain_is_refused_and_copied_from_another_node(
    network: ChaosNetwork, probes: Probes
) -> None:
    await network.start()
    await write(network)
    await network.kill(VICTIM)
    # Not in the last blocks: what it had not executed yet is dropped when it is damaged, and fetched.
    (segment,) = list_blocks(network.data_dir(VICTIM))
    flip_bit_at(segment, segment.stat().st_size // 2, 1)
    network.spawn(VICTIM)
    end = await wait_start(network, VICTIM, WAIT_S)
    assert end is not None, "a flipped bit went unnoticed"
    assert end.exit_code == REFUSED
    assert "blocks/" in end.remedy
    await network.kill(TRUST)
    copy_chain(network.data_dir(TRUST), network.data_dir(VICTIM))
    await network.start()
    await write(network)
    await check(network, probes)


async def test_a_damaged_state_is_refused_and_rebuilt_from_the_chain(
    network: ChaosNetwork, probes: Probes
) -> None:
    await network.start()
    await write(network)
    await network.kill(VICTIM)
    files = [path for path in list_state(network.data_dir(VICTIM)) if path.stat().st_size > 1000]
    where = flip_bit(files, Random(1))
    network.spawn(VICTIM)
    end = await wait_start(network, VICTIM, WAIT_S)
    assert end is not None, f"a flipped bit in {where} went unnoticed"
    assert end.exit_code == REFUSED
    assert "state/" in end.remedy
    set_aside(network.data_dir(VICTIM) / "state")
    await network.start()
    await check(network, probes)


async def test_a_validator_whose_promises_are_damaged_never_votes_again(
    network: ChaosNetwork, probes: Probes
) -> None:
    await network.start()
    await write(network)
    await network.kill(VICTIM)
    (guard,) = [path for path in list_promises(network.data_dir(VICTIM)) if path.name == "guard"]
    # Both of its slots: damage to the newer one alone is no loss, for the database has what it says.
    for slot in range(SLOTS):
        flip_bit_at(guard, slot * SLOT_BYTES + 100, 3)
    network.spawn(VICTIM)
    end = await wait_start(network, VICTIM, WAIT_S)
    assert end is not None
    assert end.exit_code == REFUSED
    assert "must not vote" in end.remedy
    network.faulty.add(VICTIM)
    await write(network)
    await check(network, probes)


async def test_a_node_on_a_full_disk_ends_and_goes_on_once_there_is_room(
    network: ChaosNetwork, probes: Probes
) -> None:
    data = network.data_dir(VICTIM)
    if not mount_small_disk(data, 64):
        pytest.skip("a small disk takes root and mount")
    try:
        await network.start()
        await write(network)
        assert fill_disk(data) > 0
        await write(network)
        end = await wait_end(network, VICTIM, WAIT_S)
        assert end is not None
        assert end.exit_code == DISK_FULL
        assert "free space" in end.remedy
        free_disk(data)
        await network.start()
        await check(network, probes)
    finally:
        await network.kill(VICTIM)
        unmount(data)
    assert not data.is_mount()


async def test_a_node_that_may_not_write_more_ends_and_goes_on_once_it_may(
    network: ChaosNetwork, probes: Probes, faulty_node: Path
) -> None:
    network.use_program(VICTIM, (sys.executable, "-P", str(faulty_node), "--room-bytes", ROOM_BYTES))
    await network.start()
    end = None
    for _ in range(60):
        await write(network)
        end = await wait_end(network, VICTIM, 0.1)
        if end is not None:
            break
    else:
        end = await wait_end(network, VICTIM, WAIT_S)
    assert end is not None
    assert end.exit_code == DISK_FULL
    network.use_program(VICTIM)
    await network.start()
    await check(network, probes)
