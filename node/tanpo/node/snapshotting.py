"""Taking snapshots beside the blocks, for nodes that join (STATE section 5).

After every so many blocks the state is frozen, in a moment, and cut into chunks in short steps with rests
between them. Once the header above is final and stored, whose root is that of the state, the snapshot is
offered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from tanpo.ledger.block import compute_block_hash
from tanpo.ledger.errors import InvariantViolation, Unavailable
from tanpo.ledger.lineage import decode_header
from tanpo.ledger.snapshotproof import (
    FinalHeader,
    SnapshotProof,
    encode_snapshot_proof,
    encode_step,
)
from tanpo.ledger.types import Epoch, Height
from tanpo.ledger.validators import ValidatorSet
from tanpo.node.epochs import Lineage
from tanpo.node.execution import ExecutedBlock
from tanpo.node.finality import EpochSteps, find_final
from tanpo.node.logs import get_logger
from tanpo.node.metrics import Metrics
from tanpo.storage import LedgerStore
from tanpo.storage.database import FrozenView
from tanpo.storage.kept import SNAPSHOTS_NAME
from tanpo.storage.ledger_store import freeze
from tanpo.storage.manifest import ChunkPlace
from tanpo.storage.snapshots import Draft, Offer, SnapshotStore

REST: Final = 4
"""How many times as long as a step of the work the next one waits: a fifth of a processor at most."""

STEP_S: Final = 0.002
"""Steps are taken one after the other until this much time has gone."""

_LOG: Final = get_logger("snapshots")


class Snapshotting:
    """The snapshots of one node: `notice` each committed block, and `run` beside them."""

    def __init__(
        self,
        *,
        store: LedgerStore,
        snapshots: SnapshotStore,
        find_validators: Callable[[Epoch], ValidatorSet | None],
        every_blocks: int,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._epoch_steps = EpochSteps(store, find_validators)
        self._every_blocks = every_blocks
        self._metrics = metrics
        self._steps: list[bytes] = []
        self._view: FrozenView | None = None
        self._draft = snapshots.find_draft() if every_blocks else None
        self._grown = asyncio.Event()
        if not every_blocks:
            snapshots.abandon()
        self._note_offers()

    @classmethod
    def open(
        cls, data_dir: Path, *, store: LedgerStore, lineage: Lineage, every_blocks: int, metrics: Metrics
    ) -> Snapshotting:
        """Return the snapshots in a node's data directory.

        Raises:
            CorruptState, Unavailable: the disk refuses.
        """
        return cls(
            store=store,
            snapshots=SnapshotStore.open(data_dir / SNAPSHOTS_NAME, base=store.beginning.height),
            find_validators=lineage.find,
            every_blocks=every_blocks,
            metrics=metrics,
        )

    @property
    def first_height(self) -> Height:
        """The first block that this node holds."""
        return Height(max(1, self._store.beginning.height))

    def offers(self) -> tuple[Offer, ...]:
        """Return the finished snapshots, newest first."""
        return self._snapshots.offers

    def find_needed(self) -> Height:
        """Return the height above which blocks stay for those who join: see `SnapshotStore.needed`."""
        return self._snapshots.needed

    def read_chunk(self, digest: bytes, position: int) -> bytes:
        """Return a chunk of the snapshot whose manifest has this digest.

        Raises:
            Unavailable: it is not here (any more).
        """
        return self._snapshots.read_chunk(digest, position)

    def notice(self, executed: ExecutedBlock) -> None:
        """Freeze the state if it is time, right after this block was written: no other may be written
        before."""
        height = executed.decoded.block.header.height
        self._grown.set()
        if not self._every_blocks or height % self._every_blocks:
            return
        if self._draft is not None:
            _LOG.warning(
                "snapshot skipped: the last one is not finished", height=height, last=self._draft.height
            )
            return
        self._view = freeze(self._store)
        self._draft = Draft(height=height, state_root=self._store.state_root)

    async def run(self) -> None:
        """Make what is to be made, until cancelled.

        Raises:
            CorruptState: the state does not have its root, or the disk refuses: the node must stop.
        """
        try:
            while True:
                self._grown.clear()
                if self._draft is not None:
                    await self._take(self._draft)
                    self._draft = None
                    self._view = None
                await self._grown.wait()
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the frozen state; what is half made is gone on with after the next start."""
        if self._view is not None:
            self._view.close()
            self._view = None

    async def _take(self, draft: Draft) -> None:
        started = time.monotonic()
        try:
            chunks = await self._make(draft)
            if chunks is None:
                _LOG.warning("snapshot abandoned: what was written of it is damaged", height=draft.height)
                return
            # In a thread, for a hundred megabytes may have to reach the disk: it holds no lock meanwhile.
            await asyncio.to_thread(self._snapshots.sync)
            await self._wait_height(draft.height + 1)
            proof = await self._prove(draft.height)
            manifest = self._snapshots.publish(
                draft,
                compute_block_hash(decode_header(proof.above.header)),
                chunks,
                encode_snapshot_proof(proof),
            )
        except Unavailable as error:
            # Blocks need the room more.
            self._snapshots.abandon()
            _LOG.error("snapshot abandoned", height=draft.height, why=error.message, remedy=error.remedy)
            return
        self._note_offers()
        _LOG.info(
            "snapshot taken",
            height=draft.height,
            chunks=len(chunks),
            bytes=manifest.size,
            seconds=round(time.monotonic() - started, 1),
        )

    async def _make(self, draft: Draft) -> tuple[ChunkPlace, ...] | None:
        with closing(self._snapshots.make(draft, self._view)) as steps:
            while True:
                started = time.perf_counter()
                try:
                    while time.perf_counter() - started < STEP_S:
                        next(steps)
                except StopIteration as end:
                    chunks: tuple[ChunkPlace, ...] | None = end.value
                    return chunks
                await asyncio.sleep(REST * (time.perf_counter() - started))

    async def _wait_height(self, height: int) -> None:
        while self._store.executed_height < height:
            self._grown.clear()
            await self._grown.wait()

    async def _prove(self, height: Height) -> SnapshotProof:
        """Return the proof of a snapshot, once what it needs is stored."""
        while True:
            self._grown.clear()
            try:
                above = _find_final(self._store, Height(height + 1))
                tip = _find_final(self._store, height)
                break
            except Unavailable:
                await self._grown.wait()
        return SnapshotProof(
            steps=self._list_steps(decode_header(above.header).epoch),
            block=self._store.read_block(height).block,
            tip=tip,
            above=above,
        )

    def _list_steps(self, epoch: Epoch) -> tuple[bytes, ...]:
        """Return how each epoch before this one ended."""
        while len(self._steps) < epoch:
            step = self._epoch_steps.find(Epoch(len(self._steps)))
            if step is None:
                raise InvariantViolation(f"the end of epoch {len(self._steps)} is not stored")
            self._steps.append(encode_step(step))
        return tuple(self._steps[:epoch])

    def _note_offers(self) -> None:
        offers = self._snapshots.offers
        self._metrics.snapshot_height.set(offers[0].manifest.height if offers else 0)


def _find_final(store: LedgerStore, height: Height) -> FinalHeader:
    header, descendants, commit_proof = find_final(store, height)
    return FinalHeader(header=header, descendants=descendants, commit_proof=commit_proof)
