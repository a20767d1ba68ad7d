"""A validator whose volume is full ends with one clear line. The others go on; with room it comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager

import docker
import pytest
from tanpo.cli.bench.book import SwapPress
from tanpo.cli.compose import ComposeNetwork
from tanpo.cli.compose.rendering import CONFIG_DIR, DATA_DIR
from tanpo.cli.demo.desk import Desk
from tanpo.cli.demo.stream import wait_agreed
from tanpo.cli.readiness import wait_nodes
from tanpo.testing.paced_load import PacedLoad, count_settled

OpenDesk = Callable[[], AbstractAsyncContextManager[Desk]]

ROOM = "64m"
FILL = f"dd if=/dev/zero of={DATA_DIR}/filling bs=64k 2>/dev/null; df {DATA_DIR} | tail -n 1"
DISK_FULL = 5
WAIT_S = 60.0

pytestmark = pytest.mark.timeout(400)


class SmallDisk:
    """A node of the network moved to a volume of a few megabytes, and what keeps that mounted meanwhile."""

    def __init__(self, engine: docker.DockerClient, network: ComposeNetwork, member: str) -> None:
        self.engine, self.network, self.member = engine, network, member
        self.original = engine.containers.get(network.find_container(member))
        options = {"type": "tmpfs", "device": "tmpfs", "o": f"size={ROOM},mode=1777"}
        self.volume = engine.volumes.create(
            f"{network.project.name}_small", driver="local", driver_opts=options
        )
        own = next(one["Name"] for one in self.original.attrs["Mounts"] if one["Destination"] == DATA_DIR)
        # A tmpfs lives as long as somebody has it mounted. It stands between both volumes as well.
        self.keeper = engine.containers.run(
            self.original.image,
            ["-c", "sleep 600"],
            entrypoint=["sh"],
            user="0:0",
            volumes={self.volume.name: {"bind": DATA_DIR}, own: {"bind": "/own"}},
            detach=True,
        )
        self.node: docker.models.containers.Container | None = None

    def run(self, script: str) -> str:
        done = self.keeper.exec_run(["sh", "-c", script])
        assert done.exit_code == 0, done.output
        return str(done.output.decode())

    def start(self) -> None:
        """Start the node on the small volume, in the place of its own container."""
        place = self.network.get_node(self.member)
        ports = {"7051/tcp": place.address, "7053/tcp": place.ops_address}
        self.node = self.engine.containers.create(
            self.original.image,
            user=self.original.attrs["Config"]["User"],
            ports={port: ("127.0.0.1", int(address.rpartition(":")[2])) for port, address in ports.items()},
            volumes={
                self.volume.name: {"bind": DATA_DIR},
                str(self.network.folder.root / self.member / "etc"): {"bind": CONFIG_DIR, "mode": "ro"},
            },
            network=f"{self.network.project.name}_{self.member}",
        )
        peers = self.engine.networks.get(f"{self.network.project.name}_consortium")
        peers.connect(self.node, aliases=[self.member])
        self.node.start()
        self.wait_ready()

    def wait_ready(self) -> None:
        wait_nodes(
            [self.network.get_node(self.member)],
            directory=self.network.folder.root,
            is_running=lambda _: True,
            explain=lambda _: "?",
            ready_seconds=WAIT_S,
        )

    def remove(self) -> None:
        for container in (self.node, self.keeper):
            if container is not None:
                container.remove(force=True)
        self.volume.remove()


@contextmanager
def small_disk(engine: docker.DockerClient, network: ComposeNetwork, member: str) -> Iterator[SmallDisk]:
    disk = SmallDisk(engine, network, member)
    try:
        network.stop([member])
        disk.run(f"cp -a /own/. {DATA_DIR}/")
        yield disk
        if disk.node is not None:
            disk.node.stop(timeout=30)
        # Back goes what it has promised since: an older copy must never vote.
        disk.run(f"rm -rf /own/data && cp -a {DATA_DIR}/data /own/data")
    finally:
        disk.remove()
    network.start([member])


async def test_a_full_volume_ends_the_node_with_a_clear_line_and_it_comes_back(
    engine: docker.DockerClient, network: ComposeNetwork, open_desk: OpenDesk
) -> None:
    async with open_desk() as desk:
        leader = (await desk.read_status(network.members[0])).leader.partition("/")[0]
        victim, *_ = [member for member in network.members if member != leader]
        before = await count_settled(desk)
        others = tuple(member for member in network.members if member != victim)
        load = PacedLoad(desk=desk, press=SwapPress(desk, "full"), members=others, rate=20.0)
        is_over = asyncio.Event()
        with small_disk(engine, network, victim) as disk:
            await asyncio.to_thread(disk.start)
            assert disk.node is not None
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run(is_over))
                try:
                    assert " 100% " in await asyncio.to_thread(disk.run, FILL)
                    ended = await asyncio.to_thread(disk.node.wait, timeout=WAIT_S)
                    sent = load.sent
                    await asyncio.to_thread(disk.run, f"rm {DATA_DIR}/filling")
                    await asyncio.to_thread(disk.node.start)
                    await asyncio.to_thread(disk.wait_ready)
                finally:
                    is_over.set()
            assert ended["StatusCode"] == DISK_FULL
            last = [line for line in disk.node.logs().decode().splitlines() if '"exit_code": 5' in line]
            assert load.sent > sent
        await wait_agreed(desk)
        assert await count_settled(desk) - before == load.sent == len(load.acknowledged)
    assert len(last) == 1
    assert "full" in json.loads(last[0])["why"]
