"""The day of the person who operates a node, on a network of real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tanpo.cli.network import LocalNetwork
from tanpo.cli.provision import plan_network
from tanpo.cli.samples import load_catalog
from tanpo.client import Client, load_key, load_profile
from tanpo.node.exits import ExitCode
from tanpo.testing.commands import read_json_here, run_tanpo_here

WAIT_S = 60
FAULTY_NODE = Path(__file__).parents[1] / "chaos" / "faulty_node.py"

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNetwork]:
    network = LocalNetwork.create(tmp_path_factory.mktemp("operations") / "net", plan_network(4))
    try:
        network.start()
        yield network
    finally:
        network.stop()


def test_a_node_whose_clock_is_wrong_by_minutes_does_not_start(network: LocalNetwork) -> None:
    config = network.folder.get_member("dealer-b").config
    network.stop(["dealer-b"])
    # A clock that is behind is before the network's genesis here: that alone shows it.
    for skew_ms, side in ((180_000, "ahead of the peers'"), (-180_000, "behind the network's")):
        ended = subprocess.run(
            [sys.executable, FAULTY_NODE, "--skew-ms", str(skew_ms), config],
            capture_output=True,
            timeout=WAIT_S,
            check=False,
        )
        (line,) = [one for one in map(json.loads, ended.stderr.splitlines()) if one["level"] == "error"]

        assert (ended.returncode, line["reason"]) == (ExitCode.CLOCK_WRONG, "CLOCK_WRONG")
        assert f" s {side} " in line["why"]
        assert "NTP" in line["remedy"]
    network.start(["dealer-b"])


def examine(network: LocalNetwork, member: str) -> tuple[int, dict[str, dict[str, str]]]:
    """What the doctor says of a member's node: the command's exit code, and each thing it looked at."""
    done = run_tanpo_here("node", "doctor", str(network.folder.get_member(member).config), "-o", "json")
    return done.returncode, {found["what"]: found for found in json.loads(done.stdout)}


def operator(network: LocalNetwork, member: str) -> tuple[str, str]:
    return "-p", str(network.folder.get_member(member).operator_profile)


def test_the_doctor_finds_a_node_well_and_says_who_is_not(network: LocalNetwork) -> None:
    code, found = examine(network, "dealer-a")

    assert code == 0
    assert {what: one["health"] for what, one in found.items() if one["health"] != "ok"} == {"backup": "warn"}
    assert {what for what in found if what.startswith("peer ")} == {
        f"peer {member}/node-1" for member in network.members if member != "dealer-a"
    }

    network.kill("custody-bank")
    code, found = examine(network, "dealer-a")

    assert code == 0
    assert found["peer custody-bank/node-1"]["health"] == "warn"
    assert "Connection refused" in found["peer custody-bank/node-1"]["detail"]
    network.start(["custody-bank"])


def test_the_doctor_needs_no_node_and_names_what_keeps_it_from_voting(network: LocalNetwork) -> None:
    data = network.folder.get_member("custody-bank").data
    network.stop(["custody-bank"])
    (data / "consensus").rename(data.with_name("consensus"))
    code, found = examine(network, "custody-bank")
    data.with_name("consensus").rename(data / "consensus")

    assert (code, found["votes"]["health"]) == (1, "fail")
    assert "--rejoin" in found["votes"]["remedy"]
    assert "nothing answers at" in found["node"]["detail"]
    assert examine(network, "custody-bank")[0] == 0
    network.start(["custody-bank"])


def test_a_peer_whose_certificate_is_refused_is_named_with_the_reason(
    network: LocalNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another node answers at that address: the name in its certificate is not the one expected."""
    peers = [
        {"member": one.member, "node": one.node, "address": network.get_node("dealer-b").peer_address}
        for one in network.nodes
        if one.member in ("trust-bank", "dealer-b")
    ]
    monkeypatch.setenv("TANPO_PEERS", json.dumps(peers))

    _, found = examine(network, "dealer-a")

    assert "its TLS certificate is refused" in found["peer trust-bank/node-1"]["detail"]
    assert found["peer dealer-b/node-1"]["health"] == "ok"


def test_a_backup_is_remembered_with_its_age(network: LocalNetwork, tmp_path: Path) -> None:
    read_json_here("node", "backup", "create", str(tmp_path / "backup"), *operator(network, "trust-bank"))

    _, found = examine(network, "trust-bank")

    assert found["backup"]["health"] == "ok"
    assert "0 hours old" in found["backup"]["detail"]


def test_why_stalled_says_why_and_fails_until_it_is_over(network: LocalNetwork) -> None:
    command = ("node", "why-stalled", *operator(network, "dealer-a"))
    assert run_tanpo_here(*command).stdout == "nothing is stalled\n"

    for member in ("trust-bank", "dealer-b"):
        network.kill(member)
    deadline = time.monotonic() + WAIT_S
    while (done := run_tanpo_here(*command, "-o", "json")).returncode == 0:
        assert time.monotonic() < deadline
    network.start(["trust-bank", "dealer-b"])
    network.wait_ready()

    told = json.loads(done.stdout)
    assert told["stalled"] is True
    assert any("no quorum: 1 validators connected" in reason for reason in told["reasons"])
    assert run_tanpo_here(*command).returncode == 0


def test_the_log_level_changes_while_the_node_runs_and_a_transaction_can_be_followed(
    network: LocalNetwork,
) -> None:
    files = network.folder.get_member("dealer-a")
    command = ("node", "log-level", "-p", str(files.operator_profile))
    assert read_json_here(*command, "debug") == {"level": "debug", "previous": "info"}
    with Client(load_profile(files.profile)) as client:
        template = load_catalog().get_instrument("usd-deposit").to_arguments()
        sent = client.submit("instruments", "define", template)
    assert read_json_here(*command, "info")["previous"] == "debug"
    refused = run_tanpo_here(*command, "loud")
    assert refused.returncode == 1
    assert "debug, info, warning, error" in refused.stderr

    logs = ("node", "logs", str(files.config), "--tx", sent.tx_id.hex())
    raw = [json.loads(line) for line in run_tanpo_here(*logs, "-o", "json").stdout.splitlines()]
    assert [line["event"] for line in raw] == ["admitted", "committed"]
    assert all(isinstance(line["height"], int) and isinstance(line["term"], int) for line in raw)
    shown = run_tanpo_here(*logs).stdout.splitlines()
    assert len(shown) == 2
    assert f"committed  height={raw[1]['height']} term=" in shown[1]


def test_a_debug_bundle_tells_all_but_secrets(network: LocalNetwork, tmp_path: Path) -> None:
    files = network.folder.get_member("dealer-b")
    keys = [files.pem("node")[1], files.validator_key]
    scalars = [load_key(path).to_cryptography().private_numbers().private_value for path in keys]
    planted = [keys[1].read_text(), f"DB_PASSWORD=hunter2 {scalars[0]:064x}"]
    with files.log.open("a") as log:
        log.writelines(json.dumps({"event": text, "level": "info"}) + "\n" for text in planted)
    original = files.config.read_text()
    files.config.write_text(f"{original}# passphrase = hunter2\n")
    target = tmp_path / "bundle.tar.gz"
    told = read_json_here("debug", "bundle", str(files.config), "--out", str(target))
    again = run_tanpo_here("debug", "bundle", str(files.config), "--out", str(target))
    files.config.write_text(f"{original}# passphrase = hunter2\nnode = 7\n")
    wrong = tmp_path / "wrong.tar.gz"
    read_json_here("debug", "bundle", str(files.config), "--out", str(wrong))
    files.config.write_text(original)

    assert again.returncode == 1
    assert "File exists" in again.stderr
    assert target.stat().st_mode & 0o777 == 0o600
    texts = read_bundle(target)
    assert sorted(texts) == told["entries"]
    assert b"tanpo_height" in texts["metrics.txt"]
    assert b"peer connected" in texts["node.log"]
    assert json.loads(texts["votes.json"])["is_present"] is True
    assert json.loads(texts["status.json"]) == {"answers": True, "why_stalled": []}
    assert {one["what"] for one in json.loads(texts["doctor.json"])} >= {"clock", "disk", "votes"}
    assert b"snapshots.node" in read_bundle(wrong)["config-check.json"]
    for content in (*texts.values(), *read_bundle(wrong).values()):
        assert b"-----BEGIN" not in content
        assert b"hunter2" not in content
        for path, scalar in zip(keys, scalars, strict=True):
            assert scalar.to_bytes(32, "big") not in content
            assert f"{scalar:x}".encode() not in content.lower()
            for line in path.read_bytes().splitlines():
                assert line not in content


def read_bundle(path: Path) -> dict[str, bytes]:
    """What is in a bundle, by name."""
    with tarfile.open(path) as archive:
        found = {one.name: archive.extractfile(one) for one in archive.getmembers()}
        return {name.removeprefix("tanpo-debug/"): file.read() for name, file in found.items() if file}
