"""The state tree on disk: batched update, stacked plans, commit, pruning (STATE.md sections 2 and 4).

Rules that keep it honest: records are immutable and read by exact get only; a record that comes from disk
is checked against the hash in its parent's slot; a plan touches neither database nor cache, so any plan can
be dropped; what a plan changes reaches disk in the same batch as the state it commits to.
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
from tanpo.storage.reading import read_root
from tanpo.storage.records import (
    EMPTY_SLOT,
    INNER_BYTES,
    TIP_KEY,
    Slot,
    decode_keys,
    depth_of,
    encode_keys,
    encode_root,
    height_of,
    node_key,
    root_key,
    superseded_key,
)
from tanpo.storage.update import Update

WINDOW_DEFAULT: Final = 1000
CACHE_RECORDS_DEFAULT: Final = 200_000
"""Inner records kept in memory: about 40 MB."""

NO_HEIGHT: Final = Height(-1)
"""The height of a store that holds nothing yet, not even genesis."""

_PRUNED_MAX: Final = 2
"""Blocks pruned by one commit: 2 catches up with a lowered window without making one commit long."""


class Plan:
    """The tree after a block that is not committed yet. Drop it at any time."""

    __slots__ = ("committed", "height", "parent", "root", "state_root", "update")

    def __init__(self, height: Height, update: Update, root: Slot, parent: Plan | None) -> None:
        self.height = height
        self.update = update
        self.root = root
        self.state_root: StateRoot = wrap_root(root[2])
        self.parent = parent
        self.committed = False


class StateTree:
    """The committed tree: its root, a cache of inner records, and the window of past roots."""

    def __init__(self, database: Database, *, window: int, cache_records: int) -> None:
        invariant(window >= 1, f"window of {window} heights")
        self._database = database
        self._window = window
        self._cache_records = cache_records
        self._cache: list[dict[int, bytes]] = [{} for _ in range(PATH_DIGITS + 1)]
        self._cached = 0
        self._height = NO_HEIGHT
        self._oldest = 0
        self._root: Slot = EMPTY_SLOT

    @classmethod
    def open(
        cls, database: Database, *, window: int = WINDOW_DEFAULT, cache_records: int = CACHE_RECORDS_DEFAULT
    ) -> StateTree:
        """Return the tree that the database holds, which may be none yet.

        Raises:
            CorruptState: the records of the tip contradict each other.
        """
        tree = cls(database, window=window, cache_records=cache_records)
        tip = database.get_sealed(TIP_KEY)
        if tip is None:
            return tree
        tree._height = Height(int.from_bytes(tip, "big"))
        tree._root = tree._load_root(tree._height)
        oldest = list(scan_keys(database, root_key(0), root_key(HEIGHT_MAX), 1))
        tree._oldest = height_of(oldest[0]) if oldest else tree._height
        return tree

    @property
    def height(self) -> Height:
        """The committed height, `NO_HEIGHT` before genesis."""
        return self._height

    @property
    def oldest(self) -> Height:
        """The oldest height whose root is held."""
        return Height(self._oldest)

    @property
    def state_root(self) -> StateRoot:
        """The committed state root."""
        return wrap_root(self._root[2])

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
            height=height,
            tip=self._height,
            layers=[plan.update.records for plan in plans],
            cache=self._cache,
            database=self._database,
        )
        root = update.apply(plans[-1].root if plans else self._root, _encode_changes(changes))
        return Plan(height, update, root, plans[-1] if plans else None)

    def stage(self, plan: Plan, puts: dict[bytes, bytes], deletes: list[bytes]) -> None:
        """Add what committing `plan` writes and prunes to a batch. Call `publish` once that is written."""
        invariant(
            self._uncommitted(plan) == [plan],
            f"commit of height {plan.height}, whose parent is not committed, on top of height {self._height}",
        )
        update, height = plan.update, plan.height
        for pid, record in update.records.items():
            puts[node_key(pid, height)] = record
        if self._height != NO_HEIGHT:
            superseded = [node_key(pid, version) for pid, version in update.superseded]
            _put_sealed(puts, superseded_key(height), encode_keys(superseded))
        _put_sealed(puts, root_key(height), encode_root(plan.root))
        _put_sealed(puts, TIP_KEY, height.to_bytes(4, "big"))
        for pruned in self.list_prunable(height):
            self._stage_pruning(pruned, deletes)

    def publish(self, plan: Plan) -> None:
        """Make `plan`, whose batch is on disk, the committed tree."""
        self._oldest += len(self.list_prunable(plan.height))
        self._height = plan.height
        self._root = plan.root
        plan.committed = True
        plan.parent = None
        self._merge(plan.update)
        self._evict()

    def list_prunable(self, height: int) -> range:
        """Return the heights whose blocks' superseded records go with the commit of `height`."""
        first = self._oldest + 1
        return range(first, min(height - self._window, first + _PRUNED_MAX - 1) + 1)

    def _merge(self, update: Update) -> None:
        """Bring the cache up to a committed update: it holds inner records of the current version only."""
        cache = self._cache
        for pid, _ in update.superseded:
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

    def _load_root(self, height: int) -> Slot:
        slot = read_root(self._database, height)
        if slot is None:
            raise self._database.damaged("root record of the tip is missing", value=f"height {height}")
        return slot

    def _stage_pruning(self, height: int, deletes: list[bytes]) -> None:
        key = superseded_key(height)
        record = self._database.get_sealed(key)
        if record is None:
            raise self._database.damaged("list of superseded records is missing", value=f"height {height}")
        deletes.extend(decode_keys(record))
        deletes.append(key)
        deletes.append(root_key(height - 1))

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


def _put_sealed(puts: dict[bytes, bytes], key: bytes, payload: bytes) -> None:
    puts[key] = seal(key, payload)
