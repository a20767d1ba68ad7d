"""What a node answers while it joins: how far it is, to its own clients and to probes, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import grpc
import grpc.aio
from tanpo.api.v1 import network_pb2
from tanpo.ledger.errors import InvariantViolation
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.membership import list_genesis_members
from tanpo.ledger.types import MemberId
from tanpo.node.authorities import Authorities
from tanpo.node.binding import explain_bind
from tanpo.node.clock import Clock
from tanpo.node.config import NodeConfig, split_address
from tanpo.node.credentials import NodeCredentials
from tanpo.node.identity import CallerVerifier
from tanpo.node.metrics import CONTENT_TYPE, Metrics
from tanpo.node.ops import OpsServer
from tanpo.node.servers import bind_server
from tanpo.node.services.guard import Access, Context, Guard, Policy
from tanpo.node.tls import CLIENT_MESSAGE_BYTES_MAX, compute_server_options, load_server_credentials

STOP_GRACE_S: Final = 1.0

_NETWORK: Final = "tanpo.api.v1.Network"


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinParts:
    """What these servers are made from. `explain` says how far the joining is."""

    config: NodeConfig
    genesis: Genesis
    credentials: NodeCredentials
    authorities: Authorities
    metrics: Metrics
    explain: Callable[[], list[str]]


class JoinServers:
    """`Network.GetStatus`, and the operators' port."""

    def __init__(self, parts: JoinParts) -> None:
        self._parts = parts
        self._clock = Clock.system()
        self._ops = OpsServer(
            find_obstacles=parts.explain,
            render_metrics=parts.metrics.render,
            metrics_content_type=CONTENT_TYPE,
            list_members=lambda: list_genesis_members(parts.genesis),
        )
        self._server = self._make_server()
        self.port = self.ops_port = 0

    async def start(self) -> None:
        """Bind and serve.

        Raises:
            UsageError: with PORT_IN_USE or CONFIGURATION, a port cannot be had.
        """
        config, credentials = self._parts.config, self._parts.credentials
        roots = self._parts.authorities.read_roots()
        tls = load_server_credentials(roots, credentials.certificate, credentials.private_key)
        self.port = bind_server(self._server, "listen", config.listen, tls)
        try:
            self.ops_port = await self._ops.start(*split_address(config.ops_listen))
        except OSError as error:
            raise explain_bind("ops_listen", config.ops_listen, error) from None
        await self._server.start()

    async def stop(self) -> None:
        """Close the ports: the node that has joined opens them itself."""
        await asyncio.gather(self._server.stop(STOP_GRACE_S), self._ops.stop())

    def _make_server(self) -> grpc.aio.Server:
        config = self._parts.config
        own = MemberId(config.member)
        policy = Policy(
            access={_NETWORK: Access.CLIENT},
            own=own,
            served=frozenset(MemberId(member) for member in config.clients or (own,)),
            verifier=CallerVerifier(self._parts.authorities),
        )
        guard = Guard(policy=policy, metrics=self._parts.metrics, on_fatal=_raise_fatal)
        server = grpc.aio.server(
            interceptors=(guard,), options=compute_server_options(CLIENT_MESSAGE_BYTES_MAX)
        )
        # Only this method: what else a client asks for is not implemented yet.
        handler = grpc.unary_unary_rpc_method_handler(
            self._get_status,
            request_deserializer=network_pb2.GetStatusRequest.FromString,
            response_serializer=network_pb2.NodeStatus.SerializeToString,
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_NETWORK, {"GetStatus": handler}),)
        )
        return server

    async def _get_status(
        self, _request: network_pb2.GetStatusRequest, _context: Context
    ) -> network_pb2.NodeStatus:
        genesis, config = self._parts.genesis, self._parts.config
        return network_pb2.NodeStatus(
            network=genesis.network,
            network_id=genesis.network_id,
            member=config.member,
            node=config.node,
            version=version("tanpo"),
            time_ms=genesis.time_ms,
            clock_ms=self._clock.wall_ms(),
            stalled_reason="; ".join(self._parts.explain()),
            observer_reason="joining",
        )


def _raise_fatal(error: BaseException) -> None:
    raise InvariantViolation("a call of a joining node met a failure of its own") from error
