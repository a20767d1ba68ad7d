"""`tanpo net`: a network of real processes comes up, settles, reports, loses a node, and stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tanpo.cli.processes import load_record
from tanpo.testing.commands import read_json, read_json_here, run_tanpo
from tanpo.testing.town import YEN
from tanpo.testing.waiting import poll_until

pytestmark = pytest.mark.timeout(400)

PROCESSES = Path("/proc")
TIMEOUT_S = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("net")
    try:
        rows = read_json("net", "up", "--dir", str(folder))
        assert [row["node"] for row in rows] == ["trust-bank", "dealer-a", "dealer-b", "custody-bank"]
        assert all(row["ready"] for row in rows)
        yield folder
    finally:
        run_tanpo("net", "down", "--dir", str(folder))


def find_nodes(folder: Path) -> list[str]:
    """Return the command lines of all processes that run on a folder, whoever knows of them."""
    found = []
    for path in PROCESSES.glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
    return [line for line in found if "tanpo.node" in line and str(folder) in line]


def profile(folder: Path, member: str) -> str:
    return str(folder / member / "profile.toml")


def test_a_second_start_is_refused(folder: Path) -> None:
    done = run_tanpo("net", "up", "--dir", str(folder))
    assert done.returncode == 1
    assert done.stderr.startswith("tanpo: DATA_LOCKED: the network is running: trust-bank, ")
    assert "tanpo net down" in done.stderr
    assert done.stderr.count("\n") == 1


def test_status_shows_every_node_alike(folder: Path) -> None:
    found: list[dict[str, Any]] = []

    def agree() -> bool:
        # A term may change between two answers, and then they differ.
        found[:] = json.loads(run_tanpo("net", "status", "--dir", str(folder), "-o", "json").stdout)
        return len({(row["leader"], row["term"], row["problem"]) for row in found}) == 1

    poll_until(agree)
    assert [row["node"] for row in found] == ["trust-bank", "dealer-a", "dealer-b", "custody-bank"]
    assert sum(row["is_leader"] for row in found) == 1
    assert all(row["pid"] and row["term"] >= 1 and not row["problem"] for row in found)


def test_the_contracts_and_their_functions_are_listed(folder: Path) -> None:
    rows = read_json("query", "-p", profile(folder, "dealer-a"), "--list")
    found = {(row["contract"], row["kind"], row["name"]) for row in rows}
    assert ("settlement", "entry", "swap") in found
    assert ("instruments", "view", "position") in found


def test_a_transaction_is_submitted_and_queried(folder: Path) -> None:
    define = ("tx", "submit", "instruments", "define", "-p", profile(folder, "trust-bank"))
    argument = f"instrument={json.dumps({**YEN, 'id': 'yen-net'})}"
    made = read_json(*define, "-a", argument, "--request-id", "define-yen")
    assert made["state"] == "committed"
    assert made["events"][0]["name"] == "Defined"

    outcome = read_json("tx", "outcome", "define-yen", "-p", profile(folder, "trust-bank"))
    assert (outcome["state"], outcome["tx_id"]) == ("committed", made["tx_id"])
    view = ("query", "instruments", "get_instrument", "-p", profile(folder, "dealer-b"))
    asked = read_json(*view, "-a", "instrument=yen-net")
    assert asked["value"]["name"] == "Yen"

    again = run_tanpo(*define, "-a", argument, "-o", "json")
    assert again.returncode == 1
    assert json.loads(again.stdout)["code"] == "INSTRUMENT_EXISTS"
    assert again.stderr.startswith("tanpo: CONTRACT_FAILED: ")

    wrong = run_tanpo(*define, "-a", "instrumnt={}")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("tanpo: ARGUMENT_UNKNOWN: ")
    assert wrong.stderr.count("\n") == 1


def test_two_parties_sign_where_their_keys_live(folder: Path, tmp_path: Path) -> None:
    draft, envelope = tmp_path / "draft", tmp_path / "envelope"
    genesis = str(folder / "genesis.json")
    legs = json.dumps(
        [
            {"deliverer": "dealer-a", "receiver": "dealer-b", "instrument": "nothing", "quantity": 1},
            {"deliverer": "dealer-b", "receiver": "dealer-a", "instrument": "nothing", "quantity": 1},
        ]
    )
    built = read_json(
        *("tx", "build", "settlement", "swap", "-p", profile(folder, "dealer-a"), "-a", f"legs={legs}"),
        *("--signer", "dealer-a", "--signer", "dealer-b", "--out", str(draft)),
    )
    for member in ("dealer-a", "dealer-b"):
        key = str(folder / member / "transaction.key")
        signed = read_json(
            *("tx", "sign", str(draft), "--genesis", genesis, "--key", key),
            *("--out", str(tmp_path / member)),
        )
        assert signed["transactions"] == built["transactions"]
    sealing = ("tx", "seal", str(draft), str(tmp_path / "dealer-a"))
    lacking = run_tanpo(*sealing, "--genesis", genesis, "--out", str(envelope))
    assert lacking.stderr.startswith("tanpo: SIGNATURE_MISSING: ")
    read_json(*sealing, str(tmp_path / "dealer-b"), "--genesis", genesis, "--out", str(envelope))

    sent = run_tanpo("tx", "send", str(envelope), "-p", profile(folder, "dealer-a"), "-o", "json")
    assert sent.returncode == 1
    assert json.loads(sent.stdout)["code"] == "INSTRUMENT_UNKNOWN"


def test_a_node_says_how_it_is(folder: Path) -> None:
    found: dict[str, Any] = {}

    def is_ready() -> bool:
        # On a busy machine a node that was ready may wait for another for a moment.
        found.update(read_json_here("node", "status", "-p", str(folder / "dealer-b" / "operator.toml")))
        return bool(found["ready"])

    poll_until(is_ready)
    assert found["member"] == "dealer-b"


def test_the_log_of_a_node_is_printed(folder: Path) -> None:
    lines = read_json("net", "logs", "dealer-a", "--dir", str(folder), "-n", "500")
    assert any(json.loads(line)["event"] == "serving" for line in lines if line.startswith("{"))


def test_a_killed_node_is_reported_and_comes_back(folder: Path) -> None:
    before = load_record(folder / "dealer-b" / "node.pid")
    assert read_json("net", "kill", "dealer-b", "--dir", str(folder))["killed"]

    status = run_tanpo("net", "status", "--dir", str(folder), "-o", "json")
    assert status.returncode == 1
    rows = {row["node"]: row for row in json.loads(status.stdout)}
    assert rows["dealer-b"]["problem"] == "not running"

    assert read_json("net", "start", "dealer-b", "--dir", str(folder))["ready"]
    after = load_record(folder / "dealer-b" / "node.pid")
    assert before is not None
    assert after is not None
    assert before.pid != after.pid


def test_a_stopped_network_starts_again_with_its_data(folder: Path) -> None:
    stopped = read_json("net", "down", "--dir", str(folder))
    assert sorted(stopped["stopped"]) == ["custody-bank", "dealer-a", "dealer-b", "trust-bank"]
    assert stopped["killed"] == []
    assert all(not (folder / member / "node.pid").exists() for member in stopped["stopped"])

    fixed = run_tanpo("net", "up", "--dir", str(folder), "--members", "5")
    assert fixed.stderr.startswith("tanpo: CONFIGURATION: the network exists already")
    contained = run_tanpo("net", "up", "--dir", str(folder), "--compose")
    assert contained.stderr.startswith("tanpo: MISUSE: this cannot be done with the network of this folder")
    assert f"`tanpo net down --delete --dir {folder}`" in contained.stderr

    rows = read_json("net", "up", "--dir", str(folder))
    assert all(row["height"] >= 1 for row in rows)


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_tanpo("net", "up", "--dir", str(tmp_path / "net"), "--base-port", str(port))
    assert done.returncode == 1
    assert f"a port is in use; value: 127.0.0.1:{port}" in done.stderr
    assert "--base-port" in done.stderr


def test_a_network_whose_port_was_taken_meanwhile_leaves_nothing_running(folder: Path) -> None:
    read_json("net", "down", "--dir", str(folder))
    manifest = json.loads((folder / "network.json").read_text())
    host, port = manifest["nodes"][1]["address"].split(":")
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, int(port)))
        taken.listen()
        done = run_tanpo("net", "up", "--dir", str(folder))
    assert done.returncode == 1
    assert done.stderr.startswith("tanpo: UNREACHABLE: the node of dealer-a ended: ")
    assert done.stderr.count("\n") == 1
    assert find_nodes(folder) == []


def test_a_start_interrupted_by_the_terminal_leaves_nothing_that_the_next_one_trips_over(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "net"
    process = subprocess.Popen(
        [sys.executable, "-m", "tanpo.cli", "net", "up", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    poll_until(lambda: bool(list(folder.glob("*/node.pid"))) or process.poll() is not None)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)  # As Ctrl-C does: to whatever the command has started too.
    _, said = process.communicate(timeout=TIMEOUT_S)

    assert (process.returncode, b"Traceback" in said) == (130, False)
    assert find_nodes(folder) == []
    assert len(read_json("net", "up", "--dir", str(folder))) == 4
    read_json("net", "down", "--dir", str(folder), "--delete")
    assert not folder.exists()
