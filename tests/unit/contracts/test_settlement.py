"""Settlement: all legs or none, and no default on silence."""

from __future__ import annotations

from typing import Any

import pytest
from tanpo.ledger.transaction import Call
from tanpo.ledger.values import Value
from tanpo.testing import Market
from tanpo.testing.market import BOND, REGISTRAR, SHARE, USD, build_leg

DAY_MS = 86_400_000
PARTIES = ("dealer-a", "dealer-b")
DVP = (build_leg("dealer-a", "dealer-b", BOND, 500), build_leg("dealer-b", "dealer-a", USD, 490))


@pytest.fixture
def funded(market: Market) -> Market:
    """Dealer A has bonds, dealer B dollars, dealer C shares."""
    market.issue(BOND, "dealer-a", 1000)
    market.issue(USD, "dealer-b", 1000)
    market.issue(SHARE, "dealer-c", 1000)
    return market


def call(market: Market, entry: str, *signers: str, **arguments: Value) -> Value | None:
    return market.ledger.submit(
        Call.create("settlement", entry, arguments), sender=signers[0], signers=signers
    )


def propose(market: Market, legs: tuple[Value, ...] = DVP, signer: str = "dealer-a") -> int:
    number = call(market, "propose", signer, legs=legs, expiry=market.ledger.time_ms + DAY_MS)
    assert isinstance(number, int)
    return number


def status(market: Market, proposal: int) -> object:
    found = market.ledger.view("settlement", "get_proposal", proposal=proposal)
    assert isinstance(found, dict)
    return found["status"]


# -- swap


def test_a_bond_is_delivered_against_cash_in_one_transaction(funded: Market) -> None:
    funded.swap(DVP, *PARTIES)
    assert (funded.free("dealer-a", BOND), funded.free("dealer-b", BOND)) == (500, 500)
    assert (funded.free("dealer-a", USD), funded.free("dealer-b", USD)) == (490, 510)
    assert funded.ledger.list_events("Swapped") == [{"legs": 2}]
    funded.check_conservation()


def test_a_swap_of_three_parties_settles_whole(funded: Market) -> None:
    legs = (
        build_leg("dealer-a", "dealer-b", BOND, 500),
        build_leg("dealer-b", "dealer-c", USD, 400),
        build_leg("dealer-c", "dealer-a", SHARE, 30),
    )
    funded.swap(legs, "dealer-a", "dealer-b", "dealer-c")
    assert (funded.free("dealer-b", BOND), funded.free("dealer-c", USD), funded.free("dealer-a", SHARE)) == (
        500,
        400,
        30,
    )
    funded.check_conservation()


def test_a_party_may_deliver_what_an_earlier_leg_brings(funded: Market) -> None:
    legs = (
        build_leg("dealer-a", "dealer-b", BOND, 500),
        build_leg("dealer-b", "dealer-c", BOND, 500),
        build_leg("dealer-c", "dealer-a", SHARE, 30),
    )
    funded.swap(legs, "dealer-a", "dealer-b", "dealer-c")
    assert funded.free("dealer-c", BOND) == 500
    assert funded.position("dealer-b", BOND)["free"] == 0


def test_a_leg_that_lacks_cash_refuses_the_whole_swap_and_is_named(funded: Market) -> None:
    legs = (build_leg("dealer-a", "dealer-b", BOND, 500), build_leg("dealer-b", "dealer-a", USD, 1001))
    with funded.ledger.expect_abort(
        "INSUFFICIENT_BALANCE", leg=1, account="dealer-b", instrument=USD, needed=1001, available=1000
    ):
        funded.swap(legs, *PARTIES)
    assert funded.free("dealer-a", BOND) == 1000


def test_every_delivering_party_signs_a_swap(funded: Market) -> None:
    with funded.ledger.expect_abort("UNAUTHORISED", leg=1, account="dealer-b", member="dealer-b"):
        funded.swap(DVP, "dealer-a")
    with funded.ledger.expect_abort("UNAUTHORISED", leg=0, account="dealer-a"):
        funded.swap(DVP, "dealer-b", "dealer-c", REGISTRAR)


@pytest.mark.parametrize("count", [0, 1, 17])
def test_a_swap_has_two_to_sixteen_legs(funded: Market, count: int) -> None:
    legs = tuple(build_leg("dealer-a", "dealer-b", BOND, 100) for _ in range(count))
    with funded.ledger.expect_abort("LEG_COUNT", value=count, limit=16):
        funded.swap(legs, *PARTIES)
    with funded.ledger.expect_abort("LEG_COUNT", value=count):
        propose(funded, legs)


def test_sixteen_legs_settle_within_the_default_gas(funded: Market) -> None:
    legs = tuple(build_leg("dealer-b", f"dealer-a/desk-{place}", USD, 1) for place in range(16))
    funded.swap(legs, "dealer-b")
    assert funded.ledger.gas_report[-1].gas < 100_000
    funded.check_conservation()


@pytest.mark.parametrize(
    ("leg", "code"),
    [
        (build_leg("dealer-b", "dealer-a", USD, 0), "QUANTITY_RANGE"),
        (build_leg("dealer-b", "dealer-a", USD, -5), "QUANTITY_RANGE"),
        (build_leg("dealer-b", "dealer-a", USD, 10**24 + 1), "QUANTITY_RANGE"),
        (build_leg("dealer-a", "dealer-b", BOND, 50), "DENOMINATION"),
        (build_leg("dealer-b", "dealer-b", USD, 5), "SAME_ACCOUNT"),
        (build_leg("dealer-b", "dealer-a", "gold-bar", 5), "INSTRUMENT_UNKNOWN"),
        (build_leg("dealer-b", "nobody", USD, 5), "ACCOUNT_UNKNOWN"),
    ],
)
def test_a_wrong_leg_refuses_the_whole_swap(funded: Market, leg: dict[str, Value], code: str) -> None:
    with funded.ledger.expect_abort(code):
        funded.swap((DVP[0], leg), *PARTIES)


def test_a_frozen_party_stops_a_swap(funded: Market) -> None:
    funded.ledger.call(
        "instruments",
        "freeze_account",
        sender=REGISTRAR,
        registrar=REGISTRAR,
        account="dealer-b",
        reason="court",
    )
    with funded.ledger.expect_abort("ACCOUNT_FROZEN", leg=0, account="dealer-b"):
        funded.swap(DVP, *PARTIES)


# -- propose, affirm, settle


def test_a_proposal_settles_at_the_last_affirmation(funded: Market) -> None:
    number = propose(funded)
    assert funded.free("dealer-a", BOND) == 1000
    assert call(funded, "affirm", "dealer-a", proposal=number) == "open"
    assert funded.position("dealer-a", BOND)["locked"] == 500
    assert call(funded, "affirm", "dealer-b", proposal=number) == "settled"
    assert (funded.free("dealer-b", BOND), funded.free("dealer-a", USD)) == (500, 490)
    assert funded.position("dealer-a", BOND)["locked"] == 0
    assert status(funded, number) == "settled"
    assert funded.ledger.view("settlement", "open_proposals", party="dealer-a", after=0, limit=10) == ()
    funded.check_conservation()


def test_both_parties_may_affirm_in_one_transaction(funded: Market) -> None:
    number = propose(funded)
    assert call(funded, "affirm", *PARTIES, proposal=number) == "settled"


def test_open_proposals_are_listed_by_party(funded: Market) -> None:
    numbers = [propose(funded) for _ in range(3)]
    assert funded.ledger.view("settlement", "open_proposals", party="dealer-b", after=0, limit=2) == tuple(
        numbers[:2]
    )
    assert funded.ledger.view(
        "settlement", "open_proposals", party="dealer-b", after=numbers[1], limit=2
    ) == (numbers[2],)
    with funded.ledger.expect_abort("LIMIT_RANGE", value=0):
        funded.ledger.view("settlement", "open_proposals", party="dealer-b", after=0, limit=0)


def test_an_affirmation_without_cover_is_refused_and_names_the_leg(funded: Market) -> None:
    number = propose(funded, (DVP[0], build_leg("dealer-b", "dealer-a", USD, 1001)))
    call(funded, "affirm", "dealer-a", proposal=number)
    with funded.ledger.expect_abort("INSUFFICIENT_BALANCE", leg=1, needed=1001, available=1000):
        call(funded, "affirm", "dealer-b", proposal=number)
    assert status(funded, number) == "open"


def test_strangers_neither_propose_nor_affirm_nor_cancel(funded: Market) -> None:
    with funded.ledger.expect_abort("NOT_A_PARTY"):
        propose(funded, signer="dealer-c")
    number = propose(funded)
    for entry in ("affirm", "cancel"):
        with funded.ledger.expect_abort("NOT_A_PARTY", proposal=number):
            call(funded, entry, "dealer-c", proposal=number)


def test_a_party_affirms_once(funded: Market) -> None:
    number = propose(funded)
    call(funded, "affirm", "dealer-a", proposal=number)
    with funded.ledger.expect_abort("ALREADY_AFFIRMED", proposal=number):
        call(funded, "affirm", "dealer-a", proposal=number)


@pytest.mark.parametrize("party", PARTIES)
def test_any_party_cancels_before_the_last_affirmation(funded: Market, party: str) -> None:
    number = propose(funded)
    call(funded, "affirm", "dealer-a", proposal=number)
    call(funded, "cancel", party, proposal=number)
    assert status(funded, number) == "cancelled"
    assert funded.free("dealer-a", BOND) == 1000
    for entry in ("affirm", "cancel", "expire"):
        with funded.ledger.expect_abort("PROPOSAL_CLOSED", proposal=number, status="cancelled"):
            call(funded, entry, "dealer-b", proposal=number)


def test_a_receiver_may_propose_and_cancel(funded: Market) -> None:
    legs = (build_leg("dealer-a", "dealer-c", BOND, 100), build_leg("dealer-b", "dealer-c", USD, 5))
    number = propose(funded, legs, signer="dealer-c")
    call(funded, "cancel", "dealer-c", proposal=number)
    assert status(funded, number) == "cancelled"


def test_expiry_gives_locks_back_and_approves_nothing(funded: Market) -> None:
    number = propose(funded)
    call(funded, "affirm", "dealer-a", proposal=number)
    with funded.ledger.expect_abort("NOT_EXPIRED", proposal=number):
        call(funded, "expire", "dealer-c", proposal=number)
    funded.ledger.advance(milliseconds=DAY_MS)
    with funded.ledger.expect_abort("EXPIRED", proposal=number):
        call(funded, "affirm", "dealer-b", proposal=number)
    call(funded, "expire", "dealer-c", proposal=number)
    assert status(funded, number) == "expired"
    assert funded.free("dealer-a", BOND) == 1000
    assert funded.free("dealer-b", BOND) == 0
    funded.check_conservation()


@pytest.mark.parametrize("ahead_ms", [0, -1, 31_536_000_001])
def test_an_expiry_lies_ahead_but_not_beyond_a_year(funded: Market, ahead_ms: int) -> None:
    expiry = funded.ledger.time_ms + ahead_ms
    with funded.ledger.expect_abort("EXPIRY_RANGE", value=expiry):
        call(funded, "propose", "dealer-a", legs=DVP, expiry=expiry)


@pytest.mark.parametrize("entry", ["affirm", "cancel", "expire"])
def test_an_unknown_proposal_is_named(funded: Market, entry: str) -> None:
    with funded.ledger.expect_abort("PROPOSAL_UNKNOWN", proposal=7):
        call(funded, entry, "dealer-a", proposal=7)
    with funded.ledger.expect_abort("PROPOSAL_UNKNOWN", proposal=7):
        status(funded, 7)


@pytest.mark.parametrize(("instrument", "leg"), [(BOND, 0), (USD, 1)])
def test_a_freeze_at_the_last_moment_leaves_the_proposal_open(
    funded: Market, instrument: str, leg: int
) -> None:
    number = propose(funded)
    call(funded, "affirm", "dealer-a", proposal=number)
    funded.ledger.call(
        "instruments", "freeze_instrument", sender=REGISTRAR, instrument=instrument, reason="audit"
    )
    with funded.ledger.expect_abort("INSTRUMENT_FROZEN", leg=leg, instrument=instrument):
        call(funded, "affirm", "dealer-b", proposal=number)
    assert funded.free("dealer-b", USD) == 1000
    assert status(funded, number) == "open"


RELAY = """
register: Contract["instruments"]
settlement: Contract["settlement"]


@entry
def affirm(proposal: int) -> str:
    return settlement.affirm(proposal=proposal)


@entry
def swap(legs: list[register.Leg]) -> None:
    settlement.swap(legs=legs)


@entry
def propose(legs: list[register.Leg], expiry: int) -> int:
    return settlement.propose(legs=legs, expiry=expiry)


@entry
def cancel(proposal: int) -> None:
    settlement.cancel(proposal=proposal)
"""


def test_another_contract_cannot_use_a_partys_signature(funded: Market) -> None:
    number = propose(funded)
    funded.ledger.deploy("relay", source=RELAY)
    attempts: dict[str, dict[str, Any]] = {
        "affirm": {"proposal": number},
        "cancel": {"proposal": number},
        "swap": {"legs": DVP},
        "propose": {"legs": DVP, "expiry": funded.ledger.time_ms + DAY_MS},
    }
    for entry, arguments in attempts.items():
        with funded.ledger.expect_abort("UNAUTHORISED", caller="contract:relay"):
            funded.ledger.call("relay", entry, sender="dealer-a", signers=PARTIES, **arguments)
