"""A view is answered from one state, also when a block is committed while it runs."""

from __future__ import annotations

import asyncio
from typing import Any

from tanpo.ledger.transaction import Call
from tanpo.ledger.types import BlockHash, Height
from tanpo.node.contract_sets import ContractSet, ContractSource, Programs
from tanpo.node.metrics import Metrics
from tanpo.node.running import LocalRunner, Pause, Result, Scene, Script, Steps
from tanpo.node.views import ATTEMPTS_MAX, Views
from tanpo.testing import MemoryState
from tanpo.vm.types import INT
from tanpo.vm.valuecodec import build_encoder

SOURCE = """
count: int

@init
def setup() -> None:
    count = 0

@view
def total() -> int:
    return count
"""
CONTRACTS = ContractSet.create([ContractSource.create("notes", SOURCE)])
TOTAL = Call.create("notes", "total", {})
encode_int = build_encoder(INT)
KEY = b"\x01\x00\x05notes\x05count"


class Store(MemoryState):
    """A state whose tip moves on with every commit."""

    def __init__(self) -> None:
        super().__init__()
        self.executed_height = Height(0)
        self.commit()

    @property
    def executed_hash(self) -> BlockHash:
        return BlockHash(self.executed_height.to_bytes(32, "big"))

    def commit(self) -> None:
        self.executed_height = Height(self.executed_height + 1)
        self.apply([(KEY, encode_int(int(self.executed_height)))])


class SlowRunner:
    """Runs here, and has to wait before and after, as for a worker; a block may be committed meanwhile."""

    def __init__(self, store: Store, commits: int) -> None:
        self._inner = LocalRunner(Programs(), Metrics())
        self._store = store
        self._commits = commits
        self.runs = 0

    def run(self, scene: Scene, script: Script[Result]) -> Steps[Result]:
        self.runs += 1
        yield Pause()
        result = yield from self._inner.run(scene, script)
        yield Pause()
        if self._commits:
            self._commits -= 1
            self._store.commit()
        return result

    def explain_stall(self) -> str:
        return ""

    def close(self) -> None:
        self._inner.close()


def make_views(commits: int) -> tuple[Store, SlowRunner, Views]:
    store = Store()
    runner = SlowRunner(store, commits)
    given: Any = store  # Views ask a store for its tip and its values.
    return store, runner, Views(given, runner)


async def test_a_view_that_a_block_overtakes_is_begun_again() -> None:
    store, runner, views = make_views(commits=3)
    receipt = await views.run(TOTAL, lambda: CONTRACTS, 1)
    assert (receipt.value, receipt.height) == (store.executed_height, store.executed_height)
    assert runner.runs == 4


async def test_a_view_that_blocks_overtake_for_ever_makes_them_wait() -> None:
    store, runner, views = make_views(commits=ATTEMPTS_MAX)
    receipt = await views.run(TOTAL, lambda: CONTRACTS, 1)
    assert receipt.value == store.executed_height
    assert runner.runs == ATTEMPTS_MAX + 1


async def test_a_view_that_an_upgrade_overtakes_runs_with_the_new_contract() -> None:
    store, runner, views = make_views(commits=2)
    later = ContractSet.create(
        [ContractSource.create("notes", SOURCE.replace("return count", "return count * 100"))]
    )
    receipt = await views.run(TOTAL, lambda: CONTRACTS if store.executed_height < 3 else later, 1)
    assert (receipt.value, runner.runs) == (300, 3)


async def test_views_run_one_after_the_other() -> None:
    store, runner, views = make_views(commits=0)
    receipts = await asyncio.gather(*(views.run(TOTAL, lambda: CONTRACTS, 1) for _ in range(5)))
    assert [receipt.value for receipt in receipts] == [store.executed_height] * 5
    assert runner.runs == 5
