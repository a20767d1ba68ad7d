"""Blocks give the same receipts and changes here and in a worker, whatever is in them and whatever dies."""

from __future__ import annotations

import random
from collections.abc import Iterator
from hashlib import sha256

import pytest
from tanpo.contracts import PRODUCT_CONTRACTS, load_source
from tanpo.ledger.receipt import is_success
from tanpo.ledger.transaction import Call, encode_call
from tanpo.ledger.types import BlockHash, Height, TxId
from tanpo.ledger.values import Value
from tanpo.node.contract_sets import ContractSet, ContractSource, Programs
from tanpo.node.metrics import Metrics
from tanpo.node.running import BlockRun, LocalRunner, Scene, Steps, play_blocking
from tanpo.node.tasks import Task, TaskKind
from tanpo.node.worker.runner import WorkerRunner
from tanpo.storage import Overlay, StateReader
from tanpo.testing import Market, MemoryState
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

CONTRACTS = ContractSet.create(ContractSource.create(name, load_source(name)) for name in PRODUCT_CONTRACTS)
DEALERS = ("dealer-a", "dealer-b", "dealer-c")
INSTRUMENTS = (BOND, SHARE, FUND, USD, EUR)
BLOCKS = 25
BLOCK_TASKS = 12
TIME_MS = 1_767_225_600_001

Results = tuple[list[bytes], dict[bytes, "bytes | None"]]


@pytest.fixture(scope="module")
def market_state() -> dict[bytes, bytes]:
    """Return the state of a market in which every dealer holds everything and has agreements."""
    market = Market()
    market.define_all()
    for dealer in DEALERS:
        for instrument in INSTRUMENTS:
            market.issue(instrument, dealer, 10_000)
    market.publish(dict.fromkeys((BOND, SHARE, FUND, "EUR/USD"), 10**12), "trust-bank", "custody-bank")
    lines = (build_line("cash"), build_line("government_bond", 400), build_line("money_market_fund", 150))
    for number, other in enumerate(DEALERS[1:]):
        parties = build_party("dealer-a"), build_party(other)
        market.agree(build_agreement(*parties, id=f"csa-{number}", lines=lines))
    return market.ledger.copy_state()


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerRunner]:
    """Return a runner whose worker goes on from one test to the next."""
    runner = WorkerRunner(Metrics())
    runner.open()
    yield runner
    runner.close()


def draw_call(chance: random.Random) -> tuple[Call, tuple[str, ...]]:
    """Return a call that often succeeds, sometimes fails and now and then makes no sense."""
    dealers = chance.sample(DEALERS, 2)
    quantity = chance.choice((1, 10, 100, 9_999, 20_000, -1))
    pairs = [chance.sample(dealers, 2) for _ in range(chance.randrange(1, 4))]
    legs: tuple[Value, ...] = tuple(
        build_leg(first, second, chance.choice(INSTRUMENTS), quantity) for first, second in pairs
    )
    collateral: dict[str, Value] = {
        "agreement": f"csa-{chance.randrange(3)}",
        "pledgor": chance.choice(dealers),
    }
    item: Value = {"instrument": chance.choice(INSTRUMENTS), "quantity": abs(quantity)}
    members = chance.choice((tuple(sorted(dealers)), (dealers[0],), ("trust-bank",)))
    calls: tuple[tuple[str, str, dict[str, Value]], ...] = (
        ("settlement", "swap", {"legs": legs}),
        ("settlement", "swap", {"legs": legs[:1]}),
        ("settlement", "propose", {"legs": legs, "expiry": TIME_MS + chance.randrange(10_000)}),
        ("settlement", "affirm", {"number": chance.randrange(6)}),
        ("collateral", "pledge", {**collateral, "instrument": FUND, "quantity": quantity}),
        ("collateral", "release", {**collateral, "instrument": FUND, "quantity": quantity}),
        ("collateral", "margin_call", {**collateral, "exposure": quantity}),
        ("collateral", "substitute", {**collateral, "incoming": (item,), "outgoing": (item,)}),
        ("collateral", "publish", {"source": "trust-bank", "prices": ({"subject": BOND, "value": 10**12},)}),
        ("instruments", "freeze", {"account": dealers[0], "instrument": BOND, "reason": "test"}),
        ("instruments", "nothing", {}),
        ("nowhere", "nothing", {"text": "x" * chance.randrange(100)}),
    )
    contract, entry, arguments = chance.choice(calls)
    return Call.create(contract, entry, arguments), members


def draw_task(chance: random.Random, number: int) -> Task:
    call, members = draw_call(chance)
    return Task(
        kind=TaskKind.ENTRY,
        call=call,
        encoded_call=encode_call(call),
        sender=members[0],
        signers=members,
        tx_id=TxId(sha256(number.to_bytes(8, "big")).digest()),
        gas_limit=chance.choice((1_000_000, 1_000_000, 1_000_000, 2_000, 0)),
    )


@pytest.mark.parametrize("seed", range(2))
def test_a_chain_of_blocks_with_forks_gives_the_same_here_and_in_a_worker(
    worker: WorkerRunner, market_state: dict[bytes, bytes], seed: int
) -> None:
    chance = random.Random(seed)
    local = LocalRunner(Programs(), Metrics())
    store = MemoryState()
    store.apply(market_state.items())
    tip: StateReader = store
    committed = parent = BlockHash(sha256(b"genesis %d" % seed).digest())
    waiting: list[tuple[BlockHash, dict[bytes, bytes | None], Overlay]] = []
    outcomes: set[bool] = set()
    for number in range(BLOCKS):
        if chance.random() < 0.1:
            worker.close()  # As if it had been killed: the next one knows nothing.
        tasks = [draw_task(chance, number * BLOCK_TASKS + place) for place in range(BLOCK_TASKS)]
        scene = Scene(
            block_hash=BlockHash(sha256(b"block %d %d" % (seed, number)).digest()),
            parent_hash=parent,
            committed_hash=committed,
            height=Height(len(waiting) + 1),
            time_ms=TIME_MS + number,
            contracts=CONTRACTS,
            state=tip,
        )

        def script(run: BlockRun, tasks: list[Task] = tasks) -> Steps[Results]:
            receipts = yield from run.execute(tasks, is_last=True)
            return receipts, (yield from run.collect())

        here = play_blocking(local.run(scene, script))
        assert play_blocking(worker.run(scene, script)) == here
        outcomes |= {is_success(receipt) for receipt in here[0]}
        if chance.random() < 0.25:
            continue  # A block that dies: its sibling comes next.
        overlay = Overlay(tip, here[1])
        waiting.append((scene.block_hash, here[1], overlay))
        parent, tip = scene.block_hash, overlay
        if len(waiting) > 2:
            committed, changes, _ = waiting.pop(0)
            store.apply(changes.items())
            waiting[0][2].rebase(store)
    assert outcomes == {True, False}
