"""Whether a running node is so far behind that it is to join by a snapshot: then it stops, joins and goes on.

Peers are asked now and then what they hold, and one that lies must not stop a node again and again: only a
snapshot whose root is proved from the genesis counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import Unavailable
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.types import Height
from tanpo.node.config import NodeConfig
from tanpo.node.join_peers import SnapshotPeer
from tanpo.node.joining import Candidate, Joining, Offers
from tanpo.node.metrics import Metrics
from tanpo.node.peer_link import PeerAddress
from tanpo.node.stopping import StopRequest
from tanpo.storage.snapshot_building import count_replaced

LOOK_EVERY_S: Final = 5.0
"""How often peers are asked: a call to each, some 0.1 ms of theirs."""

PATIENCE_LOOKS: Final = 120
"""After so many looks in a row, ten minutes, a node waits no more for peers that do not answer and may have
its next block: one that is down for good would keep it waiting for ever."""

REST_S: Final = 300.0
"""How long a node that stopped to join, and could not, goes on block by block before it tries again."""

REPLACED_MAX: Final = 3
"""With so many ledgers that snapshots replaced in its data directory, a node joins by itself no more: it
removes none, and one that falls behind again and again must not fill its disk with them."""


class FarBehind(Exception):
    """This node is to join: it is at `height`, and a snapshot of `snapshot_height` is proved.

    `waits_for_all` is false if it has waited for those who do not answer for long enough.
    """

    def __init__(self, height: Height, snapshot_height: Height, *, waits_for_all: bool = True) -> None:
        super().__init__(f"at height {height}, far behind the snapshot of height {snapshot_height}")
        self.height = height
        self.snapshot_height = snapshot_height
        self.waits_for_all = waits_for_all


class LagWatch:
    """Looks for the need to join, from the height that `get_height` has.

    `limit` is `join_behind_blocks`; `tell` hears why the node does not join although it should, "" if nothing
    stands in the way.
    """

    def __init__(
        self,
        *,
        joining: Joining,
        data_dir: Path,
        limit: int,
        get_height: Callable[[], int],
        tell: Callable[[str], None],
    ) -> None:
        self._joining = joining
        self._data_dir = data_dir
        self._limit = limit
        self._get_height = get_height
        self._tell = tell
        self._seen_height = -1
        self._lonely_looks = 0

    async def run(self, pause_s: float) -> None:
        """Look, every few seconds, until cancelled; first after a pause.

        Raises:
            FarBehind: the node is to join.
        """
        await asyncio.sleep(pause_s)
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Ask the peers, unless the node moves and is to keep its chain anyway. Raises `FarBehind`."""
        height = Height(self._get_height())
        is_moving, self._seen_height = height != self._seen_height, height
        if is_moving:
            self._lonely_looks = 0
        if is_moving and not self._limit:
            self._tell("")
            return
        try:
            offers = await self._joining.find_offers()
        except Unavailable:
            return
        is_lonely = not is_moving and is_far_behind(height, offers, self._limit, waits_for_all=False)
        self._lonely_looks = self._lonely_looks + 1 if is_lonely else 0
        waits_for_all = self._lonely_looks <= PATIENCE_LOOKS
        for candidate in offers.candidates:
            offered = replace(offers, candidates=[candidate])
            if is_far_behind(height, offered, self._limit, waits_for_all=waits_for_all):
                await self._consider(height, candidate, waits_for_all=waits_for_all)
                return
        self._tell(_explain_waiting(height) if is_lonely else "")

    async def _consider(self, height: Height, candidate: Candidate, *, waits_for_all: bool) -> None:
        obstacle = explain_obstacle(self._data_dir)
        self._tell(obstacle)
        if obstacle:
            return
        try:
            await self._joining.prove(candidate)
        except Unavailable:
            return  # The next look asks without those who lied.
        raise FarBehind(height, candidate.height, waits_for_all=waits_for_all)


@asynccontextmanager
async def open_watch(
    config: NodeConfig,
    genesis: Genesis,
    peers: Sequence[PeerAddress],
    metrics: Metrics,
    *,
    get_height: Callable[[], int],
    tell: Callable[[str], None],
) -> AsyncIterator[LagWatch]:
    """Return the watch of a running node, with connections to its peers of its own."""
    asked = [SnapshotPeer(address) for address in peers]
    try:
        yield LagWatch(
            joining=Joining(
                data_dir=config.data_dir, genesis=genesis, peers=asked, metrics=metrics, stop=StopRequest()
            ),
            data_dir=config.data_dir,
            limit=config.snapshots.join_behind_blocks,
            get_height=get_height,
            tell=tell,
        )
    finally:
        await asyncio.gather(*(peer.close() for peer in asked))


def is_far_behind(own_height: Height, offers: Offers, limit: int, *, waits_for_all: bool = True) -> bool:
    """Return whether a node is to join by a snapshot: it then holds what comes after, and no more what came
    before.

    So it is done where the operator allows it, by a `limit` above 0, or where there is no other way: all
    peers answered, or those that do not are waited for no longer, and none has the next block.
    """
    if not offers.candidates or offers.candidates[0].height <= own_height:
        return False
    is_beyond_limit = 0 < limit < offers.candidates[0].height - own_height
    is_known = offers.is_complete or not waits_for_all
    return is_beyond_limit or (is_known and own_height + 1 < offers.first_height)


def explain_obstacle(data_dir: Path) -> str:
    """Return why a node must not join by itself, "" if it may. Raises `CorruptState` if the disk refuses."""
    count = count_replaced(data_dir)
    if count < REPLACED_MAX:
        return ""
    return (
        f"far behind, but {data_dir} holds {count} ledgers that snapshots replaced: remove some of them "
        "(replaced-*), or run `tanpo node join`"
    )


def _explain_waiting(height: Height) -> str:
    minutes = round(PATIENCE_LOOKS * LOOK_EVERY_S / 60)
    return (
        f"no peer that answers has block {height + 1}, and those that do not answer may have it: this node "
        f"joins by a snapshot after {minutes} minutes of that; to do so at once, stop it and run "
        "`tanpo node join`"
    )
