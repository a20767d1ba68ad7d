"""Both engines on every call of a test ledger: a difference is never passed over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tanpo.ledger.transaction import Call
from tanpo.testing import EnginesDiffer, MemoryState
from tanpo.testing.compared import ComparedSession
from tanpo.vm import ENGINES, CallContext, Engine, Machine, compile_contract
from tanpo.vm.engine import Program
from tanpo.vm.ir import Block, Const, Return, Store, Unit
from tanpo.vm.types import BOOL, INT

SOURCE = """
total: int

@entry
def main(n: int) -> bool:
    total = n
    emit("Done", n=n)
    require(n > 0, "LOW", n=n)
    return n > 1
"""
CONTEXT = CallContext(sender="alice", signers=("alice",), time_ms=1, height=1, tx_id=bytes(32))


def change_body(change: Callable[[Block], Block]) -> Engine:
    """Return an engine that runs a changed program."""

    def build(unit: Unit) -> Program:
        functions = tuple(replace(one, body=change(one.body)) for one in unit.functions)
        return ENGINES["closures"](replace(unit, functions=functions))

    return build


def change_last(value: Const) -> Engine:
    return change_body(
        lambda body: Block((*body.statements[:-1], Return(body.statements[-1].line, value)), body.cost)
    )


def store_nothing(body: Block) -> Block:
    first, *rest = body.statements
    assert isinstance(first, Store)
    return Block((replace(first, value=Const(INT, 0)), *rest), body.cost)


def move_lines(body: Block) -> Block:
    return Block(tuple(replace(one, line=one.line + 1) for one in body.statements), body.cost)


WRONG = {
    "gas": (change_body(lambda body: Block(body.statements, body.cost + 1)), 2),
    "result": (change_last(Const(BOOL, False)), 2),
    "type of the result": (change_last(Const(INT, 1)), 2),
    "events": (change_body(lambda body: Block((body.statements[0], *body.statements[2:]), body.cost)), 2),
    "line": (change_body(move_lines), 0),
    "state": (change_body(store_nothing), 2),
}


def run_against(engine: Engine, n: int) -> None:
    compiled = compile_contract(SOURCE, name="t", interfaces={})
    machines = {
        "right": Machine({"t": compiled}, engine=ENGINES["codegen"]),
        "other": Machine({"t": compiled}, engine=engine),
    }
    session = ComparedSession(machines, MemoryState())
    session.run(Call.create("t", "main", {"n": n}), CONTEXT, 10_000)
    session.collect_changes()


@pytest.mark.parametrize(("engine", "n"), WRONG.values(), ids=WRONG.keys())
def test_difference_is_shown_from_both_sides(engine: Engine, n: int) -> None:
    with pytest.raises(EnginesDiffer, match=r"(?s)right: .*other: "):
        run_against(engine, n)


@pytest.mark.parametrize("n", [0, 2])
def test_engines_that_agree_pass(n: int) -> None:
    run_against(ENGINES["closures"], n)
