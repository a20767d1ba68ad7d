"""The register: who may do what to an instrument, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tanpo.ledger.values import Value
from tanpo.testing import CallFailed, Market
from tanpo.testing.market import (
    BOND,
    CUSTODIAN,
    EUR,
    FUND,
    REGISTRAR,
    SHARE,
    USD,
    build_instrument,
)

WORKED = Path(__file__).resolve().parents[4] / "shared" / "data" / "vectors" / "worked.json"
QUANTITY_MAX = 10**24


def call(market: Market, entry: str, signer: str, **arguments: Any) -> Value | None:
    return market.ledger.call("instruments", entry, sender=signer, **arguments)


def transfer(
    market: Market, signer: str, deliverer: str, receiver: str, quantity: int, what: str = USD
) -> None:
    call(
        market, "transfer", signer, deliverer=deliverer, receiver=receiver, instrument=what, quantity=quantity
    )


# -- define


def test_a_defined_instrument_can_be_read_and_has_no_supply(market: Market) -> None:
    assert market.ledger.view("instruments", "get_instrument", instrument=BOND) == {
        **build_instrument(BOND),
        "maturity": 20340215,
        "denomination": 100,
    }
    assert market.supply(BOND) == {"confirmed": 0, "released": 0, "minted": 0, "burned": 0}
    assert market.ledger.view("instruments", "is_frozen", instrument=BOND) is False
    listed = market.ledger.view("instruments", "list_instruments", after="", limit=10)
    assert listed == tuple(sorted((BOND, SHARE, FUND, USD, EUR)))


@pytest.mark.parametrize("view", ["get_instrument", "supply", "is_frozen"])
def test_an_unknown_instrument_is_named(market: Market, view: str) -> None:
    with market.ledger.expect_abort("INSTRUMENT_UNKNOWN", instrument="gold-bar"):
        market.ledger.view("instruments", view, instrument="gold-bar")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"id": "US91282CJZ58"}, "ISIN_INVALID"),
        ({"id": "US91282CJZ5"}, "ISIN_INVALID"),
        ({"id": "AU000000BHP3"}, "ISIN_INVALID"),
        ({"id": "US91282CJZ5X"}, "ISIN_INVALID"),
        ({"id": "U091282CJZ59"}, "ISIN_INVALID"),
        ({"id": "US91282cJZ59"}, "ISIN_INVALID"),
        ({"id": "ab"}, "INSTRUMENT_INVALID"),
        ({"id": ""}, "INSTRUMENT_INVALID"),
        ({"id": "x" * 41}, "INSTRUMENT_INVALID"),
        ({"id": "gold_bar"}, "INSTRUMENT_INVALID"),
        ({"issuer_lei": "254900HROIFWPRGM1V78"}, "LEI_INVALID"),
        ({"issuer_lei": "254900"}, "LEI_INVALID"),
        ({"kind": "painting"}, "INSTRUMENT_INVALID"),
        ({"kind": "bond equity"}, "INSTRUMENT_INVALID"),
        ({"currency": "usd"}, "INSTRUMENT_INVALID"),
        ({"currency": "USDX"}, "INSTRUMENT_INVALID"),
        ({"decimals": -1}, "INSTRUMENT_INVALID"),
        ({"decimals": 19}, "INSTRUMENT_INVALID"),
        ({"denomination": 0}, "INSTRUMENT_INVALID"),
        ({"denomination": QUANTITY_MAX + 1}, "INSTRUMENT_INVALID"),
        ({"maturity": 20341315}, "INSTRUMENT_INVALID"),
        ({"maturity": 20340132}, "INSTRUMENT_INVALID"),
        ({"maturity": 2034}, "INSTRUMENT_INVALID"),
        ({"maturity": 18991231}, "INSTRUMENT_INVALID"),
        ({"name": ""}, "INSTRUMENT_INVALID"),
        ({"asset_class": "x" * 141}, "INSTRUMENT_INVALID"),
        ({"custodian": "dealer-a"}, "ROLE_MISSING"),
        ({"registrar": "dealer-a"}, "ROLE_MISSING"),
        ({"id": BOND}, "INSTRUMENT_EXISTS"),
    ],
)
def test_a_wrong_definition_is_refused(market: Market, changes: dict[str, Any], code: str) -> None:
    fields: dict[str, Any] = {**build_instrument("gold-bar"), **changes}
    with market.ledger.expect_abort(code):
        call(market, "define", str(fields["registrar"]), instrument=fields)


def test_only_its_registrar_defines_an_instrument(market: Market) -> None:
    with market.ledger.expect_abort("UNAUTHORISED", needed="registrar", member=REGISTRAR):
        call(market, "define", "dealer-a", instrument=build_instrument("gold-bar"))


def test_money_is_defined_only_by_a_member_that_may_issue_it(market: Market) -> None:
    voters = ("trust-bank", "custody-bank", "dealer-a", "dealer-b")
    market.ledger.call(
        "members", "revoke", sender="dealer-a", signers=voters, member=REGISTRAR, role="cash_issuer"
    )
    fields = {**build_instrument("gbp-deposit"), "kind": "deposit_token"}
    with market.ledger.expect_abort("ROLE_MISSING", role="cash_issuer"):
        call(market, "define", REGISTRAR, instrument=fields)


@pytest.mark.parametrize("isin", ["CA135087K528", "AU000000BHP4", "ZAE000015889"])
def test_isins_with_letters_from_both_ends_of_the_alphabet_are_valid(market: Market, isin: str) -> None:
    market.define(isin)


def _worked(prefix: str) -> list[Any]:
    if not WORKED.exists():
        return [pytest.param("", False, marks=pytest.mark.skip(reason=f"no worked numbers at {WORKED}"))]
    rows = json.loads(WORKED.read_text())
    return [(row["id"].removeprefix(prefix), row["expected"]) for row in rows if row["id"].startswith(prefix)]


@pytest.mark.parametrize(("isin", "valid"), _worked("ISIN-"))
def test_isins_of_the_worked_numbers(market: Market, isin: str, valid: bool) -> None:
    if valid:
        market.define(isin)
    else:
        with market.ledger.expect_abort("ISIN_INVALID", value=isin):
            market.define(isin)


@pytest.mark.parametrize(("lei", "valid"), _worked("LEI-"))
def test_leis_of_the_worked_numbers(market: Market, lei: str, valid: bool) -> None:
    if valid:
        market.define("gold-bar", issuer_lei=lei)
    else:
        with market.ledger.expect_abort("LEI_INVALID", value=lei):
            market.define("gold-bar", issuer_lei=lei)


# -- confirm, mint, burn, release (I2, I9)


def test_units_are_minted_only_against_the_custodians_confirmation(market: Market) -> None:
    with market.ledger.expect_abort("CONFIRMATION_UNKNOWN", instrument=BOND, reference="vault-1"):
        call(
            market, "mint", REGISTRAR, instrument=BOND, account="dealer-a", quantity=100, reference="vault-1"
        )
    call(market, "confirm_lock", CUSTODIAN, instrument=BOND, reference="vault-1", quantity=500)
    call(market, "mint", REGISTRAR, instrument=BOND, account="dealer-a", quantity=300, reference="vault-1")
    with market.ledger.expect_abort("CONFIRMATION_EXCEEDED", needed=300, available=200):
        call(
            market, "mint", REGISTRAR, instrument=BOND, account="dealer-a", quantity=300, reference="vault-1"
        )
    call(market, "mint", REGISTRAR, instrument=BOND, account="dealer-b", quantity=200, reference="vault-1")
    assert market.free("dealer-a", BOND) == 300
    assert market.supply(BOND) == {"confirmed": 500, "released": 0, "minted": 500, "burned": 0}
    market.check_conservation()


def test_a_confirmation_is_given_once(market: Market) -> None:
    market.issue(BOND, "dealer-a", 100)
    with market.ledger.expect_abort("CONFIRMATION_EXISTS", reference="lock-1"):
        call(market, "confirm_lock", CUSTODIAN, instrument=BOND, reference="lock-1", quantity=100)


def test_a_confirmation_needs_the_custodian_and_a_mint_the_registrar(market: Market) -> None:
    with market.ledger.expect_abort("UNAUTHORISED", needed="custodian", member=CUSTODIAN):
        call(market, "confirm_lock", REGISTRAR, instrument=BOND, reference="vault-1", quantity=100)
    call(market, "confirm_lock", CUSTODIAN, instrument=BOND, reference="vault-1", quantity=100)
    with market.ledger.expect_abort("UNAUTHORISED", needed="registrar", member=REGISTRAR):
        call(
            market, "mint", "dealer-a", instrument=BOND, account="dealer-a", quantity=100, reference="vault-1"
        )


def test_confirmations_never_add_up_beyond_the_largest_balance(market: Market) -> None:
    call(market, "confirm_lock", CUSTODIAN, instrument=USD, reference="vault-1", quantity=QUANTITY_MAX)
    with market.ledger.expect_abort("QUANTITY_RANGE", value=1, limit=0):
        call(market, "confirm_lock", CUSTODIAN, instrument=USD, reference="vault-2", quantity=1)


def test_a_burn_is_signed_by_holder_and_registrar_and_released_once(market: Market) -> None:
    market.issue(BOND, "dealer-a", 500)
    burn: dict[str, Any] = {
        "instrument": BOND,
        "account": "dealer-a",
        "quantity": 200,
        "reference": "out-1",
    }
    with market.ledger.expect_abort("UNAUTHORISED", needed="holder"):
        call(market, "burn", REGISTRAR, **burn)
    with market.ledger.expect_abort("UNAUTHORISED", needed="registrar"):
        call(market, "burn", "dealer-a", **burn)
    both = ("dealer-a", REGISTRAR)
    market.ledger.call("instruments", "burn", sender="dealer-a", signers=both, **burn)
    with market.ledger.expect_abort("BURN_EXISTS", reference="out-1"):
        market.ledger.call("instruments", "burn", sender="dealer-a", signers=both, **burn)
    with market.ledger.expect_abort("UNAUTHORISED", needed="custodian"):
        call(market, "confirm_release", REGISTRAR, instrument=BOND, reference="out-1")
    call(market, "confirm_release", CUSTODIAN, instrument=BOND, reference="out-1")
    with market.ledger.expect_abort("BURN_UNKNOWN", reference="out-1"):
        call(market, "confirm_release", CUSTODIAN, instrument=BOND, reference="out-1")
    assert market.supply(BOND) == {"confirmed": 500, "released": 200, "minted": 500, "burned": 200}
    market.check_conservation()


@pytest.mark.parametrize(
    ("quantity", "code"), [(0, "QUANTITY_RANGE"), (-1, "QUANTITY_RANGE"), (150, "DENOMINATION")]
)
def test_quantities_confirmed_minted_and_burned_are_whole(market: Market, quantity: int, code: str) -> None:
    market.issue(BOND, "dealer-a", 1000)
    call(market, "confirm_lock", CUSTODIAN, instrument=BOND, reference="vault-1", quantity=1000)
    same: dict[str, Any] = {"instrument": BOND, "quantity": quantity}
    with market.ledger.expect_abort(code):
        call(market, "confirm_lock", CUSTODIAN, reference="vault-2", **same)
    with market.ledger.expect_abort(code):
        call(market, "mint", REGISTRAR, account="dealer-a", reference="vault-1", **same)
    same.update(account="dealer-a", reference="out-1")
    with market.ledger.expect_abort(code):
        market.ledger.call("instruments", "burn", sender=REGISTRAR, signers=("dealer-a", REGISTRAR), **same)


def test_references_have_a_size(market: Market) -> None:
    for reference in ("", "x" * 141):
        with market.ledger.expect_abort("REFERENCE_INVALID", value=len(reference)):
            call(market, "confirm_lock", CUSTODIAN, instrument=BOND, reference=reference, quantity=100)
        with market.ledger.expect_abort("REFERENCE_INVALID", value=len(reference)):
            market.ledger.call(
                "instruments",
                "burn",
                sender=REGISTRAR,
                signers=(REGISTRAR, "dealer-a"),
                instrument=BOND,
                account="dealer-a",
                quantity=100,
                reference=reference,
            )


# -- transfer (I3, I6, I18)


def test_a_transfer_moves_units_and_keeps_the_indexes(market: Market) -> None:
    market.issue(USD, "dealer-a", 1000)
    transfer(market, "dealer-a", "dealer-a", "dealer-b/client-7", 400)
    assert market.free("dealer-a", USD) == 600
    assert market.free("dealer-b/client-7", USD) == 400
    holders = market.ledger.view("instruments", "holders", instrument=USD, after="", limit=10)
    assert holders == ("dealer-a", "dealer-b/client-7")
    transfer(market, "dealer-b", "dealer-b/client-7", "dealer-a", 400)
    assert market.ledger.view("instruments", "holders", instrument=USD, after="", limit=10) == ("dealer-a",)
    assert market.ledger.view("instruments", "holdings", account="dealer-a", after="", limit=10) == (USD,)
    assert market.ledger.view("instruments", "holdings", account="dealer-b/client-7", after="", limit=9) == ()
    assert market.ledger.list_events("Transferred")[-1] == {
        "deliverer": "dealer-b/client-7",
        "receiver": "dealer-a",
        "instrument": USD,
        "quantity": 400,
    }


@pytest.mark.parametrize("signer", ["dealer-b", REGISTRAR, CUSTODIAN, "dealer-a/desk", "stranger"])
def test_nobody_but_the_owner_debits_an_account(market: Market, signer: str) -> None:
    market.issue(USD, "dealer-a", 1000)
    with market.ledger.expect_abort("UNAUTHORISED", account="dealer-a", member="dealer-a"):
        transfer(market, signer, "dealer-a", "dealer-b", 1)


@pytest.mark.parametrize("quantity", [0, -1, QUANTITY_MAX + 1, -(2**200)])
def test_impossible_quantities_are_refused_with_the_limit(market: Market, quantity: int) -> None:
    market.issue(USD, "dealer-a", 1000)
    with market.ledger.expect_abort("QUANTITY_RANGE", value=quantity, limit=QUANTITY_MAX):
        transfer(market, "dealer-a", "dealer-a", "dealer-b", quantity)


def test_a_quantity_is_a_multiple_of_the_denomination(market: Market) -> None:
    market.issue(BOND, "dealer-a", 1000)
    with market.ledger.expect_abort("DENOMINATION", value=150, limit=100):
        transfer(market, "dealer-a", "dealer-a", "dealer-b", 150, BOND)


def test_more_than_is_free_is_refused_with_what_is_available(market: Market) -> None:
    market.issue(USD, "dealer-a", 1000)
    with market.ledger.expect_abort(
        "INSUFFICIENT_BALANCE", leg=0, account="dealer-a", instrument=USD, needed=1001, available=1000
    ):
        transfer(market, "dealer-a", "dealer-a", "dealer-b", 1001)


@pytest.mark.parametrize(
    ("receiver", "code"),
    [
        ("dealer-a", "SAME_ACCOUNT"),
        ("nobody", "ACCOUNT_UNKNOWN"),
        ("nobody/desk", "ACCOUNT_UNKNOWN"),
        ("", "ACCOUNT_UNKNOWN"),
        ("/desk", "ACCOUNT_UNKNOWN"),
        ("dealer-b/", "ACCOUNT_INVALID"),
        ("dealer-b/Desk 1", "ACCOUNT_INVALID"),
        ("dealer-b/a/b", "ACCOUNT_INVALID"),
        ("dealer-b/" + "x" * 41, "ACCOUNT_INVALID"),
    ],
)
def test_units_reach_only_accounts_of_members(market: Market, receiver: str, code: str) -> None:
    market.issue(USD, "dealer-a", 1000)
    with market.ledger.expect_abort(code):
        transfer(market, "dealer-a", "dealer-a", receiver, 10)


def test_a_frozen_instrument_does_not_move(market: Market) -> None:
    market.issue(USD, "dealer-a", 1000)
    call(market, "freeze_instrument", REGISTRAR, instrument=USD, reason="audit")
    with market.ledger.expect_abort("INSTRUMENT_FROZEN", instrument=USD):
        transfer(market, "dealer-a", "dealer-a", "dealer-b", 10)
    with market.ledger.expect_abort("INSTRUMENT_FROZEN"):
        market.issue(USD, "dealer-a", 1000)
    with market.ledger.expect_abort("ALREADY_FROZEN"):
        call(market, "freeze_instrument", REGISTRAR, instrument=USD, reason="audit")
    call(market, "unfreeze_instrument", REGISTRAR, instrument=USD, reason="done")
    transfer(market, "dealer-a", "dealer-a", "dealer-b", 10)
    with market.ledger.expect_abort("NOT_FROZEN"):
        call(market, "unfreeze_instrument", REGISTRAR, instrument=USD, reason="done")


def test_a_frozen_account_neither_sends_nor_receives(market: Market) -> None:
    market.issue(USD, "dealer-a", 1000)
    market.issue(USD, "dealer-b", 1000)
    freeze: dict[str, Any] = {"registrar": REGISTRAR, "account": "dealer-a", "reason": "court order"}
    call(market, "freeze_account", REGISTRAR, **freeze)
    view = {"account": "dealer-a", "instrument": USD}
    assert market.ledger.view("instruments", "frozen_because", **view) == "court order"
    with market.ledger.expect_abort("ACCOUNT_FROZEN", account="dealer-a"):
        transfer(market, "dealer-a", "dealer-a", "dealer-b", 10)
    with market.ledger.expect_abort("ACCOUNT_FROZEN", account="dealer-a"):
        transfer(market, "dealer-b", "dealer-b", "dealer-a", 10)
    with market.ledger.expect_abort("ACCOUNT_FROZEN", account="dealer-a"):
        market.issue(USD, "dealer-a", 1000)
    with market.ledger.expect_abort("ALREADY_FROZEN"):
        call(market, "freeze_account", REGISTRAR, **freeze)
    call(market, "unfreeze_account", REGISTRAR, **freeze)
    transfer(market, "dealer-a", "dealer-a", "dealer-b", 10)
    with market.ledger.expect_abort("NOT_FROZEN"):
        call(market, "unfreeze_account", REGISTRAR, **freeze)


def test_only_a_registrar_freezes_and_only_for_itself(market: Market) -> None:
    freeze: dict[str, Any] = {"registrar": REGISTRAR, "account": "dealer-a", "reason": "grudge"}
    with market.ledger.expect_abort("UNAUTHORISED", member=REGISTRAR):
        call(market, "freeze_account", "dealer-b", **freeze)
    with market.ledger.expect_abort("ROLE_MISSING", member="dealer-b"):
        call(market, "freeze_account", "dealer-b", **{**freeze, "registrar": "dealer-b"})
    with market.ledger.expect_abort("UNAUTHORISED", member=REGISTRAR):
        call(market, "freeze_instrument", "dealer-b", instrument=USD, reason="grudge")
    with market.ledger.expect_abort("REASON_MISSING"):
        call(market, "freeze_account", REGISTRAR, **{**freeze, "reason": ""})
    with market.ledger.expect_abort("REASON_MISSING"):
        call(market, "freeze_instrument", REGISTRAR, instrument=USD, reason="")


def test_only_the_registrar_that_froze_lets_go(market: Market) -> None:
    freeze: dict[str, Any] = {"registrar": REGISTRAR, "account": "dealer-a", "reason": "court order"}
    call(market, "freeze_account", REGISTRAR, **freeze)
    call(market, "freeze_instrument", REGISTRAR, instrument=USD, reason="audit")
    with market.ledger.expect_abort("UNAUTHORISED", member=REGISTRAR):
        call(market, "unfreeze_account", "dealer-a", **freeze)
    with market.ledger.expect_abort("UNAUTHORISED", member=REGISTRAR):
        call(market, "unfreeze_instrument", "dealer-a", instrument=USD, reason="done")


def test_a_forced_transfer_reaches_a_frozen_account_with_a_reason(market: Market) -> None:
    market.issue(USD, "dealer-a", 1000)
    call(market, "freeze_account", REGISTRAR, registrar=REGISTRAR, account="dealer-a", reason="court order")
    order: dict[str, Any] = {
        "deliverer": "dealer-a",
        "receiver": "dealer-b",
        "instrument": USD,
        "quantity": 10,
    }
    with market.ledger.expect_abort("UNAUTHORISED", member=REGISTRAR):
        call(market, "force_transfer", "dealer-b", reason="greed", **order)
    with market.ledger.expect_abort("REASON_MISSING"):
        call(market, "force_transfer", REGISTRAR, reason="", **order)
    with market.ledger.expect_abort("SAME_ACCOUNT"):
        call(market, "force_transfer", REGISTRAR, reason="x", **{**order, "receiver": "dealer-a"})
    call(market, "force_transfer", REGISTRAR, reason="court order 7", **order)
    assert market.free("dealer-b", USD) == 10
    assert market.ledger.list_events("ForcedTransfer")[0]["reason"] == "court order 7"


@pytest.mark.parametrize("limit", [0, 101])
def test_pages_have_a_size(market: Market, limit: int) -> None:
    of: dict[str, dict[str, Any]] = {
        "holders": {"instrument": USD},
        "holdings": {"account": "dealer-a"},
        "list_instruments": {},
    }
    for view, arguments in of.items():
        with market.ledger.expect_abort("LIMIT_RANGE", value=limit, limit=100):
            market.ledger.view("instruments", view, after="", limit=limit, **arguments)


def test_a_failed_call_says_code_place_and_details(market: Market) -> None:
    with pytest.raises(CallFailed, match=r"INSUFFICIENT_BALANCE\(.*needed=5.*\) at instruments:\d+"):
        transfer(market, "dealer-a", "dealer-a", "dealer-b", 5)
