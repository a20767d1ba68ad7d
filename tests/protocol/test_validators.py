"""E2: which validators may follow which."""

from __future__ import annotations

import pytest
from tanpo.ledger.errors import TransactionRejected
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.types import MemberId
from tanpo.ledger.validators import Validator, verify_change


def make_validators(*names: str) -> tuple[Validator, ...]:
    return tuple(
        Validator(member=MemberId(name[0]), node=name, public_key=PrivateKey.generate().public_key.encoded)
        for name in names
    )


@pytest.mark.parametrize(("count", "fresh"), [(4, 1), (5, 1), (6, 2), (7, 2), (10, 3), (13, 4), (16, 5)])
def test_as_many_validators_may_be_new_as_the_next_set_can_miss(count: int, fresh: int) -> None:
    """E2"""
    validators = make_validators(*[f"n{number}" for number in range(count + fresh + 1)])
    now = validators[:count]

    verify_change(now, (*now[: count - fresh], *validators[count : count + fresh]))
    with pytest.raises(TransactionRejected, match="too few stay"):
        verify_change(now, (*now[: count - fresh - 1], *validators[count : count + fresh + 1]))


def test_a_set_that_tolerates_no_fault_may_change_freely() -> None:
    """E2"""
    validators = make_validators("a", "b", "c", "d")

    verify_change(validators[:1], validators)


@pytest.mark.parametrize(
    ("then", "remedy"),
    [((), "as many as"), ((0, 0, 1, 2), "each node once"), ((0, 1, 2, 3), "nothing is to be done")],
    ids=["nobody", "one twice", "no change"],
)
def test_a_set_that_makes_no_sense_is_refused_with_a_remedy_that_fits(
    then: tuple[int, ...], remedy: str
) -> None:
    """E2"""
    now = make_validators("a", "b", "c", "d")

    with pytest.raises(TransactionRejected) as refused:
        verify_change(now, tuple(now[index] for index in then))

    assert remedy in refused.value.remedy
