"""Locks and pledges belong to the contract that made them, and contracts act only if named."""

from __future__ import annotations

from typing import Any

import pytest
from tanpo.testing import Market
from tanpo.testing.market import BOND, CUSTODIAN, REGISTRAR, USD, build_instrument, build_leg


def call(market: Market, entry: str, signer: str, **arguments: Any) -> None:
    market.ledger.call("instruments", entry, sender=signer, **arguments)


def transfer(market: Market, signer: str, deliverer: str, receiver: str, quantity: int) -> None:
    call(
        market, "transfer", signer, deliverer=deliverer, receiver=receiver, instrument=USD, quantity=quantity
    )


OPERATOR = """
register: Contract["instruments"]


@entry
def lock(account: str, instrument: str, quantity: int) -> None:
    register.lock(account=account, instrument=instrument, quantity=quantity, leg=0)


@entry
def unlock(account: str, instrument: str, quantity: int) -> None:
    register.unlock(account=account, instrument=instrument, quantity=quantity)


@entry
def move_locked(deliverer: str, receiver: str, instrument: str, quantity: int) -> None:
    register.move_locked(
        deliverer=deliverer, receiver=receiver, instrument=instrument, quantity=quantity, leg=0
    )


@entry
def pledge(giver: str, taker: str, instrument: str, quantity: int) -> None:
    register.pledge(giver=giver, taker=taker, instrument=instrument, quantity=quantity)


@entry
def release(giver: str, taker: str, instrument: str, quantity: int) -> None:
    register.release(giver=giver, taker=taker, instrument=instrument, quantity=quantity)


@entry
def move_pledged(giver: str, taker: str, receiver: str, instrument: str, quantity: int) -> None:
    register.move_pledged(
        giver=giver, taker=taker, receiver=receiver, instrument=instrument, quantity=quantity
    )


@entry
def transfer(deliverer: str, receiver: str, instrument: str, quantity: int) -> None:
    register.transfer(deliverer=deliverer, receiver=receiver, instrument=instrument, quantity=quantity)
"""


@pytest.fixture
def operators() -> Market:
    """A market in which `desk-one` and `desk-two` are operators of the register and `rogue` is not."""
    market = Market(operators=("desk-one", "desk-two"))
    market.define_all()
    for contract in ("desk-one", "desk-two", "rogue"):
        market.ledger.deploy(contract, source=OPERATOR)
    market.issue(USD, "dealer-a", 1000)
    return market


def test_a_lock_is_given_back_or_delivered_by_its_contract_alone(operators: Market) -> None:
    ledger = operators.ledger
    ledger.call("desk-one", "lock", sender="dealer-a", account="dealer-a", instrument=USD, quantity=600)
    assert operators.position("dealer-a", USD) == {
        "free": 400,
        "locked": 600,
        "pledged_out": 0,
        "pledged_in": 0,
    }
    assert ledger.view(
        "instruments", "held_by_contract", contract="desk-one", account="dealer-a", instrument=USD
    ) == 600  # fmt: skip
    with ledger.expect_abort("INSUFFICIENT_BALANCE", available=400):
        transfer(operators, "dealer-a", "dealer-a", "dealer-b", 401)
    with ledger.expect_abort("ENCUMBRANCE_EXCEEDED", needed=1, available=0):
        ledger.call("desk-two", "unlock", sender="dealer-a", account="dealer-a", instrument=USD, quantity=1)
    with ledger.expect_abort("ENCUMBRANCE_EXCEEDED", needed=601, available=600):
        ledger.call("desk-one", "unlock", sender="dealer-a", account="dealer-a", instrument=USD, quantity=601)
    ledger.call("desk-one", "unlock", sender="dealer-b", account="dealer-a", instrument=USD, quantity=100)
    ledger.call(
        "desk-one",
        "move_locked",
        sender="dealer-b",
        deliverer="dealer-a",
        receiver="dealer-b",
        instrument=USD,
        quantity=500,
    )
    assert operators.position("dealer-a", USD)["free"] == 500
    assert operators.free("dealer-b", USD) == 500
    operators.check_conservation()


def test_a_lock_needs_the_owners_signature(operators: Market) -> None:
    with operators.ledger.expect_abort("UNAUTHORISED", account="dealer-a"):
        operators.ledger.call(
            "desk-one", "lock", sender="dealer-b", account="dealer-a", instrument=USD, quantity=1
        )


def test_a_pledge_leaves_title_and_is_released_by_its_contract_alone(operators: Market) -> None:
    ledger = operators.ledger
    pledge: dict[str, Any] = {"giver": "dealer-a", "taker": "dealer-b", "instrument": USD}
    with ledger.expect_abort("UNAUTHORISED", account="dealer-a"):
        ledger.call("desk-one", "pledge", sender="dealer-b", quantity=700, **pledge)
    ledger.call("desk-one", "pledge", sender="dealer-a", quantity=700, **pledge)
    assert operators.position("dealer-a", USD) == {
        "free": 300,
        "locked": 0,
        "pledged_out": 700,
        "pledged_in": 0,
    }
    assert operators.position("dealer-b", USD) == {
        "free": 0,
        "locked": 0,
        "pledged_out": 0,
        "pledged_in": 700,
    }
    operators.check_conservation()
    with ledger.expect_abort("INSUFFICIENT_BALANCE", needed=301, available=300):
        ledger.call("desk-two", "pledge", sender="dealer-a", quantity=301, **pledge)
    with ledger.expect_abort("ENCUMBRANCE_EXCEEDED", available=0):
        ledger.call("desk-two", "release", sender="dealer-a", quantity=1, **pledge)
    ledger.call("desk-one", "release", sender="dealer-b", quantity=700, **pledge)
    assert operators.position("dealer-a", USD)["free"] == 1000
    assert operators.ledger.view("instruments", "holders", instrument=USD, after="", limit=9) == ("dealer-a",)


@pytest.mark.parametrize(
    ("quantity", "code"), [(0, "QUANTITY_RANGE"), (-1, "QUANTITY_RANGE"), (150, "DENOMINATION")]
)
def test_quantities_locked_and_pledged_are_whole(operators: Market, quantity: int, code: str) -> None:
    operators.issue(BOND, "dealer-a", 1000)
    same: dict[str, Any] = {"sender": "dealer-a", "instrument": BOND, "quantity": quantity}
    with operators.ledger.expect_abort(code):
        operators.ledger.call("desk-one", "lock", account="dealer-a", **same)
    with operators.ledger.expect_abort(code):
        operators.ledger.call("desk-one", "pledge", giver="dealer-a", taker="dealer-b", **same)


@pytest.mark.parametrize("quantity", [0, -1])
def test_nothing_is_released_or_moved_backwards(operators: Market, quantity: int) -> None:
    ledger = operators.ledger
    pledge: dict[str, Any] = {"giver": "dealer-a", "taker": "dealer-b", "instrument": USD}
    lock: dict[str, Any] = {"sender": "dealer-a", "instrument": USD}
    ledger.call("desk-one", "pledge", sender="dealer-a", quantity=10, **pledge)
    ledger.call("desk-one", "lock", account="dealer-a", quantity=10, **lock)
    with ledger.expect_abort("ENCUMBRANCE_EXCEEDED", needed=quantity):
        ledger.call("desk-one", "release", sender="dealer-a", quantity=quantity, **pledge)
    with ledger.expect_abort("ENCUMBRANCE_EXCEEDED", needed=quantity):
        ledger.call("desk-one", "unlock", account="dealer-a", quantity=quantity, **lock)


def test_an_account_pledges_nothing_to_itself(operators: Market) -> None:
    pledge: dict[str, Any] = {"giver": "dealer-a", "taker": "dealer-a", "instrument": USD, "quantity": 1}
    with operators.ledger.expect_abort("SAME_ACCOUNT", account="dealer-a"):
        operators.ledger.call("desk-one", "pledge", sender="dealer-a", **pledge)


def test_a_realised_pledge_passes_title(operators: Market) -> None:
    ledger = operators.ledger
    pledge: dict[str, Any] = {"giver": "dealer-a", "taker": "dealer-b", "instrument": USD}
    ledger.call("desk-one", "pledge", sender="dealer-a", quantity=1000, **pledge)
    with ledger.expect_abort("ENCUMBRANCE_EXCEEDED", needed=1001, available=1000):
        ledger.call(
            "desk-one", "move_pledged", sender="dealer-b", receiver="dealer-b", quantity=1001, **pledge
        )
    ledger.call("desk-one", "move_pledged", sender="dealer-b", receiver="dealer-b", quantity=1000, **pledge)
    assert operators.free("dealer-b", USD) == 1000
    assert operators.ledger.view("instruments", "holders", instrument=USD, after="", limit=9) == ("dealer-b",)
    operators.check_conservation()


@pytest.mark.parametrize(
    ("entry", "arguments"),
    [
        ("transfer", {"deliverer": "dealer-a", "receiver": "dealer-b"}),
        ("lock", {"account": "dealer-a"}),
        ("unlock", {"account": "dealer-a"}),
        ("move_locked", {"deliverer": "dealer-a", "receiver": "dealer-b"}),
        ("pledge", {"giver": "dealer-a", "taker": "dealer-b"}),
        ("release", {"giver": "dealer-a", "taker": "dealer-b"}),
        ("move_pledged", {"giver": "dealer-a", "taker": "dealer-b", "receiver": "dealer-b"}),
    ],
)
def test_a_contract_that_is_no_operator_cannot_use_a_signature(
    operators: Market, entry: str, arguments: dict[str, Any]
) -> None:
    with operators.ledger.expect_abort("CALLER_FORBIDDEN", caller="contract:rogue"):
        operators.ledger.call("rogue", entry, sender="dealer-a", instrument=USD, quantity=1, **arguments)


ROGUE = """
register: Contract["instruments"]


@entry
def define(instrument: register.Instrument) -> None:
    register.define(instrument=instrument)


@entry
def confirm_lock(instrument: str, reference: str, quantity: int) -> None:
    register.confirm_lock(instrument=instrument, reference=reference, quantity=quantity)


@entry
def mint(instrument: str, account: str, quantity: int, reference: str) -> None:
    register.mint(instrument=instrument, account=account, quantity=quantity, reference=reference)


@entry
def burn(instrument: str, account: str, quantity: int, reference: str) -> None:
    register.burn(instrument=instrument, account=account, quantity=quantity, reference=reference)


@entry
def confirm_release(instrument: str, reference: str) -> None:
    register.confirm_release(instrument=instrument, reference=reference)


@entry
def freeze_instrument(instrument: str, reason: str) -> None:
    register.freeze_instrument(instrument=instrument, reason=reason)


@entry
def freeze_account(registrar: str, account: str, reason: str) -> None:
    register.freeze_account(registrar=registrar, account=account, reason=reason)


@entry
def settle(legs: list[register.Leg]) -> None:
    register.settle(legs=legs)


@entry
def force_transfer(deliverer: str, receiver: str, instrument: str, quantity: int, reason: str) -> None:
    register.force_transfer(
        deliverer=deliverer, receiver=receiver, instrument=instrument, quantity=quantity, reason=reason
    )
"""
BOOKING: dict[str, Any] = {"instrument": USD, "account": "dealer-a", "quantity": 1, "reference": "vault-9"}


@pytest.mark.parametrize(
    ("entry", "arguments"),
    [
        ("define", {"instrument": build_instrument("gold-bar")}),
        ("confirm_lock", {"instrument": USD, "reference": "vault-8", "quantity": 1}),
        ("mint", BOOKING),
        ("burn", BOOKING),
        ("confirm_release", {"instrument": USD, "reference": "out-9"}),
        ("freeze_instrument", {"instrument": USD, "reason": "spite"}),
        ("freeze_account", {"registrar": REGISTRAR, "account": "dealer-a", "reason": "spite"}),
        ("settle", {"legs": (build_leg("dealer-a", "dealer-b", USD, 1),)}),
        ("force_transfer", {**build_leg("dealer-a", "dealer-b", USD, 1), "reason": "spite"}),
    ],
)
def test_a_contract_that_is_no_operator_cannot_act_for_anybody(
    market: Market, entry: str, arguments: dict[str, Any]
) -> None:
    market.issue(USD, "dealer-a", 10)
    everybody = (REGISTRAR, CUSTODIAN, "dealer-a")
    call(market, "confirm_lock", CUSTODIAN, instrument=USD, reference="vault-9", quantity=1)
    burn = {**BOOKING, "reference": "out-9"}
    market.ledger.call("instruments", "burn", sender=REGISTRAR, signers=everybody, **burn)
    market.ledger.deploy("rogue", source=ROGUE)
    with market.ledger.expect_abort("CALLER_FORBIDDEN", caller="contract:rogue"):
        market.ledger.call("rogue", entry, sender=REGISTRAR, signers=everybody, **arguments)


def test_members_do_not_call_what_is_for_contracts(operators: Market) -> None:
    with operators.ledger.expect_abort("CALLER_FORBIDDEN", caller="dealer-a"):
        call(operators, "lock", "dealer-a", account="dealer-a", instrument=USD, quantity=1, leg=0)


def test_a_frozen_account_keeps_its_locks_and_can_have_them_back(operators: Market) -> None:
    ledger = operators.ledger
    lock: dict[str, Any] = {"account": "dealer-a", "instrument": USD, "quantity": 10}
    ledger.call("desk-one", "lock", sender="dealer-a", **lock)
    call(operators, "freeze_account", REGISTRAR, registrar=REGISTRAR, account="dealer-a", reason="court")
    with ledger.expect_abort("ACCOUNT_FROZEN"):
        ledger.call("desk-one", "lock", sender="dealer-a", **lock)
    with ledger.expect_abort("ACCOUNT_FROZEN"):
        ledger.call(
            "desk-one",
            "move_locked",
            sender="dealer-a",
            deliverer="dealer-a",
            receiver="dealer-b",
            instrument=USD,
            quantity=10,
        )
    ledger.call("desk-one", "unlock", sender="dealer-a", **lock)


@pytest.mark.parametrize("account", ["dealer-a", "dealer-b", "dealer-c"])
def test_a_pledge_with_a_frozen_account_stays_as_it_is(operators: Market, account: str) -> None:
    ledger = operators.ledger
    pledge: dict[str, Any] = {"giver": "dealer-a", "taker": "dealer-b", "instrument": USD, "quantity": 10}
    ledger.call("desk-one", "pledge", sender="dealer-a", **pledge)
    call(operators, "freeze_account", REGISTRAR, registrar=REGISTRAR, account=account, reason="court")
    if account != "dealer-b":
        with ledger.expect_abort("ACCOUNT_FROZEN", account=account):
            ledger.call("desk-one", "move_pledged", sender="dealer-b", receiver="dealer-c", **pledge)
    if account != "dealer-c":
        for entry in ("pledge", "release"):
            with ledger.expect_abort("ACCOUNT_FROZEN", account=account):
                ledger.call("desk-one", entry, sender="dealer-a", **pledge)
