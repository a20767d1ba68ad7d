"""The listening ports of a node: one for clients and operators, one for peers, one for probes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tanpo.api.v1 import admin_pb2_grpc, ledger_pb2_grpc, network_pb2_grpc, peer_pb2_grpc
from tanpo.ledger.errors import LedgerError
from tanpo.ledger.types import MemberId
from tanpo.node.authorities import Authorities
from tanpo.node.backup_record import BackupRecord, save_record
from tanpo.node.binding import explain_bind, find_bind_error
from tanpo.node.clock import Clock
from tanpo.node.clock_watch import ClockWatch
from tanpo.node.config import NodeConfig, split_address
from tanpo.node.credentials import CurrentCredentials
from tanpo.node.data_checks import find_record_path
from tanpo.node.identity import CallerVerifier
from tanpo.node.logs import LogControl, get_logger
from tanpo.node.metrics import CONTENT_TYPE, Metrics
from tanpo.node.ops import OpsServer
from tanpo.node.peer_link import Inbox, build_hello, renew_links
from tanpo.node.rotation import Rotation
from tanpo.node.services.admin import AdminService
from tanpo.node.services.guard import Access, Guard, Policy
from tanpo.node.services.health import HealthService
from tanpo.node.services.ledger import LedgerService
from tanpo.node.services.network import NetworkService
from tanpo.node.services.peer import PeerService
from tanpo.node.services.ports import NodePort
from tanpo.node.services.readiness import Readiness
from tanpo.node.services.snapshots import SnapshotDesk
from tanpo.node.tls import (
    CLIENT_MESSAGE_BYTES_MAX,
    PEER_MESSAGE_BYTES_MAX,
    compute_server_options,
    load_rotating_server_credentials,
)
from tanpo.node.transport import GrpcTransport
from tanpo.storage.backup import Origin

HEALTH: Final = "grpc.health.v1.Health"
CLIENT_ACCESS: Final = {
    "tanpo.api.v1.Ledger": Access.CLIENT,
    "tanpo.api.v1.Network": Access.CLIENT,
    "tanpo.api.v1.Admin": Access.OPERATOR,
    reflection.SERVICE_NAME: Access.CLIENT,
    HEALTH: Access.ANYONE,
}
PEER_ACCESS: Final = {"tanpo.api.v1.Peer": Access.NODE, HEALTH: Access.ANYONE}

SILENCE_TIMEOUTS: Final = 2
"""After how many base timeouts without a word a peer is named as silent in a network that is stalled: there
every validator that lives repeats itself twice in one."""

STREAMS_PER_CONNECTION_MAX: Final = 1000
STOP_GRACE_S: Final = 1.0

_LOG: Final = get_logger("servers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the servers are made from."""

    config: NodeConfig
    core: NodePort
    inbox: Inbox
    transport: GrpcTransport
    credentials: CurrentCredentials
    authorities: Authorities
    verifier: CallerVerifier
    metrics: Metrics
    log_control: LogControl
    version: str
    clock: Clock
    clock_watch: ClockWatch
    on_fatal: Callable[[BaseException], None]


class Servers:
    """All listening ports of one node."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.readiness = Readiness(
            core=parts.core,
            peers=parts.transport,
            roster=parts.core.roster,
            silence_s=SILENCE_TIMEOUTS * parts.config.timing.base_timeout_ms / 1000,
            explain_own=self._explain_own,
        )
        self._client_guard = self._make_guard(CLIENT_ACCESS)
        self._peer_guard = self._make_guard(PEER_ACCESS)
        self._client = self._make_client_server()
        self._peer = self._make_peer_server()
        self._ops = OpsServer(
            find_obstacles=self.readiness.find_obstacles,
            render_metrics=self._render_metrics,
            metrics_content_type=CONTENT_TYPE,
            list_members=lambda: parts.core.members,
        )
        self.port = self.peer_port = self.ops_port = 0

    async def start(self) -> None:
        """Bind every port, then serve.

        Raises:
            UsageError: with PORT_IN_USE or CONFIGURATION, a port cannot be had.
        """
        config = self._parts.config
        self.port = bind_server(self._client, "listen", config.listen, self._load_credentials())
        self.peer_port = bind_server(self._peer, "peer_listen", config.peer_listen, self._load_credentials())
        try:
            self.ops_port = await self._ops.start(*split_address(config.ops_listen))
        except OSError as error:
            raise explain_bind("ops_listen", config.ops_listen, error) from None
        await self._client.start()
        await self._peer.start()

    def end_unwelcome(self) -> None:
        """End the streams of callers whose certificates are good no more: their CAs count no more."""
        self._client_guard.end_unwelcome()
        self._peer_guard.end_unwelcome()

    async def stop(self) -> None:
        """End every stream and call, within `STOP_GRACE_S`, and close the ports."""
        self.readiness.refuse("the node is stopping")
        self._client_guard.end_streams()
        self._peer_guard.end_streams()
        await asyncio.gather(self._client.stop(STOP_GRACE_S), self._peer.stop(STOP_GRACE_S), self._ops.stop())

    def _load_credentials(self) -> grpc.ServerCredentials:
        parts = self._parts
        return load_rotating_server_credentials(parts.authorities.read_roots, parts.credentials.read_pair)

    def _make_guard(self, access: dict[str, Access]) -> Guard:
        policy = self._make_policy(access)
        return Guard(policy=policy, metrics=self._parts.metrics, on_fatal=self._parts.on_fatal)

    def _make_policy(self, access: dict[str, Access]) -> Policy:
        config = self._parts.config
        return Policy(
            access=access,
            own=MemberId(config.member),
            served=frozenset(MemberId(member) for member in config.clients or (config.member,)),
            verifier=self._parts.verifier,
        )

    def _make_client_server(self) -> grpc.aio.Server:
        parts = self._parts
        server = _make_server(self._client_guard, CLIENT_MESSAGE_BYTES_MAX)
        ledger_pb2_grpc.add_LedgerServicer_to_server(LedgerService(parts.core), server)
        network_pb2_grpc.add_NetworkServicer_to_server(
            NetworkService(
                core=parts.core,
                peers=parts.transport,
                readiness=self.readiness,
                member=MemberId(parts.config.member),
                node=parts.config.node,
                version=parts.version,
                clock_ms=parts.clock.wall_ms,
            ),
            server,
        )
        admin_pb2_grpc.add_AdminServicer_to_server(
            AdminService(
                core=parts.core,
                peers=parts.transport,
                readiness=self.readiness,
                policy=self._make_policy(CLIENT_ACCESS),
                log_control=parts.log_control,
                on_backup=self._note_backup,
                rotate=self._make_rotation().rotate,
            ),
            server,
        )
        health = HealthService(self.readiness, frozenset(CLIENT_ACCESS))
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        reflection.enable_server_reflection(tuple(CLIENT_ACCESS), server)
        return server

    def _make_rotation(self) -> Rotation:
        parts = self._parts
        return Rotation(
            config=parts.config,
            genesis=parts.core.genesis,
            current=parts.credentials,
            authorities=parts.authorities,
            renew_links=lambda peers: renew_links(parts.transport.links, peers),
            metrics=parts.metrics,
        )

    def _make_peer_server(self) -> grpc.aio.Server:
        parts = self._parts
        server = _make_server(self._peer_guard, PEER_MESSAGE_BYTES_MAX)
        peer_pb2_grpc.add_PeerServicer_to_server(
            PeerService(
                own_name=parts.core.roster.own_name,
                inbox=parts.inbox,
                transport=parts.transport,
                policy=self._make_policy(PEER_ACCESS),
                hello=build_hello(parts.core.genesis.network_id, parts.version),
                metrics=parts.metrics,
                on_frame=parts.transport.note_heard,
                desk=SnapshotDesk(parts.core.snapshots, time.monotonic),
                get_height=lambda: parts.core.status().height,
                read_clock_ms=parts.clock.wall_ms,
            ),
            server,
        )
        health = HealthService(self.readiness, frozenset(PEER_ACCESS))
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        return server

    def _explain_own(self) -> list[str]:
        parts = self._parts
        expired_s = parts.clock.wall_ms() / 1000 - parts.credentials.value.valid_until.timestamp()
        expired = (
            f"our TLS certificate expired {expired_s:.0f} s ago: peers refuse it" if expired_s > 0 else ""
        )
        return [why for why in (expired, parts.clock_watch.explain()) if why]

    def _note_backup(self, origin: Origin) -> None:
        created_ms = self._parts.clock.wall_ms()
        self._parts.metrics.backup_seconds.set(created_ms / 1000)
        record = BackupRecord(height=origin.height, block_hash=origin.block_hash, created_ms=created_ms)
        try:
            save_record(find_record_path(self._parts.config), record)
        except LedgerError as error:
            # The backup itself is whole, and the node has not lost anything.
            _LOG.warning("backup not noted", why=error.message, height=origin.height)

    def _render_metrics(self) -> bytes:
        metrics, status = self._parts.metrics, self._parts.core.status()
        metrics.is_ready.set(self.readiness.is_ready)
        metrics.is_validator.set(not status.observer_reason)
        with contextlib.suppress(OSError):  # A disk that does not answer shows elsewhere.
            room = os.statvfs(self._parts.config.data_dir)
            metrics.disk_free_bytes.set(room.f_bavail * room.f_frsize)
        return self._parts.metrics.render()


def _make_server(guard: Guard, message_bytes_max: int) -> grpc.aio.Server:
    options = (
        *compute_server_options(message_bytes_max),
        ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION_MAX),
    )
    return grpc.aio.server(interceptors=(guard,), options=options)


def bind_server(server: grpc.aio.Server, key: str, address: str, tls: grpc.ServerCredentials) -> int:
    """Bind a server and return the port. Raises `UsageError` (PORT_IN_USE, CONFIGURATION) if it cannot."""
    try:
        return server.add_secure_port(address, tls)
    except RuntimeError:
        # gRPC does not say why; the operating system does.
        error = find_bind_error(address) or OSError(errno.EADDRNOTAVAIL, "refused by gRPC")
        raise explain_bind(key, address, error) from None
