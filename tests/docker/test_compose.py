"""The compose file is valid, and a network of it comes down and up again with what it had."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from tanpo.cli.compose import ComposeNetwork
from tanpo.cli.compose.engine import Engine
from tanpo.cli.demo.desk import Desk
from tanpo.cli.demo.stream import wait_agreed
from tanpo.cli.status import read_reports
from tanpo.testing.commands import read_json, run_tanpo
from tanpo.testing.waiting import poll_until

FILE = Path(__file__).resolve().parents[2] / "deploy/compose.yaml"
OpenDesk = Callable[[], AbstractAsyncContextManager[Desk]]

pytestmark = pytest.mark.timeout(400)


def test_the_compose_that_is_here_accepts_the_file() -> None:
    """It checks the schema of the Compose specification, and that what is named is defined."""
    command = [*Engine.find().compose, "-f", str(FILE), "--profile", "monitoring", "--profile", "observer"]
    done = subprocess.run([*command, "config", "--services"], capture_output=True, text=True, check=False)

    assert done.stderr == ""
    assert set(done.stdout.split()) == {
        "trust-bank", "dealer-a", "dealer-b", "custody-bank", "observer", "prometheus", "grafana"
    }  # fmt: skip


async def test_volumes_survive_that_the_containers_are_removed(
    network: ComposeNetwork, open_desk: OpenDesk
) -> None:
    async with open_desk() as desk:
        before = (await wait_agreed(desk))[network.members[0]]
    down = read_json("net", "down", "--dir", str(network.folder.root))
    assert (down["killed"], set(down["stopped"])) == ([], set(network.members))
    assert [report.to_row()["container"] for report in read_reports(network)] == [None] * 4
    assert network.engine.list_containers(network.project.name) == []

    up = read_json("net", "up", "--dir", str(network.folder.root), "--profile", "observer")
    assert [row["ready"] for row in up] == [True] * 4
    async with open_desk() as desk:
        after = (await wait_agreed(desk))[network.members[0]]
    assert (after.height, after.state_root) >= (before.height, before.state_root)
    assert after.height > 0


def test_the_observer_follows_and_never_votes(network: ComposeNetwork) -> None:
    network.start_beside(["observer"])
    profile = network.folder.root / "observer" / "operator.toml"
    roles: list[str] = []

    def follows() -> bool:
        done = run_tanpo("node", "status", "-p", str(profile), "-o", "json")
        if done.returncode != 0:
            return False
        status = json.loads(done.stdout)
        roles.append(status["role"])
        return bool(status["ready"] and status["height"] > 0)

    poll_until(follows)
    assert set(roles) == {"observer"}


@pytest.mark.parametrize("node", ["dealer-a", "observer"])
def test_logs_are_read_by_the_command(network: ComposeNetwork, node: str) -> None:
    network.start_beside(["observer"])
    lines = read_json("net", "logs", node, "-n", "3", "--dir", str(network.folder.root))

    assert 0 < len(lines) <= 3
    assert all(line.startswith("{") for line in lines)
