"""The state tree on disk: batched update, stacked plans, commit, pruning (STATE.md section 4, ADR 26).

Rules that keep it honest: records are immutable; a record that comes from disk is checked against the hash in
its parent's slot; a plan touches neither disk nor cache, so any plan can be dropped; a plan's records are on
disk before the batch that holds its root, which is that of the state it commits to.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final

from tanpo.ledger.errors import invariant
from tanpo.ledger.statekey import KEY_BYTES_MAX, PATH_DIGITS, VALUE_BYTES_MAX, path_of, value_hash, wrap_root
from tanpo.ledger.types import Height, StateRoot
from tanpo.storage.database import Database, scan_keys, seal
from tanpo.storage.layout import HEIGHT_MAX
from tanpo.storage.nodelog import LOG_FILE_BYTES, NodeLog
from tanpo.storage.reading import TreeSource, read_root
from tanpo.storage.records import (
    EMPTY_ROOT,
    INNER_BYTES,
    TIP_KEY,
    Root,
    depth_of,
    encode_root,
    height_of,
    root_key,
)
from tanpo.storage.update import Update

WINDOW_DEFAULT: Final = 1000
CACHE_RECORDS_DEFAULT: Final = 200_000
"""Inner records kept in memory: about 40 MB."""

_LIFT_BEYOND: Final = 8
"""What lies this many times all that is in use behind the end of the log is lifted."""

_LIFT_SHARE: Final = 4
"""A block lifts one byte for so many that it writes: what fills the log is the busiest time, which must not
pay twice."""

NO_HEIGHT: Final = Height(-1)
"""The height of a store that holds nothing yet, not even genesis."""

_PRUNED_MAX: Final = 2
"""Blocks pruned by one commit: 2 catches up with a lowered window without making one commit long."""


class Plan:
    """The tree after a block that is not committed yet. Drop it at any time."""

    __slots__ = ("committed", "height", "parent", "root", "state_root", "update")

    def __init__(self, height: Height, update: Update, parent: Plan | None) -> None:
        self.height = height
        self.update = update
        self.root = update.root
        self.state_root: StateRoot = wrap_root(self.root.slot[3])
        self.parent = parent
        self.committed = False


class StateTree:
    """The committed tree: its root, a cache of inner records, and the window of past roots."""

    def __init__(
        self, source: TreeSource, *, height: Height, root: Root, window: int, cache_records: int, spare: int
    ) -> None:
        invariant(window >= 1, f"window of {window} heights")
        self.source = source
        self._window = window
        self._cache_records = cache_records
        self._spare = spare
        self._cache: list[dict[int, bytes]] = [{} for _ in range(PATH_DIGITS + 1)]
        self._cached = 0
        self._height = height
        self._root = root
        self._oldest = 0

    @classmethod
    def open(
        cls,
        database: Database,
        *,
        window: int = WINDOW_DEFAULT,
        cache_records: int = CACHE_RECORDS_DEFAULT,
        file_bytes: int = LOG_FILE_BYTES,
    ) -> StateTree:
        """Return the tree that the database and the log in its folder hold, which may be none yet.

        Raises:
            CorruptState: the records of the tip contradict each other.
        """
        tip = database.get_sealed(TIP_KEY)
        height, root, oldest, low = NO_HEIGHT, EMPTY_ROOT, 0, 0
        if tip is not None:
            height = Height(int.from_bytes(tip, "big"))
            root = _load_root(database, height)
            oldest = height_of(next(scan_keys(database, root_key(0), root_key(height), 1), root_key(height)))
            low = _load_root(database, oldest).low
        log = NodeLog.open(
            database.folder, low=low, end=root.end, remedy=database.remedy, file_bytes=file_bytes
        )
        source = TreeSource(database=database, log=log)
        tree = cls(
            source,
            height=height,
            root=root,
            window=window,
            cache_records=cache_records,
            spare=file_bytes,
        )
        tree._begin_window(oldest)
        return tree

    def close(self) -> None:
        """Close the log; the database is its owner's to close."""
        self.source.log.close()

    @property
    def height(self) -> Height:
        """The committed height, `NO_HEIGHT` before genesis."""
        return self._height

    @property
    def oldest(self) -> Height:
        """The oldest height whose root is held."""
        return Height(self._oldest)

    @property
    def root(self) -> Root:
        """The committed tree."""
        return self._root

    @property
    def state_root(self) -> StateRoot:
        """The committed state root."""
        return wrap_root(self._root.slot[3])

    def begin(
        self, height: Height, changes: Mapping[bytes, bytes | None], parent: Plan | None = None
    ) -> Plan:
        """Return the tree after `changes` (`None` deletes) on top of `parent`, or of the committed tree.

        Pure: neither database nor cache is changed. Heights are consecutive.

        Raises:
            CorruptState: a record that is needed is missing or does not match its hash.
        """
        plans = self._uncommitted(parent)
        base = plans[-1].height if plans else self._height
        invariant(height == base + 1, f"plan for height {height} on top of height {base}")
        invariant(height <= HEIGHT_MAX, f"height {height} is beyond {HEIGHT_MAX}")
        update = Update(
            plans[-1].root if plans else self._root,
            layers=[(plan.update.start, plan.update.records) for plan in plans],
            cache=self._cache,
            source=self.source,
        )
        update.apply(_encode_changes(changes))
        self._lift(update)
        return Plan(height, update, plans[-1] if plans else None)

    def stage(self, plan: Plan, puts: dict[bytes, bytes], deletes: list[bytes]) -> None:
        """Write the records of `plan`, and add its root and what it prunes to a batch.

        Call `publish` once the batch is written. Until then no root leads to the records.

        Raises:
            CorruptState, Unavailable: the disk refuses; stop the process.
        """
        invariant(
            self._uncommitted(plan) == [plan],
            f"commit of height {plan.height}, whose parent is not committed, on top of height {self._height}",
        )
        height = plan.height
        if plan.update.parts:
            self.source.log.append(plan.update.start, plan.update.parts)
        _put_sealed(puts, root_key(height), encode_root(plan.root))
        _put_sealed(puts, TIP_KEY, height.to_bytes(4, "big"))
        deletes.extend(root_key(pruned - 1) for pruned in self.list_prunable(height))

    def publish(self, plan: Plan) -> None:
        """Make `plan`, whose batch is on disk, the committed tree, and drop what no root leads to any more.

        Raises:
            CorruptState: the root that is now the oldest is damaged, or the disk refuses.
        """
        oldest = self._oldest + len(self.list_prunable(plan.height))
        self._height = plan.height
        self._root = plan.root
        plan.committed = True
        plan.parent = None
        self._merge(plan.update)
        self._evict()
        self._begin_window(oldest)

    def list_prunable(self, height: int) -> range:
        """Return the heights that the commit of `height` makes the oldest, one after the other."""
        first = self._oldest + 1
        return range(first, min(height - self._window, first + _PRUNED_MAX - 1) + 1)

    def _merge(self, update: Update) -> None:
        """Bring the cache up to a committed update: it holds inner records of the current version only."""
        cache = self._cache
        for pid in update.dropped:
            if pid not in update.records and cache[depth_of(pid)].pop(pid, None) is not None:
                self._cached -= 1
        for pid, record in update.records.items():
            level = cache[depth_of(pid)]
            before = len(level)
            if len(record) == INNER_BYTES:
                level[pid] = record
            else:
                level.pop(pid, None)
            self._cached += len(level) - before

    def _uncommitted(self, plan: Plan | None) -> list[Plan]:
        """Return `plan` and the plans below it down to the committed tree, lowest first."""
        plans: list[Plan] = []
        while plan is not None and not plan.committed:
            plans.append(plan)
            plan = plan.parent
        plans.reverse()
        if plans:
            lowest = plans[0].height
            invariant(lowest == self._height + 1, f"plan for height {lowest} outlived height {self._height}")
        return plans

    def _begin_window(self, oldest: int) -> None:
        """Hold the roots from `oldest` on, and drop the files that none of them leads into."""
        self._oldest = oldest
        if self._height != NO_HEIGHT:
            self.source.log.drop(_load_root(self.source.database, oldest).low)

    def _lift(self, update: Update) -> None:
        """Write again, at the end of the log, some of what lies far behind it and is still in use.

        Of what lies so far behind an eighth is used at most: to keep up, blocks have to lift a seventh of
        what they write. One file after the other is emptied: in the order of the tree alone, what was written
        since would come first wherever it lies further ahead in it, and the oldest file might stay for ever.
        """
        low = update.start - max(_LIFT_BEYOND * update.live, self._spare)
        end_max = update.end + (update.end - update.start) // _LIFT_SHARE
        while update.root.low < low and update.end < end_max:
            stop = self.source.log.find_stop(update.root.low)
            update.lift(low if stop is None else min(low, stop), end_max - update.end)

    def _evict(self) -> None:
        """Drop the deepest records beyond the cache's size: each serves the fewest keys."""
        for level in reversed(self._cache):
            excess = self._cached - self._cache_records
            if excess <= 0:
                return
            for pid in list(islice(level, excess)):
                del level[pid]
                self._cached -= 1


def _encode_changes(changes: Mapping[bytes, bytes | None]) -> list[bytes]:
    """Return the changes in order of path: path and value hash for a write, the path alone for a delete."""
    encoded: list[bytes] = []
    for key, value in changes.items():
        if value is None:
            encoded.append(path_of(key))
            continue
        invariant(
            len(key) <= KEY_BYTES_MAX and len(value) <= VALUE_BYTES_MAX,
            "a state key or value is above its limit",
        )
        encoded.append(path_of(key) + value_hash(value))
    encoded.sort()
    return encoded


def _load_root(database: Database, height: int) -> Root:
    root = read_root(database, height)
    if root is None:
        raise database.damaged("root record is missing", value=f"height {height}")
    return root


def _put_sealed(puts: dict[bytes, bytes], key: bytes, payload: bytes) -> None:
    puts[key] = seal(key, payload)
