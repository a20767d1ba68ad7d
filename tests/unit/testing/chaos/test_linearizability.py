"""The search finds an order where there is one, and where there is none it says so."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from tanpo.testing.chaos.linearizability import Verdict, check_register, check_registers
from tanpo.testing.chaos.model import step_register
from tanpo.testing.chaos.operations import Action, Operation, State

WRITE, READ, SWAP = Action.WRITE, Action.READ, Action.SWAP


def verdict(*operations: Operation) -> Verdict:
    return check_register("r", operations).verdict


def test_one_after_another_is_linearizable(make: Any) -> None:
    assert (
        verdict(
            make(READ, "r", at=0, ended=1, value=0),
            make(WRITE, "r", 5, at=2, ended=3),
            make(READ, "r", at=4, ended=5, value=5),
            make(SWAP, "r", 5, 6, at=6, ended=7, value=True),
            make(SWAP, "r", 5, 7, at=8, ended=9, value=False),
            make(READ, "r", at=10, ended=11, value=6),
        )
        is Verdict.LINEARIZABLE
    )


def test_a_stale_read_is_found(make: Any) -> None:
    finding = check_register(
        "r",
        [
            make(WRITE, "r", 1, at=0, ended=1),
            make(WRITE, "r", 2, at=2, ended=3),
            make(READ, "r", at=4, ended=5, value=1, node="dealer-a", height=9),
        ],
    )
    assert finding.verdict is Verdict.VIOLATED
    assert "no order of its 3 operations explains all answers" in finding.explanation
    assert "The longest explains 2 and leaves 2 in it" in finding.explanation
    assert "read(r) = 1 ok at height 9 via dealer-a [4.0 .. 5.0]" in finding.explanation


def test_a_lost_write_is_found(make: Any) -> None:
    assert (
        verdict(make(WRITE, "r", 1, at=0, ended=1), make(READ, "r", at=2, ended=3, value=0))
        is Verdict.VIOLATED
    )


def test_two_swaps_from_one_value_are_a_split_brain(make: Any) -> None:
    assert (
        verdict(
            make(SWAP, "r", 0, 1, at=0, ended=5, value=True, node="n1"),
            make(SWAP, "r", 0, 2, at=0, ended=5, value=True, node="n2"),
        )
        is Verdict.VIOLATED
    )


def test_a_swap_applied_twice_is_found(make: Any) -> None:
    assert (
        verdict(
            make(SWAP, "r", 0, 1, at=0, ended=1, value=True),
            make(WRITE, "r", 0, at=2, ended=3),
            make(READ, "r", at=4, ended=5, value=1),
        )
        is Verdict.VIOLATED
    )


def test_reads_may_not_go_back_while_a_write_is_under_way(make: Any) -> None:
    write = make(WRITE, "r", 1, at=0, ended=20)
    new, old = make(READ, "r", at=1, ended=2, value=1), make(READ, "r", at=3, ended=4, value=0)
    assert verdict(write, new, old) is Verdict.VIOLATED
    assert verdict(write, old, replace(new, invoked_ns=old.completed_ns, completed_ns=9_000_000)) is (
        Verdict.LINEARIZABLE
    )


@pytest.mark.parametrize("seen", [0, 1])
def test_an_unknown_write_may_have_happened_or_not(make: Any, seen: int) -> None:
    unknown = make(WRITE, "r", 1, at=0, ended=None)
    reads = [make(READ, "r", at=at, ended=at + 1, value=seen) for at in (5, 7)]
    assert verdict(unknown, *reads) is Verdict.LINEARIZABLE


def test_an_unknown_write_may_happen_late_but_only_once(make: Any) -> None:
    unknown = make(WRITE, "r", 1, at=0, ended=None)
    before, after = make(READ, "r", at=2, ended=3, value=0), make(READ, "r", at=4, ended=5, value=1)
    again = make(READ, "r", at=8, ended=9, value=1)
    assert verdict(unknown, before, after) is Verdict.LINEARIZABLE
    assert verdict(unknown, before, after, make(WRITE, "r", 2, at=6, ended=7), again) is Verdict.VIOLATED


def test_what_never_happened_may_not_be_seen(make: Any) -> None:
    never = make(WRITE, "r", 1, at=0, ended=1, state=State.NEVER)
    assert verdict(never, make(READ, "r", at=2, ended=3, value=1)) is Verdict.VIOLATED


def test_registers_are_checked_apart(make: Any) -> None:
    findings = check_registers(
        [
            make(WRITE, "a", 1, at=0, ended=1),
            make(READ, "a", at=2, ended=3, value=1),
            make(READ, "b", at=2, ended=3, value=1),
        ]
    )
    assert [(one.key, one.verdict) for one in findings] == [
        ("a", Verdict.LINEARIZABLE),
        ("b", Verdict.VIOLATED),
    ]


def test_a_search_that_would_take_too_long_is_undecided(make: Any) -> None:
    writes = [make(WRITE, "r", value, at=0, ended=100) for value in range(1, 12)]
    read = make(READ, "r", at=200, ended=201, value=99)
    finding = check_register("r", [*writes, read], configurations_max=1000)
    assert finding.verdict is Verdict.UNDECIDED


@pytest.mark.parametrize("seed", range(40))
def test_the_search_agrees_with_trying_every_order(make: Any, seed: int) -> None:
    """Small random histories, half of them of a real register, against brute force."""
    chance = random.Random(seed)
    operations = random_history(make, chance)
    expected = any(explains(order) for order in permutations(operations))
    assert (verdict(*operations) is Verdict.LINEARIZABLE) is expected


def random_history(make: Any, chance: random.Random) -> list[Operation]:
    operations = []
    for _ in range(6):
        at = chance.randrange(10)
        ended = at + chance.randrange(1, 6)
        match chance.choice((WRITE, READ, SWAP)):
            case Action.WRITE:
                operations.append(make(WRITE, "r", chance.randrange(1, 3), at=at, ended=ended))
            case Action.SWAP:
                expected, is_done = chance.randrange(3), chance.random() < 0.5
                operations.append(make(SWAP, "r", expected, 2, at=at, ended=ended, value=is_done))
            case _:
                operations.append(make(READ, "r", at=at, ended=ended, value=chance.randrange(3)))
    return operations


def explains(order: tuple[Operation, ...]) -> bool:
    content = 0
    for position, one in enumerate(order):
        if any((other.completed_ns or 0) < one.invoked_ns for other in order[position + 1 :]):
            return False
        answer, content = step_register(one, content)
        if answer.value != one.value:
            return False
    return True


def test_a_thousand_operations_of_a_real_register_take_no_time(make: Any) -> None:
    """Six clients at a time, each answered from a register that does one thing after another."""
    chance = random.Random(7)
    operations: list[Operation] = []
    content = 0
    for number in range(1000):
        kind = chance.choice((WRITE, READ, SWAP))
        arguments = {WRITE: (number,), READ: (), SWAP: (chance.randrange(1000), number)}[kind]
        moment = number * 10
        one = make(
            kind, "r", *arguments, at=moment - chance.randrange(30), ended=moment + chance.randrange(1, 30)
        )
        answer, content = step_register(one, content)
        operations.append(replace(one, value=answer.value))
    finding = check_register("r", operations)
    assert finding.verdict is Verdict.LINEARIZABLE
    assert finding.configurations < 50_000
