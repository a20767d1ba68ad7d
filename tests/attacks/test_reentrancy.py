"""Contracts that call each other in a circle, as upgrades can leave them: re-entry aborts and undoes all."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tanpo import vm
from tanpo.testing.state import MemoryState
from tanpo.vm import CallContext, Machine, Outcome, Session, compile_contract
from tanpo.vm.codegen import build_program
from tanpo.vm.interface import Interface

ENGINES = getattr(vm, "ENGINES", {"codegen": build_program})

PLAIN = """
count: int

@init
def setup() -> None:
    count = 10

@entry
def run(how: int) -> int:
    count += 1
    return count

@view
def look() -> int:
    return count
"""

CALLER = """
{handles}
count: int

@init
def setup() -> None:
    count = 10

@entry
def run(how: int) -> int:
    count += 1
    emit("Ran", how=how)
    if how == 0:
        return count
    return {call}

@view
def look() -> int:
    return count

@view
def peek() -> int:
    return {peek}
"""


@dataclass
class Call:
    contract: str
    entry: str
    arguments: tuple[tuple[str, int], ...]


class Circle:
    """Contracts of which each calls the next, and the last the first, as upgrades would leave them."""

    def __init__(self, calls: dict[str, tuple[str, str, str]], engine: vm.engine.Engine) -> None:
        interfaces: dict[str, Interface] = {}
        for name in calls:
            first = PLAIN + "\n@view\ndef peek() -> int:\n    return count\n"
            interfaces[name] = compile_contract(first, name=name, interfaces={}).interface
        self.names = tuple(calls)
        contracts = {}
        for name, (handles, call, peek) in calls.items():
            source = CALLER.format(handles=handles, call=call, peek=peek)
            contracts[name] = compile_contract(source, name=name, interfaces=interfaces)
        self.session: Session = Machine(contracts, engine=engine).open_session(MemoryState())
        self.context = CallContext(sender="alice", signers=("alice",), time_ms=1, height=1, tx_id=bytes(32))
        for name in calls:
            self.session.initialise(name, (), self.context, 1_000_000)

    def run(self, name: str, how: int, gas: int = 1_000_000) -> Outcome:
        return self.session.run(Call(name, "run", (("how", how),)), self.context, gas)

    def look(self) -> list[object]:
        views = [self.session.view(Call(name, "look", ()), self.context, 9_000) for name in self.names]
        return [outcome.value for outcome in views]


def handle(name: str) -> str:
    return f"{name}: Contract['{name}']"


TWO = {
    "a": (handle("b"), "b.run(how) + count", "b.peek()"),
    "b": (handle("a"), "a.run(how) + count", "a.look()"),
}
THREE = {
    "a": (handle("b"), "b.run(how - 1)", "b.look()"),
    "b": (handle("c"), "c.run(how - 1)", "c.look()"),
    "c": (handle("a"), "a.run(how - 1)", "a.look()"),
}


@pytest.fixture(params=list(ENGINES.values()), ids=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> vm.engine.Engine:
    found: vm.engine.Engine = request.param
    return found


def test_call_back_aborts_and_undoes_all_contracts(engine: vm.engine.Engine) -> None:
    circle = Circle(TWO, engine)
    outcome = circle.run("a", 1)
    assert (outcome.code, outcome.contract) == ("REENTRANT", "b")
    assert outcome.details == (("contract", "a"),)
    assert (outcome.events, outcome.value) == ((), None)
    assert circle.look() == [10, 10]


def test_contracts_of_a_circle_work_as_long_as_it_is_not_closed(engine: vm.engine.Engine) -> None:
    circle = Circle(THREE, engine)
    assert circle.run("a", 2).value == 11
    assert circle.look() == [11, 11, 11]
    assert circle.run("b", 1).value == 12
    assert circle.look() == [11, 12, 12]


def test_longer_way_round_aborts_too(engine: vm.engine.Engine) -> None:
    circle = Circle(THREE, engine)
    for name, last in (("a", "c"), ("b", "a"), ("c", "b")):
        outcome = circle.run(name, 9)
        assert (outcome.code, outcome.contract, outcome.details) == ("REENTRANT", last, (("contract", name),))
    assert circle.look() == [10, 10, 10]


def test_view_that_looks_back_aborts(engine: vm.engine.Engine) -> None:
    circle = Circle(TWO, engine)
    outcome = circle.session.view(Call("a", "peek", ()), circle.context, 9_000)
    assert (outcome.code, outcome.details) == ("REENTRANT", (("contract", "a"),))


def test_contract_is_free_again_after_an_abort(engine: vm.engine.Engine) -> None:
    circle = Circle(TWO, engine)
    assert circle.run("a", 1).code == "REENTRANT"
    assert circle.run("a", 0).value == 11
    assert circle.run("b", 0).value == 11
    assert circle.run("b", 1).code == "REENTRANT"
    assert circle.look() == [11, 11]


def test_gas_runs_out_at_the_same_place_whatever_is_left(engine: vm.engine.Engine) -> None:
    circle = Circle(THREE, engine)
    used = circle.run("a", 2).gas_used
    for gas in range(1, used, 7):
        outcome = circle.run("a", 2, gas)
        assert (outcome.code, outcome.gas_used) == ("OUT_OF_GAS", gas)
    assert circle.look() == [11, 11, 11]
    assert circle.run("a", 2, used).ok
