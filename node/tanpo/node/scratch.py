"""A ledger that is executed anew beside the one whose blocks it reads: for `rebuild` and `audit`.

It begins with the genesis or with a snapshot (`origins`).

It lies in a folder of its own, so nothing of the other is touched; what it has executed stays there when it
is interrupted, and is where it goes on.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import CorruptState, Reason, UsageError
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.types import Height, NetworkId
from tanpo.node.config import ExecutionMode
from tanpo.node.execution import ExecutedBlock, Execution
from tanpo.node.metrics import Metrics
from tanpo.node.opening import open_execution
from tanpo.node.origins import Origin, lay_origin
from tanpo.node.replaying import Watch, catch_up
from tanpo.storage import LedgerStore, StoredBlock
from tanpo.storage.files import corrupt, guarded_io
from tanpo.storage.layout import BLOCKS_NAME, STATE_NAME
from tanpo.storage.segments import REMEDY
from tanpo.storage.snapshot_building import JOINING_NAME

_MARK_NAME: Final = "scratch"
_GENESIS: Final = "genesis"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What came of it: how far the chain was executed, from where on this time, and what that left behind.

    `began_with` is the height of the snapshot that it began with in all, 0 for genesis.
    """

    began_with: int
    height: int
    began_at: int
    block_hash: bytes
    state_root: bytes
    receipts_root: bytes
    seconds: float


@contextmanager
def open_scratch(
    work: Path,
    data_dir: Path,
    genesis: Genesis,
    mode: ExecutionMode,
    *,
    origin: Origin | None = None,
    watch: Watch,
) -> Iterator[Execution]:
    """Open or create the folder `work`, for the blocks of `data_dir`, at genesis or at `origin`.

    What an earlier run left of another origin is made again.

    Raises:
        Stopped: `watch` was asked to end it before the state of the snapshot was whole.
        UsageError: another process uses `work`, it is not ours to use and remove, or contracts are to run
            in a worker and cannot.
        CorruptState: the blocks are damaged. What is damaged of `work` itself is made again.
    """
    with ExitStack() as opened:
        _claim(work, _GENESIS if origin is None else origin.name)
        store = _open_store(work, data_dir / BLOCKS_NAME, genesis.network_id, origin, watch)
        opened.callback(store.close)
        yield open_execution(store, genesis, Metrics(), mode, opened)


def replay_all(
    execution: Execution,
    genesis: Genesis,
    *,
    stored_height: Height,
    watch: Watch,
    compare: Callable[[StoredBlock, ExecutedBlock], None] | None = None,
) -> Replayed:
    """Execute all blocks that are not executed yet; `stored_height` are known to have been on disk.

    Raises:
        Stopped, Unavailable, Diverged: as `catch_up` does. CorruptState: a block is damaged or missing.
    """
    store = execution.store
    began_at, began_s = store.executed_height, time.monotonic()
    if store.segment_height < stored_height:
        raise corrupt(
            store.segments.find_path(stored_height),
            f"the last whole record is block {store.segment_height}, but block {stored_height} was stored",
            value=store.segment_height,
            limit=stored_height,
            remedy=REMEDY,
        )
    catch_up(execution, genesis.network_id, watch, compare)
    return Replayed(
        began_with=store.beginning.height,
        height=store.executed_height,
        began_at=began_at,
        block_hash=store.executed_hash,
        state_root=store.state_root,
        receipts_root=store.receipts_root,
        seconds=time.monotonic() - began_s,
    )


def _claim(work: Path, origin: str) -> None:
    """Make the folder, or see that we made it: what is in it will be removed."""
    mark = work / _MARK_NAME
    with guarded_io(work):
        if mark.exists() and mark.read_text("ascii") != origin:
            shutil.rmtree(work)
        if not work.exists():
            work.mkdir(parents=True)
            mark.write_text(origin, "ascii")
        if mark.exists():
            return
    raise UsageError(
        Reason.CONFIGURATION,
        f"{work} was not made by this command, which would remove it in the end",
        value=work,
        limit="no such folder, or one of an earlier run",
        remedy="move it away, or name another place",
    )


def _open_store(
    work: Path, blocks: Path, network_id: NetworkId, origin: Origin | None, watch: Watch
) -> LedgerStore:
    try:
        return _open_from(work, blocks, network_id, origin, watch)
    except CorruptState:
        if not (work / STATE_NAME).exists() and not (work / JOINING_NAME).exists():
            raise
        # It holds nothing that the blocks do not give again; if they are what is damaged, we hear of it now.
        with guarded_io(work):
            shutil.rmtree(work)
        _claim(work, _GENESIS if origin is None else origin.name)
        return _open_from(work, blocks, network_id, origin, watch)


def _open_from(
    work: Path, blocks: Path, network_id: NetworkId, origin: Origin | None, watch: Watch
) -> LedgerStore:
    if origin is not None:
        lay_origin(origin, work, network_id, watch)
    return LedgerStore.open(work, network_id=network_id, blocks=blocks)
