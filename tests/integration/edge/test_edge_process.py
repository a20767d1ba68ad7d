"""Nodes as processes: they start, serve, stop, and say by their exit code why they could not."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog
from tanpo.api.v1 import ledger_pb2, ledger_pb2_grpc, network_pb2, network_pb2_grpc
from tanpo.ledger.errors import UsageError
from tanpo.ledger.genesis import Genesis, InstalledContract, Member, Parameters, genesis_to_json
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.transaction import Call, build_transaction, sign_envelope
from tanpo.ledger.types import MemberId
from tanpo.ledger.validators import Validator
from tanpo.node.app import ExitCode, init_node, run_node
from tanpo.node.config import NodeConfig, TlsConfig, render_config
from tanpo.node.identity import Role
from tanpo.node.pki import create_authority, issue_certificate
from tanpo.node.promises import create_promises
from tanpo.node.tls import load_channel_credentials

START_TIMEOUT_S = 60
WORK_BLOCKS = 30
WORK_ROUNDS = 60_000
SOLO = MemberId("solo")

NOTES = """
notes: Map[str, str]


@entry
def write(name: str, text: str) -> None:
    notes[name] = text
    emit("Written", name=name)


@entry
def work(rounds: int) -> int:
    total = 0
    for number in range(rounds):
        total += number
    return total
"""


class Site:
    """One member with one validator: its files, and its configuration as a text to be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = create_authority(SOLO, "testnet")
        self.signing_key, self.key = PrivateKey.generate(), PrivateKey.generate()
        self.genesis = Genesis(
            network="testnet",
            time_ms=time.time_ns() // 1_000_000,
            parameters=Parameters(),
            members=(
                Member(
                    member=SOLO,
                    name="Solo",
                    lei="",
                    roles=(),
                    ca_certificate=self.authority.certificate_pem,
                    keys=(self.key.public_key.encoded,),
                ),
            ),
            validators=(Validator(member=SOLO, node="n1", public_key=self.signing_key.public_key.encoded),),
            contracts=(InstalledContract(name="notes", source=NOTES, arguments=()),),
        )
        node = issue_certificate(self.authority, Role.NODE, "n1")
        self.client = issue_certificate(self.authority, Role.CLIENT, "desk")
        self.write("genesis.json", genesis_to_json(self.genesis).encode())
        self.write("ca.pem", self.authority.certificate_pem)
        self.write("node.pem", node.certificate)
        self.write("node.key", node.private_key)
        self.write("signing.key", self.signing_key.to_pem())
        create_promises(self.genesis, folder / "data")
        self.config = render_config(
            NodeConfig(
                member=SOLO,
                node="n1",
                data_dir=Path("data"),
                genesis=Path("genesis.json"),
                listen="127.0.0.1:0",
                peer_listen="127.0.0.1:0",
                ops_listen="127.0.0.1:0",
                tls=TlsConfig(ca=Path("ca.pem"), certificate=Path("node.pem"), key=Path("node.key")),
                signing_key=Path("signing.key"),
            )
        )

    def write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o600)

    async def start(self) -> Process:
        """Start the node's process."""
        self.write("node.toml", self.config.encode())
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TANPO_")}
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tanpo.node", str(self.folder / "node.toml"), stderr=PIPE, env=environment
        )

    def run_to_end(self, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
        """Run a node that cannot start, in this process: its exit code and its last line."""
        self.write("node.toml", self.config.encode())
        code = run_node(self.folder / "node.toml")
        return code, json.loads(capsys.readouterr().err.splitlines()[-1])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[Process, dict[str, Any]]]:
        """Run a node: its process, and the line that names its ports."""
        process = await self.start()
        try:
            yield process, await read_until(process, "serving")
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def channel(self, port: int) -> grpc.aio.Channel:
        credentials = load_channel_credentials(
            self.authority.certificate_pem, self.client.certificate, self.client.private_key
        )
        return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials)

    def envelope(self, request_id: str) -> bytes:
        return self.seal(request_id, Call.create("notes", "write", {"name": request_id, "text": "x"}))

    def seal(self, request_id: str, call: Call) -> bytes:
        transaction = build_transaction(
            network_id=self.genesis.network_id,
            member=SOLO,
            request_id=request_id,
            valid_until_ms=time.time_ns() // 1_000_000 + 600_000,
            gas_limit=1_000_000,
            signers=[self.key.key_id],
            call=call,
        )
        return sign_envelope(self.genesis.network_id, [transaction], [self.key]).encoded


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    """Running a node in this process changes how the process logs."""
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


async def read_until(process: Process, event: str) -> dict[str, Any]:
    """Return the first line of the log that tells of an event."""
    assert process.stderr is not None
    async with asyncio.timeout(START_TIMEOUT_S):
        async for line in process.stderr:
            fields: dict[str, Any] = json.loads(line)
            assert fields["level"] != "error", fields
            if fields["event"] == event:
                return fields
    raise AssertionError(f"the node ended without {event!r}")


async def test_node_commits_stops_on_sigterm_and_remembers(site: Site) -> None:
    request = ledger_pb2.SubmitRequest(envelope=site.envelope("first"))
    async with site.running() as (process, serving):
        async with site.channel(serving["port"]) as channel:
            stub: Any = ledger_pb2_grpc.LedgerStub(channel)
            (outcome,) = (await stub.Submit(request, timeout=START_TIMEOUT_S)).outcomes
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(START_TIMEOUT_S):
            assert await process.wait() == ExitCode.OK
    assert (outcome.state, outcome.height) == (ledger_pb2.Outcome.COMMITTED, 1)
    async with site.running() as (_, serving), site.channel(serving["port"]) as channel:
        stub = ledger_pb2_grpc.LedgerStub(channel)
        network: Any = network_pb2_grpc.NetworkStub(channel)
        (again,) = (await stub.Submit(request, timeout=START_TIMEOUT_S)).outcomes
        status = await network.GetStatus(network_pb2.GetStatusRequest(), timeout=START_TIMEOUT_S)
    assert (again.state, again.height, again.receipt) == (outcome.state, 1, outcome.receipt)
    assert (status.is_ready, status.is_leader) == (True, True)
    assert status.height >= 1


async def test_a_node_that_was_not_prepared_signs_nothing_until_it_is(site: Site) -> None:
    shutil.rmtree(site.folder / "data")
    process = await site.start()
    try:
        assert process.stderr is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            lines = [json.loads(await process.stderr.readline()) for _ in range(4)]
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == ExitCode.OK
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    [amnesia] = [line for line in lines if line["event"].startswith("amnesia")]
    assert "tanpo node init" in amnesia["remedy"]
    assert not (site.folder / "data" / "consensus").exists()

    init_node(site.folder / "node.toml")
    async with site.running() as (_, serving), site.channel(serving["port"]) as channel:
        stub: Any = ledger_pb2_grpc.LedgerStub(channel)
        request = ledger_pb2.SubmitRequest(envelope=site.envelope("first"))
        (outcome,) = (await stub.Submit(request, timeout=START_TIMEOUT_S)).outcomes
    assert outcome.state == ledger_pb2.Outcome.COMMITTED
    shutil.rmtree(site.folder / "data" / "consensus")
    with pytest.raises(UsageError, match="not new: the ledger has blocks"):
        init_node(site.folder / "node.toml")


async def work(site: Site) -> None:
    """Commit blocks that take long to execute again."""
    async with site.running() as (process, serving):
        async with site.channel(serving["port"]) as channel:
            stub: Any = ledger_pb2_grpc.LedgerStub(channel)
            for number in range(WORK_BLOCKS):
                call = Call.create("notes", "work", {"rounds": WORK_ROUNDS})
                request = ledger_pb2.SubmitRequest(envelope=site.seal(f"work-{number}", call))
                (outcome,) = (await stub.Submit(request, timeout=START_TIMEOUT_S)).outcomes
                assert outcome.state == ledger_pb2.Outcome.COMMITTED
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == ExitCode.OK


async def test_a_start_without_state_tells_how_far_it_is_and_ends_on_sigterm(site: Site) -> None:
    await work(site)
    shutil.rmtree(site.folder / "data" / "state")
    process = await site.start()
    try:
        told = await read_until(process, "executing stored blocks again")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(START_TIMEOUT_S):
            assert process.stderr is not None
            lines = [json.loads(line) async for line in process.stderr]
            assert await process.wait() == ExitCode.OK
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (told["height"], told["target"] >= WORK_BLOCKS) == (0, True)
    assert lines[-1]["event"].startswith("stopped before it was up")
    async with site.running() as (_, serving):
        assert serving["height"] >= WORK_BLOCKS


async def test_a_rebuild_is_interrupted_goes_on_and_says_what_came_of_it(site: Site) -> None:
    await work(site)
    command = (sys.executable, "-m", "tanpo.cli", "node", "rebuild", str(site.folder / "node.toml"))
    process = await asyncio.create_subprocess_exec(*command, stderr=PIPE)
    try:
        assert process.stderr is not None
        assert b"block 0 of" in await process.stderr.readline()
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(START_TIMEOUT_S):
            rest = await process.stderr.read()
            assert await process.wait() == 130
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert b"rebuilding was interrupted: run the command again" in rest
    again = await asyncio.create_subprocess_exec(*command, "-o", "json", stdout=PIPE, stderr=PIPE)
    out, err = await again.communicate()
    assert again.returncode == 0, err
    assert not (site.folder / "data" / "rebuild").exists()
    code, audit, err = await run_audit(site)
    assert (code, audit["equal"], audit["stored_height"]) == (0, True, json.loads(out)["height"]), err
    async with site.running() as (_, serving):
        assert json.loads(out)["height"] == serving["height"] >= WORK_BLOCKS
        code, _, err = await run_audit(site)
        assert (code, b"DATA_LOCKED" in err) == (1, True)
        code, audit, err = await run_audit(site, "--chain-only")
        assert (code, audit["equal"], audit["stored_height"]) == (0, True, None), err


async def test_keys_are_in_a_backup_only_when_asked_for_and_encrypted(site: Site) -> None:
    async with site.running() as (process, _):
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == ExitCode.OK
    site.write("secret", b"a passphrase for a test")
    config, plain, whole = (site.folder / name for name in ("node.toml", "plain", "whole"))
    secret = ("--passphrase-file", site.folder / "secret")
    await run_backup("create", plain, "--config", config)
    await run_backup("create", whole, "--config", config, "--with-keys", *secret)
    for backup in (plain, whole):
        assert site.signing_key.to_pem() not in backup.read_bytes()
    shutil.rmtree(site.folder / "data")
    await run_backup("restore", plain, config, "--keys", site.folder / "none")
    assert not (site.folder / "none").exists()
    shutil.rmtree(site.folder / "data")
    await run_backup("restore", whole, config, "--keys", site.folder / "keys", *secret)
    keys = site.folder / "keys"
    assert (keys / "signing_key.pem").read_bytes() == site.signing_key.to_pem()
    assert (keys / "node.toml").read_bytes() == config.read_bytes()
    assert {path.stat().st_mode & 0o777 for path in keys.iterdir()} == {0o600}


async def run_backup(*arguments: str | Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tanpo.cli", "node", "backup", *map(str, arguments)), stdout=PIPE, stderr=PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 0, err


async def run_audit(site: Site, *options: str) -> tuple[int | None, dict[str, Any], bytes]:
    """Run the command on the node's files: its exit code, its report and what it says besides."""
    audit = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tanpo.cli", "node", "audit", str(site.folder / "node.toml"), "-o", "json"),
        *options,
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await audit.communicate()
    return audit.returncode, json.loads(out or b"{}"), err


def test_a_validator_alone_cannot_rejoin(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.config = site.config.replace("may_rejoin = false", "may_rejoin = true")
    code, line = site.run_to_end(capsys)
    assert (code, line["value"], line["limit"]) == (ExitCode.CONFIGURATION, "0 others", "1 or more")


async def test_second_process_on_the_same_data_is_refused(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    async with site.running():
        code, line = await asyncio.to_thread(site.run_to_end, capsys)
    assert (code, line["reason"]) == (ExitCode.DATA_LOCKED, "DATA_LOCKED")
    assert line["remedy"]


@pytest.mark.parametrize("key", ["listen", "peer_listen", "ops_listen"])
def test_port_in_use_is_named(site: Site, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        site.config = site.config.replace(f'\n{key} = "127.0.0.1:0"', f'\n{key} = "{address}"')
        code, line = site.run_to_end(capsys)
    assert (code, line["reason"], line["value"]) == (ExitCode.PORT_IN_USE, "PORT_IN_USE", address)
    assert key in line["why"]


async def test_data_of_another_network_is_refused(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with site.running() as (process, _):
        process.send_signal(signal.SIGTERM)
        await process.wait()
    document = json.loads((tmp_path / "genesis.json").read_text())
    site.write("genesis.json", json.dumps(document | {"network": "other"}).encode())
    code, line = await asyncio.to_thread(site.run_to_end, capsys)
    assert (code, line["reason"]) == (ExitCode.GENESIS_MISMATCH, "GENESIS_MISMATCH")


def test_genesis_in_the_future_means_a_wrong_clock(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads((tmp_path / "genesis.json").read_text())
    site.write("genesis.json", json.dumps(document | {"time_ms": 2**41}).encode())
    code, line = site.run_to_end(capsys)
    assert (code, line["reason"]) == (ExitCode.CONFIGURATION, "CONFIGURATION")
    assert "clock" in line["why"]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('member = "solo"', 'member = "nobody"', "member is not in the genesis"),
        ('node = "n1"', 'node = "n2"', "tls.certificate names another holder"),
        ('key = "node.key"', 'key = "signing.key"', "tls.key does not belong to tls.certificate"),
        ('certificate = "node.pem"', 'certificate = "none.pem"', "No such file"),
        ('genesis = "genesis.json"', 'genesis = "none.json"', "genesis: cannot read"),
        ("[tls]", '[[peers]]\nmember = "x"\nnode = "n1"\naddress = "x:1"\n[tls]', "is of no member"),
        ("[tls]", '[[peers]]\nmember = "solo"\nnode = "n1"\naddress = "x:1"\n[tls]', "is this node"),
    ],
)
def test_wrong_configuration_is_named(
    site: Site, old: str, new: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in site.config
    site.config = site.config.replace(old, new)
    code, line = site.run_to_end(capsys)
    assert (code, line["reason"]) == (ExitCode.CONFIGURATION, "CONFIGURATION")
    assert why in line["why"]


async def test_a_key_that_the_validators_do_not_name_makes_an_observer_that_says_so(site: Site) -> None:
    site.config = site.config.replace('signing_key = "signing.key"', 'signing_key = "node.key"')
    async with site.running() as (_, serving), site.channel(serving["port"]) as channel:
        network: Any = network_pb2_grpc.NetworkStub(channel)
        status = await network.GetStatus(network_pb2.GetStatusRequest(), timeout=START_TIMEOUT_S)
    assert "name another key for this node" in serving["observer"]
    assert "name another key for this node" in status.observer_reason
    assert (status.epoch, list(status.validators)) == (0, ["solo/n1"])


async def test_validator_without_an_address_is_an_obstacle_and_no_refusal(site: Site) -> None:
    other = Validator(member=SOLO, node="n2", public_key=PrivateKey.generate().public_key.encoded)
    genesis = Genesis(
        network="testnet",
        time_ms=site.genesis.time_ms,
        parameters=Parameters(),
        members=site.genesis.members,
        validators=(*site.genesis.validators, other),
        contracts=(),
    )
    site.write("genesis.json", genesis_to_json(genesis).encode())
    shutil.rmtree(site.folder / "data")
    async with site.running() as (_, serving), site.channel(serving["port"]) as channel:
        network: Any = network_pb2_grpc.NetworkStub(channel)
        status = await network.GetStatus(network_pb2.GetStatusRequest(), timeout=START_TIMEOUT_S)
    assert not status.is_ready
    assert "no link to solo/n2: it has no address in peers" in status.stalled_reason
