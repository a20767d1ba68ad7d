"""README's program and commands, run as a reader would: against a network of real processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TANPO = str(Path(sysconfig.get_path("scripts")) / "tanpo")
BUILT = ".venv/bin/tanpo "


def run(folder: Path, *command: str) -> str:
    """Run a command in `folder` and return what it printed; fail with all of its output if it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TANPO_")}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, f"{command} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which `tanpo net up` has started a network of four, in `.net`."""
    folder = tmp_path_factory.mktemp("reader")
    try:
        run(folder, TANPO, "net", "up")
        yield folder
    finally:
        run(folder, TANPO, "net", "down", "--delete")


@pytest.mark.timeout(400)
def test_first_program_commits_and_proves_a_transfer(network: Path) -> None:
    printed = run(network, sys.executable, str(ROOT / "docs" / "first_program.py"), ".net")

    assert re.search(r"dealer-a holds 250000 of yen-[0-9a-f]{8}, final at height \d+", printed)
    assert "refused: INSUFFICIENT_BALANCE" in printed


@pytest.mark.timeout(400)
def test_commands_of_the_readme_work_on_that_network(network: Path) -> None:
    # What follows needs a container engine: tests/docker have it.
    text, containers, _ = (ROOT / "README.md").read_text().partition("\nWith Docker, ")
    assert containers
    commands = [line for line in text.splitlines() if line.startswith(BUILT)]

    for command in commands:
        run(network, TANPO, *command.removeprefix(BUILT).split())

    assert len(commands) >= 3
