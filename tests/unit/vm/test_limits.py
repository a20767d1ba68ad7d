"""What is just inside the limits is accepted and runs: no limit of CPython is met first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tanpo.vm import Outcome
from tanpo.vm.limits import (
    CALL_CHAIN_MAX,
    CALL_DEPTH_MAX,
    EXPRESSION_DEPTH_MAX,
    INDENT_DEPTH_MAX,
    TYPE_DEPTH_MAX,
    VARIABLES_MAX,
)

if TYPE_CHECKING:
    Chain = Any

Evaluate = Callable[..., Outcome]

DEEP = EXPRESSION_DEPTH_MAX - 1


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (" + ".join(["a"] * DEEP), DEEP),
        (" - ".join(["a"] * DEEP), 2 - DEEP),
        (" * ".join(["a"] * DEEP), 1),
        (" | ".join(["a"] * DEEP), 1),
        (" << ".join(["a"] * 7), 1 << 6),
        ("-" * DEEP + "a", -1),
        ("a if p else " * (DEEP - 1) + "a", 1),
        ("len([0 for i in range(" + "abs(" * 13 + "a" + ")" * 13 + ")])", 1),
        ("abs(" * 16 + " + ".join(["a"] * 10) + ")" * 16, 10),
        ("len(" + "'a' + (" * 15 + "'b'" + ")" * 15 + ")", 16),
        ("[" * TYPE_DEPTH_MAX + "a" + "]" * TYPE_DEPTH_MAX + "[0]" * TYPE_DEPTH_MAX, 1),
    ],
)
def test_deepest_expression_runs(expression: str, value: int, evaluate: Evaluate) -> None:
    outcome = evaluate(f"return {expression}", a=1, p=False)
    assert (outcome.code, outcome.value) == ("", value)


def test_deepest_logic_runs(evaluate: Evaluate) -> None:
    assert evaluate("return " + "not " * (DEEP - 1) + "p", "bool", p=True).value is (DEEP % 2 == 1)


@pytest.mark.parametrize("head", ["for i{} in range(2):", "while a == 1:", "if a == 1:"])
def test_deepest_nest_of_blocks_runs(head: str, evaluate: Evaluate) -> None:
    depth = INDENT_DEPTH_MAX - 1
    body = "".join("    " * level + head.format(level) + "\n" for level in range(depth))
    assert evaluate(f"{body}{'    ' * depth}return a\nreturn 0", a=1).value == 1


def test_longest_chain_of_calls_through_every_contract_runs(chain: Chain) -> None:
    for place in range(CALL_DEPTH_MAX):
        handle = f'below: Contract["c{place - 1}"]\n' if place else ""
        end = "below.main(x)" if place else "x"
        source = f"{handle}def f{CALL_CHAIN_MAX - 2}(x: int) -> int:\n"
        source += f"    return [{end} + i for i in range(1)][0]\n"
        for level in range(CALL_CHAIN_MAX - 2):
            source += f"def f{level}(x: int) -> int:\n    return [f{level + 1}(x) + i for i in range(1)][0]\n"
        chain.deploy(
            f"{source}@entry\ndef main(x: int) -> int:\n    return [f0(x) for i in range(1)][0]\n",
            f"c{place}",
        )
    outcome = chain.run("main", contract=f"c{CALL_DEPTH_MAX - 1}", x=5)
    assert (outcome.code, outcome.value) == ("", 5)


def test_a_contract_with_all_the_variables_it_may_have_runs(chain: Chain) -> None:
    slots = "\n".join(f"m{place}: Map[int, int]" for place in range(VARIABLES_MAX))
    chain.deploy(f"{slots}\n@entry\ndef main() -> int:\n    m7[1] = 2\n    return m7[1] + m255.get(1, 3)\n")
    assert chain.value("main") == 5
