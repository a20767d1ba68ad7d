"""Two engines, one meaning: what is particular to how each of them runs a contract."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from tanpo.ledger.transaction import Call
from tanpo.vm import ENGINES, CallContext, Machine, compile_contract, gas
from tanpo.vm.closures.expressions import OPERATIONS
from tanpo.vm.limits import CALL_CHAIN_MAX, CALL_DEPTH_MAX, EXPRESSION_DEPTH_MAX, INDENT_DEPTH_MAX

if TYPE_CHECKING:
    Chain = Any


CONTEXT = CallContext(sender="alice", signers=("alice",), time_ms=1, height=1, tx_id=bytes(32))


class Nothing:
    """An empty state."""

    def get(self, key: bytes) -> bytes | None:
        return None

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        return []


def write_deepest(callee: str) -> str:
    """Return a contract in which everything nests as deep as it may, down to a call of `callee`."""
    lines = [f'below: Contract["{callee}"]'] if callee else []
    for place in range(CALL_CHAIN_MAX):
        lines += ["@entry" if place == 0 else "", f"def f{place}(n: int) -> int:"]
        lines += [f"{'    ' * depth}if n >= 0:" for depth in range(1, INDENT_DEPTH_MAX)]
        inner = f"f{place + 1}(n)" if place + 1 < CALL_CHAIN_MAX else "below.f0(n)" if callee else "n // n"
        terms = " + 1" * (EXPRESSION_DEPTH_MAX - 5)
        lines += [f"{'    ' * INDENT_DEPTH_MAX}return [{inner}{terms} for i in range(1)][0]", "    return 0"]
    return "\n".join(lines) + "\n"


def test_deepest_program_runs_on_every_engine(chain: Chain) -> None:
    callee = ""
    for place in range(CALL_DEPTH_MAX):
        chain.deploy(write_deepest(callee), f"c{place}")
        callee = f"c{place}"
    outcome = chain.run("f0", contract=callee, n=1)
    added = (EXPRESSION_DEPTH_MAX - 5) * CALL_CHAIN_MAX * CALL_DEPTH_MAX
    assert (outcome.code, outcome.value) == ("", 1 + added)
    failed = chain.run("f0", contract=callee, n=0)
    assert (failed.code, failed.contract, failed.line) == (
        "DIV_ZERO",
        "c0",
        (2 + INDENT_DEPTH_MAX + 1) * 32 - 1,
    )


@pytest.mark.parametrize("op", gas.PRICES)
def test_operation_with_a_price_can_be_done_by_the_reference(op: str) -> None:
    assert op in OPERATIONS


def test_limit_of_nested_calls_is_put_back(chain: Chain) -> None:
    before = sys.getrecursionlimit()
    chain.deploy(write_deepest(""))
    assert chain.run("f0", n=1).ok
    assert chain.code("f0", n=0) == "DIV_ZERO"
    assert sys.getrecursionlimit() == before


LINES = """total: int
m: Map[str, int]

def inner(x: int) -> int:
    y = x

    return 10 // y

@entry
def main(how: int, xs: list[int]) -> int:
    total = inner(
        1)
    if how == 0:
        return inner(1) + inner(0)
    elif how == 1:
        return inner(1) + xs[
            9]
    for x in xs:
        if x == how:
            abort("FOUND", at=inner(x - how))
    n = [inner(x) for x in xs if inner(1) > 0 and xs[inner(1)] == 0]
    while inner(how) > 0 and inner(how - 2) > 0:

        how -= 1
    return m["none"]
"""


@pytest.mark.parametrize(
    ("how", "xs", "line", "code"),
    [
        (0, [1], 7, "DIV_ZERO"),
        (1, [1], 16, "INDEX"),
        (5, [5], 7, "DIV_ZERO"),
        (3, [1, 2], 21, "INDEX"),
        (2, [], 7, "DIV_ZERO"),
        (3, [], 7, "DIV_ZERO"),
        (11, [], 25, "STATE_MISSING"),
    ],
)
def test_line_is_that_of_the_innermost_statement(
    how: int, xs: list[int], line: int, code: str, chain: Chain
) -> None:
    chain.deploy(LINES)
    outcome = chain.run("main", how=how, xs=xs)
    assert (outcome.code, outcome.line) == (code, line)


def test_line_is_the_same_wherever_gas_runs_out() -> None:
    compiled = compile_contract(LINES, name="t", interfaces={})
    call = Call.create("t", "main", {"how": 3, "xs": (1, 2, 0)})
    machines = {name: Machine({"t": compiled}, engine=engine) for name, engine in ENGINES.items()}
    seen = {
        name: [machine.open_session(Nothing()).run(call, CONTEXT, limit) for limit in range(1, 1_600)]
        for name, machine in machines.items()
    }
    first, *others = seen.values()
    assert all(other == first for other in others)
    assert {outcome.line for outcome in first if outcome.code == "OUT_OF_GAS"} >= {0, 5, 11, 19, 21}
