"""The second half of the demo: a margin call under the annex, pledge, substitution, return, redemption.

Every amount is computed here a second time, from the annex alone, and compared with the contract's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tanpo.cli.demo.desk import Desk
from tanpo.cli.demo.journal import check, run_all
from tanpo.cli.samples import Annex, Catalog, Placement, to_agreement_arguments
from tanpo.ledger.transaction import Call
from tanpo.ledger.values import Value

AGREEMENT: Final = "csa-2024-001"
AGENT: Final = "custody-bank"
FUND: Final = "IE00B3ZKBR99"
"""The pledgor's shares of a money market fund, pledged first."""
BUND: Final = "DE000BU2Z023"
"""What takes the place of half of them."""
REDEEMED_FUND: Final = "LU0875336629"
EXPOSURE_CENTS: Final = 1_725_000_000
"""The secured party's exposure at the call: 17.25 million dollars."""
EXPOSURE_LATER_CENTS: Final = 1_300_000_000
"""And after the market has moved: 13 million."""
REDEEMED_CENTS: Final = 100_000_000
PRICE_AGE_MAX_MS: Final = 3_600_000
EXACT: Final = 10**28
"""The scale of an appraisal's worth in the contract `collateral`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The parties, as members, and the amounts of the annex in the smallest unit."""

    secured: str
    pledgor: str
    threshold: int
    delivery_multiple: int
    return_multiple: int
    needs_consent: bool


async def play_margin(desk: Desk, catalog: Catalog, annex: Annex) -> None:
    """Agree, publish prices, call, pledge, substitute, return."""
    terms = await _agree(desk, catalog, annex)
    pledged = await _call_and_pledge(desk, catalog, terms)
    replaced = await _substitute(desk, catalog, terms, pledged)
    await _return(desk, catalog, terms, pledged - replaced)


async def redeem(desk: Desk, catalog: Catalog) -> None:
    """Redeem fund shares: the holder and the registrar burn, the custodian releases the underlying."""
    desk.journal.begin("Redeem fund shares")
    holder = "dealer-a"
    instrument = catalog.get_instrument(REDEEMED_FUND)
    reference = "redemption-1"
    arguments: dict[str, Value] = {
        "instrument": instrument.id,
        "account": holder,
        "quantity": REDEEMED_CENTS,
        "reference": reference,
    }
    await desk.settle(
        f"burn {REDEEMED_CENTS:,} {instrument.id} of {holder}",
        Call.create("instruments", "burn", arguments),
        (holder, instrument.registrar),
    )
    await desk.settle(
        f"release the underlying of {REDEEMED_CENTS:,} {instrument.id}",
        Call.create("instruments", "confirm_release", {"instrument": instrument.id, "reference": reference}),
        (instrument.custodian,),
    )
    supply = await desk.ask("instruments", "supply", instrument=instrument.id)
    check(
        supply["burned"] == supply["released"] == REDEEMED_CENTS,
        "the redemption is not booked",
        value=supply["burned"],
        limit=REDEEMED_CENTS,
    )
    desk.journal.note("burned by holder and registrar, released by the custodian")


def compute_required(exposure: int, terms: Terms) -> int:
    """Return the credit support amount without independent amounts."""
    return max(0, exposure - terms.threshold)


async def _agree(desk: Desk, catalog: Catalog, annex: Annex) -> Terms:
    desk.journal.begin("Agree and price")
    secured, pledgor = (catalog.get_member(party.lei).member for party in (annex.first, annex.second))
    arguments = to_agreement_arguments(
        annex,
        Placement(
            agreement=AGREEMENT,
            members=(secured, pledgor),
            accounts=(secured, pledgor),
            agent=AGENT,
            price_age_max_ms=PRICE_AGE_MAX_MS,
            price_sources_min=len(catalog.prices.sources),
        ),
    )
    await desk.settle(
        "conclude the credit support annex",
        Call.create("collateral", "agree", arguments),
        (secured, pledgor),
    )
    prices = catalog.to_price_arguments()
    await run_all(
        desk.settle(
            f"publish {len(prices)} prices of {source}",
            Call.create("collateral", "publish", {"source": source, "prices": prices}),
            (source,),
        )
        for source in catalog.prices.sources
    )
    scale = 100
    desk.journal.note(
        f"annex of {annex.dated}, {len(prices)} prices by {len(catalog.prices.sources)} sources"
    )
    return Terms(
        secured=secured,
        pledgor=pledgor,
        threshold=int(annex.second.threshold * scale),
        delivery_multiple=int(annex.delivery_multiple * scale),
        return_multiple=int(annex.return_multiple * scale),
        needs_consent=annex.substitution_needs_consent,
    )


async def _call_and_pledge(desk: Desk, catalog: Catalog, terms: Terms) -> int:
    desk.journal.begin("Margin call and pledge")
    called = await _call_margin(desk, terms, EXPOSURE_CENTS)
    required = compute_required(EXPOSURE_CENTS, terms)
    due = -(-required // terms.delivery_multiple) * terms.delivery_multiple
    check(called["delivery"] == due, "the margin call is wrong", value=called["delivery"], limit=due)
    quantity = await _compute_quantity(desk, catalog, terms.pledgor, FUND, due, is_enough=True)
    await desk.settle(
        f"pledge {quantity:,} {FUND}",
        Call.create(
            "collateral",
            "pledge",
            {"agreement": AGREEMENT, "pledgor": terms.pledgor, "instrument": FUND, "quantity": quantity},
        ),
        (terms.pledgor,),
    )
    margin = await _ask_margin(desk, terms, EXPOSURE_CENTS)
    check(margin["delivery"] == 0, "the pledge does not cover the call", value=margin["delivery"], limit=0)
    position = await desk.get_position(terms.pledgor, FUND)
    check(
        position.pledged_out == quantity,
        "the pledge is not booked",
        value=position.pledged_out,
        limit=quantity,
    )
    desk.journal.note(f"call of ${due / 100:,.2f} met with {quantity / 100:,.2f} fund shares")
    return quantity


async def _substitute(desk: Desk, catalog: Catalog, terms: Terms, pledged: int) -> int:
    desk.journal.begin("Substitution")
    outgoing = pledged // 2
    worth = await _appraise(desk, terms.pledgor, FUND, outgoing)
    incoming = await _compute_quantity(desk, catalog, terms.pledgor, BUND, -(-worth // EXACT), is_enough=True)
    signers = (terms.pledgor, terms.secured) if terms.needs_consent else (terms.pledgor,)
    arguments: dict[str, Value] = {
        "agreement": AGREEMENT,
        "pledgor": terms.pledgor,
        "incoming": ({"instrument": BUND, "quantity": incoming},),
        "outgoing": ({"instrument": FUND, "quantity": outgoing},),
    }
    await desk.settle(
        f"substitute {incoming:,} {BUND} for {outgoing:,} {FUND}",
        Call.create("collateral", "substitute", arguments),
        signers,
    )
    margin = await _ask_margin(desk, terms, EXPOSURE_CENTS)
    check(margin["delivery"] == 0, "the substitution left a gap", value=margin["delivery"], limit=0)
    desk.journal.note(f"{incoming / 100:,.2f} Bund in, {outgoing / 100:,.2f} fund shares out, coverage kept")
    return outgoing


async def _return(desk: Desk, catalog: Catalog, terms: Terms, fund_left: int) -> None:
    desk.journal.begin("Return")
    called = await _call_margin(desk, terms, EXPOSURE_LATER_CENTS)
    excess = called["posted"] - compute_required(EXPOSURE_LATER_CENTS, terms)
    due = excess // terms.return_multiple * terms.return_multiple
    check(called["return_amount"] == due, "the return is wrong", value=called["return_amount"], limit=due)
    quantity = min(
        fund_left, await _compute_quantity(desk, catalog, terms.pledgor, FUND, due, is_enough=False)
    )
    arguments: dict[str, Value] = {
        "agreement": AGREEMENT,
        "pledgor": terms.pledgor,
        "instrument": FUND,
        "quantity": quantity,
    }
    await desk.settle(
        f"return {quantity:,} {FUND}",
        Call.create("collateral", "return_excess", arguments),
        (terms.secured,),
    )
    margin = await _ask_margin(desk, terms, EXPOSURE_LATER_CENTS)
    check(
        margin["posted"] >= margin["required"] and margin["delivery"] == 0,
        "the return left too little",
        value=margin["posted"],
        limit=margin["required"],
    )
    desk.journal.note(f"exposure falls; {quantity / 100:,.2f} fund shares of ${due / 100:,.2f} due go back")


async def _call_margin(desk: Desk, terms: Terms, exposure: int) -> dict[str, int]:
    arguments: dict[str, Value] = {"agreement": AGREEMENT, "pledgor": terms.pledgor, "exposure": exposure}
    committed = await desk.settle(
        f"call margin for an exposure of {exposure:,} cents",
        Call.create("collateral", "margin_call", arguments),
        (terms.secured,),
    )
    return _read_margin(committed.value)


async def _ask_margin(desk: Desk, terms: Terms, exposure: int) -> dict[str, int]:
    value = await desk.ask(
        "collateral",
        "margin",
        agreement=AGREEMENT,
        pledgor=terms.pledgor,
        exposure=exposure,
        undelivered=0,
        unreturned=0,
        disputed=0,
    )
    return _read_margin(value)


def _read_margin(value: object) -> dict[str, int]:
    check(isinstance(value, dict), "a margin calculation has the wrong shape", value=value, limit="a record")
    return {str(name): int(amount) for name, amount in dict(value).items()} if isinstance(value, dict) else {}


async def _appraise(desk: Desk, pledgor: str, instrument: str, quantity: int) -> int:
    found = await desk.ask(
        "collateral",
        "appraise",
        agreement=AGREEMENT,
        pledgor=pledgor,
        instrument=instrument,
        quantity=quantity,
    )
    check(not found["rule"], f"{instrument} is not eligible: {found['rule']}", value=found["value"])
    return int(found["worth"])


async def _compute_quantity(
    desk: Desk, catalog: Catalog, pledgor: str, instrument: str, amount: int, *, is_enough: bool
) -> int:
    """Return the quantity worth an amount after haircut: at least it if `is_enough`, else at most it."""
    what = catalog.get_instrument(instrument)
    step = int(what.denomination.scaleb(what.decimals))
    worth = await _appraise(desk, pledgor, instrument, step)
    steps = -(-amount * EXACT // worth) if is_enough else amount * EXACT // worth
    return steps * step
