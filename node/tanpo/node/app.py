"""A node as a process: from a configuration file to an exit code."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tanpo.consensus import Timing
from tanpo.ledger.errors import InvariantViolation, LedgerError
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.types import MemberId
from tanpo.node.authorities import Authorities
from tanpo.node.backup_record import find_record, verify_not_older
from tanpo.node.checking import check_start
from tanpo.node.clock import Clock
from tanpo.node.clock_watch import ClockWatch
from tanpo.node.config import NodeConfig
from tanpo.node.core import Core, CoreSettings
from tanpo.node.credentials import (
    CurrentCredentials,
    load_credentials,
    load_own_authority,
)
from tanpo.node.data_checks import find_record_path
from tanpo.node.dialling import find_peers
from tanpo.node.exits import ExitCode, compute_exit_code
from tanpo.node.identity import CallerVerifier
from tanpo.node.join_app import join_if_behind
from tanpo.node.lagging import REST_S, FarBehind, open_watch
from tanpo.node.last_end import END_EVENT, explain_remedy
from tanpo.node.logs import LogControl, LogLevel, get_logger, start_logging
from tanpo.node.mempool import MempoolLimits
from tanpo.node.metrics import Metrics
from tanpo.node.peer_link import PeerAddress
from tanpo.node.replaying import Watch, log_progress
from tanpo.node.retention import RetentionPolicy
from tanpo.node.rotation import note_expiry
from tanpo.node.servers import Parts, Servers
from tanpo.node.services.admin import wait_drained
from tanpo.node.stopping import SIGNALS, Stopped, StopRequest
from tanpo.node.survey import check_skew, survey_peers
from tanpo.node.transport import GrpcTransport

DRAIN_TIMEOUT_S: Final = 3.0
"""How long a stopping node waits for its pending transactions; clients learn their outcomes elsewhere."""

GC_THRESHOLDS: Final = (200_000, 20, 100)
"""Blocks and batches are many short-lived objects without cycles: collect seldom."""

_LOG: Final = get_logger("node")


def run_node(config_path: Path, clock: Clock | None = None, *, may_rejoin: bool = False) -> int:
    """Run a node until it is told to stop or must not go on. Returns the process' exit code.

    `may_rejoin` is the operator's word for this start; the configuration may give it too. Without a
    `clock` the node goes by this machine's.
    """
    log_control = start_logging(LogLevel.INFO)
    try:
        clock = clock or Clock.system()
        config, genesis, findings = check_start(config_path, clock.wall_ms())
        if may_rejoin:
            config = config.model_copy(update={"may_rejoin": True})
        log_control.set_level(config.log_level)
        if config.log_file is not None:
            log_control.log_to(config.log_file)
        for found in findings:
            error = found.error
            _LOG.warning(error.message, key=found.key, value=error.value, remedy=error.remedy)
        stop = StopRequest()
        with stop.caught():
            asyncio.run(_run(config, genesis, log_control, clock, stop))
    except Stopped:
        _LOG.info("stopped before it was up: the next start goes on from there")
        return ExitCode.OK
    except (LedgerError, InvariantViolation, OSError) as error:
        code = compute_exit_code(error)
        _log_end(error, code)
        return code
    else:
        _LOG.info("stopped")
        return ExitCode.OK
    finally:
        log_control.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """What stays while a process runs, whatever becomes of its ledger."""

    config: NodeConfig
    genesis: Genesis
    authorities: Authorities
    credentials: CurrentCredentials
    metrics: Metrics
    log_control: LogControl
    clock: Clock

    def find_peers(self) -> list[PeerAddress]:
        """Return the peers, with the certificate that this node shows now and the CAs that count now."""
        return find_peers(self.config, self.authorities, self.credentials.value)


async def _run(
    config: NodeConfig, genesis: Genesis, log_control: LogControl, clock: Clock, stop: StopRequest
) -> None:
    credentials = load_credentials(config, genesis)
    authorities = Authorities.of_genesis(genesis, own=MemberId(config.member))
    authorities.trust_own(load_own_authority(config))
    current = CurrentCredentials(credentials)
    metrics = Metrics()
    base = _Base(
        config=config,
        genesis=genesis,
        authorities=authorities,
        credentials=current,
        metrics=metrics,
        log_control=log_control,
        clock=clock,
    )
    note_expiry(metrics, config, credentials.valid_until)
    record = find_record(find_record_path(config))
    if record is not None:
        metrics.backup_seconds.set(record.created_ms / 1000)
    await _verify_clock(base.find_peers(), clock)
    pause_s, waits_for_all = 0.0, True
    while True:
        has_joined = await join_if_behind(
            config, genesis, current.value, authorities, metrics, stop, waits_for_all=waits_for_all
        )
        try:
            await _run_on(base, stop, pause_s=0.0 if has_joined else pause_s)
            return
        except FarBehind as found:
            # All that was open is closed: the next round is a start (ADR 20).
            _LOG.warning("far behind", height=found.height, snapshot=found.snapshot_height)
            stop.listen()
            gc.unfreeze()
            pause_s, waits_for_all = REST_S, found.waits_for_all


async def _run_on(base: _Base, stop: StopRequest, *, pause_s: float) -> None:
    """Run a node on the ledger that it has, until it is told to stop.

    Raises:
        FarBehind: it is to join by a snapshot first; everything is closed. For `pause_s` it does not ask.
    """
    config, clock, metrics = base.config, base.clock, base.metrics
    core = _open_core(base, stop)
    try:
        base.authorities.replace(core.members)
        core.on_members = base.authorities.replace
        verify_not_older(find_record_path(config), core.executed_height)
        stop.check()
        software_version = version("tanpo")
        fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_fatal(error: BaseException) -> None:
            if not fatal.done():
                fatal.set_exception(error)

        transport = GrpcTransport(
            peers=base.find_peers(),
            roster=core.roster,
            network_id=base.genesis.network_id,
            version=software_version,
            metrics=metrics,
            on_fatal=on_fatal,
        )
        parts = Parts(
            config=config,
            core=core,
            inbox=core.attach(transport),
            transport=transport,
            credentials=base.credentials,
            authorities=base.authorities,
            verifier=CallerVerifier(base.authorities),
            metrics=metrics,
            log_control=base.log_control,
            version=software_version,
            clock=clock,
            clock_watch=ClockWatch(
                find_peers=base.find_peers,
                read_clock_ms=clock.wall_ms,
                precision_ms=config.timing.precision_ms,
                metrics=metrics,
            ),
            on_fatal=on_fatal,
        )
        base.log_control.tell_position(core.read_position)
        await _serve(base, core, parts, fatal, stop, pause_s)
    finally:
        base.log_control.tell_position(dict)
        core.close()


def _open_core(base: _Base, stop: StopRequest) -> Core:
    config = base.config
    return Core.open(
        genesis=base.genesis,
        data_dir=config.data_dir,
        member=MemberId(config.member),
        node=config.node,
        signing_key=base.credentials.value.signing_key,
        settings=CoreSettings(
            timing=Timing(**config.timing.model_dump()),
            mempool=MempoolLimits(**config.mempool.model_dump()),
            verify_threads=config.verify_threads,
            may_rejoin=config.may_rejoin,
            execution=config.execution,
            snapshot_every_blocks=config.snapshots.every_blocks,
            retention=RetentionPolicy.of(config.retention),
        ),
        metrics=base.metrics,
        clock=base.clock,
        watch=Watch(log_progress, stop),
    )


async def _verify_clock(peers: Sequence[PeerAddress], clock: Clock) -> None:
    """Raise `UsageError` if peers, more than may lie, say that this machine's clock is wrong."""
    error = check_skew(await survey_peers(peers, clock.wall_ms))
    if error is not None:
        raise error


async def _serve(
    base: _Base,
    core: Core,
    parts: Parts,
    fatal: asyncio.Future[None],
    request: StopRequest,
    pause_s: float,
) -> None:
    """Serve until a signal, or until something must stop the node: then raise it."""
    servers = Servers(parts)
    await servers.start()
    stop = _catch_signals(request)
    if request.is_asked:
        stop.set()
    running = asyncio.create_task(core.run(), name="core")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    watches = (
        asyncio.create_task(parts.clock_watch.run(), name="clock"),
        asyncio.create_task(_watch_lag(base, core, servers, pause_s), name="lag"),
        asyncio.create_task(_watch_members(base, parts, servers), name="members"),
    )
    try:
        await parts.transport.start(parts.inbox)
        _tune_collector()
        _log_start(parts, servers, core)
        await asyncio.wait((running, stopping, *watches, fatal), return_when=asyncio.FIRST_COMPLETED)
        _raise_failure(running, *watches, fatal)
        servers.readiness.refuse("the node is stopping")
        _LOG.info("stopping", pending_transactions=core.status().pending_transactions)
        draining = asyncio.create_task(wait_drained(core, DRAIN_TIMEOUT_S))
        await asyncio.wait((draining, running, fatal), return_when=asyncio.FIRST_COMPLETED)
        draining.cancel()
        _raise_failure(running, fatal)
    finally:
        await servers.stop()
        await parts.transport.stop()
        for task in (running, stopping, *watches):
            task.cancel()
        await asyncio.gather(running, stopping, *watches, return_exceptions=True)


async def _watch_members(base: _Base, parts: Parts, servers: Servers) -> None:
    """Let go whom the members have dismissed, and dial whom they admitted, by the CAs of now."""
    while True:
        version = base.authorities.version
        servers.end_unwelcome()
        await parts.transport.dialled.follow(base.find_peers())
        if version == base.authorities.version:
            await base.authorities.wait_replaced()


async def _watch_lag(base: _Base, core: Core, servers: Servers, pause_s: float) -> None:
    """Raise `FarBehind` when this node is to join by a snapshot."""
    while True:
        async with open_watch(
            base.config,
            base.genesis,
            base.find_peers(),
            base.metrics,
            get_height=lambda: core.status().height,
            tell=servers.readiness.note_lag,
        ) as watch:
            tasks = (
                asyncio.create_task(watch.run(pause_s)),
                asyncio.create_task(base.credentials.wait_replaced()),
                asyncio.create_task(base.authorities.wait_replaced()),
            )
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                _raise_failure(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


def _raise_failure(*tasks: asyncio.Future[None]) -> None:
    for task in tasks:
        if task.done():
            task.result()


def _catch_signals(request: StopRequest) -> asyncio.Event:
    stop = asyncio.Event()

    def on_signal() -> None:
        # It may find this node on its way to join.
        request.ask()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal)
    return stop


def _tune_collector() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _log_start(parts: Parts, servers: Servers, core: Core) -> None:
    status = core.status()
    _LOG.info(
        "serving",
        member=parts.config.member,
        node=parts.config.node,
        network=core.genesis.network,
        version=parts.version,
        epoch=status.epoch,
        observer=status.observer_reason,
        height=status.height,
        port=servers.port,
        peer_port=servers.peer_port,
        ops_port=servers.ops_port,
    )


def _log_end(error: BaseException, code: ExitCode) -> None:
    if isinstance(error, LedgerError):
        _LOG.error(
            END_EVENT,
            reason=error.reason,
            why=error.message,
            value=error.value,
            limit=error.limit,
            remedy=error.remedy,
            exit_code=int(code),
        )
    else:
        remedy = explain_remedy(code)
        _LOG.error(END_EVENT, why=str(error), remedy=remedy, exit_code=int(code), exc_info=error)
