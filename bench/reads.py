"""What reading the state costs, through a worker and without one: prints one JSON object.

Run it as `python bench/reads.py [runs]`. A contract that does nothing but read runs over a store: keys that
nobody has read before, pages of groups that are empty, of one entry and of as many as a page holds, and pages
that step over what a block before deleted, while that block is not final and when it is. Each run has one
transaction, with as many reads as its gas buys; what that is worth is read from receipts. The time of one
read is the time between two that reach the store. Of several runs the fastest counts: what disturbs adds. The
time that processors work, in both processes, is distorted less by what else the machine does.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from itertools import count, pairwise
from pathlib import Path

from blocks import GAS_LIMIT, Changes, commit_block, make_scene, make_task, open_store, read_cpu_s, run_block
from measuring import print_figures
from tanpo.ledger.receipt import Receipt, decode_receipt
from tanpo.ledger.transaction import Call
from tanpo.node.contract_sets import ContractSet, ContractSource, Programs
from tanpo.node.metrics import Metrics
from tanpo.node.running import LocalRunner, Runner, Scene
from tanpo.node.worker.runner import WorkerRunner
from tanpo.storage import LedgerStore, Overlay, StateReader
from tanpo.vm.limits import PAGE_MAX

LISTED = 30_000
"""Entries of one group: enough for every page that a transaction can afford, none of them listed twice."""

DELETED = 4_000
SETUP_COUNT = 200
"""Entries that one transaction adds or removes: a transaction's gas is enough for them by far."""

SOURCE = f"""
known: Map[int, int]
listed: Index[int, int]

@entry
def look(start: int, count: int) -> None:
    for number in range(start, start + count):
        if number in known:
            pass

@entry
def seek(start: int, count: int) -> None:
    for number in range(start, start + count):
        found = listed.contains(0, number)

@entry
def page_empty(start: int, count: int) -> None:
    for number in range(start, start + count):
        found = listed.first(-number, 1)

@entry
def page_one(start: int, count: int) -> None:
    for number in range(count):
        found = listed.page(0, number * 30 % {LISTED}, 1)

@entry
def page_full(start: int, count: int) -> None:
    for number in range(count):
        found = listed.page(0, number * {PAGE_MAX} % {LISTED}, {PAGE_MAX})

@entry
def page_first(start: int, count: int) -> None:
    for number in range(count):
        found = listed.first(1, 1)

@entry
def fill(start: int, count: int) -> None:
    for number in range(start, start + count):
        listed.add(0, number)

@entry
def fill_other(start: int, count: int) -> None:
    for number in range(start, start + count):
        listed.add(1, number)

@entry
def clear_other(start: int, count: int) -> None:
    for number in range(start, start + count):
        listed.remove(1, number)
"""


class ClockedState:
    """A state that notes when it is read."""

    def __init__(self, state: StateReader) -> None:
        self.state = state
        self.reads: list[float] = []

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key."""
        self.reads.append(time.perf_counter())
        return self.state.get(key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return the first pairs of a range."""
        self.reads.append(time.perf_counter())
        return self.state.scan(start, stop, limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One transaction that reads: what it cost, and the times between its reads."""

    receipt: Receipt
    ms: float
    cpu_ms: float
    read_us: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a transaction of a shape costs, and one read of it."""

    reads: int
    gas: int
    ms: float
    ns_per_gas: float
    cpu_ns_per_gas: float
    read_us_median: float
    read_us_p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One way of reading, and what it costs here and in a worker."""

    shape: str
    in_process: Costs
    worker: Costs


class Reads:
    """Runs of the contract over one store, on one runner; no two look at the same keys."""

    def __init__(self, store: LedgerStore, contracts: ContractSet, runner: Runner) -> None:
        self._store = store
        self._contracts = contracts
        self._runner = runner
        self._numbers = count(1)
        self._start = LISTED

    async def run(self, entry: str, reads: int, above: tuple[Scene, Changes] | None = None) -> Run:
        """Run one transaction on the committed state, or on a block above it that is not final."""
        number = next(self._numbers)
        if above is None:
            # A store remembers what was listed until the next block is final.
            commit(self._store, make_scene(self._store, self._contracts), {})
        scene = make_scene(self._store, self._contracts, entry.encode() + number.to_bytes(4, "big"))
        if above is not None:
            parent, changes = above
            scene = replace(scene, parent_hash=parent.block_hash, state=Overlay(self._store, changes))
        clocked = ClockedState(scene.state)
        call = Call.create("reads", entry, {"start": self._start, "count": reads})
        self._start += reads
        tasks = [make_task(number, call, ("member-a",))]
        started, worked = time.perf_counter(), read_cpu_s(self._runner)
        receipts, _ = await run_block(self._runner, replace(scene, state=clocked), tasks)
        ms = (time.perf_counter() - started) * 1e3
        cpu_ms = (read_cpu_s(self._runner) - worked) * 1e3
        read_us = [(after - before) * 1e6 for before, after in pairwise(clocked.reads)]
        return Run(receipt=decode_receipt(receipts[0]), ms=ms, cpu_ms=cpu_ms, read_us=read_us)


async def change(store: LedgerStore, contracts: ContractSet, entry: str, total: int) -> tuple[Scene, Changes]:
    """Return a block that adds or removes so many entries; it is not committed."""
    calls = [
        Call.create("reads", entry, {"start": start, "count": min(SETUP_COUNT, total)})
        for start in range(0, total, SETUP_COUNT)
    ]
    tasks = [make_task(number, call, ("member-a",)) for number, call in enumerate(calls)]
    scene = make_scene(store, contracts, entry.encode())
    receipts, changes = await run_block(LocalRunner(Programs(), Metrics()), scene, tasks)
    failed = [receipt for receipt in map(decode_receipt, receipts) if not receipt.succeeded]
    if failed:
        raise SystemExit(f"what is to be read cannot be set up: {failed[0]}")
    return scene, changes


def commit(store: LedgerStore, scene: Scene, changes: Changes) -> None:
    """Make a block of `change` final."""
    commit_block(store, scene, [], [], changes, store.tree.begin(scene.height, changes, None))


async def count_affordable(reads: Reads, entry: str, above: tuple[Scene, Changes] | None) -> int:
    """Return how many reads the hardest limit of gas buys."""
    few, more = [(await reads.run(entry, number, above)).receipt.gas_used for number in (10, 20)]
    # Rounded up, and one less: numbers may grow by a digit.
    return (GAS_LIMIT - few) // -(-(more - few) // 10) + 9


async def measure(reads: Reads, entry: str, runs: int, above: tuple[Scene, Changes] | None = None) -> Costs:
    """Return what a shape of reading costs."""
    affordable = await count_affordable(reads, entry, above)
    several = [await reads.run(entry, affordable, above) for _ in range(runs)]
    failed = [run.receipt for run in several if not run.receipt.succeeded]
    if failed:
        raise SystemExit(f"{entry} cannot afford what it was to read: {failed[0]}")
    best = min(several, key=lambda run: run.ms)
    times = sorted(time_us for run in several for time_us in run.read_us)
    return Costs(
        reads=affordable,
        gas=best.receipt.gas_used,
        ms=round(best.ms, 1),
        ns_per_gas=round(best.ms * 1e6 / best.receipt.gas_used, 1),
        cpu_ns_per_gas=round(min(run.cpu_ms for run in several) * 1e6 / best.receipt.gas_used, 1),
        read_us_median=round(statistics.median(times), 1),
        read_us_p99=round(times[len(times) * 99 // 100], 1),
    )


async def measure_all(runs: int, folder: Path) -> list[Shape]:
    """Return the costs of every shape, here and in a worker."""
    contracts = ContractSet.create([ContractSource.create("reads", SOURCE)])
    store = open_store(folder, {})
    metrics = Metrics()
    worker = WorkerRunner(metrics)
    worker.open()
    runners = {
        "in_process": Reads(store, contracts, LocalRunner(Programs(), metrics)),
        "worker": Reads(store, contracts, worker),
    }
    shapes: list[Shape] = []

    async def note(shape: str, entry: str, above: tuple[Scene, Changes] | None = None) -> None:
        costs = [await measure(runners[where], entry, runs, above) for where in ("in_process", "worker")]
        shapes.append(Shape(shape=shape, in_process=costs[0], worker=costs[1]))

    try:
        commit(store, *await change(store, contracts, "fill", LISTED))
        await note("key of a map", "look")
        await note("entry of an index", "seek")
        await note("page of an empty group", "page_empty")
        await note("page of 1", "page_one")
        await note(f"page of {PAGE_MAX}", "page_full")
        filled = await change(store, contracts, "fill_other", DELETED)
        await note(f"page of 1 of {DELETED} added in the block before", "page_first", filled)
        commit(store, *filled)
        cleared = await change(store, contracts, "clear_other", DELETED)
        await note(f"page after {DELETED} deleted in the block before", "page_first", cleared)
        commit(store, *cleared)
        await note(f"page after {DELETED} deleted for good", "page_first")
    finally:
        worker.close()
        store.close()
    return shapes


def main() -> None:
    """Measure and print."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        shapes = asyncio.run(measure_all(runs, Path(folder)))
    shapes.sort(key=lambda shape: -shape.worker.ns_per_gas)
    setting = {"runs": runs, "gas_limit": GAS_LIMIT}
    print_figures({"setting": setting, "worst": asdict(shapes[0]), "shapes": [asdict(one) for one in shapes]})


if __name__ == "__main__":
    main()
