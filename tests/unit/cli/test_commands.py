"""The command line: help without heavy imports, keys, and errors as one line."""

from __future__ import annotations

import json
import os
import platform
import stat
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer.main
from tanpo.cli.layout import NetworkFolder
from tanpo.cli.root import app
from tanpo.node.protocol import PROTOCOL_VERSION
from tanpo.testing.commands import run_tanpo_here
from tanpo.vm import GAS_TABLE_VERSION, LANGUAGE_VERSION
from typer.testing import CliRunner

HEAVY = ("grpc", "cryptography", "google.protobuf", "plyvel", "pydantic", "rich", "tanpo.ledger")


def run_tanpo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tanpo.cli", *arguments], capture_output=True, text=True, check=False
    )


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "sys.argv = ['tanpo', '--help']\n"
        "from tanpo.cli import main\n"
        "try:\n    main()\n"
        "finally:\n"
        f"    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == "[]\n"
    for command in ("net", "demo", "tx", "query", "node", "key", "bench", "sim"):
        assert f"  {command}" in done.stdout


def test_the_versions_are_those_of_what_is_installed() -> None:
    shown = run_tanpo_here("--version")
    assert shown.returncode == 0
    name, about = shown.stdout.splitlines()
    assert name == f"tanpo {version('tanpo')}"
    told = json.loads(run_tanpo_here("--version", "-o", "json").stdout)
    assert told == {
        "tanpo": version("tanpo"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "protocol_version": PROTOCOL_VERSION,
        "language_version": LANGUAGE_VERSION,
        "gas_table_version": GAS_TABLE_VERSION,
    }
    assert all(str(told[key]) in about for key in told if key != "tanpo")


def test_the_form_of_the_output_is_said_after_the_command_that_prints_it() -> None:
    refused = run_tanpo_here("-o", "json", "sim", "--help")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "give it after the command" in refused.stderr


def test_a_key_is_generated_for_its_owner_only_and_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "dealer.key"
    made = run_tanpo("key", "generate", str(file), "-o", "json")
    assert made.returncode == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    shown = run_tanpo_here("key", "show", str(file), "-o", "json")
    assert json.loads(shown.stdout) == json.loads(made.stdout)
    before = file.read_bytes()
    again = run_tanpo_here("key", "generate", str(file))
    assert again.returncode == 1
    assert again.stdout == ""
    assert again.stderr.startswith("tanpo: CONFIGURATION: ")
    assert again.stderr.count("\n") == 1
    assert file.read_bytes() == before


def test_a_folder_without_a_network_is_one_line_on_stderr(tmp_path: Path) -> None:
    done = run_tanpo_here("net", "status", "--dir", str(tmp_path), "-o", "json")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("tanpo: NOT_FOUND: there is no network in this folder; value: ")
    assert done.stderr.count("\n") == 1


def test_a_wrong_option_is_misuse() -> None:
    done = run_tanpo("net", "up", "--members", "3")
    assert done.returncode == 2
    assert "--members" in done.stderr
    assert done.stderr.endswith("; value: 3\n")


@pytest.mark.parametrize("option", [("--profile", "observer"), ("--image", "tanpo:test")])
def test_what_containers_alone_have_makes_no_network_of_processes(
    tmp_path: Path, option: tuple[str, str]
) -> None:
    done = run_tanpo_here("net", "up", *option, "--dir", str(tmp_path / "net"))
    assert done.returncode == 2
    assert "add --compose" in done.stderr
    assert not NetworkFolder(root=tmp_path / "net").manifest.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seed", "4", "--jobs", "1"), "--jobs cannot go with --seed"),
        (("--mode", "fast"), "there is no such mode"),
        (("--twins", "--nodes", "5"), "there are no Twins scenarios of that size"),
    ],
)
def test_misuse_exits_with_2_and_is_no_broken_rule(arguments: tuple[str, ...], message: str) -> None:
    done = run_tanpo_here("sim", *arguments)

    assert done.returncode == 2
    assert done.stderr.startswith(f"tanpo: MISUSE: {message}; value: ")
    assert "; remedy: " in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [("--seed", "4", "--steps", "300"), ("--seeds", "1", "--mode", "safety")]
)
@pytest.mark.parametrize("output", ["json", "table"])
def test_a_reader_that_leaves_makes_no_failure(arguments: tuple[str, ...], output: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as unread:
        done = subprocess.run(
            [sys.executable, "-m", "tanpo.cli", "sim", *arguments, "-o", output],
            stdout=unread,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("closed", "code"), [(">&-", 0), ("2>&-", 0), (">&- 2>&- <&-", 0)])
def test_a_closed_stream_is_no_failure(closed: str, code: int) -> None:
    command = f"{sys.executable} -m tanpo.cli sim --seed 4 --steps 300 --mode safety -o json {closed}"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (code, "")


def list_commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from list_commands(below, (*path, name))


@pytest.mark.parametrize("path", list(list_commands(typer.main.get_command(app))), ids=" ".join)
def test_help_names_what_an_option_takes_in_words_and_not_in_types(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"])

    assert shown.exit_code == 0
    options = [line for line in shown.output.splitlines() if line.lstrip().startswith("-")]
    assert [line for line in options if "range>" in line or "<list[" in line] == []


def test_a_node_without_a_configuration_says_why(tmp_path: Path) -> None:
    done = run_tanpo("node", "run", str(tmp_path / "node.toml"))
    assert done.returncode == 2
    assert json.loads(done.stderr.splitlines()[-1])["reason"] == "CONFIGURATION"
