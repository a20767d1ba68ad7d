"""Checks name what did not hold, and percentiles are of the values seen."""

from __future__ import annotations

import pytest
from tanpo.cli.demo.journal import CheckFailed, check, compute_percentile, run_all


def test_a_check_that_holds_is_silent() -> None:
    check(True, "nothing is wrong")


def test_a_check_that_fails_names_value_and_limit() -> None:
    with pytest.raises(CheckFailed) as failed:
        check(False, "a balance is wrong", value=3, limit=4)
    assert (failed.value.value, failed.value.limit) == ("3", "4")
    assert "a balance is wrong" in failed.value.message


@pytest.mark.parametrize(
    ("percent", "value"), [(0, 1.0), (50, 50.0), (99, 99.0), (99.5, 100.0), (100, 100.0)]
)
def test_a_percentile_is_one_of_the_values(percent: float, value: float) -> None:
    assert compute_percentile([float(number) for number in range(100, 0, -1)], percent) == value


def test_the_percentile_of_nothing_is_zero() -> None:
    assert compute_percentile([], 99) == 0.0


async def test_tasks_run_together_keep_their_order() -> None:
    async def answer(number: int) -> int:
        return number

    assert await run_all(answer(number) for number in range(5)) == [0, 1, 2, 3, 4]


async def test_the_first_failure_of_tasks_is_raised_itself() -> None:
    async def fail() -> None:
        check(False, "it failed")

    with pytest.raises(CheckFailed):
        await run_all([fail(), fail()])
