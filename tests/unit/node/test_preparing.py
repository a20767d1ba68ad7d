"""Sources are compiled while their proposals are open, and only then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tanpo.ledger.plans import plan_to_value
from tanpo.ledger.transaction import Transaction
from tanpo.ledger.values import Value
from tanpo.node.contract_sets import Programs
from tanpo.node.preparing import WAITING_MAX, Preparation
from tanpo.testing.chain import MEMBERS, Chain, make_plan
from tanpo.vm import CompiledContract

SOURCE = "@view\ndef one() -> int:\n    return 1\n"


class Recorder(Programs):
    """Notes what is compiled, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.compiled: list[str] = []

    def compile_source(self, source: str, *, name: str, interfaces: Any) -> CompiledContract:
        self.compiled.append(name)
        return super().compile_source(source, name=name, interfaces=interfaces)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    chain = Chain(tmp_path / "data")
    yield chain
    chain.close()


def run(chain: Chain, preparation: Preparation, transaction: Transaction) -> Any:
    """Run a transaction in a block of its own, and tell the preparation."""
    executed = chain.execute(transaction)
    (receipt,) = chain.commit(executed)
    preparation.notice(executed)
    return receipt.value


def propose(chain: Chain, preparation: Preparation, name: str, source: str, *, delivered: str = "") -> None:
    plan = plan_to_value(make_plan(chain, name, source))
    arguments: dict[str, Value] = {"plan": plan, "deadline": chain.execution.tip_time_ms + 10**6}
    number = run(chain, preparation, chain.make_transaction("contracts", "propose", arguments, MEMBERS[0]))
    parts: dict[str, Value] = {"number": number, "first": 0, "pieces": ((delivered or source).encode(),)}
    run(chain, preparation, chain.make_transaction("contracts", "deliver", parts, MEMBERS[0]))


async def test_a_source_is_compiled_before_it_is_agreed(chain: Chain) -> None:
    chain.execution.programs = recorder = Recorder()
    preparation = Preparation(chain.execution)
    propose(chain, preparation, "one", SOURCE)
    propose(chain, preparation, "bad", "x: float\n")
    propose(chain, preparation, "other", SOURCE, delivered="too short")
    await preparation.compile_waiting()
    assert recorder.compiled == ["one", "bad"]


async def test_as_many_wait_as_are_kept_and_no_more(chain: Chain) -> None:
    chain.execution.programs = recorder = Recorder()
    preparation = Preparation(chain.execution)
    for number in range(WAITING_MAX + 3):
        call: dict[str, Value] = {"number": number, "first": 0, "pieces": ()}
        run(chain, preparation, chain.make_transaction("contracts", "deliver", call, MEMBERS[0]))
    await preparation.compile_waiting()
    assert recorder.compiled == []
