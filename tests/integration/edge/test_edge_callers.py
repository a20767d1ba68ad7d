"""Who may speak: certificates, members, roles."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tanpo.api.v1 import admin_pb2, admin_pb2_grpc, network_pb2, network_pb2_grpc, peer_pb2, peer_pb2_grpc
from tanpo.ledger.types import MemberId
from tanpo.node.backups import BackupSource
from tanpo.node.identity import Role
from tanpo.node.pki import create_authority, issue_certificate
from tanpo.node.services import admin

TIMEOUT_S = 60


async def ask_status(channel: grpc.aio.Channel) -> Any:
    stub: Any = network_pb2_grpc.NetworkStub(channel)
    return await stub.GetStatus(network_pb2.GetStatusRequest(), timeout=TIMEOUT_S)


async def test_a_client_of_the_nodes_member_is_served(world: Any, start_node: Any) -> None:
    async with start_node("alpha") as node, node.channel(world.issue("alpha", "client")) as channel:
        status = await ask_status(channel)
    assert (status.network, status.member, status.height, status.leader) == ("testnet", "alpha", 7, "beta/n1")


async def test_a_caller_without_a_certificate_does_not_get_in(start_node: Any) -> None:
    async with start_node("alpha") as node, node.channel(None) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask_status(channel)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_an_expired_certificate_does_not_get_in(world: Any, start_node: Any) -> None:
    expired = world.issue(
        "alpha", "client", valid_from=datetime.now(UTC) - timedelta(days=2), valid_for=timedelta(days=1)
    )
    async with start_node("alpha") as node, node.channel(expired) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask_status(channel)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_that_expires_on_an_open_connection_is_refused(
    world: Any, start_node: Any, refused: Any
) -> None:
    now = [datetime.now(UTC)]
    async with (
        start_node("alpha", now=lambda: now[0]) as node,
        node.channel(world.issue("alpha", "client")) as channel,
    ):
        await ask_status(channel)
        now[0] += timedelta(days=1000)
        with refused() as refusal:
            await ask_status(channel)
    assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "CALLER_UNKNOWN")
    assert "expired" in refusal.message
    assert refusal.metadata["remedy"]
    assert refusal.metadata["retry"] == "false"


async def test_a_certificate_of_a_foreign_ca_does_not_get_in(start_node: Any) -> None:
    foreign = create_authority(MemberId("alpha"), "testnet")
    certificate = issue_certificate(foreign, Role.CLIENT, "mallory")
    async with start_node("alpha") as node, node.channel(certificate) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask_status(channel)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_ca_of_one_member_cannot_speak_for_another(
    world: Any, start_node: Any, refused: Any
) -> None:
    forged = world.issue("beta", "operator", "mallory", member=MemberId("alpha"))
    async with start_node("alpha") as node, node.channel(forged) as channel:
        with refused() as refusal:
            await ask_status(channel)
    assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "CALLER_UNKNOWN")
    assert "not issued by the CA of alpha" in refusal.message


async def test_a_client_of_a_member_that_is_not_served_is_refused(
    world: Any, start_node: Any, refused: Any
) -> None:
    async with start_node("alpha") as node, node.channel(world.issue("beta", "client")) as channel:
        with refused() as refusal:
            await ask_status(channel)
    assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "CALLER_FORBIDDEN")
    assert refusal.metadata["value"] == "client beta/someone"
    assert refusal.metadata["limit"].endswith("alpha")


async def test_a_client_of_a_listed_member_is_served(world: Any, start_node: Any) -> None:
    async with (
        start_node("alpha", clients=("alpha", "beta")) as node,
        node.channel(world.issue("beta", "client")) as channel,
    ):
        assert (await ask_status(channel)).member == "alpha"


@pytest.mark.parametrize(("member", "role"), [("alpha", "client"), ("beta", "operator"), ("alpha", "node")])
async def test_only_operators_of_the_own_member_may_administer(
    world: Any, start_node: Any, refused: Any, member: str, role: str
) -> None:
    async with (
        start_node("alpha", clients=("alpha", "beta")) as node,
        node.channel(world.issue(member, role)) as channel,
    ):
        stub: Any = admin_pb2_grpc.AdminStub(channel)
        with refused() as refusal:
            await stub.ListPeers(admin_pb2.ListPeersRequest(), timeout=TIMEOUT_S)
        assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "CALLER_FORBIDDEN")
        with refused() as refusal:
            await stub.StreamBackup(admin_pb2.StreamBackupRequest(), timeout=TIMEOUT_S).read()
        assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "CALLER_FORBIDDEN")


async def test_an_operator_gets_a_backup_what_it_is_of_first(world: Any, start_node: Any) -> None:
    async with start_node("alpha") as node, node.channel(world.issue("alpha", "operator")) as channel:
        stub: Any = admin_pb2_grpc.AdminStub(channel)
        for _ in range(2):
            stream = stub.StreamBackup(admin_pb2.StreamBackupRequest(), timeout=TIMEOUT_S)
            first, *rest = [part async for part in stream]
            assert (first.origin.member, first.origin.height) == ("alpha", 7)
            assert [one.data.name for one in rest] == ["genesis.json", "state.rows"]


async def test_a_backup_that_nobody_reads_is_given_up_and_holds_nothing_up(
    world: Any, start_node: Any, refused: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that somebody suspended keeps old files from being removed."""
    monkeypatch.setattr(admin, "COPY_PATIENCE_S", 0.2)
    given: list[int] = []
    ended: list[int] = []

    def read_parts() -> Generator[tuple[str, bytes], None, None]:
        try:
            for number in range(1_000):
                given.append(number)
                yield "state.rows", bytes(128 << 10)
        finally:
            ended.append(len(given))

    async with start_node("alpha") as node, node.channel(world.issue("alpha", "operator")) as channel:
        stub: Any = admin_pb2_grpc.AdminStub(channel)
        origin, copy = node.core.copy().origin, node.core.copy
        node.core.copy = lambda: BackupSource(origin=origin, parts=read_parts())
        stream = aiter(stub.StreamBackup(admin_pb2.StreamBackupRequest(), timeout=TIMEOUT_S))
        assert (await anext(stream)).origin.height == 7
        await wait_until(lambda: ended)
        assert 0 < ended[0] < 1_000

        node.core.copy = copy
        again = stub.StreamBackup(admin_pb2.StreamBackupRequest(), timeout=TIMEOUT_S)
        assert len([part async for part in again]) == 3
        # Who wakes up then is told that it is not whole.
        with refused() as refusal:
            _ = [part async for part in stream]
        assert refusal.reason == "DEADLINE"


async def test_an_operator_administers_his_node(world: Any, start_node: Any, refused: Any) -> None:
    async with start_node("alpha") as node, node.channel(world.issue("alpha", "operator")) as channel:
        stub: Any = admin_pb2_grpc.AdminStub(channel)
        stalled = await stub.WhyStalled(admin_pb2.WhyStalledRequest(), timeout=TIMEOUT_S)
        level = await stub.SetLogLevel(admin_pb2.SetLogLevelRequest(level="debug"), timeout=TIMEOUT_S)
        drained = await stub.Drain(admin_pb2.DrainRequest(), timeout=TIMEOUT_S)
        with refused() as refusal:
            await stub.SetLogLevel(admin_pb2.SetLogLevelRequest(level="loud"), timeout=TIMEOUT_S)
    assert "no quorum" in stalled.reasons[0]
    assert level.previous == "info"
    assert (drained.pending_transactions, node.core.gateway.is_draining) == (0, True)
    assert node.core.has_handed_over
    assert (refusal.reason, refusal.metadata["value"]) == ("CONFIGURATION", "loud")
    assert refusal.metadata["limit"] == "debug, info, warning, error"


@pytest.mark.parametrize(
    ("member", "role", "name"),
    [("beta", "client", "n1"), ("beta", "operator", "n2"), ("alpha", "node", "n1")],
)
async def test_only_other_nodes_may_exchange(
    world: Any, start_node: Any, refused: Any, member: str, role: str, name: str
) -> None:
    async with start_node("alpha") as node:
        certificate = world.issue(member, role, name)
        async with node.channel(certificate, port=node.servers.peer_port) as channel:
            stub: Any = peer_pb2_grpc.PeerStub(channel)
            call = stub.Exchange(timeout=TIMEOUT_S)
            with refused() as refusal:
                await call.read()
    assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "CALLER_FORBIDDEN")


async def test_client_services_are_not_on_the_peer_port(world: Any, start_node: Any) -> None:
    async with (
        start_node("alpha") as node,
        node.channel(world.issue("beta", "node", "n1"), port=node.servers.peer_port) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask_status(channel)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_is_for_everyone_whom_tls_lets_in(world: Any, start_node: Any, refused: Any) -> None:
    async with start_node("alpha") as node, node.channel(world.issue("beta", "client")) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="tanpo.api.v1.Ledger"), timeout=TIMEOUT_S)
        watched = await watch.read()
        watch.cancel()
        with refused() as refusal:
            await stub.Check(health_pb2.HealthCheckRequest(service="nothing"), timeout=TIMEOUT_S)
    not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
    assert (answer.status, watched.status) == (not_serving, not_serving)  # no peer is connected
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "NOT_FOUND")


async def test_peer_hello_of_another_network_is_refused(world: Any, start_node: Any, refused: Any) -> None:
    async with (
        start_node("alpha") as node,
        node.channel(world.issue("beta", "node", "n1"), port=node.servers.peer_port) as channel,
    ):
        stub: Any = peer_pb2_grpc.PeerStub(channel)
        call = stub.Exchange(timeout=TIMEOUT_S)
        hello = peer_pb2.PeerHello(network_id=b"x" * 32, protocol_version=1)
        await call.write(peer_pb2.PeerFrame(hello=hello))
        with refused() as refusal:
            await call.read()
    assert refusal.reason == "GENESIS_MISMATCH"
    assert refusal.metadata["value"] == (b"x" * 32).hex()
