"""One consortium of containers on a real engine, for all tests of this folder; each leaves it ready.

`make docker-test` builds the image, starts an engine where none runs, and runs these. Without an engine they
are skipped, and say so.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException, ImageNotFound
from tanpo.cli.bench.book import open_book
from tanpo.cli.compose import ComposeNetwork
from tanpo.cli.compose.network import delete
from tanpo.cli.demo.desk import Desk
from tanpo.cli.provision import plan_network
from tanpo.cli.readiness import wait_nodes
from tanpo.cli.samples import load_catalog

IMAGE = os.environ.get("TANPO_TEST_IMAGE", "tanpo:test")


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    try:
        client = docker.from_env(timeout=120)
        client.ping()
    except DockerException as error:
        pytest.skip(f"NO CONTAINER ENGINE, so nothing of tests/docker is tested: {error}")
    yield client
    client.close()


@pytest.fixture(scope="session")
def image(engine: docker.DockerClient) -> str:
    try:
        engine.images.get(IMAGE)
    except ImageNotFound:
        pytest.skip(f"NO IMAGE {IMAGE}, so nothing of tests/docker is tested: `make docker-test` builds it")
    return IMAGE


@pytest.fixture(scope="session")
def started(
    engine: docker.DockerClient, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComposeNetwork]:
    folder: Path = tmp_path_factory.mktemp("docker") / "net"
    network = ComposeNetwork.create(folder, plan_network(4), image=image)
    try:
        network.start()
        yield network
    finally:
        delete(network)


@pytest.fixture
def network(started: ComposeNetwork) -> ComposeNetwork:
    """The consortium, all of whose nodes are ready."""
    wait_nodes(
        started.nodes,
        directory=started.folder.root,
        is_running=lambda _: True,
        explain=lambda _: "it should be",
        ready_seconds=90.0,
    )
    return started


@pytest.fixture
def open_desk(network: ComposeNetwork) -> Callable[[], AbstractAsyncContextManager[Desk]]:
    """A way to open the clients of all members, with a book to swap from."""

    @asynccontextmanager
    async def open_one() -> AsyncIterator[Desk]:
        async with Desk(network) as desk:
            if not await desk.ask("instruments", "list_instruments", after="", limit=1):
                await open_book(desk, load_catalog())
            yield desk

    return open_one
