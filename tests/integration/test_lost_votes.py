"""A network of which a validator lost its votes while all were down comes up by what `tanpo net up` names."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from tanpo.testing.commands import read_json_here, run_tanpo_here
from tanpo.testing.waiting import poll_until

MEMBERS = ("trust-bank", "dealer-a", "dealer-b", "custody-bank")
LOST = "dealer-a"

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has run; its name must be quoted."""
    folder = tmp_path_factory.mktemp("lost votes") / "the net"
    read_json_here("net", "up", "--dir", str(folder))
    return folder


@pytest.fixture
def folder(made: Path) -> Iterator[Path]:
    """The same, while none of its nodes runs."""
    run_tanpo_here("net", "down", "--dir", str(made))
    yield made
    run_tanpo_here("net", "down", "--dir", str(made))


def find_running(folder: Path) -> set[str]:
    return {row["node"] for row in read_status(folder) if row["problem"] != "not running"}


def read_status(folder: Path) -> list[dict[str, Any]]:
    done = run_tanpo_here("net", "status", "--dir", str(folder), "-o", "json")
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def read_command(done: CompletedProcess[str]) -> list[str]:
    """Return the arguments of the command that an error of one line names as its remedy."""
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    program, *arguments = shlex.split(done.stderr.partition("remedy: `")[2].partition("`")[0])
    assert program == "tanpo"
    return arguments


def test_nodes_that_are_started_one_by_one_wait_for_each_other_and_say_so(folder: Path) -> None:
    commands = [["net", "start", MEMBERS[0], "--dir", str(folder)]]
    for lacking in ({*MEMBERS[1:]}, {*MEMBERS[2:]}):
        done = run_tanpo_here(*commands[-1])
        assert done.stderr.startswith("tanpo: NO_QUORUM: the node of ")
        assert "3 of 4 validators" in done.stderr
        assert set(MEMBERS) - find_running(folder) == lacking
        commands.append(read_command(done))
    third = read_json_here(*commands[-1])
    assert (third["node"], third["ready"], third["problem"]) == (MEMBERS[2], True, "")
    assert read_json_here("net", "start", MEMBERS[3], "--dir", str(folder))["ready"]
    assert read_json_here("net", "down", "--dir", str(folder))["killed"] == []


def test_a_network_of_which_one_forgot_its_votes_comes_up_by_the_command_that_up_names(folder: Path) -> None:
    shutil.rmtree(folder / LOST / "data" / "consensus")

    found = run_tanpo_here("net", "up", "--dir", str(folder))
    remedy = read_command(found)
    assert found.stderr.startswith(f"tanpo: DATA_CORRUPT: the validator of {LOST} must not vote: amnesia: ")
    # The others are a quorum, and go on.
    assert find_running(folder) == {*MEMBERS} - {LOST}
    poll_until(lambda: [row["ready"] for row in read_status(folder)] == [True, False, True, True])
    # One that is started alone says the same, and leaves them alone.
    alone = run_tanpo_here("net", "start", LOST, "--dir", str(folder))
    assert read_command(alone) == remedy
    assert find_running(folder) == {*MEMBERS} - {LOST}

    read_json_here("net", "down", "--dir", str(folder))
    rows = {row["node"]: row for row in read_json_here(*remedy)}
    assert rows[LOST]["problem"].startswith("rejoined: silent up to term ")
    assert not rows[LOST]["ready"]
    poll_until(lambda: all(row["ready"] for row in read_status(folder) if row["node"] != LOST))
    # It keeps its word over a restart of all, and is waited for by nobody.
    read_json_here("net", "down", "--dir", str(folder))
    again = {row["node"]: row for row in read_json_here("net", "up", "--dir", str(folder))}
    assert "amnesia" not in again[LOST]["problem"]


def test_a_network_of_which_too_many_forgot_says_so_and_leaves_nothing_running(folder: Path) -> None:
    for member in MEMBERS[2:]:
        shutil.rmtree(folder / member / "data" / "consensus")

    done = run_tanpo_here("net", "up", "--dir", str(folder))
    assert done.returncode == 1
    assert "too many validators have forgotten what they signed: dealer-b, custody-bank" in done.stderr
    assert done.stderr.count("\n") == 1
    assert find_running(folder) == set()

    both = [word for member in MEMBERS[2:] for word in ("--rejoin", member)]
    refused = run_tanpo_here("net", "up", "--dir", str(folder), *both)
    assert refused.stderr.startswith("tanpo: NO_QUORUM: too many validators are to rejoin: ")
    assert refused.stderr.count("\n") == 1
    assert find_running(folder) == set()
