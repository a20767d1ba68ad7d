"""Margin arithmetic: the worked numbers, and the rules they leave open."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tanpo.testing import Market
from tanpo.testing.market import PRICE_SCALE, USD, build_agreement, build_line, build_party

WORKED = Path(__file__).resolve().parents[4] / "shared" / "data" / "vectors" / "worked.json"
GIVER, TAKER = "dealer-a", "dealer-b"


def worked(prefix: str) -> list[Any]:
    if not WORKED.exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"no worked numbers at {WORKED}"))]
    rows = json.loads(WORKED.read_text(), parse_float=Decimal)
    return [pytest.param(row, id=row["id"]) for row in rows if row["id"].startswith(prefix)]


def view(market: Market, name: str, **arguments: Any) -> Any:
    return market.ledger.view("collateral", name, **arguments)


def margin(
    market: Market, exposure: int, undelivered: int = 0, unreturned: int = 0, disputed: int = 0
) -> Any:
    return view(
        market,
        "margin",
        agreement="csa-1",
        pledgor=GIVER,
        exposure=exposure,
        undelivered=undelivered,
        unreturned=unreturned,
        disputed=disputed,
    )


def post(market: Market, instrument: str, quantity: int) -> None:
    market.ledger.call(
        "collateral",
        "pledge",
        sender=GIVER,
        agreement="csa-1",
        pledgor=GIVER,
        instrument=instrument,
        quantity=quantity,
    )


@pytest.mark.parametrize("row", worked("CSA-"))
def test_delivery_and_return_of_the_worked_numbers(market: Market, row: Any) -> None:
    inputs = row["inputs"]
    lines = [build_line("cash")]
    fx_haircut_bps = 0
    items = []
    for place, (value, haircut, *fx) in enumerate(inputs["items"]):
        instrument = f"item-{place}"
        market.define(instrument, asset_class=instrument, currency="EUR" if fx else "USD")
        market.issue(instrument, GIVER, value)
        market.publish({instrument: PRICE_SCALE, "EUR/USD": PRICE_SCALE})
        lines.append(build_line(instrument, int(haircut * 10_000)))
        fx_haircut_bps = int(fx[0] * 10_000) if fx else fx_haircut_bps
        items.append((instrument, value))
    amounts = {"threshold": inputs["thr"], "minimum_transfer": inputs["mta"]}
    market.agree(
        build_agreement(
            build_party(GIVER, **amounts),
            build_party(TAKER, **amounts),
            delivery_multiple=inputs["round"],
            return_multiple=inputs["round"],
            fx_haircut_bps=fx_haircut_bps,
            lines=tuple(lines),
        )
    )
    for instrument, value in items:
        post(market, instrument, value)
    found = margin(
        market,
        inputs["margin"],
        inputs["pd"],
        inputs["pr"],
        inputs["disp_transfer"] + inputs["disp_del"] + inputs["disp_ret"],
    )
    expected = row["expected"]
    assert found["delivery"] == Decimal(expected["delivery"])
    assert found["return_amount"] == Decimal(expected["return_"])


@pytest.mark.parametrize("row", worked("RND-"))
def test_rounding_of_the_worked_numbers(market: Market, row: Any) -> None:
    inputs = row["inputs"]

    def mills(text: str) -> int:
        return int(Decimal(text) * 1000)

    found = view(
        market,
        "rounded",
        value=mills(inputs["value"]),
        multiple=mills(inputs["nearest"]),
        direction=inputs["mode"],
    )
    assert found == mills(row["expected"])


@pytest.mark.parametrize("row", worked("HC-FX"))
def test_haircuts_of_the_worked_numbers_add(market: Market, row: Any) -> None:
    market.define("euro-bond", currency="EUR", maturity=20280630)
    market.publish({"euro-bond": PRICE_SCALE, "EUR/USD": PRICE_SCALE})
    lines = (build_line("government_bond", 200, years_over=1, years_up_to=5),)
    market.agree(build_agreement(build_party(GIVER), build_party(TAKER), lines=lines))
    found = view(
        market, "appraise", agreement="csa-1", pledgor=GIVER, instrument="euro-bond", quantity=1_000_000
    )
    assert found["worth"] == int(row["expected"].split()[0]) * 10**28


@pytest.mark.parametrize(
    ("value", "multiple", "direction", "expected"),
    [(7, 5, "UP", 10), (-7, 5, "UP", -10), (-7, 5, "DOWN", -5), (10, 5, "UP", 10), (0, 5, "UP", 0)],
)
def test_up_is_away_from_zero_and_down_towards_it(
    market: Market, value: int, multiple: int, direction: str, expected: int
) -> None:
    assert view(market, "rounded", value=value, multiple=multiple, direction=direction) == expected


def test_rounding_to_nothing_or_sideways_is_refused(market: Market) -> None:
    with market.ledger.expect_abort("AMOUNT_RANGE", value=0):
        view(market, "rounded", value=1, multiple=0, direction="UP")
    with market.ledger.expect_abort("AGREEMENT_INVALID", field="direction"):
        view(market, "rounded", value=1, multiple=1, direction="SIDEWAYS")


def test_independent_amounts_add_for_the_pledgor_and_lessen_for_the_secured_party(market: Market) -> None:
    first = build_party(GIVER, independent_amount=300, threshold=50)
    second = build_party(TAKER, independent_amount=100)
    market.agree(build_agreement(first, second))
    assert margin(market, 1000)["required"] == 1000 + 300 - 100 - 50
    assert margin(market, -1000)["required"] == 0


def test_with_an_infinite_threshold_nothing_is_owed(market: Market) -> None:
    market.agree(build_agreement(build_party(GIVER, infinite_threshold=True), build_party(TAKER)))
    assert margin(market, 10**24) == {"required": 0, "posted": 0, "delivery": 0, "return_amount": 0}


def test_the_minimum_transfer_is_that_of_the_party_that_transfers(market: Market) -> None:
    market.issue(USD, GIVER, 1000)
    first = build_party(GIVER, minimum_transfer=100)
    second = build_party(TAKER, minimum_transfer=200)
    market.agree(build_agreement(first, second))
    post(market, USD, 1000)
    assert [margin(market, 1000 + gap)["delivery"] for gap in (99, 100)] == [0, 100]
    assert [margin(market, 1000 - gap)["return_amount"] for gap in (199, 200)] == [0, 200]


def test_the_minimum_is_compared_before_rounding(market: Market) -> None:
    market.issue(USD, GIVER, 1000)
    amounts = {"minimum_transfer": 100}
    market.agree(
        build_agreement(
            build_party(GIVER, **amounts),
            build_party(TAKER, **amounts),
            delivery_multiple=70,
            return_multiple=70,
        )
    )
    post(market, USD, 1000)
    assert [margin(market, 1000 + gap)["delivery"] for gap in (99, 100)] == [0, 140]
    assert [margin(market, 1000 - gap)["return_amount"] for gap in (99, 100)] == [0, 70]


def test_fractions_of_the_smallest_unit_are_not_lost(market: Market) -> None:
    # One unit of the fund is worth a third of a cent: 3 * 0.333333333333 falls short of 1 by 1e-12.
    market.define("small-fund", asset_class="cash", kind="fund_share")
    market.issue("small-fund", GIVER, 3)
    market.publish({"small-fund": 333_333_333_333})
    market.agree(build_agreement(build_party(GIVER, minimum_transfer=1), build_party(TAKER)))
    post(market, "small-fund", 3)
    assert margin(market, 1) == {"required": 1, "posted": 0, "delivery": 0, "return_amount": 0}
    assert margin(market, 2)["delivery"] == 2


def test_what_is_under_way_and_disputed_adjusts_what_is_posted(market: Market) -> None:
    market.agree(build_agreement(build_party(GIVER), build_party(TAKER)))
    assert margin(market, 1000, undelivered=400)["delivery"] == 600
    assert margin(market, 1000, undelivered=400, unreturned=100)["delivery"] == 700
    assert margin(market, 1000, undelivered=400, unreturned=100, disputed=50)["delivery"] == 750
    with market.ledger.expect_abort("AMOUNT_RANGE", value=10**24 + 1):
        margin(market, 1000, undelivered=10**24 + 1)
