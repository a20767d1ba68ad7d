"""Calls between contracts: typed, one meter, isolated, not re-entrant, bounded in depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tanpo.ledger.errors import UsageError
from tanpo.vm import ContractRefused, Machine, compile_contract

if TYPE_CHECKING:
    Chain = Any

CASH = """
@record
class Slip:
    payer: str
    amount: int
    notes: list[str]

balances: Map[str, int]
last: Slip

@entry
def give(to: str, amount: int) -> None:
    balances[to] = balances.get(to, 0) + amount

@entry
def move(slip: Slip, to: str) -> Slip:
    require(slip.payer in ctx.signers, "NOT_SIGNED", payer=slip.payer)
    require(balances.get(slip.payer, 0) >= slip.amount, "INSUFFICIENT", payer=slip.payer)
    balances[slip.payer] -= slip.amount
    balances[to] = balances.get(to, 0) + slip.amount
    slip.notes.append("moved")
    last = slip
    emit("Moved", by=ctx.sender, amount=slip.amount)
    return slip

@entry
def who() -> tuple[str, str]:
    return (ctx.sender, ctx.contract)

@view
def balance(of: str) -> int:
    return balances.get(of, 0)
"""

SHOP = """
cash: Contract["cash"]
sold: Map[str, cash.Slip]
count: int

@entry
def buy(amount: int) -> list[str]:
    notes = ["start"]
    slip = cash.Slip(payer=ctx.sender, amount=amount, notes=notes)
    count = amount
    back = cash.move(slip, to="shop")
    back.notes.append("back")
    sold[ctx.sender] = back
    return notes + back.notes + [str(cash.balance(of="shop"))]

@entry
def who() -> list[str]:
    name, contract = cash.who()
    return [ctx.sender, name, contract, ctx.contract]

@view
def check() -> int:
    return cash.balance("shop")
"""


@pytest.fixture
def shop(chain: Chain) -> Chain:
    chain.deploy(CASH, "cash")
    chain.deploy(SHOP, "shop")
    chain.value("give", contract="cash", to="alice", amount=10)
    return chain


def test_values_are_copied_both_ways(shop: Chain) -> None:
    assert shop.value("buy", contract="shop", amount=3) == ("start", "start", "moved", "back", "3")


def test_callee_sees_the_calling_contract_and_the_signers_of_the_transaction(shop: Chain) -> None:
    assert shop.value("who", contract="shop") == ("alice", "contract:shop", "cash", "shop")
    assert shop.value("who", contract="cash") == ("alice", "cash")


def test_events_name_the_contract_that_emits_them(shop: Chain) -> None:
    event = shop.run("buy", contract="shop", amount=3).events[0]
    assert (event.contract, event.name) == ("cash", "Moved")
    assert event.fields == (("amount", 3), ("by", "contract:shop"))


def test_failure_of_the_callee_undoes_the_caller_and_names_the_inner_place(shop: Chain) -> None:
    shop.commit()
    outcome = shop.run("buy", contract="shop", amount=30)
    assert (outcome.code, outcome.contract, outcome.line) == ("INSUFFICIENT", "cash", 18)
    assert outcome.details == (("payer", "alice"),)
    assert shop.commit() == {}


def test_one_meter_for_all(shop: Chain) -> None:
    shop.value("buy", contract="shop", amount=1)  # from here on every entry exists
    full = shop.run("buy", contract="shop", amount=1).gas_used
    assert shop.run("buy", contract="shop", amount=1, gas=full).ok
    assert shop.run("buy", contract="shop", amount=1, gas=full - 1).code == "OUT_OF_GAS"


def test_views_call_views_across_contracts(shop: Chain) -> None:
    assert shop.view("check", contract="shop").value == 0


def test_view_may_not_call_an_entry_of_another_contract(shop: Chain) -> None:
    source = 'cash: Contract["cash"]\n@view\ndef f() -> None:\n    cash.give("a", 1)\n'
    with pytest.raises(ContractRefused, match="VIEW_WRITES"):
        shop.deploy(source, "bad")


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("cash.steal('a')", "METHOD"),
        ("cash.give('a')", "ARGUMENTS"),
        ("cash.give('a', 'b')", "TYPE_MISMATCH"),
        ("cash.move(Slip('a', 1, ['x']), 'b')", "TYPE_MISMATCH"),
        ("cash.balances['a'] = 1", "NAME_UNKNOWN"),
    ],
)
def test_calls_are_checked_against_the_interface(call: str, code: str, shop: Chain) -> None:
    record = "@record\nclass Slip:\n    payer: str\n    amount: int\n    notes: list[str]\n"
    source = f'cash: Contract["cash"]\n{record}@entry\ndef f() -> None:\n    {call}\n'
    with pytest.raises(ContractRefused) as caught:
        shop.deploy(source, "bad")
    assert caught.value.faults[0].code in (code, "CALL", "FIELD")


def test_machine_refuses_a_callee_that_changed(shop: Chain) -> None:
    source = CASH.replace("def balance(of: str", "def balance(whose: str").replace("get(of", "get(whose")
    changed = compile_contract(source, name="cash", interfaces={})
    with pytest.raises(UsageError, match="checked against another cash"):
        Machine({**shop.contracts, "cash": changed})
    with pytest.raises(UsageError):
        Machine({"shop": shop.contracts["shop"]})


def test_reentrant_call_aborts(chain: Chain) -> None:
    chain.deploy("@entry\ndef f() -> int:\n    return 1\n", "a")
    chain.deploy('a: Contract["a"]\n@entry\ndef f() -> int:\n    return a.f()\n', "b")
    interfaces = {"b": chain.contracts["b"].interface}
    chain.contracts["a"] = compile_contract(
        'b: Contract["b"]\n@entry\ndef f() -> int:\n    return b.f()\n', name="a", interfaces=interfaces
    )
    outcome = chain.run("f", contract="b")
    assert (outcome.code, outcome.contract, outcome.details) == ("REENTRANT", "a", (("contract", "b"),))
    assert chain.run("f", contract="b").code == "REENTRANT"


def test_call_depth_is_bounded(chain: Chain) -> None:
    chain.deploy("@view\ndef f() -> int:\n    return 1\n", "c0")
    for i in range(1, 9):
        chain.deploy(f'c: Contract["c{i - 1}"]\n@view\ndef f() -> int:\n    return c.f() + 1\n', f"c{i}")
    assert chain.view("f", contract="c7").value == 8
    outcome = chain.view("f", contract="c8")
    assert (outcome.code, outcome.contract) == ("CALL_DEPTH", "c1")


def test_describe_spells_records_of_other_contracts_with_their_contract(shop: Chain) -> None:
    shop.deploy(
        'cash: Contract["cash"]\n@view\ndef f(slips: list[cash.Slip]) -> dict[str, cash.Slip]:\n'
        "    return {}\n",
        "desk",
    )
    views = shop.contracts["desk"].interface.describe()["views"]
    assert views == [
        {
            "name": "f",
            "parameters": [{"name": "slips", "type": "list[cash.Slip]"}],
            "returns": "dict[str, cash.Slip]",
        }
    ]
