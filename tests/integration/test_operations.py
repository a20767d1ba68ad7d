"""The day of the person who operates a node, on a network of real processes."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families
from tanpo.cli.layout import MemberFiles
from tanpo.cli.network import LocalNetwork
from tanpo.cli.provision import plan_network
from tanpo.cli.samples import load_catalog
from tanpo.client import Client, Committed, Result, load_key, load_profile
from tanpo.ledger.types import MemberId
from tanpo.node.exits import ExitCode
from tanpo.node.identity import Role
from tanpo.node.ops_client import find_reading
from tanpo.node.pki import Authority, issue_certificate
from tanpo.testing.commands import read_json_here, run_tanpo_here
from tanpo.testing.waiting import poll_until

WAIT_S = 60
FAULTY_NODE = Path(__file__).parents[1] / "chaos" / "faulty_node.py"

pytestmark = pytest.mark.timeout(400)


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


def examine_until(
    network: LocalNetwork, condition: Callable[[int, dict[str, dict[str, str]]], bool]
) -> tuple[int, dict[str, dict[str, str]]]:
    """Ask the doctor of dealer-a's node until its answer satisfies a condition, and return that."""
    answers: list[tuple[int, dict[str, dict[str, str]]]] = []

    def is_enough() -> bool:
        answers.append(examine(network, "dealer-a"))
        return condition(*answers[-1])

    poll_until(is_enough)
    return answers[-1]


def list_unwell(found: dict[str, dict[str, str]]) -> dict[str, str]:
    """What the doctor found that is not as it should be."""
    return {what: one["health"] for what, one in found.items() if one["health"] != "ok"}


def operator(network: LocalNetwork, member: str) -> tuple[str, str]:
    return "-p", str(network.folder.get_member(member).operator_profile)


def test_the_doctor_finds_a_node_well_and_says_who_is_not(network: LocalNetwork) -> None:
    # Whoever has just started may be some blocks behind for a moment, and says so.
    code, found = examine_until(network, lambda _, found: list_unwell(found) == {"backup": "warn"})

    assert code == 0
    assert {what for what in found if what.startswith("peer ")} == {
        f"peer {member}/node-1" for member in network.members if member != "dealer-a"
    }

    network.kill("custody-bank")
    _, found = examine_until(network, lambda code, _: code == 0)

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
    poll_until(lambda: examine(network, "custody-bank")[0] == 0)
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

    # Whoever has just started, or is asked on a busy machine, may be slow to answer.
    _, found = examine_until(network, lambda _, found: found["peer dealer-b/node-1"]["health"] == "ok")

    assert "its TLS certificate is refused" in found["peer trust-bank/node-1"]["detail"]


def test_a_backup_is_remembered_with_its_age(network: LocalNetwork, tmp_path: Path) -> None:
    read_json_here("node", "backup", "create", str(tmp_path / "backup"), *operator(network, "trust-bank"))

    _, found = examine(network, "trust-bank")

    assert found["backup"]["health"] == "ok"
    assert "0 hours old" in found["backup"]["detail"]


def test_why_stalled_says_why_and_fails_until_it_is_over(network: LocalNetwork) -> None:
    command = ("node", "why-stalled", *operator(network, "dealer-a"))
    poll_until(lambda: run_tanpo_here(*command).stdout == "nothing is stalled\n")

    for member in ("trust-bank", "dealer-b"):
        network.kill(member)
    told: dict[str, Any] = {}

    def says_why() -> bool:
        done = run_tanpo_here(*command, "-o", "json")
        told.update(json.loads(done.stdout), code=done.returncode)
        return any("no quorum: 1 validators connected" in reason for reason in told["reasons"])

    poll_until(says_why)
    assert (told["stalled"], told["code"]) == (True, 1)
    network.start(["trust-bank", "dealer-b"])
    network.wait_ready()
    poll_until(lambda: run_tanpo_here(*command).returncode == 0)


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
    files.config.write_text(f"nonsense = 7\n{original}# passphrase = hunter2\n")
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
    assert b"nonsense" in read_bundle(wrong)["config-check.json"]
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


class Load:
    """Commits transactions through a member's node, falling back to others, until it is told to stop."""

    def __init__(self, network: LocalNetwork, member: str) -> None:
        self._profile = network.folder.get_member(member).profile
        self._member = member
        self._stopping = threading.Event()
        self.results: list[Result] = []
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(WAIT_S)

    def wait_for(self, count: int) -> None:
        """Wait until so many more are committed."""
        wanted, deadline = len(self.results) + count, time.monotonic() + WAIT_S
        while len(self.results) < wanted and self.failure is None:
            assert time.monotonic() < deadline
            self._stopping.wait(0.02)

    def _run(self) -> None:
        template = load_catalog().get_instrument("usd-deposit").to_arguments()["instrument"]
        assert isinstance(template, dict)
        try:
            with Client(load_profile(self._profile)) as client:
                while not self._stopping.is_set():
                    named = {**template, "id": f"usd-{self._member}-{len(self.results)}"}
                    self.results.append(client.submit("instruments", "define", {"instrument": named}))
        except BaseException as error:
            self.failure = error
            raise


def read_serial(address: str, files: MemberFiles, authorities: Path) -> str:
    """The serial number of the certificate that is shown at an address."""
    context = ssl.create_default_context(cafile=authorities)
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(*files.pem("client"))
    host, port = address.split(":")
    with (
        socket.create_connection((host, int(port)), timeout=WAIT_S) as plain,
        context.wrap_socket(plain) as secure,
    ):
        shown = secure.getpeercert(binary_form=True)
    assert shown is not None
    return f"{x509.load_der_x509_certificate(shown).serial_number:X}"


def renew(network: LocalNetwork, member: str, folder: Path) -> str:
    """Issue another certificate for a member's node and put it in place; return its serial number."""
    files = network.folder.get_member(member)
    ca, ca_key = files.pem("ca")
    arguments = ("node", "node-1", "--member", member, "--ca", str(ca), "--ca-key", str(ca_key))
    issued = read_json_here("cert", "issue", *arguments, "--out", str(folder / member))
    for suffix, target in zip(("crt", "key"), files.pem("node"), strict=True):
        (folder / member / f"node-1.{suffix}").replace(target)
    serial: str = issued["serial"]
    return serial


def test_every_node_goes_over_to_another_certificate_under_load(
    network: LocalNetwork, tmp_path: Path
) -> None:
    with ExitStack() as loads:
        running = [loads.enter_context(Load(network, member)) for member in ("trust-bank", "dealer-a")]
        for member in network.members:
            files, place = network.folder.get_member(member), network.get_node(member)
            reconnects = read_reconnects(place.ops_address)
            serial = renew(network, member, tmp_path)
            rotated = read_json_here("cert", "rotate", *operator(network, member))
            again = read_json_here("cert", "rotate", *operator(network, member))

            assert (rotated["rotated"], rotated["serial"]) == (True, serial)
            assert (again["rotated"], again["serial"]) == (False, serial)
            for address in (place.address, place.peer_address):
                assert read_serial(address, files, network.folder.authorities) == serial
            # A peer that is slow to answer is not waited for long.
            poll_until(partial(have_all_grown, reconnects, place.ops_address))
            grown = count_grown(reconnects, place.ops_address)
            assert len(grown) == len(network.members) - 1
            assert set(grown.values()) == {1.0}, grown
            for load in running:
                load.wait_for(3)
    for load in running:
        assert load.failure is None
        assert all(isinstance(result, Committed) for result in load.results)
    network.wait_ready()


def count_grown(reconnects: dict[str, float], ops_address: str) -> dict[str, float]:
    """How often a node's link to each peer was opened since."""
    return {peer: count - reconnects[peer] for peer, count in read_reconnects(ops_address).items()}


def have_all_grown(reconnects: dict[str, float], ops_address: str) -> bool:
    return min(count_grown(reconnects, ops_address).values()) >= 1


def read_reconnects(ops_address: str) -> dict[str, float]:
    """How often a node's link to each peer was opened."""
    reading = find_reading(ops_address)
    assert reading is not None
    return {
        sample.labels["peer"]: sample.value
        for family in text_string_to_metric_families(reading.text)
        for sample in family.samples
        if sample.name == "tanpo_peer_reconnects_total"
    }


def test_a_certificate_that_peers_would_refuse_is_not_taken_over(
    network: LocalNetwork, tmp_path: Path
) -> None:
    files, place = network.folder.get_member("dealer-b"), network.get_node("dealer-b")
    before = read_serial(place.address, files, network.folder.authorities)
    certificate, key = files.pem("node")
    kept = certificate.read_bytes(), key.read_bytes()
    other = network.folder.get_member("dealer-a").pem("node")
    expired = issue_certificate(
        Authority.load(MemberId("dealer-b"), *(path.read_bytes() for path in files.pem("ca"))),
        Role.NODE,
        "node-1",
        valid_for=timedelta(seconds=1),
    )
    cases = [
        (other[0].read_bytes(), other[1].read_bytes(), "names another holder"),
        (expired.certificate, expired.private_key, "has expired"),
        (kept[0], expired.private_key, "does not belong to tls.certificate"),
        (b"nothing", kept[1], "holds no CERTIFICATE"),
    ]
    for wrong_certificate, wrong_key, why in cases:
        certificate.write_bytes(wrong_certificate)
        key.write_bytes(wrong_key)
        done = run_tanpo_here("cert", "rotate", *operator(network, "dealer-b"))
        assert (done.returncode, why in done.stderr) == (1, True), done.stderr
        assert "the one before stays in use" in done.stderr
    certificate.write_bytes(kept[0])
    key.write_bytes(kept[1])

    assert read_serial(place.address, files, network.folder.authorities) == before
    network.wait_ready()
