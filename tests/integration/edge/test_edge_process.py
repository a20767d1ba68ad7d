"""Nodes as processes: they start, serve, stop, and say by their exit code why they could not."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from tanpo.api.v1 import ledger_pb2, ledger_pb2_grpc, network_pb2, network_pb2_grpc
from tanpo.ledger.errors import UsageError
from tanpo.ledger.genesis import Genesis, Parameters, genesis_to_json
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.transaction import Call
from tanpo.ledger.validators import Validator
from tanpo.node.app import run_node
from tanpo.node.exits import ExitCode
from tanpo.node.initialising import init_node
from tanpo.testing.site import SOLO, START_TIMEOUT_S, Site, read_until
from tanpo.testing.waiting import wait_until

WORK_BLOCKS = 30
WORK_ROUNDS = 60_000


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


def run_to_end(site: Site, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """Run a node that cannot start, in this process: its exit code and its last line."""
    code = run_node(site.write_config())
    return code, json.loads(capsys.readouterr().err.splitlines()[-1])


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

        async def leads() -> bool:
            status = await network.GetStatus(network_pb2.GetStatusRequest(), timeout=START_TIMEOUT_S)
            assert status.height >= 1
            return bool(status.is_ready and status.is_leader)

        await wait_until(leads)
    assert (again.state, again.height, again.receipt) == (outcome.state, 1, outcome.receipt)


async def test_a_node_that_was_not_prepared_signs_nothing_until_it_is(site: Site) -> None:
    shutil.rmtree(site.folder / "data")
    process = await site.start()
    try:
        assert process.stderr is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            amnesia = json.loads(await process.stderr.readline())
            while not amnesia["event"].startswith("amnesia"):
                amnesia = json.loads(await process.stderr.readline())
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == ExitCode.OK
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
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
    code, line = run_to_end(site, capsys)
    assert (code, line["value"], line["limit"]) == (ExitCode.CONFIGURATION, "0 others", "1 or more")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('member = "solo"', 'member = "nobody"', "tls.certificate names another holder"),
        ('node = "n1"', 'node = "n2"', "tls.certificate names another holder"),
        ('key = "node.key"', 'key = "signing.key"', "tls.key does not belong to tls.certificate"),
        ('certificate = "node.pem"', 'certificate = "none.pem"', "No such file"),
        ('genesis = "genesis.json"', 'genesis = "none.json"', "genesis: cannot read"),
        (
            "[tls]",
            '[[peers]]\nmember = "x"\nnode = "n1"\naddress = "x:1"\nca = "none.pem"\n[tls]',
            "peers.0.ca: cannot read",
        ),
        ("[tls]", '[[peers]]\nmember = "solo"\nnode = "n1"\naddress = "x:1"\n[tls]', "is this node"),
    ],
)
def test_wrong_configuration_is_named(
    site: Site, old: str, new: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in site.config
    site.config = site.config.replace(old, new)
    code, line = run_to_end(site, capsys)
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
