"""Collateral: agreements, prices, eligibility, pledge, release, return, substitution."""

from __future__ import annotations

from typing import Any

import pytest
from tanpo.ledger.values import Value
from tanpo.testing import Market
from tanpo.testing.market import (
    BOND,
    CUSTODIAN,
    EUR,
    FUND,
    PRICE_SCALE,
    REGISTRAR,
    SHARE,
    USD,
    build_agreement,
    build_limit,
    build_line,
    build_party,
)

GIVER, TAKER = "dealer-a", "dealer-b"
DAY_MS = 86_400_000
LINES = (
    build_line("cash"),
    build_line("government_bond", 200, rating_worst="AA-", years_up_to=5),
    build_line("government_bond", 400, rating_worst="AA-", years_over=5, years_up_to=10),
    build_line("money_market_fund", 150),
    build_line("equity", 1500, country="JP"),
)


@pytest.fixture
def scene(market: Market) -> Market:
    """Dealer A has everything, and every instrument has a price of one."""
    for instrument in (BOND, SHARE, FUND, USD, EUR):
        market.issue(instrument, GIVER, 10_000_000)
    prices = dict.fromkeys((BOND, SHARE, FUND, "EUR/USD"), PRICE_SCALE)
    market.publish(prices)
    return market


def agree(market: Market, **changes: Any) -> None:
    changes.setdefault("lines", LINES)
    first = changes.pop("first", build_party(GIVER))
    second = changes.pop("second", build_party(TAKER))
    market.agree(build_agreement(first, second, **changes))


def call(market: Market, entry: str, *signers: str, **arguments: Any) -> Any:
    arguments = {"agreement": "csa-1", "pledgor": GIVER, **arguments}
    return market.ledger.call("collateral", entry, sender=signers[0], signers=signers, **arguments)


def view(market: Market, name: str, **arguments: Any) -> Any:
    return market.ledger.view("collateral", name, agreement="csa-1", pledgor=GIVER, **arguments)


def pledge(market: Market, instrument: str, quantity: int, *signers: str) -> None:
    call(market, "pledge", *(signers or (GIVER,)), instrument=instrument, quantity=quantity)


def counted(market: Market) -> int:
    return sum(one["counted"] for one in view(market, "posted"))


# -- eligibility and value (I12)


def test_haircuts_add_and_currency_mismatch_counts(scene: Market) -> None:
    agree(scene, lines=(build_line("government_bond", 200, additional_bps=100), build_line("cash")))
    assert view(scene, "appraise", instrument=BOND, quantity=1000)["worth"] // 10**28 == 970
    assert view(scene, "appraise", instrument=EUR, quantity=1000)["worth"] // 10**28 == 920


def test_haircuts_of_more_than_everything_leave_nothing(scene: Market) -> None:
    agree(scene, lines=(build_line("cash", 9_500),))
    assert view(scene, "appraise", instrument=EUR, quantity=1000)["worth"] == 0


@pytest.mark.parametrize(
    ("lines", "instrument", "rule", "value", "limit"),
    [
        ((build_line("equity"),), BOND, "asset_class", "government_bond", "an asset class of the schedule"),
        ((build_line("government_bond", currency="EUR"),), BOND, "currency", "USD", "EUR"),
        ((build_line("government_bond", country="JP"),), BOND, "country", "US", "JP"),
        ((build_line("government_bond", rating_worst="AAA"),), BOND, "rating", "AA+", "AAA or better"),
        ((build_line("equity", rating_worst="D"),), SHARE, "rating", "unrated", "D or better"),
        (
            (build_line("government_bond", years_up_to=8),),
            BOND,
            "maturity",
            "20340215",
            "over 0 and up to 8 years",
        ),
        ((build_line("government_bond", years_over=9),), BOND, "maturity", "20340215", "over 9 years"),
        ((build_line("equity", years_up_to=9),), SHARE, "maturity", "0", "over 0 and up to 9 years"),
        (
            (build_line("equity"), build_line("government_bond", rating_worst="AAA")),
            BOND,
            "rating",
            "AA+",
            "AAA or better",
        ),
    ],
)
def test_a_refusal_names_the_rule_the_value_and_the_limit(
    scene: Market, lines: Any, instrument: str, rule: str, value: str, limit: str
) -> None:
    agree(scene, lines=lines)
    with scene.ledger.expect_abort("INELIGIBLE", instrument=instrument, rule=rule, value=value, limit=limit):
        pledge(scene, instrument, 100)


def test_the_pledgors_own_issue_is_not_eligible(scene: Market) -> None:
    lei = "254900HROIFWPRGM1V77"
    scene.define("own-bond", issuer_lei=lei)
    scene.issue("own-bond", GIVER, 100)
    agree(scene, first=build_party(GIVER, lei=lei))
    with scene.ledger.expect_abort("INELIGIBLE", rule="own_issue", value=lei):
        pledge(scene, "own-bond", 100)


def test_the_upper_maturity_is_inside_and_the_lower_outside(market: Market) -> None:
    # The ledger stands at 2026-01-01.
    for place, maturity in enumerate((20310101, 20310102, 20260101, 20260102)):
        market.define(f"bond-{place}", maturity=maturity)
        market.publish({f"bond-{place}": PRICE_SCALE})
    agree(market)

    def haircut(instrument: str) -> object:
        found = view(market, "appraise", instrument=instrument, quantity=10_000)
        return found["rule"] or 10_000 - found["worth"] // 10**28

    assert [haircut(f"bond-{place}") for place in range(4)] == [200, 400, "maturity", 200]


@pytest.mark.parametrize(
    ("time_ms", "maturity", "rule"),
    [
        (1_767_225_599_999, 20251231, "maturity"),
        (1_767_225_599_999, 20260101, ""),
        (1_709_164_800_000, 20240229, "maturity"),
        (1_709_164_800_000, 20240301, ""),
        (1_709_251_200_000, 20240301, "maturity"),
        (951_782_400_000, 20000229, "maturity"),
        (951_782_400_000, 20000301, ""),
    ],
)
def test_the_day_of_the_block_is_the_utc_date(market: Market, time_ms: int, maturity: int, rule: str) -> None:
    market.define("bond-x", maturity=maturity)
    market.ledger.time_ms = time_ms
    market.publish({"bond-x": PRICE_SCALE})
    agree(market)
    assert view(market, "appraise", instrument="bond-x", quantity=1)["rule"] == rule


def test_an_item_that_stops_being_eligible_counts_as_zero_and_raises_a_call(scene: Market) -> None:
    agree(scene)
    pledge(scene, BOND, 1000)
    assert counted(scene) == 960
    scene.ledger.call("instruments", "freeze_instrument", sender=REGISTRAR, instrument=BOND, reason="audit")
    (item,) = view(scene, "posted")
    assert (item["counted"], item["rule"]) == (0, "status")
    assert call(scene, "margin_call", TAKER, exposure=960)["delivery"] == 960


def test_without_a_fresh_price_there_is_no_value(scene: Market) -> None:
    agree(scene)
    scene.ledger.advance(milliseconds=DAY_MS + 1)
    with scene.ledger.expect_abort("PRICE_MISSING", subject=BOND):
        pledge(scene, BOND, 100)
    with scene.ledger.expect_abort("PRICE_MISSING", subject="EUR/USD"):
        pledge(scene, EUR, 100)
    pledge(scene, USD, 100)


# -- pledge


def test_a_pledge_encumbers_and_leaves_title(scene: Market) -> None:
    agree(scene)
    pledge(scene, FUND, 4000)
    pledge(scene, FUND, 1000)
    assert scene.position(GIVER, FUND)["pledged_out"] == 5000
    assert scene.position(TAKER, FUND)["pledged_in"] == 5000
    assert view(scene, "get_side")["items"] == ({"instrument": FUND, "quantity": 5000},)
    scene.check_conservation()


def test_a_pledge_is_signed_by_the_pledgor(scene: Market) -> None:
    agree(scene)
    for signer in (TAKER, REGISTRAR):
        with scene.ledger.expect_abort("UNAUTHORISED", needed="pledgor", member=GIVER):
            pledge(scene, FUND, 1000, signer)


@pytest.mark.parametrize("quantity", [0, -1, 10**24 + 1])
def test_impossible_quantities_are_refused(scene: Market, quantity: int) -> None:
    agree(scene)
    with scene.ledger.expect_abort("QUANTITY_RANGE", value=quantity):
        pledge(scene, FUND, quantity)
    with scene.ledger.expect_abort("QUANTITY_RANGE", value=quantity):
        view(scene, "appraise", instrument=FUND, quantity=quantity)


def test_more_than_is_free_cannot_be_pledged(scene: Market) -> None:
    agree(scene)
    with scene.ledger.expect_abort("INSUFFICIENT_BALANCE", needed=10_000_001, available=10_000_000):
        pledge(scene, FUND, 10_000_001)


def test_at_most_thirty_two_instruments_are_posted(market: Market) -> None:
    agree(market)
    for place in range(33):
        market.define(f"usd-{place}", kind="deposit_token", asset_class="cash")
        market.issue(f"usd-{place}", GIVER, 10)
        if place < 32:
            pledge(market, f"usd-{place}", 1)
    assert market.ledger.gas_report[-3].gas < 100_000
    with market.ledger.expect_abort("POSTED_FULL", limit=32):
        pledge(market, "usd-32", 1)
    pledge(market, "usd-0", 1)


# -- concentration (I13)


def test_a_share_is_of_the_requirement_and_its_boundary_is_inside(scene: Market) -> None:
    agree(scene, limits=(build_limit("asset_class", key="equity", share_bps=2000),))
    call(scene, "margin_call", TAKER, exposure=8500)
    pledge(scene, SHARE, 2000)
    with scene.ledger.expect_abort(
        "CONCENTRATION", rule="asset_class", group="equity", value=1701, limit=1700
    ):
        pledge(scene, SHARE, 1)


def test_beyond_the_requirement_a_share_is_of_all_that_is_posted(scene: Market) -> None:
    agree(scene, limits=(build_limit("asset_class", key="equity", share_bps=2000),))
    pledge(scene, USD, 1700)
    pledge(scene, SHARE, 500)
    with scene.ledger.expect_abort("CONCENTRATION", value=426, limit=425):
        pledge(scene, SHARE, 1)


def test_an_absolute_limit_is_on_value_after_haircut(scene: Market) -> None:
    agree(scene, limits=(build_limit("instrument", amount=985),))
    pledge(scene, FUND, 1000)
    with scene.ledger.expect_abort("CONCENTRATION", rule="instrument", group=FUND, value=986, limit=985):
        pledge(scene, FUND, 1)
    pledge(scene, USD, 985)


@pytest.mark.parametrize(
    ("limit", "is_refused"),
    [
        (build_limit("currency", key="USD", amount=10), True),
        (build_limit("currency", key="EUR", amount=10), False),
        (build_limit("country", key="LU", amount=10), True),
        (build_limit("issuer", amount=10), True),
        (build_limit("issuer", asset_class="equity", amount=10), False),
        (build_limit("issuer", asset_class="money_market_fund", amount=10, share_bps=9_000), True),
    ],
)
def test_limits_apply_to_their_group(scene: Market, limit: dict[str, Value], is_refused: bool) -> None:
    agree(scene, limits=(limit,))
    if is_refused:
        with scene.ledger.expect_abort("CONCENTRATION", rule=limit["scope"]):
            pledge(scene, FUND, 100)
    else:
        pledge(scene, FUND, 100)


def test_what_exceeds_a_limit_after_a_rise_counts_as_zero(scene: Market) -> None:
    agree(scene, limits=(build_limit("instrument", amount=985),))
    pledge(scene, FUND, 1000)
    scene.publish({FUND: 2 * PRICE_SCALE})
    (item,) = view(scene, "posted")
    assert (item["value"], item["counted"]) == (1970, 985)


# -- margin calls, release, return (I11, I15)


def test_a_call_is_signed_by_the_secured_party_or_the_agent(scene: Market) -> None:
    agree(scene, agent=CUSTODIAN)
    for signer in (GIVER, REGISTRAR):
        with scene.ledger.expect_abort("UNAUTHORISED", member=TAKER):
            call(scene, "margin_call", signer, exposure=100)
    for signer in (TAKER, CUSTODIAN):
        call(scene, "margin_call", signer, exposure=100)


@pytest.mark.parametrize("exposure", [10**24 + 1, -(10**24) - 1])
def test_an_exposure_has_a_limit(scene: Market, exposure: int) -> None:
    agree(scene)
    with scene.ledger.expect_abort("AMOUNT_RANGE", value=exposure, limit=10**24):
        call(scene, "margin_call", TAKER, exposure=exposure)


def test_what_is_called_and_under_way_is_not_called_twice(scene: Market) -> None:
    agree(scene)
    assert call(scene, "margin_call", TAKER, exposure=1000)["delivery"] == 1000
    assert call(scene, "margin_call", TAKER, exposure=1000)["delivery"] == 0
    assert call(scene, "margin_call", TAKER, exposure=1500)["delivery"] == 500
    assert view(scene, "get_side")["due_delivery"] == 1500
    pledge(scene, USD, 600)
    assert view(scene, "get_side")["due_delivery"] == 900
    pledge(scene, USD, 2000)
    assert view(scene, "get_side")["due_delivery"] == 0


def test_a_fall_in_exposure_first_cancels_what_is_still_to_be_delivered(scene: Market) -> None:
    agree(scene)
    call(scene, "margin_call", TAKER, exposure=1000)
    assert call(scene, "margin_call", TAKER, exposure=400)["return_amount"] == 600
    side = view(scene, "get_side")
    assert (side["due_delivery"], side["due_return"]) == (400, 0)


def test_a_rise_in_exposure_first_cancels_what_is_still_to_be_returned(scene: Market) -> None:
    agree(scene)
    pledge(scene, USD, 1000)
    call(scene, "margin_call", TAKER, exposure=400)
    assert call(scene, "margin_call", TAKER, exposure=1100)["delivery"] == 700
    side = view(scene, "get_side")
    assert (side["due_delivery"], side["due_return"]) == (100, 0)


def test_a_return_is_limited_by_the_call_and_leaves_enough(scene: Market) -> None:
    agree(scene)
    pledge(scene, USD, 1000)
    with scene.ledger.expect_abort("RETURN_EXCEEDED", value=1, limit=0):
        call(scene, "return_excess", GIVER, instrument=USD, quantity=1)
    assert call(scene, "margin_call", TAKER, exposure=700)["return_amount"] == 300
    with scene.ledger.expect_abort("UNDERCOLLATERALISED", value=699, limit=700):
        call(scene, "return_excess", GIVER, instrument=USD, quantity=301)
    with scene.ledger.expect_abort("UNAUTHORISED"):
        call(scene, "return_excess", REGISTRAR, instrument=USD, quantity=300)
    call(scene, "return_excess", GIVER, instrument=USD, quantity=200)
    call(scene, "return_excess", TAKER, instrument=USD, quantity=100)
    side = view(scene, "get_side")
    assert (side["due_return"], side["items"]) == (0, ({"instrument": USD, "quantity": 700},))
    assert scene.free(GIVER, USD) == 10_000_000 - 700
    scene.check_conservation()


def test_a_release_needs_the_secured_partys_consent_and_leaves_enough(scene: Market) -> None:
    agree(scene, agent=CUSTODIAN)
    pledge(scene, USD, 1000)
    call(scene, "margin_call", TAKER, exposure=700)
    with scene.ledger.expect_abort("UNAUTHORISED", member=TAKER):
        call(scene, "release", GIVER, instrument=USD, quantity=10)
    with scene.ledger.expect_abort("UNDERCOLLATERALISED", value=699, limit=700):
        call(scene, "release", TAKER, instrument=USD, quantity=301)
    call(scene, "release", TAKER, instrument=USD, quantity=100)
    assert view(scene, "get_side")["due_return"] == 200
    call(scene, "release", CUSTODIAN, instrument=USD, quantity=200)
    scene.check_conservation()


@pytest.mark.parametrize("quantity", [0, -1, 1001])
def test_only_what_is_posted_is_released(scene: Market, quantity: int) -> None:
    agree(scene)
    pledge(scene, USD, 1000)
    with scene.ledger.expect_abort("NOT_POSTED", needed=quantity, available=1000):
        call(scene, "release", TAKER, instrument=USD, quantity=quantity)
    with scene.ledger.expect_abort("NOT_POSTED", instrument=FUND, available=0):
        call(scene, "release", TAKER, instrument=FUND, quantity=1)


def test_each_party_pledges_on_its_own_side(scene: Market) -> None:
    scene.issue(USD, TAKER, 500)
    agree(scene)
    pledge(scene, USD, 300)
    call(scene, "pledge", TAKER, pledgor=TAKER, instrument=USD, quantity=200)
    assert scene.position(GIVER, USD)["pledged_in"] == 200
    with scene.ledger.expect_abort("NOT_POSTED", available=200):
        call(scene, "release", GIVER, pledgor=TAKER, instrument=USD, quantity=300)
    scene.check_conservation()


# -- substitution (I10)


def substitute(market: Market, incoming: int, outgoing: int, *signers: str, new: str = FUND) -> None:
    call(
        market,
        "substitute",
        *(signers or (GIVER,)),
        incoming=({"instrument": new, "quantity": incoming},),
        outgoing=({"instrument": USD, "quantity": outgoing},),
    )


def test_a_substitution_swaps_at_once_and_never_lowers_the_value(scene: Market) -> None:
    agree(scene)
    pledge(scene, USD, 985)
    with scene.ledger.expect_abort("COVERAGE_GAP", value=984, limit=985):
        substitute(scene, 999, 985)
    substitute(scene, 1000, 985)
    assert view(scene, "get_side")["items"] == ({"instrument": FUND, "quantity": 1000},)
    assert scene.position(GIVER, USD)["pledged_out"] == 0
    assert counted(scene) == 985
    scene.check_conservation()


def test_what_a_substitution_adds_is_no_longer_due(scene: Market) -> None:
    agree(scene)
    call(scene, "margin_call", TAKER, exposure=1000)
    pledge(scene, USD, 100)
    substitute(scene, 400, 100, new=SHARE)
    assert counted(scene) == 340
    assert view(scene, "get_side")["due_delivery"] == 660
    assert call(scene, "margin_call", TAKER, exposure=1000)["delivery"] == 0


def test_a_remainder_below_the_smallest_unit_is_not_due_for_ever(scene: Market) -> None:
    agree(scene)
    call(scene, "margin_call", TAKER, exposure=1000)
    pledge(scene, FUND, 1015)  # worth 999.775
    assert view(scene, "get_side")["due_delivery"] == 0
    assert call(scene, "margin_call", TAKER, exposure=1000)["delivery"] == 1


def test_a_substitution_needs_the_signatures_the_agreement_asks_for(scene: Market) -> None:
    agree(scene, substitution_needs_consent=True)
    pledge(scene, USD, 100)
    with scene.ledger.expect_abort("UNAUTHORISED", needed="pledgor"):
        substitute(scene, 200, 100, TAKER)
    with scene.ledger.expect_abort("UNAUTHORISED", member=TAKER):
        substitute(scene, 200, 100, GIVER)
    substitute(scene, 200, 100, GIVER, TAKER)


def test_a_substitution_takes_only_eligible_items_within_limits(scene: Market) -> None:
    agree(scene, limits=(build_limit("asset_class", key="equity", share_bps=5000),))
    pledge(scene, USD, 100)
    scene.define("painting", asset_class="art")
    scene.issue("painting", GIVER, 1000)
    with scene.ledger.expect_abort("INELIGIBLE", rule="asset_class"):
        substitute(scene, 1000, 100, new="painting")
    with scene.ledger.expect_abort("CONCENTRATION", group="equity"):
        substitute(scene, 1000, 100, new=SHARE)


@pytest.mark.parametrize(("incoming", "outgoing"), [(0, 1), (1, 0), (9, 1), (1, 9)])
def test_a_substitution_has_one_to_eight_items_each_way(scene: Market, incoming: int, outgoing: int) -> None:
    agree(scene)
    item = {"instrument": USD, "quantity": 1}
    with scene.ledger.expect_abort("ITEM_COUNT", limit=8):
        call(scene, "substitute", GIVER, incoming=(item,) * incoming, outgoing=(item,) * outgoing)


RELAY = """
register: Contract["instruments"]
collateral: Contract["collateral"]


@entry
def agree(agreement: collateral.Agreement) -> None:
    collateral.agree(agreement=agreement)


@entry
def publish(source: str, prices: list[collateral.Price]) -> None:
    collateral.publish(source=source, prices=prices)


@entry
def margin_call(agreement: str, pledgor: str, exposure: int) -> None:
    found = collateral.margin_call(agreement=agreement, pledgor=pledgor, exposure=exposure)


@entry
def pledge(agreement: str, pledgor: str, instrument: str, quantity: int) -> None:
    collateral.pledge(agreement=agreement, pledgor=pledgor, instrument=instrument, quantity=quantity)


@entry
def release(agreement: str, pledgor: str, instrument: str, quantity: int) -> None:
    collateral.release(agreement=agreement, pledgor=pledgor, instrument=instrument, quantity=quantity)


@entry
def return_excess(agreement: str, pledgor: str, instrument: str, quantity: int) -> None:
    collateral.return_excess(agreement=agreement, pledgor=pledgor, instrument=instrument, quantity=quantity)


@entry
def substitute(
    agreement: str, pledgor: str, incoming: list[collateral.Item], outgoing: list[collateral.Item]
) -> None:
    collateral.substitute(agreement=agreement, pledgor=pledgor, incoming=incoming, outgoing=outgoing)
"""

SIDE = {"agreement": "csa-1", "pledgor": GIVER}
ITEM = {"instrument": USD, "quantity": 1}


@pytest.mark.parametrize(
    ("entry", "arguments"),
    [
        ("agree", {"agreement": build_agreement(build_party(GIVER), build_party(TAKER), id="csa-2")}),
        ("publish", {"source": REGISTRAR, "prices": ({"subject": BOND, "value": 1},)}),
        ("margin_call", {**SIDE, "exposure": 1}),
        ("pledge", {**SIDE, **ITEM}),
        ("release", {**SIDE, **ITEM}),
        ("return_excess", {**SIDE, **ITEM}),
        ("substitute", {**SIDE, "incoming": (ITEM,), "outgoing": (ITEM,)}),
    ],
)
def test_another_contract_cannot_use_a_partys_signature(scene: Market, entry: str, arguments: Any) -> None:
    agree(scene)
    pledge(scene, USD, 100)
    scene.ledger.deploy("relay", source=RELAY)
    signers = (GIVER, TAKER, REGISTRAR)
    with scene.ledger.expect_abort("UNAUTHORISED", caller="contract:relay"):
        scene.ledger.call("relay", entry, sender=GIVER, signers=signers, **arguments)
