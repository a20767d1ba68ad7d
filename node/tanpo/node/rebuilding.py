"""`tanpo node rebuild`: the state of a stopped node made anew from its blocks.

It follows from the genesis, or from the snapshot that the node joined by. The new state is made in a folder
of its own and takes the place of the old one when it is whole: until then nothing of the node is changed, and
neither blocks nor votes are ever touched.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from tanpo.ledger.genesis import Genesis
from tanpo.node.config import ExecutionMode
from tanpo.node.origins import check_block, choose_origin, find_lowest
from tanpo.node.replaying import Watch
from tanpo.node.scratch import Replayed, open_scratch, replay_all
from tanpo.storage.files import guarded_io, lock_folder, sync_folder
from tanpo.storage.layout import STATE_NAME, read_progress

REBUILD_NAME: Final = "rebuild"
_REPLACED_NAME: Final = "state.replaced"


def rebuild_state(
    data_dir: Path, genesis: Genesis, mode: ExecutionMode, watch: Watch, *, from_snapshot: str = ""
) -> Replayed:
    """Execute every block of a stopped node and put what they give in the place of `state/`.

    If its blocks begin later than the chain, it executes those above the oldest snapshot that the node kept;
    `from_snapshot` is the height of one to begin with in any case, or `OLDEST`: the ledger then begins there.
    Interrupted, by `watch` or a crash, it goes on where it was when it is called again.

    Raises:
        Stopped: `watch` was asked to end it.
        UsageError: there is no ledger, it is of another network, a process uses it, or there is no snapshot
            to begin with (NOT_FOUND).
        Diverged: a block gives other roots than the next one's header carries: software or disk is wrong.
        CorruptState: a block is damaged or missing. Unavailable: the disk is full, or no worker runs.
    """
    progress = read_progress(data_dir, genesis.network_id)
    lock = lock_folder(data_dir)
    try:
        work = data_dir / REBUILD_NAME
        origin = choose_origin(
            data_dir,
            genesis,
            lowest=find_lowest(data_dir),
            highest=progress.segment_height,
            wanted=from_snapshot,
        )
        if origin is not None:
            check_block(origin, data_dir, genesis.network_id)
        with open_scratch(work, data_dir, genesis, mode, origin=origin, watch=watch) as execution:
            replayed = replay_all(execution, genesis, stored_height=progress.segment_height, watch=watch)
        _take_place(work, data_dir)
    finally:
        os.close(lock)
    return replayed


def _take_place(work: Path, data_dir: Path) -> None:
    """Exchange the folders. A crash in between leaves no `state/`: a start or another call makes it again."""
    state, replaced = data_dir / STATE_NAME, data_dir / _REPLACED_NAME
    with guarded_io(data_dir):
        shutil.rmtree(replaced, ignore_errors=True)
        if state.exists():
            state.rename(replaced)
        (work / STATE_NAME).rename(state)
        sync_folder(data_dir)
        shutil.rmtree(work)
        shutil.rmtree(replaced, ignore_errors=True)
