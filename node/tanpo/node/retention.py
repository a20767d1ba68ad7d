"""Retention: what a node keeps of the past, and the pruning of the rest beside the blocks.

An archive keeps every block and what it did. A pruned node forgets what is older than both of its bounds, in
steps of a few milliseconds with rests between them. Whatever the bounds, it keeps what may still be needed:

- the blocks above the older of the two newest snapshots, and above an older one while somebody joins by it:
  who joins goes on with them, and so does `tanpo node rebuild`;
- the blocks whose requests have not expired: their outcomes are told for as long as they could be sent again;
- the blocks of the heights whose state can be asked for, and a hundred for those who were away for a moment;
- of each epoch how it ended: the way from the genesis to the validators of now.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from tanpo.ledger.block import Block, decode_block
from tanpo.ledger.errors import invariant
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.lineage import EpochStep
from tanpo.ledger.snapshotproof import encode_step
from tanpo.ledger.transaction import decode_envelope
from tanpo.ledger.types import Epoch, Height, NetworkId, TxId
from tanpo.node.config import BLOCKS_MIN, RetentionConfig
from tanpo.node.epochs import Lineage
from tanpo.node.finality import EpochSteps
from tanpo.node.logs import get_logger
from tanpo.node.metrics import Metrics
from tanpo.node.requests import find_oldest_height
from tanpo.node.snapshotting import Snapshotting
from tanpo.storage import LedgerStore
from tanpo.storage.files import measure_folder
from tanpo.storage.layout import BLOCKS_NAME, STATE_NAME
from tanpo.storage.pruning import Passing
from tanpo.storage.tree import WINDOW_DEFAULT

DAY_MS: Final = 24 * 60 * 60 * 1000

HEIGHTS_A_STEP: Final = 32
TRANSACTIONS_A_STEP: Final = 100
"""A write, which holds up all else for a few milliseconds, ends with the block that brings it to one of
these. In the steady state it waits for so many heights, so that blocks with few transactions share a sync."""

STEP_S: Final = 0.002
REST: Final = 4
"""Work is done in slices of this much time, each followed by a rest of so many times what it took."""

MEASURE_S: Final = 30.0
"""How often the files are measured; a folder of some hundred files takes a millisecond."""

_LOG: Final = get_logger("retention")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """What stays of the past. What is within either bound stays; without any, everything does.

    `blocks` counts the latest heights; `age_ms` goes by the times of blocks, not by a clock that may be
    wrong. `state_window` is how many past states can be asked for.
    """

    blocks: int | None = None
    age_ms: int | None = None
    state_window: int = WINDOW_DEFAULT

    @classmethod
    def of(cls, config: RetentionConfig) -> RetentionPolicy:
        """Return what a node's configuration asks for."""
        return cls(
            blocks=config.blocks,
            age_ms=None if config.days is None else config.days * DAY_MS,
            state_window=config.state_window,
        )

    @property
    def is_archive(self) -> bool:
        """Whether everything stays."""
        return self.blocks is None and self.age_ms is None

    def describe(self) -> str:
        """Return this for people."""
        if self.is_archive:
            return "archive"
        bounds = [] if self.blocks is None else [f"the last {self.blocks} blocks"]
        bounds += [] if self.age_ms is None else [f"those of the last {self.age_ms // DAY_MS} days"]
        return f"pruned to {' and '.join(bounds)}"


@dataclass(slots=True)
class _Gathered:
    """The transactions of blocks that are about to go; `height` is the last of them."""

    height: Height
    epoch: Epoch
    tx_ids: list[TxId] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    link: tuple[Epoch, bytes] | None = None


class Retention:
    """What one node keeps: `notice` each committed block, and `run` beside them."""

    def __init__(
        self,
        *,
        store: LedgerStore,
        data_dir: Path,
        network_id: NetworkId,
        policy: RetentionPolicy,
        find_needed: Callable[[], Height],
        steps: EpochSteps,
        metrics: Metrics,
        heights_a_step: int | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._data_dir = data_dir
        self._network_id = network_id
        self._policy = policy
        self._find_needed = find_needed
        self._steps = steps
        self._metrics = metrics
        self._heights_a_step = heights_a_step or HEIGHTS_A_STEP
        self._clock_s = clock_s
        self._grown = asyncio.Event()
        self._latest_ms: int | None = None
        self._next_ms = 0
        self._measured_s: float | None = None
        self.blocks_bytes = 0
        self.state_bytes = 0

    @classmethod
    def open(
        cls,
        data_dir: Path,
        store: LedgerStore,
        genesis: Genesis,
        policy: RetentionPolicy,
        snapshots: Snapshotting,
        lineage: Lineage,
        metrics: Metrics,
    ) -> Retention:
        """Return the retention of the ledger in a node's data directory.

        Raises:
            CorruptState, Unavailable: the disk refuses.
        """
        if not policy.is_archive:
            # What a crash left of files that an earlier step was about to remove.
            store.pruner.drop_files()
        if passed_over := sorted(store.segments.passed_over):
            _LOG.warning(
                "pruned blocks are damaged: nobody needs them, but check the disk",
                first=passed_over[0],
                last=passed_over[-1],
                remedy="read the disk's own report of its health, and have a backup of this node",
            )
        retention = cls(
            store=store,
            data_dir=data_dir,
            network_id=genesis.network_id,
            policy=policy,
            find_needed=snapshots.find_needed,
            steps=EpochSteps(store, lineage.find),
            metrics=metrics,
        )
        retention._measure()
        return retention

    @property
    def first_height(self) -> Height:
        """The first height whose block and results this node holds."""
        return self._store.beginning.first_answered

    def describe(self) -> str:
        """Return what this node keeps, and what it does not have, for people."""
        kept = self._policy.describe()
        if self._policy.is_archive and self._store.beginning.height:
            return f"{kept} from block {self.first_height} on: what is older is not here, and will not come"
        return kept

    def notice(self, time_ms: int) -> None:
        """Hear that a block of this time was committed."""
        self._latest_ms = time_ms
        self._grown.set()

    async def run(self) -> None:
        """Forget what is to be forgotten, until cancelled.

        Raises:
            CorruptState, Unavailable: a write failed: the node must stop.
        """
        self._tell()
        while True:
            self._grown.clear()
            await self.prune()
            self._measure()
            await self._grown.wait()

    async def prune(self) -> None:
        """Forget what may go now, but for the last few heights. Others get their turn meanwhile.

        Raises:
            CorruptState, Unavailable: a write failed: the node must stop.
        """
        while not self._policy.is_archive and await self._step():
            pass

    def find_limit(self) -> Height:
        """Return up to where blocks may go now, their age left aside."""
        policy, store = self._policy, self._store
        kept = max(policy.state_window, policy.blocks or BLOCKS_MIN)
        limit = min(store.executed_height - kept, self._find_needed())
        oldest_request = find_oldest_height(store)
        return Height(limit if oldest_request is None else min(limit, oldest_request - 1))

    async def _step(self) -> bool:
        """Forget some heights, if there are enough. Return whether there may be more."""
        begun = self._store.beginning.height
        limit = min(self.find_limit(), begun + self._heights_a_step)
        if limit < begun + self._heights_a_step or self._find_latest_ms() < self._next_ms:
            return False
        gathered = await self._gather(begun, limit)
        if gathered is None:
            return False
        started = time.perf_counter()
        self._store.pruner.advance(
            Passing(
                height=gathered.height,
                tx_ids=gathered.tx_ids,
                request_digests=gathered.digests,
                link=gathered.link,
            )
        )
        taken = time.perf_counter() - started
        self._metrics.prune_seconds.observe(taken)
        self._metrics.first_height.set(self.first_height)
        await asyncio.sleep(REST * taken)
        return True

    async def _gather(self, begun: int, limit: int) -> _Gathered | None:
        """Read the blocks that go next: up to `limit`, to the first that is too young, or to enough."""
        epoch = self._read(begun).header.epoch if begun else Epoch(0)
        gathered = _Gathered(height=Height(begun), epoch=epoch)
        started = time.perf_counter()
        while gathered.height < limit and len(gathered.tx_ids) < TRANSACTIONS_A_STEP and not gathered.link:
            block = self._read(gathered.height + 1)
            age_ms = self._policy.age_ms
            if age_ms is not None and block.header.time_ms >= self._find_latest_ms() - age_ms:
                # There is nothing to look for until blocks have this time.
                self._next_ms = block.header.time_ms + age_ms + 1
                break
            self._pass_epoch(gathered, block)
            for encoded in block.envelopes:
                for transaction in decode_envelope(self._network_id, encoded).transactions:
                    gathered.tx_ids.append(transaction.tx_id)
                    gathered.digests.append(transaction.request_digest)
                if time.perf_counter() - started >= STEP_S:
                    await asyncio.sleep(REST * (time.perf_counter() - started))
                    started = time.perf_counter()
            gathered.height = block.header.height
        return gathered if gathered.height > begun else None

    def _pass_epoch(self, gathered: _Gathered, block: Block) -> None:
        """Note how an epoch ended whose last block goes with those before this one."""
        if block.header.epoch > gathered.epoch:
            step = self._steps.find(gathered.epoch)
            invariant(step is not None, f"the end of epoch {gathered.epoch} is not stored")
            gathered.link = (gathered.epoch, encode_step(cast("EpochStep", step)))
            gathered.epoch = block.header.epoch

    def _find_latest_ms(self) -> int:
        """Return the time of the latest block."""
        if self._latest_ms is None:
            self._latest_ms = self._read(self._store.executed_height).header.time_ms
        return self._latest_ms

    def _read(self, height: int) -> Block:
        return decode_block(self._store.read_block(Height(height)).block)

    def _measure(self) -> None:
        now_s = self._clock_s()
        if self._measured_s is not None and now_s - self._measured_s < MEASURE_S:
            return
        self._measured_s = now_s
        self.blocks_bytes = measure_folder(self._data_dir / BLOCKS_NAME)
        self.state_bytes = measure_folder(self._data_dir / STATE_NAME)
        self._metrics.blocks_bytes.set(self.blocks_bytes)
        self._metrics.state_bytes.set(self.state_bytes)
        self._metrics.first_height.set(self.first_height)

    def _tell(self) -> None:
        store = self._store
        is_incomplete = self._policy.is_archive and store.beginning.height > 0
        log = _LOG.warning if is_incomplete else _LOG.info
        log(
            "retention",
            keeps=self.describe(),
            first_height=self.first_height,
            first_state=store.tree.oldest,
            state_window=self._policy.state_window,
            blocks_bytes=self.blocks_bytes,
            state_bytes=self.state_bytes,
        )
