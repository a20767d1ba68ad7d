"""Agreements and prices: who concludes and publishes them, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from tanpo.ledger.values import Value
from tanpo.testing import Ledger, Market, build_member
from tanpo.testing.market import (
    BOND,
    CUSTODIAN,
    REGISTRAR,
    build_agreement,
    build_limit,
    build_line,
    build_party,
)

GIVER, TAKER = "dealer-a", "dealer-b"
DAY_MS = 86_400_000


def agree(market: Market, **changes: Any) -> None:
    first = changes.pop("first", build_party(GIVER))
    second = changes.pop("second", build_party(TAKER))
    market.agree(build_agreement(first, second, **changes))


# -- agreements


def test_an_agreement_is_signed_by_both_parties_once(market: Market) -> None:
    terms = build_agreement(build_party(GIVER), build_party(TAKER))
    for signers in ((GIVER,), (TAKER,), (GIVER, REGISTRAR)):
        with market.ledger.expect_abort("UNAUTHORISED", needed="both parties"):
            market.ledger.call("collateral", "agree", sender=GIVER, signers=signers, agreement=terms)
    market.agree(terms)
    assert market.ledger.view("collateral", "get_agreement", agreement="csa-1") == terms
    for party in (GIVER, TAKER):
        listed = market.ledger.view("collateral", "list_agreements", party=party, after="", limit=10)
        assert listed == ("csa-1",)
    with market.ledger.expect_abort("LIMIT_RANGE", value=101, limit=100):
        market.ledger.view("collateral", "list_agreements", party=GIVER, after="", limit=101)
    with market.ledger.expect_abort("AGREEMENT_EXISTS", agreement="csa-1"):
        market.agree(terms)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"second": build_party(GIVER)},
        {"first": build_party("stranger")},
        {"first": build_party(GIVER, account=TAKER)},
        {"first": build_party(GIVER, account="dealer-ab")},
        {"first": build_party(GIVER, lei="254900HROIFWPRGM1V78")},
        {"first": build_party(GIVER, threshold=-1)},
        {"first": build_party(GIVER, minimum_transfer=-1)},
        {"first": build_party(GIVER, independent_amount=10**24 + 1)},
        {"base_currency": "DOLLAR"},
        {"delivery_multiple": 0},
        {"return_multiple": 0},
        {"fx_haircut_bps": 10_001},
        {"price_age_max_ms": 0},
        {"price_sources_min": 0},
        {"lines": ()},
        {"lines": (build_line("cash"),) * 33},
        {"lines": (build_line("cash", -1),)},
        {"lines": (build_line("cash", 10_001),)},
        {"lines": (build_line("cash", additional_bps=-1),)},
        {"lines": (build_line("cash", years_over=5, years_up_to=5),)},
        {"lines": (build_line("cash", rating_worst="EXCELLENT"),)},
        {"limits": (build_limit("galaxy", amount=1),)},
        {"limits": (build_limit("issuer"),)},
        {"limits": (build_limit("issuer", share_bps=10_001),)},
        {"limits": (build_limit("issuer", amount=1),) * 9},
    ],
)
def test_a_wrong_term_is_refused(market: Market, changes: dict[str, Any]) -> None:
    with market.ledger.expect_abort("AGREEMENT_INVALID"):
        agree(market, **changes)


def test_the_agent_of_an_agreement_holds_that_role(market: Market) -> None:
    with market.ledger.expect_abort("ROLE_MISSING", member=REGISTRAR, role="collateral_agent"):
        agree(market, agent=REGISTRAR)
    agree(market, agent=CUSTODIAN)


def test_unknown_agreements_and_parties_are_named(market: Market) -> None:
    with market.ledger.expect_abort("AGREEMENT_UNKNOWN", agreement="csa-1"):
        market.ledger.view("collateral", "get_agreement", agreement="csa-1")
    agree(market)
    with market.ledger.expect_abort("NOT_A_PARTY", member="dealer-c"):
        market.ledger.view("collateral", "get_side", agreement="csa-1", pledgor="dealer-c")


# -- prices


def test_the_median_of_the_fresh_prices_counts(market: Market) -> None:
    def price(age_max_ms: int = DAY_MS, sources_min: int = 1) -> Value | None:
        return market.ledger.view(
            "collateral", "price", subject=BOND, age_max_ms=age_max_ms, sources_min=sources_min
        )

    with market.ledger.expect_abort("PRICE_MISSING", subject=BOND, fresh=0, needed=1):
        price()
    market.publish({BOND: 100}, REGISTRAR)
    assert price() == 100
    with market.ledger.expect_abort("PRICE_MISSING", fresh=1, needed=2):
        price(sources_min=2)
    with market.ledger.expect_abort("PRICE_MISSING", fresh=0, needed=1):
        price(age_max_ms=-1, sources_min=0)
    market.publish({BOND: 103}, CUSTODIAN)
    assert price(sources_min=2) == 102
    market.publish({BOND: 110}, CUSTODIAN)
    assert price() == 105
    market.ledger.advance(milliseconds=DAY_MS)
    assert price() == 105
    market.ledger.advance(milliseconds=1)
    with market.ledger.expect_abort("PRICE_MISSING", fresh=0):
        price()


def test_only_price_sources_publish_and_only_for_themselves(market: Market) -> None:
    rows: Any = ({"subject": BOND, "value": 1},)
    with market.ledger.expect_abort("UNAUTHORISED", member=REGISTRAR):
        market.ledger.call("collateral", "publish", sender=GIVER, source=REGISTRAR, prices=rows)
    with market.ledger.expect_abort("ROLE_MISSING", member=GIVER, role="price_source"):
        market.ledger.call("collateral", "publish", sender=GIVER, source=GIVER, prices=rows)


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ((), "PRICE_COUNT"),
        (({"subject": BOND, "value": 1},) * 65, "PRICE_COUNT"),
        (({"subject": BOND, "value": 0},), "PRICE_RANGE"),
        (({"subject": BOND, "value": -1},), "PRICE_RANGE"),
        (({"subject": BOND, "value": 10**21 + 1},), "PRICE_RANGE"),
        (({"subject": "", "value": 1},), "PRICE_RANGE"),
    ],
)
def test_wrong_prices_are_refused(market: Market, rows: Any, code: str) -> None:
    with market.ledger.expect_abort(code):
        market.ledger.call("collateral", "publish", sender=REGISTRAR, source=REGISTRAR, prices=rows)


def test_a_subject_has_at_most_sixteen_sources() -> None:
    names = [f"source-{place}" for place in range(17)]
    ledger = Ledger()
    ledger.deploy_product([build_member(name, ("price_source",)) for name in names])
    rows: Any = ({"subject": BOND, "value": 1},)
    for name in names[:16]:
        ledger.call("collateral", "publish", sender=name, source=name, prices=rows)
    with ledger.expect_abort("SOURCES_FULL", subject=BOND, limit=16):
        ledger.call("collateral", "publish", sender=names[16], source=names[16], prices=rows)
    ledger.call("collateral", "publish", sender=names[0], source=names[0], prices=rows)
