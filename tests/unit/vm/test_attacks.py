"""Attacks that text files cannot spell: arguments of hostile Python types, and chains at the limit.

All others are in `tests/attacks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from tanpo.vm import Outcome, check_contract

if TYPE_CHECKING:
    Chain = Any

Evaluate = Callable[..., Outcome]

TAKERS = """
@record
class Leg:
    owner: str
    amounts: list[int]

kept: Leg

@entry
def number(x: int) -> int:
    return x

@entry
def text(x: str) -> str:
    return x

@entry
def raw(x: bytes) -> int:
    return len(x)

@entry
def items(x: list[list[int]]) -> list[list[int]]:
    x[0].append(9)
    return x

@entry
def leg(x: Leg) -> list[int]:
    x.amounts.append(9)
    kept = x
    return kept.amounts
"""


class Number(int):
    """A number whose operators lie."""

    def __add__(self, other: object) -> int:
        raise AssertionError("called")


class Text(str):
    """A text that claims to be another."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class Raw(bytes):
    """Bytes of another class."""


class Fields(Mapping[str, object]):
    """A mapping that answers otherwise each time it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __getitem__(self, key: str) -> object:
        self.asked += 1
        return "a" if key == "owner" else [self.asked]

    def __iter__(self) -> Iterator[str]:
        return iter(("owner", "amounts"))

    def __len__(self) -> int:
        return 2


@pytest.fixture
def takers(chain: Chain) -> Chain:
    chain.deploy(TAKERS)
    return chain


@pytest.mark.parametrize(
    ("entry", "value"),
    [("number", Number(1)), ("text", Text("a")), ("raw", Raw(b"a")), ("number", 1.0)],
    ids=["int", "str", "bytes", "float"],
)
def test_values_of_other_classes_are_refused(entry: str, value: object, takers: Chain) -> None:
    assert takers.code(entry, x=value) == "ARGUMENT_TYPE"


def test_cyclic_lists_are_refused(takers: Chain) -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    assert takers.code("items", x=[cycle]) == "ARGUMENT_TYPE"


def test_parts_that_an_argument_shares_are_separate_inside(takers: Chain) -> None:
    part = [1]
    assert takers.value("items", x=[part, part]) == ((1, 9), (1,))
    assert part == [1]


def test_mapping_is_asked_once_for_each_field(takers: Chain) -> None:
    fields = Fields()
    takers.value("leg", x=fields)
    assert fields.asked == 2


def test_longest_legal_elif_chains_are_checked_and_run(evaluate: Evaluate) -> None:
    body = "if a == 0:\n    return 0\n" + "".join(f"elif a == {i}:\n    return {i}\n" for i in range(1, 41))
    outcome = evaluate(body + "return -1", a=40)
    assert outcome.value == 40


def test_chains_of_elif_inside_each_other_are_bounded() -> None:
    body, pad = "", ""
    for _ in range(6):
        body += f"{pad}if a == 0:\n{pad}    pass\n"
        body += f"{pad}elif a == 1:\n{pad}    pass\n" * 30 + f"{pad}else:\n"
        pad += "    "
    lines = "".join(f"    {line}\n" for line in f"{body}{pad}pass".split("\n"))
    faults = check_contract(f"@entry\ndef main(a: int) -> None:\n{lines}", name="t", interfaces={})
    assert {fault.code for fault in faults} == {"INDENT_DEPTH"}
