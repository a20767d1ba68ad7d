"""When a node joins by a snapshot: when its operator says so, or at a start that finds it far behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import Reason, Unavailable
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.types import Height, MemberId
from tanpo.node.authorities import Authorities
from tanpo.node.config import NodeConfig, load_config
from tanpo.node.credentials import NodeCredentials, load_credentials
from tanpo.node.dialling import find_peers, load_genesis
from tanpo.node.join_peers import SnapshotPeer
from tanpo.node.join_servers import JoinParts, JoinServers
from tanpo.node.joining import Joined, Joining
from tanpo.node.lagging import explain_obstacle, is_far_behind
from tanpo.node.logs import LogLevel, get_logger, start_logging
from tanpo.node.metrics import Metrics
from tanpo.node.peer_link import PeerAddress
from tanpo.node.stopping import StopRequest
from tanpo.storage.files import lock_folder
from tanpo.storage.snapshot_building import move_in, read_height

_LOG: Final = get_logger("join")


def join_node(config_path: Path) -> Joined:
    """Join by the best snapshot that the configured peers offer; the node must not run meanwhile.

    Raises:
        UsageError: the configuration is wrong, or the node runs. Unavailable: no snapshot can be had now.
        CorruptState: the disk refuses.
    """
    start_logging(LogLevel.INFO)
    config = load_config(config_path)
    genesis = load_genesis(config.genesis)
    authorities = Authorities.of_genesis(genesis, own=MemberId(config.member))
    peers = find_peers(config, authorities, load_credentials(config, genesis))
    return asyncio.run(_join(config, genesis, peers))


async def join_if_behind(
    config: NodeConfig,
    genesis: Genesis,
    credentials: NodeCredentials,
    authorities: Authorities,
    metrics: Metrics,
    stop: StopRequest,
    *,
    waits_for_all: bool,
) -> bool:
    """Join if more blocks are missing than the configuration allows, or if there is no peer that has the next
    one, or none that answers where `waits_for_all` is false. Return whether it did.

    What cannot be had is no failure here: the node starts with what it has, and catches up block by block.

    Raises:
        UsageError: the data directory is in use. CorruptState: the disk refuses. Unavailable: it is full.
    """
    if not config.peers:
        return False
    peers = find_peers(config, authorities, credentials)
    async with _opened(config, genesis, peers, metrics, stop) as (joining, own_height):
        try:
            offers = await joining.find_offers()
        except Unavailable:
            return False
        limit = config.snapshots.join_behind_blocks
        if not is_far_behind(own_height, offers, limit, waits_for_all=waits_for_all):
            return False
        obstacle = explain_obstacle(config.data_dir)
        if obstacle:
            _LOG.warning("not joined: going on block by block", why=obstacle)
            return False
        _LOG.info(
            "far behind",
            height=own_height,
            snapshot=offers.candidates[0].height,
            first_of_peers=offers.first_height,
        )
        parts = JoinParts(
            config=config,
            genesis=genesis,
            credentials=credentials,
            authorities=authorities,
            metrics=metrics,
            explain=joining.explain,
        )
        servers = JoinServers(parts)
        await servers.start()
        try:
            await joining.run(own_height)
        except Unavailable as error:
            if error.reason is Reason.DISK_FULL:
                raise
            _LOG.warning("not joined: going on block by block", why=error.message)
            return False
        finally:
            await servers.stop()
        metrics.joins.inc()
        return True


async def _join(config: NodeConfig, genesis: Genesis, peers: Sequence[PeerAddress]) -> Joined:
    async with _opened(config, genesis, peers, Metrics(), StopRequest()) as (joining, own_height):
        return await joining.run(own_height)


@asynccontextmanager
async def _opened(
    config: NodeConfig, genesis: Genesis, peers: Sequence[PeerAddress], metrics: Metrics, stop: StopRequest
) -> AsyncIterator[tuple[Joining, Height]]:
    lock = lock_folder(config.data_dir)
    asked = [SnapshotPeer(address) for address in peers]
    try:
        move_in(config.data_dir)
        joining = Joining(data_dir=config.data_dir, genesis=genesis, peers=asked, metrics=metrics, stop=stop)
        yield joining, read_height(config.data_dir)
    finally:
        await asyncio.gather(*(peer.close() for peer in asked))
        os.close(lock)
