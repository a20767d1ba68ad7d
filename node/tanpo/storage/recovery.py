"""What opening a ledger verifies: that LevelDB did not lose, in silence, what it had synced."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tanpo.ledger.statekey import compute_state_root, path_of, value_hash
from tanpo.ledger.types import Height
from tanpo.storage.database import Database, scan_keys
from tanpo.storage.layout import (
    EXECUTED_STOP,
    STATE_START,
    STATE_STOP,
    Executed,
    decode_executed,
    executed_key,
)
from tanpo.storage.segments import BlockSegments
from tanpo.storage.tree import NO_HEIGHT, StateTree

BATCH_BYTES_MIN: Final = 128
"""No block's batch is smaller, so a log of n bytes holds at most n / 128 blocks."""


def count_logged_max(folder: Path) -> int:
    """Return a bound on the blocks that are only in LevelDB's logs, before opening it folds them away."""
    return sum(log.stat().st_size for log in folder.glob("*.log")) // BATCH_BYTES_MIN + 2


def load_executed(
    database: Database, tree: StateTree, segments: BlockSegments, logged_max: int, beginning: Height
) -> Executed | None:
    """Return the record of the tip, `None` in an empty database. The ledger begins at `beginning`.

    LevelDB can lose the end of one log in silence and still apply the next one, so look for a hole among
    the last `logged_max` blocks, those that may have been in logs.

    Raises:
        CorruptState: there is a hole, or tip, tree and segments contradict each other.
    """
    height = tree.height
    if height == NO_HEIGHT:
        if any(scan_keys(database, b"", b"\xff", 1)):
            raise database.damaged("the tip is missing although there are records")
        return None
    first = max(beginning, height - logged_max)
    found = sum(1 for _ in scan_keys(database, executed_key(first), EXECUTED_STOP))
    record = database.get_sealed(executed_key(height))
    if record is None or found != height - first + 1:
        raise database.damaged("executed blocks are missing", value=f"{found} of {first}..{height}")
    executed = decode_executed(height, record)
    if executed.state_root != tree.state_root:
        raise database.damaged("tree and executed block disagree", value=f"height {height}")
    if height and segments.read_hash(height) != executed.block_hash:
        raise database.damaged("the executed block is not the one in blocks/", value=f"height {height}")
    return executed


def verify_state(database: Database, executed: Executed) -> None:
    """Recompute the state root from the whole state and compare it with that of the executed block."""
    rows = database.scan(STATE_START, STATE_STOP)
    root = compute_state_root((path_of(key[1:]), value_hash(value)) for key, value in rows)
    if root != executed.state_root:
        raise database.damaged(
            f"the state of height {executed.height} does not have its root",
            value=root.hex(),
            limit=executed.state_root.hex(),
        )
