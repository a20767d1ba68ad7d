"""What a node answers while it joins: how far it is, and nothing else."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from asyncio import to_thread
from pathlib import Path
from typing import Any

import grpc
import pytest
from tanpo.api.v1 import network_pb2, network_pb2_grpc
from tanpo.node.authorities import Authorities
from tanpo.node.config import NodeConfig, TlsConfig
from tanpo.node.credentials import NodeCredentials
from tanpo.node.identity import CallerVerifier
from tanpo.node.join_servers import JoinParts, JoinServers
from tanpo.node.metrics import Metrics

TIMEOUT_S = 60
PROGRESS = "joining by the snapshot of height 40: 2 of 3 chunks"


@pytest.fixture
def parts(world: Any, tmp_path: Path) -> JoinParts:
    issued = world.issue("alpha", "node", "n1")
    verifier = CallerVerifier.from_genesis(world.genesis)
    metrics = Metrics()
    metrics.join_chunks_missing.set(1)
    return JoinParts(
        config=NodeConfig(
            member="alpha",
            node="n1",
            data_dir=tmp_path,
            genesis=tmp_path,
            listen="127.0.0.1:0",
            peer_listen="127.0.0.1:0",
            ops_listen="127.0.0.1:0",
            tls=TlsConfig(ca=tmp_path, certificate=tmp_path, key=tmp_path),
        ),
        genesis=world.genesis,
        credentials=NodeCredentials(
            certificate=issued.certificate,
            private_key=issued.private_key,
            valid_until=verifier.verify_holder(issued.certificate).valid_until,
            signing_key=None,
        ),
        authorities=Authorities.of_genesis(world.genesis),
        metrics=metrics,
        explain=lambda: [PROGRESS],
    )


def read(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_status_readiness_and_metrics_say_how_far_a_join_is(
    world: Any, start_node: Any, parts: JoinParts, refused: Any
) -> None:
    servers = JoinServers(parts)
    await servers.start()
    async with (
        start_node("alpha") as node,
        node.channel(world.issue("alpha", "client"), port=servers.port) as channel,
    ):
        stub: Any = network_pb2_grpc.NetworkStub(channel)
        status = await stub.GetStatus(network_pb2.GetStatusRequest(), timeout=TIMEOUT_S)
        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await stub.GetMembers(network_pb2.GetMembersRequest(), timeout=TIMEOUT_S)
        ready = await to_thread(read, servers.ops_port, "/readyz")
        metrics = await to_thread(read, servers.ops_port, "/metrics")
        async with node.channel(world.issue("beta", "client"), port=servers.port) as stranger:
            other: Any = network_pb2_grpc.NetworkStub(stranger)
            with refused() as refusal:
                await other.GetStatus(network_pb2.GetStatusRequest(), timeout=TIMEOUT_S)
    await servers.stop()
    assert (status.stalled_reason, status.is_ready, status.height) == (PROGRESS, False, 0)
    assert status.network_id == world.genesis.network_id
    assert missing.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert ready[0] == 503
    assert PROGRESS in json.dumps(json.loads(ready[1]))
    assert "tanpo_join_chunks_missing 1.0" in metrics[1]
    assert refusal.reason == "CALLER_FORBIDDEN"
