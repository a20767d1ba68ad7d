"""What it costs a block that the tree's log stays short (ADR 26), as one JSON object on stdout.

    python bench/lifting.py [--keys 1000000] [--touched 1000] [--blocks 300] [--window 10]

The state grows as in `tree.py`: 90 % updates, of which 80 % go to 5 % of the keys, and 10 % inserts. Blocks
are made until lifting begins, and then so many more. `begin` is planning with lifting in it, `lift` that part
alone, in processor time too, `drop` the removal of old files, `commit` all else that a block costs in storage
(two syncs are in it). `dead` is what the files hold that the newest tree does not reach; the older roots of
the window reach some of it.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from measuring import print_figures
from tanpo.ledger.types import BlockHash, MerkleRoot, NetworkId
from tanpo.storage import LedgerStore
from tanpo.storage.nodelog import LOG_FILE_BYTES, NodeLog
from tanpo.storage.update import Update
from tree import HASH, Totals, draw_changes, key_of, run_block

WAIT_BLOCKS_MAX = 20_000
"""Blocks before lifting has to begin: more means that it never does."""

VALUE_BYTES = 80
"""As in `tree.py`."""


@dataclass(slots=True, kw_only=True)
class Clocks:
    """What the parts of the last block took, in seconds, and what it wrote."""

    lift_s: float = 0.0
    lift_cpu_s: float = 0.0
    drop_s: float = 0.0
    lifted: int = 0


@dataclass(slots=True, kw_only=True)
class Series:
    """One figure of each block."""

    begin_ms: list[float] = field(default_factory=list)
    commit_ms: list[float] = field(default_factory=list)
    lift_ms: list[float] = field(default_factory=list)
    lift_cpu_ms: list[float] = field(default_factory=list)
    drop_ms: list[float] = field(default_factory=list)
    lifted_bytes: list[float] = field(default_factory=list)
    written_bytes: list[float] = field(default_factory=list)
    dead_bytes: list[float] = field(default_factory=list)
    dead_share: list[float] = field(default_factory=list)

    def report(self) -> dict[str, dict[str, float]]:
        """Return mean and worst of each."""
        return {name: summarise(getattr(self, name)) for name in self.__slots__}


def summarise(values: list[float]) -> dict[str, float]:
    """Return mean, 99th percentile and worst."""
    ordered = sorted(values) or [0.0]
    mean, late = sum(ordered) / len(ordered), ordered[len(ordered) * 99 // 100]
    return {"mean": round(mean, 3), "p99": round(late, 3), "worst": round(ordered[-1], 3)}


@contextmanager
def clocks_on() -> Iterator[Clocks]:
    """Take the time of lifting and of removing files while this is open."""
    clocks, lift, drop = Clocks(), Update.lift, NodeLog.drop

    def timed_lift(update: Update, low: int, bytes_max: int) -> None:
        started, cpu, before = time.perf_counter(), time.thread_time(), update.end
        lift(update, low, bytes_max)
        clocks.lift_s += time.perf_counter() - started
        clocks.lift_cpu_s += time.thread_time() - cpu
        clocks.lifted += update.end - before

    def timed_drop(log: NodeLog, low: int) -> None:
        started = time.perf_counter()
        drop(log, low)
        clocks.drop_s += time.perf_counter() - started

    set_methods(timed_lift, timed_drop)
    try:
        yield clocks
    finally:
        set_methods(lift, drop)


def set_methods(lift: Callable[[Update, int, int], None], drop: Callable[[NodeLog, int], None]) -> None:
    """Have others called: what is measured has no clock of its own."""
    Update.lift = lift  # type: ignore[method-assign]  # for the time of the measurement
    NodeLog.drop = drop  # type: ignore[method-assign]  # for the time of the measurement


class Chain:
    """A store that grows block by block."""

    def __init__(self, store: LedgerStore, clocks: Clocks, options: argparse.Namespace) -> None:
        self.store = store
        self.height = 0
        self._clocks = clocks
        self._source = random.Random(7)
        self._keys: int = options.keys
        self._touched: int = options.touched

    def initialise(self) -> float:
        """Write the state, and return the seconds that took."""
        genesis: dict[bytes, bytes | None] = {
            key_of(n): self._source.randbytes(VALUE_BYTES) for n in range(self._keys)
        }
        started = time.perf_counter()
        self.store.initialise(genesis, block_hash=BlockHash(HASH), receipts_root=MerkleRoot(HASH))
        return time.perf_counter() - started

    def grow(self, series: Series) -> int:
        """Make one block, and return how many bytes it lifted."""
        clocks, totals, log = self._clocks, Totals(), self.store.tree.source.log
        clocks.lift_s = clocks.lift_cpu_s = clocks.drop_s = 0.0
        clocks.lifted = 0
        self.height += 1
        before = self.store.tree.root.end
        run_block(self.store, self.height, draw_changes(self._source, self._keys, self._touched), totals)
        self._keys += self._touched // 10
        root = self.store.tree.root
        size = sum(length for _, length in log.list_ends(root.end))
        series.begin_ms.append(totals.update_seconds * 1e3)
        series.commit_ms.append((totals.commit_seconds - clocks.drop_s) * 1e3)
        series.lift_ms.append(clocks.lift_s * 1e3)
        series.lift_cpu_ms.append(clocks.lift_cpu_s * 1e3)
        series.drop_ms.append(clocks.drop_s * 1e3)
        series.lifted_bytes.append(clocks.lifted)
        series.written_bytes.append(root.end - before - clocks.lifted)
        series.dead_bytes.append(size - root.live)
        series.dead_share.append(1 - root.live / size)
        return clocks.lifted


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Return the figures of one run in a folder."""
    waiting, lifting = Series(), Series()
    with clocks_on() as clocks:
        store = LedgerStore.open(
            folder,
            network_id=NetworkId(HASH),
            window=options.window,
            log_file_bytes=options.file_bytes,
        )
        chain = Chain(store, clocks, options)
        build_s = chain.initialise()
        while not chain.grow(waiting):
            if chain.height == WAIT_BLOCKS_MAX:
                raise SystemExit(f"no block of {WAIT_BLOCKS_MAX} lifted anything")
        begun = chain.height
        for _ in range(options.blocks):
            chain.grow(lifting)
        root, files = store.tree.root, len(store.tree.source.log.list_ends(store.tree.root.end))
        store.close()
    return {
        "keys": options.keys,
        "touched_per_block": options.touched,
        "window": options.window,
        "build_s": round(build_s, 1),
        "first_lifting_block": begun,
        "blocks_with_lifting_allowed": options.blocks,
        "blocks_that_lifted": sum(1 for lifted in lifting.lifted_bytes if lifted),
        "live_bytes": root.live,
        "files": files,
        "without": waiting.report(),
        "with": lifting.report(),
    }


def main() -> None:
    """Run the benchmark and print its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--touched", type=int, default=1_000)
    parser.add_argument("--blocks", type=int, default=300)
    parser.add_argument("--window", type=int, default=10)
    parser.add_argument("--file-bytes", type=int, default=LOG_FILE_BYTES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print_figures(measure(options, Path(folder)))


if __name__ == "__main__":
    main()
