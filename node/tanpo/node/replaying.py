"""Executes stored blocks again: what a start, `rebuild` and `audit` have in common.

A block is executed as it was when it was agreed, and its header must carry what its predecessors left
behind: the hash of its parent, the state root, the root of its parent's receipts. Each is committed before
the next begins, so that whoever is interrupted goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tanpo.ledger.block import decode_block
from tanpo.ledger.errors import CorruptState, LedgerError, Reason, Unavailable
from tanpo.ledger.types import Height, NetworkId
from tanpo.node.body import DecodedBlock, decode_body
from tanpo.node.execution import ExecutedBlock, Execution
from tanpo.node.logs import get_logger
from tanpo.node.stopping import StopRequest
from tanpo.storage import LedgerStore, StoredBlock

PROGRESS_S: Final = 5.0
"""How often a node's log tells how far it is: seldom enough to be read, often enough to see it move."""

REMEDY: Final = (
    "run the software version the network runs; if it does, put blocks/, state/, guard and network of a "
    "backup or of another stopped node in place of these, and leave consensus/ as it is"
)

_LOG = get_logger("execution")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far re-execution is. `began_at` is the height it found executed, `seconds` the time since.

    With the unit "chunk" all of it counts those of the snapshot that the chain is executed from.
    """

    height: int
    target: int
    began_at: int
    seconds: float
    unit: str = "block"

    @property
    def rate(self) -> float:
        """Blocks a second so far."""
        return (self.height - self.began_at) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> int:
        """An estimate from the rate so far, 0 while there is none."""
        return round((self.target - self.height) / self.rate) if self.rate else 0

    def describe(self) -> str:
        """Return this on a line for people."""
        share = 100 * self.height // self.target if self.target else 100
        return (
            f"{self.unit} {self.height} of {self.target}, {share} %, {self.rate:.0f} {self.unit}s/s, "
            f"{self.seconds_left} s left"
        )


class Watch:
    """Tells how far re-execution is, at most every `interval_s`, and ends it when that is asked for."""

    def __init__(
        self,
        tell: Callable[[Progress], None],
        stop: StopRequest | None = None,
        *,
        interval_s: float = PROGRESS_S,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._stop = stop or StopRequest()
        self._interval_s = interval_s
        self._clock_s = clock_s
        self._began_at = self._target = 0
        self._began_s = self._told_s = 0.0
        self._unit = "block"

    def begin(self, height: int, target: int, *, unit: str = "block") -> None:
        """Hear that blocks above `height` are to be executed, up to `target`, or chunks to be put in."""
        self._began_at, self._target, self._unit = height, target, unit
        self._began_s = self._told_s = self._clock_s()
        self._tell(self._measure(height))

    def note(self, height: int) -> None:
        """Hear that a block is committed, or a chunk is in.

        Raises:
            Stopped: the process was asked to end.
        """
        if self._clock_s() - self._told_s >= self._interval_s or height == self._target:
            self._told_s = self._clock_s()
            self._tell(self._measure(height))
        self.check()

    def check(self) -> None:
        """Raise `Stopped` when the process was asked to end; what is not committed is executed again."""
        self._stop.check()

    def _measure(self, height: int) -> Progress:
        return Progress(
            height=height,
            target=self._target,
            began_at=self._began_at,
            seconds=self._clock_s() - self._began_s,
            unit=self._unit,
        )


class Diverged(CorruptState):
    """What is stored of a block is not what executing the chain gives: `part` tells which, `place` where.

    `value` is what is stored, and `limit` what it ought to be.
    """

    def __init__(
        self, *, height: int, part: str, place: str, value: object, limit: object, remedy: str = REMEDY
    ) -> None:
        self.height = height
        self.part = part
        self.place = place
        super().__init__(
            Reason.DATA_CORRUPT,
            f"{place}: {part} of stored block {height} is not what executing the chain gives",
            value=value,
            limit=limit,
            remedy=remedy,
        )


def log_progress(progress: Progress) -> None:
    """Tell a node's log how far re-execution is."""
    _LOG.info(
        "executing stored blocks again",
        height=progress.height,
        target=progress.target,
        blocks_a_second=round(progress.rate),
        seconds_left=progress.seconds_left,
    )


def catch_up(
    execution: Execution,
    network_id: NetworkId,
    watch: Watch | None = None,
    compare: Callable[[StoredBlock, ExecutedBlock], None] | None = None,
) -> None:
    """Execute again the blocks that are in the segments and not in the state; nothing if there are none.

    A state that is behind what it was is executed again like any other, and the log says so: the disk lost
    what it had said was written, or somebody removed files.
    `compare` sees each block with its results before they are committed, and may refuse them.

    Raises:
        Stopped: the process was asked to end; what is committed stays.
        Unavailable: the runner cannot execute a block, or the disk is full.
        Diverged: a block gives other roots than the next one's header carries, or is of another chain.
        CorruptState: a block is damaged, or a write failed.
    """
    store = execution.store
    watch = watch or Watch(log_progress)
    target = store.segment_height
    if store.rolled_back_from is not None:
        _LOG.warning(
            "the state came up behind what was written: its blocks are executed again",
            height=store.executed_height,
            was=store.rolled_back_from,
            remedy="find out what happened to the disk, or to state/, before it happens to blocks/",
        )
    if store.executed_height >= target:
        return
    watch.begin(store.executed_height, target)
    for number in range(store.executed_height + 1, target + 1):
        stored = store.read_block(Height(number))
        decoded = _decode(stored, store, network_id)
        _execute(execution, decoded, watch)
        if compare is not None:
            compare(stored, execution.get(decoded.block.block_hash))
        execution.commit(decoded.block.block_hash, None)
        watch.note(number)


def _decode(stored: StoredBlock, store: LedgerStore, network_id: NetworkId) -> DecodedBlock:
    try:
        decoded = decode_body(decode_block(stored.block), network_id, lambda _: None)
    except LedgerError as error:
        raise _diverged(store, stored.height, "content", error.message, error.limit) from None
    header = decoded.block.header
    for part, found, expected in (
        ("hash", stored.block_hash, decoded.block.block_hash),
        ("parent hash", header.parent_hash, store.executed_hash),
        ("state root before it", header.state_root, store.state_root),
        ("receipts root before it", header.receipts_root, store.receipts_root),
    ):
        if found != expected:
            raise _diverged(store, stored.height, part, found.hex(), expected.hex())
    if header.height != stored.height:
        raise _diverged(store, stored.height, "height", header.height, stored.height)
    return decoded


def _diverged(store: LedgerStore, height: Height, part: str, value: object, limit: object) -> Diverged:
    place = str(store.segments.find_path(height))
    return Diverged(height=height, part=part, place=place, value=value, limit=limit)


def _execute(execution: Execution, decoded: DecodedBlock, watch: Watch) -> None:
    height = decoded.block.header.height
    for pause in execution.begin(decoded):
        pause.block()
        watch.check()
        stall = execution.runner.explain_stall()
        if stall:
            raise Unavailable(
                Reason.WORKER_LOST,
                f"stored block {height} cannot be executed now: {stall}",
                value=height,
                remedy="correct the cause and start again",
            )
