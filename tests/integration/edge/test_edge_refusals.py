"""A node that must not start: one clear line, a remedy, a documented exit code, and nothing is touched.

Each case runs the node as a process, and the check that operators run beforehand must say the same.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tanpo.api.v1 import ledger_pb2, ledger_pb2_grpc
from tanpo.cli.backup import create_backup
from tanpo.node.backup_record import RECORD_NAME, BackupRecord, save_record
from tanpo.node.checking import Report, check_node
from tanpo.node.clock import Clock
from tanpo.node.doctor import Health, examine_here
from tanpo.node.exits import ExitCode
from tanpo.node.identity import Role
from tanpo.node.pki import issue_certificate
from tanpo.testing.chaos.damage import mount_small_disk, unmount
from tanpo.testing.site import START_TIMEOUT_S, Site

NOBODY = 65534


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def read_only(site: Site) -> Iterator[None]:
    """The data directory on a volume that cannot be written, or of which this user may not write anything."""
    data = site.folder / "data"
    if os.geteuid() != 0:
        data.chmod(0o500)
        yield
        data.chmod(0o700)
        return
    mount = shutil.which("mount") or "mount"
    bound = subprocess.run([mount, "--bind", data, data], check=False, capture_output=True)
    if bound.returncode != 0:
        pytest.skip(f"root may not mount here, so no volume can be read-only: {bound.stderr.decode()}")
    try:
        subprocess.run([mount, "-o", "remount,ro,bind", data], check=True)
        yield
    finally:
        subprocess.run([shutil.which("umount") or "umount", data], check=True)


@pytest.fixture
def full(site: Site) -> Iterator[None]:
    """The data directory on a volume without room."""
    data = site.folder / "data"
    if not mount_small_disk(data, 8):
        pytest.skip("a small disk cannot be mounted here: it takes root, and leave to mount")
    yield
    unmount(data)


def check(site: Site) -> Report:
    """What the check says that operators run beforehand."""
    return check_node(site.write_config(), Clock.system().wall_ms())


def run_to_end(site: Site) -> tuple[int, list[dict[str, Any]]]:
    """Run a node that cannot start: its exit code, and the errors in its log."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TANPO_")}
    ended = subprocess.run(
        [sys.executable, "-m", "tanpo.node", site.write_config()],
        env=environment,
        capture_output=True,
        timeout=START_TIMEOUT_S,
        check=False,
    )
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    return ended.returncode, [line for line in lines if line["level"] == "error"]


def digest(folder: Path) -> dict[str, str]:
    """Every file below a folder, and what it holds."""
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refuse(site: Site, code: ExitCode, *said: str) -> dict[str, Any]:
    """See that the node does not start, and that the check says the same; return the line."""
    report = check(site)
    before = digest(site.folder)
    ended, errors = run_to_end(site)

    assert (ended, len(errors)) == (code, 1), errors
    (line,) = errors
    assert (line["event"], line["exit_code"]) == ("cannot go on", code)
    assert line["remedy"], line
    for text in said:
        assert text in json.dumps(line), line
    assert report.exit_code == code, report.findings
    assert digest(site.folder) == before
    return line


def test_missing_secret(site: Site) -> None:
    secrets = {"node.key": "tls.key", "node.pem": "tls.certificate", "signing.key": "signing_key"}
    for name, key in secrets.items():
        (site.folder / name).unlink()
        (found,) = (one for one in check(site).faults if one.key == key)
        assert found.error.value == str(site.folder / name)

    refuse(site, ExitCode.CONFIGURATION, "tls.certificate", "node.pem", "No such file", "and 2 more")


def encrypt(key: bytes) -> bytes:
    loaded = serialization.load_pem_private_key(key, password=None)
    form = serialization.BestAvailableEncryption(b"secret")
    return loaded.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, form)


def make_other_curve() -> bytes:
    return ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        (
            "signing.key",
            lambda _: make_other_curve(),
            "signing.key: the private key is not an unencrypted PKCS#8",
        ),
        (
            "signing.key",
            lambda _: b"",
            "signing.key holds no PRIVATE KEY or EC PRIVATE KEY, but nothing at all",
        ),
        ("signing.key", encrypt, "but ENCRYPTED PRIVATE KEY"),
        ("node.key", lambda _: make_other_curve(), "tls.key does not belong to tls.certificate"),
        ("node.key", encrypt, "but ENCRYPTED PRIVATE KEY"),
        ("node.key", lambda _: b"\xff\xfe\x00", "but no PEM block"),
        ("node.pem", lambda _: make_other_curve(), "holds no CERTIFICATE, but PRIVATE KEY"),
        ("genesis.json", lambda _: b"[" * 100_000, "it is no JSON"),
    ],
)
def test_a_file_that_is_another_than_it_should_be_is_named(
    site: Site, file: str, change: Callable[[bytes], bytes], said: str
) -> None:
    path = site.folder / file
    path.write_bytes(change(path.read_bytes()))

    first = check(site).faults[0].error

    assert said in first.message
    assert first.value == str(path)
    assert first.remedy


@pytest.mark.parametrize("file", ["signing.key", "node.key", "node.pem", "genesis.json"])
def test_what_is_no_file_is_refused_and_not_waited_for(site: Site, file: str) -> None:
    path = site.folder / file
    path.unlink()
    os.mkfifo(path)
    assert "it is no regular file" in check(site).faults[0].error.message
    path.unlink()
    path.symlink_to(path)
    assert "Too many levels of symbolic links" in check(site).faults[0].error.message


def test_a_log_that_cannot_be_written(site: Site) -> None:
    site.config = f'log_file = "node.log"\n{site.config}'
    assert check(site).faults == ()
    (site.folder / "node.log").mkdir()
    refuse(site, ExitCode.CONFIGURATION, "log_file: cannot write", "Is a directory")
    site.change('"node.log"', '"none/node.log"')
    refuse(site, ExitCode.CONFIGURATION, "log_file: cannot write", "No such file or directory")


def test_data_behind_a_link_that_leads_nowhere(site: Site) -> None:
    data = site.folder / "data"
    shutil.rmtree(data)
    data.symlink_to(data)
    refuse(site, ExitCode.CONFIGURATION, "is a link that leads nowhere")
    data.unlink()
    data.symlink_to(site.folder / "not-mounted")
    refuse(site, ExitCode.CONFIGURATION, "is a link that leads nowhere")


@pytest.fixture
def confined() -> tuple[str, ...]:
    """What a command begins with so that it may open no more than the owner of its files may."""
    if os.geteuid() != 0:
        return ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root may open everything, and setpriv is not installed (Debian: util-linux)")
    return (setpriv, "--bounding-set=-all", "--inh-caps=-all")


@pytest.mark.parametrize("name", ["", "lock", "blocks", "state", "consensus/live"])
def test_data_that_belongs_to_another_user_is_not_taken_for_damaged(
    site: Site, confined: tuple[str, ...], name: str
) -> None:
    """As after a command that an operator ran as root: to move such data aside would be wrong."""
    path, config = site.folder / "data" / name, site.write_config()
    mode = path.stat().st_mode
    before = digest(site.folder)
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o700 if path.is_dir() else 0o600)
    else:
        path.chmod(0)
    command = (*confined, sys.executable, "-m")
    node = subprocess.run(
        [*command, "tanpo.node", config], capture_output=True, check=False, timeout=START_TIMEOUT_S
    )
    checked = subprocess.run(
        [*command, "tanpo.cli", "node", "config", "check", config],
        capture_output=True,
        check=False,
        timeout=START_TIMEOUT_S,
    )
    path.chmod(mode)

    (line,) = map(json.loads, node.stderr.splitlines())
    assert (node.returncode, line["reason"]) == (ExitCode.DATA_UNWRITABLE, "DATA_UNWRITABLE")
    assert line["value"] == str(path).rstrip("/")
    assert checked.returncode == ExitCode.DATA_UNWRITABLE
    assert digest(site.folder) == before


def test_wrong_value_and_everything_else_that_is_wrong(site: Site) -> None:
    site.change("base_timeout_ms = 1000", "base_timeout_ms = 0")
    site.change('log_level = "info"', 'log_level = "loud"')
    (site.folder / "node.key").unlink()

    refuse(site, ExitCode.CONFIGURATION, "log_level", "loud", "(and 2 more: see `tanpo node config check`)")

    shown = subprocess.run(
        [sys.executable, "-m", "tanpo.cli", "node", "config", "check", site.write_config(), "-o", "json"],
        capture_output=True,
        check=False,
    )
    told = json.loads(shown.stdout)
    assert (shown.returncode, told["ok"], told["exit_reason"]) == (2, False, "CONFIGURATION")
    assert [found["key"] for found in told["findings"]] == ["log_level", "timing.base_timeout_ms", "tls.key"]
    assert all(found["limit"] and found["remedy"] for found in told["findings"])


def test_certificate_that_expired(site: Site) -> None:
    expired = issue_certificate(site.authority, Role.NODE, "n1", valid_for=timedelta(seconds=1))
    site.write("node.pem", expired.certificate)
    site.write("node.key", expired.private_key)

    refuse(site, ExitCode.CONFIGURATION, "tls.certificate has expired", "tanpo cert issue")


def test_certificate_for_clients_only(site: Site) -> None:
    client = issue_certificate(site.authority, Role.CLIENT, "n1")
    site.write("node.pem", client.certificate)
    site.write("node.key", client.private_key)

    refuse(site, ExitCode.CONFIGURATION, "names another holder", "client solo/n1")

    report = check(site)
    said = " ".join(found.error.message for found in report.faults)
    assert "host name that peers and clients expect" in said
    assert "not for server authentication" in said


def test_genesis_of_another_network(site: Site) -> None:
    document = json.loads((site.folder / "genesis.json").read_text())
    site.write("genesis.json", json.dumps(document | {"network": "other"}).encode())

    refuse(site, ExitCode.GENESIS_MISMATCH, "belongs to network", site.genesis.network_id.hex())


@pytest.mark.parametrize("content", [b"\x00\x01", b"{}", b'{"version": 1.5}'])
def test_genesis_that_is_none(site: Site, content: bytes) -> None:
    genesis = site.folder / "genesis.json"
    genesis.write_bytes(content)

    line = refuse(site, ExitCode.CONFIGURATION, "genesis.json: genesis is unusable")
    assert line["value"] == str(genesis)
    assert "Error" not in line["why"]


def test_authority_of_another_network(site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Site(tmp_path_factory.mktemp("other"))
    site.write("ca.pem", other.authority.certificate_pem)

    refuse(site, ExitCode.CONFIGURATION, "was not issued by the CA of solo")


def test_clock_before_the_genesis(site: Site) -> None:
    document = json.loads((site.folder / "genesis.json").read_text())
    site.write("genesis.json", json.dumps(document | {"time_ms": 2**41}).encode())
    shutil.rmtree(site.folder / "data")

    refuse(site, ExitCode.CLOCK_WRONG, "behind the network's genesis", "NTP")


def test_port_in_use(site: Site) -> None:
    with ExitStack() as opened:
        for key in ("listen", "peer_listen", "ops_listen"):
            taken = opened.enter_context(socket.socket())
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            site.change(f'\n{key} = "127.0.0.1:0"', f'\n{key} = "{address}"')
            assert any(one.key == key and one.error.value == address for one in check(site).faults)
        refuse(site, ExitCode.PORT_IN_USE, "listen: another process listens on", "and 2 more")


@pytest.mark.usefixtures("read_only")
def test_volume_that_cannot_be_written(site: Site) -> None:
    refuse(site, ExitCode.DATA_UNWRITABLE, "data_dir cannot be written", str(site.folder / "data"))


@pytest.mark.usefixtures("full")
def test_volume_without_room(site: Site) -> None:
    refuse(site, ExitCode.DISK_FULL, "is full", str(site.folder / "data"))


def write_network(site: Site, version: int, covered: Callable[[int, bytes], bytes]) -> None:
    """Let the data directory say that it has another format."""
    network_id = site.genesis.network_id
    check = blake2b(covered(version, network_id), digest_size=8).hexdigest()
    (site.folder / "data" / "network").write_text(f"tanpo-ledger {version} {network_id.hex()} {check}\n")


def test_data_of_a_newer_version(site: Site) -> None:
    write_network(site, 7, lambda version, network_id: b"%d %b" % (version, network_id))

    refuse(site, ExitCode.DATA_NEWER, "written by a newer version", "format 7", "format 1 or older")


def test_a_damaged_format_is_no_newer_version(site: Site) -> None:
    write_network(site, 3, lambda version, network_id: network_id)

    refuse(site, ExitCode.DATA_CORRUPT, "missing or damaged")


async def commit(site: Site, request_id: str) -> None:
    """Start the node, commit a transaction, and stop it."""
    async with site.running() as (process, serving):
        async with site.channel(serving["port"]) as channel:
            stub: Any = ledger_pb2_grpc.LedgerStub(channel)
            request = ledger_pb2.SubmitRequest(envelope=site.envelope(request_id))
            (outcome,) = (await stub.Submit(request, timeout=START_TIMEOUT_S)).outcomes
            assert outcome.state == ledger_pb2.Outcome.COMMITTED
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == ExitCode.OK


async def test_data_that_is_older_than_the_backup(site: Site) -> None:
    data, old = site.folder / "data", site.folder / "old"
    site.change('signing_key = "signing.key"', 'signing_key = "signing.key"\nbackup_record = "last.json"')
    await commit(site, "first")
    shutil.copytree(data, old)
    await commit(site, "second")
    manifest = create_backup(
        site.folder / "backup",
        profile=None,
        config=site.write_config(),
        passphrase_file=None,
        with_keys=False,
    )
    assert manifest.origin.height > 1
    shutil.rmtree(data)
    old.rename(data)
    before = digest(data / "blocks")

    code, (line,) = run_to_end(site)

    assert (code, line["reason"]) == (ExitCode.DATA_OLDER, "DATA_OLDER")
    assert "remove that file" in line["remedy"]
    assert digest(data / "blocks") == before
    report = check(site)
    assert any("may be older than the latest backup" in found.error.message for found in report.findings)
    (site.folder / "last.json").unlink()
    await commit(site, "third")


async def test_a_check_beside_a_running_node_finds_no_fault_and_disturbs_nothing(site: Site) -> None:
    async with site.running():
        report = check_node(site.folder / "node.toml", Clock.system().wall_ms())
        assert (report.is_in_use, report.faults) == (True, ())
        code, (line,) = run_to_end(site)
        assert (code, line["reason"]) == (ExitCode.DATA_LOCKED, "DATA_LOCKED")


def test_a_record_of_a_backup_that_is_damaged_is_as_good_as_none_and_warned_of(site: Site) -> None:
    path = site.folder / "data" / RECORD_NAME
    save_record(path, BackupRecord(height=9, block_hash="00", created_ms=1))
    path.write_bytes(path.read_bytes()[:-8])

    (found,) = check(site).findings

    assert (found.key, found.is_fault) == ("backup_record", False)
    assert found.error.value == str(path)


@pytest.mark.parametrize("command", [("node", "doctor"), ("debug", "bundle", "--out", "bundle.tar.gz")])
def test_a_log_in_a_folder_that_may_not_be_entered_is_no_hindrance_to_whoever_looks_a_node_over(
    site: Site, tmp_path: Path, confined: tuple[str, ...], command: tuple[str, ...]
) -> None:
    closed = site.folder / "closed"
    closed.mkdir()
    (closed / "node.log").touch()
    if os.geteuid() == 0:
        os.chown(closed, NOBODY, NOBODY)
    closed.chmod(0o700 if os.geteuid() == 0 else 0)
    site.config = f'log_file = "closed/node.log"\n{site.config}'
    done = subprocess.run(
        [*confined, sys.executable, "-m", "tanpo.cli", *command, site.write_config(), "-o", "json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=START_TIMEOUT_S,
    )
    closed.chmod(0o700)

    assert done.stderr == ""
    assert json.loads(done.stdout)


def test_the_doctor_says_how_a_node_ended_and_does_not_have_a_halted_one_started(site: Site) -> None:
    genesis = (site.folder / "genesis.json").read_bytes()
    (site.folder / "genesis.json").write_bytes(genesis.replace(b"testnet", b"another"))
    log = site.folder / "node.log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "tanpo.node", str(site.write_config())]
        subprocess.run(command, stderr=file, check=False, timeout=START_TIMEOUT_S)
    (site.folder / "genesis.json").write_bytes(genesis)

    (found,) = (one for one in examine_here(site.folder / "node.toml") if one.what == "node")
    assert found.health is Health.WARN
    assert "with exit code 6 (GENESIS_MISMATCH)" in found.detail
    assert found.remedy.startswith("give the node the genesis file of that network")

    halted = {**json.loads(log.read_text().splitlines()[-1]), "exit_code": 8, "why": "roots differ"}
    del halted["remedy"]
    with log.open("a") as text:
        text.write(json.dumps(halted) + "\n")
    (found,) = (one for one in examine_here(site.folder / "node.toml") if one.what == "node")
    assert found.health is Health.FAIL
    assert "with exit code 8 (HALTED): roots differ" in found.detail
    assert found.remedy.startswith("do not start it in a loop")

    with log.open("a") as text:
        text.write(json.dumps(halted | {"event": "stopped"}) + "\n")
    (found,) = (one for one in examine_here(site.folder / "node.toml") if one.what == "node")
    assert (found.health, found.remedy) == (Health.WARN, "start it")
