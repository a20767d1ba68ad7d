"""`tanpo.api.v1.Admin`: for operators of this node's member alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from tanpo.api.v1 import admin_pb2, admin_pb2_grpc
from tanpo.ledger.errors import Reason, Unavailable
from tanpo.node.backups import BackupSource
from tanpo.node.logs import LogControl, get_logger, parse_level
from tanpo.node.rotation import Rotated
from tanpo.node.services.guard import Context, Policy
from tanpo.node.services.ledger import compute_wait
from tanpo.node.services.ports import NodePort, PeerSource
from tanpo.node.services.readiness import Readiness
from tanpo.storage.backup import Origin
from typing_extensions import override

COPY_PATIENCE_S: Final = 600.0
"""How long a backup waits until its next part is taken. While it waits no old file is removed, of blocks or
tree, and no other backup is made: a command that somebody suspended must not fill the disk."""

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
        await self._copying.acquire()
        copy = _Copy(self._copying.release)
        try:
            source = copy.begin(self._core.copy())
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
                copy.wait()
                yield admin_pb2.BackupPart(data=admin_pb2.BackupData(name=name, data=data))
                await asyncio.sleep(0)
            copy.check()
        finally:
            copy.end()
        self._on_backup(origin)

    @override
    async def Drain(self, request: admin_pb2.DrainRequest, context: Context) -> admin_pb2.DrainResponse:
        _LOG.warning("draining", operator=str(self._policy.identify(context)))
        self._readiness.refuse("the node was drained by an operator: restart it to admit transactions again")
        await wait_drained(self._core, compute_wait(context.time_remaining()))
        return admin_pb2.DrainResponse(pending_transactions=self._core.status().pending_transactions)


class _Copy:
    """A backup on its way. It ends with its call, or before, when nobody takes its parts."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._source: BackupSource | None = None
        self._giving_up: asyncio.TimerHandle | None = None
        self._is_over = False

    def begin(self, source: BackupSource) -> BackupSource:
        """Hold what is copied from now on."""
        self._source = source
        self.wait()
        return source

    def wait(self) -> None:
        """Wait anew for the next part to be taken."""
        self._stop_clock()
        if not self._is_over:
            self._giving_up = asyncio.get_running_loop().call_later(COPY_PATIENCE_S, self._give_up)

    def check(self) -> None:
        """Raise `Unavailable` if the parts ended because nobody took them."""
        if self._is_over:
            raise Unavailable(
                Reason.DEADLINE,
                "the node has given this backup up: its parts were not taken",
                value=f"{COPY_PATIENCE_S:.0f} seconds without a part taken",
                remedy="make another backup, to a disk that keeps up",
            )

    def end(self) -> None:
        """Let go of the files. Ending twice does nothing."""
        self._stop_clock()
        if self._is_over:
            return
        self._is_over = True
        if self._source is not None:
            self._source.parts.close()
        self._release()

    def _give_up(self) -> None:
        _LOG.error("backup given up: nobody takes its parts", seconds=COPY_PATIENCE_S)
        self.end()

    def _stop_clock(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()


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
