"""Containers are killed, paused, cut off, restarted and robbed of their volume while swaps go on.

Nothing that was acknowledged is lost, nothing happens twice, and the others go on meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import docker
import pytest
from tanpo.cli.bench.book import SwapPress
from tanpo.cli.compose import ComposeNetwork
from tanpo.cli.compose.rendering import DATA_DIR
from tanpo.cli.demo.desk import Desk
from tanpo.cli.demo.stream import wait_agreed
from tanpo.cli.networks import bring_up
from tanpo.cli.readiness import Forgetful
from tanpo.ledger.errors import LedgerError
from tanpo.testing.paced_load import PacedLoad, count_settled, is_conserved
from tanpo.testing.waiting import wait_until

OpenDesk = Callable[[], AbstractAsyncContextManager[Desk]]
Scene = Callable[[PacedLoad], Awaitable[None]]

RATE = 20.0
WAIT_S = 60.0
TERM_CHANGES_MAX = 8
NAMES = (f"load-{number}" for number in itertools.count())

pytestmark = pytest.mark.timeout(400)


async def wait_more(load: PacedLoad, count: int) -> None:
    wanted = len(load.acknowledged) + count

    async def has_more() -> bool:
        return len(load.acknowledged) >= wanted

    await wait_until(has_more)


async def play(desk: Desk, members: tuple[str, ...], scene: Scene) -> PacedLoad:
    """Send swaps while a scene plays; then compare what was acknowledged with what is there."""
    before = await count_settled(desk)
    load = PacedLoad(desk=desk, press=SwapPress(desk, next(NAMES)), members=members, rate=RATE)
    is_over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run(is_over))
        await wait_more(load, 10)
        try:
            await scene(load)
        finally:
            is_over.set()
    await wait_agreed(desk)
    assert len(load.acknowledged) == load.sent
    assert len({one.tx_id for one in load.acknowledged}) == load.sent
    assert len({(one.height, one.index) for one in load.acknowledged}) == load.sent
    assert await count_settled(desk) - before == load.sent
    assert await is_conserved(desk)
    return load


def order(network: ComposeNetwork, leader: str) -> tuple[str, ...]:
    """Return the members but the leader."""
    return tuple(member for member in network.members if member != leader)


async def find_leader(desk: Desk, witness: str) -> str:
    return (await desk.read_status(witness)).leader.partition("/")[0]


def get_container(
    engine: docker.DockerClient, network: ComposeNetwork, member: str
) -> docker.models.containers.Container:
    return engine.containers.get(network.find_container(member, is_running=False))


async def test_swaps_settle_across_containers_through_every_node(
    network: ComposeNetwork, open_desk: OpenDesk
) -> None:
    async with open_desk() as desk:
        load = await play(desk, network.members, lambda load: wait_more(load, 20))

    assert load.retried == 0


async def test_a_killed_leader_loses_nothing_and_catches_up(
    engine: docker.DockerClient, network: ComposeNetwork, open_desk: OpenDesk
) -> None:
    async with open_desk() as desk:
        leader = await find_leader(desk, network.members[0])

        async def kill(load: PacedLoad) -> None:
            container = get_container(engine, network, leader)
            await asyncio.to_thread(container.kill)
            await wait_more(load, 20)
            container.reload()
            assert (container.status, container.attrs["State"]["ExitCode"]) == ("exited", 137)
            await asyncio.to_thread(network.start, [leader])

        # Its own clients try the others when it is gone.
        await play(desk, network.members, kill)


async def test_the_others_go_on_while_the_leader_is_paused(
    engine: docker.DockerClient, network: ComposeNetwork, open_desk: OpenDesk
) -> None:
    async with open_desk() as desk:
        leader = await find_leader(desk, network.members[0])

        async def pause(load: PacedLoad) -> None:
            container = get_container(engine, network, leader)
            await asyncio.to_thread(container.pause)
            try:
                await wait_more(load, 20)
            finally:
                await asyncio.to_thread(container.unpause)

        await play(desk, order(network, leader), pause)


async def test_a_node_that_is_cut_off_says_so_and_heals(
    engine: docker.DockerClient, network: ComposeNetwork, open_desk: OpenDesk
) -> None:
    async with open_desk() as desk:
        leader = await find_leader(desk, network.members[0])
        peers = engine.networks.get(f"{network.project.name}_consortium")

        async def cut(load: PacedLoad) -> None:
            container = get_container(engine, network, leader)
            await asyncio.to_thread(peers.disconnect, container)
            try:
                await wait_more(load, 20)

                async def says_so() -> bool:
                    return "no quorum" in (await desk.read_status(leader)).stalled_reason

                # Its own clients reach it as before: the published port is on its member's network.
                await wait_until(says_so)
            finally:
                await asyncio.to_thread(peers.connect, container, aliases=[leader])

        await play(desk, order(network, leader), cut)


async def test_a_node_that_is_stopped_in_order_costs_nobody_a_call(
    network: ComposeNetwork, open_desk: OpenDesk
) -> None:
    async with open_desk() as desk:
        leader = await find_leader(desk, network.members[0])

        async def restart(load: PacedLoad) -> None:
            assert await asyncio.to_thread(network.stop, [leader]) == []
            await wait_more(load, 20)
            await asyncio.to_thread(network.start, [leader])

        await play(desk, order(network, leader), restart)


async def test_a_validator_whose_volume_is_destroyed_signs_nothing_until_it_rejoins(
    engine: docker.DockerClient, network: ComposeNetwork, open_desk: OpenDesk
) -> None:
    async with open_desk() as desk:
        victim, *others = order(network, await find_leader(desk, network.members[0]))

        async def destroy(load: PacedLoad) -> None:
            container = get_container(engine, network, victim)
            await asyncio.to_thread(container.remove, force=True)
            await asyncio.to_thread(engine.volumes.get(f"{network.project.name}_{victim}").remove)
            await wait_more(load, 5)
            # Compose makes the volume anew, and nobody prepares it. No start waits for what cannot come.
            with pytest.raises(Forgetful, match=f"the validator of {victim} must not vote: amnesia"):
                await asyncio.to_thread(network.start)
            assert [member for member in network.members if network.find_container(member) is None] == [
                victim
            ]
            await asyncio.to_thread(
                network.engine.run_compose, network.project, "up", "--detach", "--no-deps", victim
            )

            async def has_amnesia() -> bool:
                try:
                    return "amnesia" in (await desk.read_status(victim)).stalled_reason
                except LedgerError:
                    return False  # It does not serve yet.

            await wait_until(has_amnesia)
            await wait_more(load, 5)

        load = await play(desk, tuple(others), destroy)
        position = network.members.index(victim)
        for height in {one.height for one in load.acknowledged[-5:]}:
            proof = (await desk.clients[others[0]].chain.block(height)).commit_proof
            assert position not in [signer for signer, _ in proof.certificate.signatures]
        await asyncio.to_thread(bring_up, network, [victim])
        assert "amnesia" not in (await desk.read_status(victim)).stalled_reason
        for _ in range(TERM_CHANGES_MAX):
            if (await desk.read_status(victim)).is_ready:
                break
            leader = await find_leader(desk, others[0])
            await asyncio.to_thread(network.stop, [leader])
            await asyncio.to_thread(network.start, [leader])
        await asyncio.to_thread(network.start)
        held = (
            get_container(engine, network, victim)
            .exec_run(["ls", f"{DATA_DIR}/data"])
            .output.decode()
            .split()
        )

    assert "consensus" in held
