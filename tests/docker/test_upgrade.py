"""Every node is upgraded in its turn while 50 swaps a second go on: none is lost, none happens twice."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager

import docker
import pytest
from tanpo.cli.bench.book import SwapPress
from tanpo.cli.compose import ComposeNetwork
from tanpo.cli.compose.network import upgrade
from tanpo.cli.demo.desk import Desk
from tanpo.cli.demo.stream import wait_agreed
from tanpo.ledger.errors import Unavailable, UsageError
from tanpo.testing.paced_load import PacedLoad, count_settled, is_conserved

OpenDesk = Callable[[], AbstractAsyncContextManager[Desk]]

RATE = 50.0
LABEL = "org.tanpo.test"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="session")
def newer(engine: docker.DockerClient, image: str) -> Iterator[str]:
    """Another image of a node, as the next version is; what comes after the upgrade runs from it."""
    name = f"{image}-newer"
    text = f"FROM {image}\nLABEL {LABEL}=newer\n".encode()
    engine.images.build(fileobj=io.BytesIO(text), tag=name, rm=True)
    yield name
    # Its containers may still be there: the name goes, and the image with the last of them.
    engine.images.remove(name, force=True)


def test_an_image_that_does_not_start_stops_the_upgrade_which_names_the_way_back(
    engine: docker.DockerClient, network: ComposeNetwork, image: str
) -> None:
    broken, running = f"{image}-broken", [network.find_container(member) for member in network.members]
    engine.images.build(
        fileobj=io.BytesIO(f'FROM {image}\nENTRYPOINT ["/bin/false"]\n'.encode()), tag=broken, rm=True
    )
    try:
        with pytest.raises(Unavailable, match=f"`tanpo net upgrade {image} --dir .*` goes back"):
            list(upgrade(network, broken))
        assert [network.find_container(member) for member in network.members] == [None, *running[1:]]
        assert list(upgrade(network, image)) == list(network.members)
    finally:
        engine.images.remove(broken, force=True)
    assert [network.find_container(member) for member in network.members][1:] == running[1:]


async def test_nodes_are_upgraded_one_by_one_under_load_and_no_swap_is_lost_or_doubled(
    engine: docker.DockerClient, network: ComposeNetwork, open_desk: OpenDesk, newer: str
) -> None:
    async with open_desk() as desk:
        before = await count_settled(desk)
        load = PacedLoad(desk=desk, press=SwapPress(desk, "upgrade"), members=network.members, rate=RATE)
        is_over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(is_over))
            try:
                # Interrupted after the first node, it goes on with the others.
                steps = upgrade(network, newer)
                done = [await asyncio.to_thread(next, steps)]
                steps.close()
                first = network.find_container(done[0])
                with pytest.raises(UsageError, match="upgrade of this network was broken off"):
                    network.start()
                await asyncio.to_thread(lambda: list(upgrade(network, newer)))
            finally:
                is_over.set()
        await wait_agreed(desk)

        assert len({one.tx_id for one in load.acknowledged}) == load.sent
        assert len({(one.height, one.index) for one in load.acknowledged}) == load.sent
        assert await count_settled(desk) - before == load.sent
        assert await is_conserved(desk)
    for member in network.members:
        container = engine.containers.get(network.find_container(member))
        assert container.labels[LABEL] == "newer"
    assert network.find_container(done[0]) == first
    assert ComposeNetwork.open(network.folder.root).project.settings["TANPO_IMAGE"] == newer


def test_an_image_that_is_not_there_stops_the_upgrade_before_it_begins(network: ComposeNetwork) -> None:
    running = [network.find_container(member) for member in network.members]
    with pytest.raises(UsageError, match="no such image"):
        list(upgrade(network, "tanpo:of-next-year"))

    assert [network.find_container(member) for member in network.members] == running
