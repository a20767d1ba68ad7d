"""Ctrl-C while `tanpo net up --compose` makes or starts a network: what is left can be deleted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import docker
import pytest
from tanpo.cli.compose.site import open_project
from tanpo.cli.layout import NetworkFolder
from tanpo.testing.commands import read_json
from tanpo.testing.waiting import poll_until

TIMEOUT_S = 120
INTERRUPTED = 130

pytestmark = pytest.mark.timeout(300)


def count(engine: docker.DockerClient, folder: NetworkFolder, *, status: str) -> int:
    """Return how many containers of a network there are, of which something may be made by now."""
    if not folder.compose.exists():
        return 0
    project = open_project(folder).name
    filters = {"label": [f"com.docker.compose.project={project}"], "status": status}
    return len(engine.containers.list(all=True, filters=filters))


@pytest.mark.parametrize("status", ["created", "running"])
def test_a_start_that_is_interrupted_twice_leaves_nothing_that_cannot_be_deleted(
    engine: docker.DockerClient, image: str, tmp_path: Path, status: str
) -> None:
    folder = NetworkFolder(root=tmp_path / "net")
    command = [sys.executable, "-m", "tanpo.cli", "net", "up", "--compose", "--image", image]
    process = subprocess.Popen(
        [*command, "--dir", str(folder.root)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    poll_until(lambda: process.poll() is not None or count(engine, folder, status=status) > 0)
    assert process.poll() is None
    project = open_project(folder).name
    # As the terminal does: to whatever the command has started too, and by one who does not want to wait.
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, b"Traceback" in said) == (INTERRUPTED, False)
    if folder.compose.exists():
        assert read_json("net", "down", "--delete", "--dir", str(folder.root))["deleted"]

    named = {"label": [f"com.docker.compose.project={project}"]}
    assert engine.containers.list(all=True, filters=named) == []
    assert engine.volumes.list(filters=named) == []
    assert engine.networks.list(filters=named) == []
