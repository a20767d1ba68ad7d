"""Fixed-point helpers: every mode is that of the decimal module, for every sign."""

from __future__ import annotations

import decimal
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tanpo.vm import Outcome
from tanpo.vm.calls import ROUNDING_MODES
from tanpo.vm.helpers import div_round, mul_div

Evaluate = Callable[..., Outcome]

MODES = {
    "DOWN": decimal.ROUND_DOWN,
    "UP": decimal.ROUND_UP,
    "FLOOR": decimal.ROUND_FLOOR,
    "CEILING": decimal.ROUND_CEILING,
    "HALF_UP": decimal.ROUND_HALF_UP,
    "HALF_EVEN": decimal.ROUND_HALF_EVEN,
}
EXACT = decimal.Context(prec=400, traps=[decimal.InvalidOperation, decimal.DivisionByZero])


def test_modes_are_those_that_a_contract_may_name() -> None:
    assert set(MODES) == set(ROUNDING_MODES)


@given(
    st.integers(-60, 60) | st.integers(-(2**200), 2**200),
    st.integers(1, 9) | st.integers(1, 2**60),
    st.booleans(),
    st.sampled_from(sorted(MODES)),
)
def test_division_rounds_as_decimals_do(a: int, b: int, is_negative: bool, mode: str) -> None:
    b = -b if is_negative else b
    quotient = EXACT.divide(decimal.Decimal(a), decimal.Decimal(b))
    expected = int(quotient.quantize(decimal.Decimal(1), rounding=MODES[mode], context=EXACT))
    assert div_round(a, b, mode) == expected
    assert mul_div(a, 7 * b, 7 * b * b, mode) == expected


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("return mul_div(a, 9250, 10000, 'DOWN')", 924),  # 999 less a haircut of 7.5 %
        ("return mul_div(a * 425, 91, 10000 * 360, 'HALF_UP')", 11),  # 4.25 % for 91 days of 360
        ("return mul_div(a * -50, 91, 10000 * 360, 'FLOOR')", -2),  # -0.5 %, in favour of the payer
        ("return mul_div(a * -50, 91, 10000 * 360, 'CEILING')", -1),
        ("return mul_div(1 << 254, 1 << 254, 1 << 254, 'DOWN') >> 254", 1),  # exact in between
    ],
)
def test_ratios_of_the_trade(body: str, value: int, evaluate: Evaluate) -> None:
    assert evaluate(body, a=999).value == value


@pytest.mark.parametrize("mode", ROUNDING_MODES)
def test_ratio_that_leaves_the_range_is_an_overflow(mode: str, evaluate: Evaluate) -> None:
    assert evaluate(f"return mul_div(1 << 254, 1 << 254, a, '{mode}')", a=1).code == "INT_OVERFLOW"
    assert evaluate(f"return mul_div(1, 1, a, '{mode}')", a=0).code == "DIV_ZERO"
