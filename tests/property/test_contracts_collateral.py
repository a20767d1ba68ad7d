"""Collateral under random prices, exposures and requests: coverage and exact amounts."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tanpo.testing import CallFailed, Market
from tanpo.testing.market import (
    BOND,
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
EXACT = PRICE_SCALE * PRICE_SCALE * 10_000
INSTRUMENTS = (BOND, SHARE, FUND, USD, EUR)
PRICED = (BOND, SHARE, FUND, "EUR/USD")
HAIRCUTS = {BOND: 400, SHARE: 1500, FUND: 150, USD: 0, EUR: 800}

prices = st.integers(PRICE_SCALE // 3, 3 * PRICE_SCALE)
instruments = st.sampled_from(INSTRUMENTS)
quantities = st.integers(-1, 40).map(lambda number: number * 100)
portions = st.sampled_from((Fraction(1), Fraction(1, 2), Fraction(1, 10), Fraction(11, 10)))
signers = st.sampled_from(((GIVER, TAKER), (GIVER, TAKER), (GIVER,), (TAKER,), ("dealer-c",)))
items = st.lists(
    st.builds(lambda name, size: {"instrument": name, "quantity": size}, instruments, quantities),
    min_size=1,
    max_size=2,
).map(tuple)


class Collateral(RuleBasedStateMachine):
    """Publish, call, pledge, release, return, substitute."""

    def __init__(self) -> None:
        super().__init__()
        self.market = Market()

    @initialize(limit=st.integers(0, 3000))
    def open_market(self, limit: int) -> None:
        market = self.market
        market.define_all()
        for instrument in INSTRUMENTS:
            market.issue(instrument, GIVER, 20_000)
        market.publish(dict.fromkeys(PRICED, PRICE_SCALE))
        lines = (
            build_line("cash"),
            build_line("government_bond", 400, years_up_to=10),
            build_line("equity", 1500),
            build_line("money_market_fund", 150),
        )
        amounts = {"minimum_transfer": 500, "threshold": 1000}
        market.agree(
            build_agreement(
                build_party(GIVER, **amounts),
                build_party(TAKER, **amounts),
                delivery_multiple=70,
                return_multiple=70,
                lines=lines,
                limits=(build_limit("instrument", asset_class="equity", amount=limit),) if limit else (),
            )
        )

    @rule(subject=st.sampled_from(PRICED), price=prices)
    def publish(self, subject: str, price: int) -> None:
        self.market.publish({subject: price}, REGISTRAR)

    @rule(exposure=st.integers(-2000, 12_000), signed=signers)
    def margin_call(self, exposure: int, signed: tuple[str, ...]) -> None:
        side, worth = self.side(), self.counted()
        found = self.attempt("margin_call", signed, exposure=exposure)
        if found is None:
            return
        assert TAKER in signed
        required = max(0, exposure - 1000)
        adjusted = worth + side["due_delivery"] - side["due_return"]
        gap = required - adjusted
        up, down = -(-gap // 70) * 70, -gap // 70 * 70
        assert found["required"] == required
        assert found["delivery"] == (up if gap >= 500 else 0)
        assert found["return_amount"] == (down if -gap >= 500 else 0)

    @rule(instrument=instruments, quantity=quantities, signed=signers)
    def pledge(self, instrument: str, quantity: int, signed: tuple[str, ...]) -> None:
        if self.attempt("pledge", signed, instrument=instrument, quantity=quantity) is not None:
            assert GIVER in signed

    @rule(
        place=st.integers(0, 4),
        portion=portions,
        signed=signers,
        entry=st.sampled_from(("release", "return_excess")),
    )
    def give_back(self, place: int, portion: Fraction, signed: tuple[str, ...], entry: str) -> None:
        due, before = self.side()["due_return"], self.counted()
        if self.attempt(entry, signed, **self.pick(place, portion)) is None:
            return
        assert TAKER in signed or (entry == "return_excess" and GIVER in signed)
        assert self.counted() >= max(0, self.side()["exposure"] - 1000)
        assert entry == "release" or before - self.counted() <= due

    @rule(incoming=items, place=st.integers(0, 4), portion=portions, signed=signers)
    def substitute(self, incoming: Any, place: int, portion: Fraction, signed: tuple[str, ...]) -> None:
        before, outgoing = self.counted(), (self.pick(place, portion),)
        if self.attempt("substitute", signed, incoming=incoming, outgoing=outgoing) is not None:
            assert GIVER in signed
            assert self.counted() >= before

    @invariant()
    def nothing_is_lost_made_or_below_zero(self) -> None:
        self.market.check_conservation()

    @invariant()
    def what_is_posted_is_what_is_pledged(self) -> None:
        if not self.market.ledger.view("collateral", "list_agreements", party=GIVER, after="", limit=1):
            return
        posted = {one["instrument"]: one["quantity"] for one in self.side()["items"]}
        for instrument in INSTRUMENTS:
            assert self.market.position(GIVER, instrument)["pledged_out"] == posted.get(instrument, 0)
            assert self.market.position(TAKER, instrument)["pledged_in"] == posted.get(instrument, 0)

    def pick(self, place: int, portion: Fraction) -> dict[str, Any]:
        """Return a portion of what is posted, in whole denominations, or something that is not."""
        posted = self.side()["items"]
        if place >= len(posted):
            return {"instrument": INSTRUMENTS[place], "quantity": 100}
        return {
            "instrument": posted[place]["instrument"],
            "quantity": int(posted[place]["quantity"] * portion) // 100 * 100,
        }

    def side(self) -> Any:
        return self.market.ledger.view("collateral", "get_side", agreement="csa-1", pledgor=GIVER)

    def counted(self) -> Fraction:
        """Return the value that counts, exactly, from published prices alone."""
        limits: Any = self.market.ledger.view("collateral", "get_agreement", agreement="csa-1")
        total = Fraction(0)
        for one in self.side()["items"]:
            worth = Fraction(one["quantity"]) * (1 - Fraction(HAIRCUTS[one["instrument"]], 10_000))
            for subject in (one["instrument"], "EUR/USD" if one["instrument"] == EUR else USD):
                if subject in PRICED:
                    worth *= Fraction(self.price(subject), PRICE_SCALE)
            if limits["limits"] and one["instrument"] == SHARE:
                worth = min(worth, Fraction(limits["limits"][0]["amount"]))
            total += worth
        return total

    def price(self, subject: str) -> int:
        found = self.market.ledger.view(
            "collateral", "price", subject=subject, age_max_ms=10**9, sources_min=1
        )
        assert isinstance(found, int)
        return found

    def attempt(self, entry: str, signed: tuple[str, ...], **arguments: Any) -> Any:
        """Call; return None if it failed, after checking that nothing stayed behind."""
        ledger = self.market.ledger
        before = ledger.copy_state()
        try:
            result = ledger.call(
                "collateral",
                entry,
                sender=signed[0],
                signers=signed,
                agreement="csa-1",
                pledgor=GIVER,
                **arguments,
            )
        except CallFailed:
            assert ledger.copy_state() == before, "a failed call left something behind"
            return None
        return () if result is None else result


TestCollateral = Collateral.TestCase
TestCollateral.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


@settings(max_examples=60, deadline=None)
@given(
    exposure=st.integers(-(10**15), 10**15),
    threshold=st.integers(0, 10**14),
    minimum=st.integers(0, 10**12),
    multiple=st.integers(1, 10**10),
    posted=st.integers(0, 10**15),
    price=st.integers(1, 10 * PRICE_SCALE),
    haircut=st.integers(0, 10_000),
)
def test_amounts_follow_the_formula_exactly(
    exposure: int, threshold: int, minimum: int, multiple: int, posted: int, price: int, haircut: int
) -> None:
    market = Market()
    market.define("item", asset_class="thing")
    market.publish({"item": price})
    amounts = {"threshold": threshold, "minimum_transfer": minimum}
    market.agree(
        build_agreement(
            build_party(GIVER, **amounts),
            build_party(TAKER, **amounts),
            delivery_multiple=multiple,
            return_multiple=multiple,
            lines=(build_line("thing", haircut),),
        )
    )
    worth = Fraction(0)
    if posted:
        market.issue("item", GIVER, posted)
        arguments: Any = {"agreement": "csa-1", "pledgor": GIVER}
        arguments.update(instrument="item", quantity=posted)
        market.ledger.call("collateral", "pledge", sender=GIVER, **arguments)
        worth = posted * Fraction(price, PRICE_SCALE) * (1 - Fraction(haircut, 10_000))
    found: Any = market.ledger.view(
        "collateral",
        "margin",
        agreement="csa-1",
        pledgor=GIVER,
        exposure=exposure,
        undelivered=0,
        unreturned=0,
        disputed=0,
    )
    gap = max(0, exposure - threshold) - worth
    assert found["delivery"] == (-(-gap // multiple) * multiple if gap > 0 and gap >= minimum else 0)
    assert found["return_amount"] == (-gap // multiple * multiple if gap < 0 and -gap >= minimum else 0)
    assert found["posted"] == worth // 1
    assert not (found["delivery"] and found["return_amount"])
