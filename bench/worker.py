"""What a worker costs against running contracts in the node: prints one JSON object.

Run it as `python bench/worker.py [blocks]`. Blocks of collateral transactions are executed one after the
other on a store, in this process and in a worker, with receipts and roots; commits are not in the figures.
What the worker adds is a share of running the contracts alone, and of the whole with its state root; of the
time that passes, and of the time that processors work, which a busy machine does not distort.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from blocks import Changes, commit_block, make_scene, make_task, open_store, read_cpu_s, run_block
from measuring import print_figures
from tanpo.contracts import PRODUCT_CONTRACTS, load_source
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.receipt import decode_receipt, is_success
from tanpo.ledger.transaction import Call
from tanpo.ledger.values import Value
from tanpo.node.contract_sets import ContractSet, ContractSource, Programs
from tanpo.node.metrics import Metrics
from tanpo.node.running import LocalRunner, Runner
from tanpo.node.tasks import Task
from tanpo.node.worker.runner import WorkerRunner
from tanpo.testing import Market
from tanpo.testing.market import (
    BOND,
    EUR,
    FUND,
    SHARE,
    USD,
    build_agreement,
    build_leg,
    build_line,
    build_party,
)

BLOCK_TASKS = 100
PAIRS = 60
DEALERS = ("dealer-a", "dealer-b")


def prepare() -> Changes:
    """Return a market of dealers who hold everything, in pairs with an agreement each."""
    market = Market()
    market.define_all()
    for account in (f"{dealer}/{number:03d}" for dealer in DEALERS for number in range(PAIRS)):
        for instrument in (BOND, SHARE, FUND, USD, EUR):
            market.issue(instrument, account, 10**12)
    market.publish(dict.fromkeys((BOND, SHARE, FUND, "EUR/USD"), 10**12), "trust-bank", "custody-bank")
    lines = (build_line("cash"), build_line("government_bond", 400), build_line("money_market_fund", 150))
    for number in range(PAIRS):
        first, second = (build_party(dealer, account=f"{dealer}/{number:03d}") for dealer in DEALERS)
        market.agree(build_agreement(first, second, id=f"csa-{number:03d}", lines=lines))
    return dict(market.ledger.copy_state())


def list_tasks(block: int) -> list[Task]:
    """Return a block of swaps, pledges, margin calls and substitutions among dealers in turn."""
    tasks = []
    for place in range(BLOCK_TASKS):
        number = block * BLOCK_TASKS + place
        pair = number % PAIRS
        first, second = (f"{dealer}/{pair:03d}" for dealer in DEALERS)
        collateral: dict[str, Value] = {"agreement": f"csa-{pair:03d}", "pledgor": DEALERS[0]}
        item: tuple[Value, ...] = ({"instrument": FUND, "quantity": 1},)
        legs = (build_leg(first, second, BOND, 100), build_leg(second, first, USD, 98))
        swap = Call.create("settlement", "swap", {"legs": legs})
        under_agreement = (
            Call.create("collateral", "pledge", {**collateral, "instrument": FUND, "quantity": 1_000}),
            Call.create("collateral", "margin_call", {**collateral, "exposure": 10**9 + number}),
            Call.create("collateral", "substitute", {**collateral, "incoming": item, "outgoing": item}),
        )
        call = swap if number % 2 else under_agreement[number // PAIRS % 3]
        tasks.append(make_task(number, call, DEALERS))
    return tasks


class Chain:
    """Blocks one on the other over a store of their own, each committed before the next."""

    def __init__(self, folder: Path, state: Changes, contracts: ContractSet, runner: Runner) -> None:
        self.runner = runner
        self._store = open_store(folder, state)
        self._contracts = contracts
        self.run_ms: list[float] = []
        self.whole_ms: list[float] = []
        self.cpu_ms: list[float] = []

    async def execute(self, tasks: list[Task]) -> bytes:
        """Execute and commit one block, and return its state root."""
        store = self._store
        scene = make_scene(store, self._contracts)
        started, worked = time.perf_counter(), read_cpu_s(self.runner)
        receipts, changes = await run_block(self.runner, scene, tasks)
        ran = time.perf_counter()
        plan = store.tree.begin(scene.height, changes, None)
        compute_merkle_root(tuple(receipts))
        self.run_ms.append((ran - started) * 1e3)
        self.whole_ms.append((time.perf_counter() - started) * 1e3)
        self.cpu_ms.append((read_cpu_s(self.runner) - worked) * 1e3)
        failed = [decode_receipt(receipt) for receipt in receipts if not is_success(receipt)]
        if failed:
            raise SystemExit(f"a measured transaction failed: {failed[0]}")
        commit_block(store, scene, tasks, receipts, changes, plan)
        return plan.state_root

    def close(self) -> None:
        """End runner and store."""
        self.runner.close()
        self._store.close()


def summarise(chain: Chain) -> dict[str, float]:
    """Return milliseconds a block: the first with everything cold, then the median of the rest."""
    return {
        "first_block_ms": round(chain.whole_ms[0], 2),
        "contracts_ms": round(statistics.median(chain.run_ms[1:]), 2),
        "block_ms": round(statistics.median(chain.whole_ms[1:]), 2),
        "block_cpu_ms": round(statistics.median(chain.cpu_ms[1:]), 2),
    }


async def measure(blocks: int, folder: Path) -> dict[str, object]:
    """Execute the same blocks in turn in the process and in a worker, and compare."""
    state = prepare()
    contracts = ContractSet.create(
        ContractSource.create(name, load_source(name)) for name in PRODUCT_CONTRACTS
    )
    metrics = Metrics()
    worker = WorkerRunner(metrics)
    worker.open()
    local = Chain(folder / "local", state, contracts, LocalRunner(Programs(), metrics))
    remote = Chain(folder / "worker", state, contracts, worker)
    try:
        for block in range(blocks):
            tasks = list_tasks(block)
            roots = [await chain.execute(tasks) for chain in (local, remote)]
            if roots[0] != roots[1]:
                raise SystemExit(f"block {block} has two state roots")
        figures = {"in_process": summarise(local), "worker": summarise(remote)}
    finally:
        local.close()
        remote.close()
    added = {
        what: round(figures["worker"][what] / figures["in_process"][what] - 1, 3)
        for what in ("contracts_ms", "block_ms", "block_cpu_ms")
    }
    return {**figures, "worker_adds": added}


def main() -> None:
    """Measure and print."""
    blocks = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(blocks, Path(folder)))
    setting = {"blocks": blocks, "transactions_a_block": BLOCK_TASKS}
    print_figures({"setting": setting, **figures})


if __name__ == "__main__":
    main()
