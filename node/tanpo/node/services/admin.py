"""`tanpo.api.v1.Admin`: for operators of this node's member alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from tanpo.api.v1 import admin_pb2, admin_pb2_grpc
from tanpo.node.logs import LogControl, get_logger, parse_level
from tanpo.node.rotation import Rotated
from tanpo.node.services.guard import Context, Policy
from tanpo.node.services.ledger import compute_wait
from tanpo.node.services.ports import NodePort, PeerSource
from tanpo.node.services.readiness import Readiness
from tanpo.storage.backup import Origin
from typing_extensions import override

_LOG: Final = get_logger("admin")


class AdminService(admin_pb2_grpc.AdminServicer):
    """Peers, log level, drain, backup, certificates, and why nothing moves."""

    def __init__(
        self,
        *,
        core: NodePort,
        peers: PeerSource,
        readiness: Readiness,
        policy: Policy,
        log_control: LogControl,
        on_backup: Callable[[Origin], None],
        rotate: Callable[[], Awaitable[Rotated]],
    ) -> None:
        self._core = core
        self._peers = peers
        self._readiness = readiness
        self._policy = policy
        self._log_control = log_control
        self._on_backup = on_backup
        self._rotate = rotate
        self._copying = asyncio.Lock()

    @override
    async def ListPeers(
        self, request: admin_pb2.ListPeersRequest, context: Context
    ) -> admin_pb2.ListPeersResponse:
        return admin_pb2.ListPeersResponse(
            peers=[
                admin_pb2.PeerStatus(
                    member=state.member,
                    node=state.node,
                    address=state.address,
                    is_connected=state.is_connected,
                    queued_bytes=state.queued_bytes,
                    dropped_messages=state.dropped_messages,
                    last_error=state.last_error,
                )
                for state in self._peers.peers()
            ]
        )

    @override
    async def WhyStalled(
        self, request: admin_pb2.WhyStalledRequest, context: Context
    ) -> admin_pb2.WhyStalledResponse:
        return admin_pb2.WhyStalledResponse(reasons=self._readiness.find_obstacles())

    @override
    async def SetLogLevel(
        self, request: admin_pb2.SetLogLevelRequest, context: Context
    ) -> admin_pb2.SetLogLevelResponse:
        level = parse_level(request.level)
        previous = self._log_control.set_level(level)
        operator = self._policy.identify(context)
        _LOG.warning("log level changed", level_now=level, previous=previous, operator=str(operator))
        return admin_pb2.SetLogLevelResponse(previous=previous)

    @override
    async def RotateCertificate(
        self, request: admin_pb2.RotateCertificateRequest, context: Context
    ) -> admin_pb2.RotateCertificateResponse:
        _LOG.warning("rotating the certificate", operator=str(self._policy.identify(context)))
        rotated = await self._rotate()
        return admin_pb2.RotateCertificateResponse(
            is_changed=rotated.is_changed,
            serial=rotated.serial,
            valid_until_ms=int(rotated.valid_until.timestamp() * 1000),
        )

    @override
    async def StreamBackup(
        self, request: admin_pb2.StreamBackupRequest, context: Context
    ) -> AsyncIterator[admin_pb2.BackupPart]:
        # One at a time: each keeps LevelDB from dropping what it still has to read.
        async with self._copying:
            source = self._core.copy()
            origin = source.origin
            _LOG.info("backup", height=origin.height, operator=str(self._policy.identify(context)))
            yield admin_pb2.BackupPart(
                origin=admin_pb2.BackupOrigin(
                    network_id=bytes.fromhex(origin.network_id),
                    member=origin.member,
                    node=origin.node,
                    height=origin.height,
                    block_hash=bytes.fromhex(origin.block_hash),
                    state_root=bytes.fromhex(origin.state_root),
                    receipts_root=bytes.fromhex(origin.receipts_root),
                    epoch=origin.epoch,
                )
            )
            for name, data in source.parts:
                yield admin_pb2.BackupPart(data=admin_pb2.BackupData(name=name, data=data))
                await asyncio.sleep(0)
            self._on_backup(origin)

    @override
    async def Drain(self, request: admin_pb2.DrainRequest, context: Context) -> admin_pb2.DrainResponse:
        _LOG.warning("draining", operator=str(self._policy.identify(context)))
        self._readiness.refuse("the node was drained by an operator: restart it to admit transactions again")
        await wait_drained(self._core, compute_wait(context.time_remaining()))
        return admin_pb2.DrainResponse(pending_transactions=self._core.status().pending_transactions)


async def wait_drained(core: NodePort, timeout_s: float) -> None:
    """Lead no more and refuse new transactions from now on; wait until another leads and none is pending, or
    the time is over."""
    tasks = (asyncio.create_task(core.hand_over()), asyncio.create_task(core.gateway.drain()))
    done, late = await asyncio.wait(tasks, timeout=timeout_s)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    for task in done:
        task.result()
