"""The product's contracts as text."""

from __future__ import annotations

import ast

import pytest
from tanpo.contracts import PRODUCT_CONTRACTS, load_source
from tanpo.ledger.errors import UsageError
from tanpo.testing import Market
from tanpo.testing.market import BOND, USD, build_leg
from tanpo.vm import Interface, compile_contract


def test_every_contract_compiles_against_those_before_it() -> None:
    interfaces: dict[str, Interface] = {}
    for name in PRODUCT_CONTRACTS:
        compiled = compile_contract(load_source(name), name=name, interfaces=interfaces)
        interfaces[name] = compiled.interface
    assert list(interfaces) == [
        "members",
        "validators",
        "contracts",
        "instruments",
        "settlement",
        "collateral",
    ]


def test_an_unknown_contract_is_named() -> None:
    with pytest.raises(UsageError, match="no contract gold"):
        load_source("gold")


@pytest.mark.parametrize("name", PRODUCT_CONTRACTS)
def test_every_code_a_contract_can_end_with_is_listed_in_its_opening(name: str) -> None:
    source = load_source(name)
    opening = source.split('"""')[1]
    listed = set(opening.split("Refusals:")[1].replace(",", " ").split())
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    used = {
        ast.literal_eval(call.args[1])
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "require"
    }
    assert used
    assert used - listed == set()


def test_a_swap_writes_only_the_four_positions(market: Market) -> None:
    for account in ("dealer-a", "dealer-b"):
        market.issue(BOND, account, 1000)
        market.issue(USD, account, 1000)
    before = market.ledger.copy_state()
    legs = (build_leg("dealer-a", "dealer-b", BOND, 100), build_leg("dealer-b", "dealer-a", USD, 98))
    market.swap(legs, "dealer-a", "dealer-b")
    after = market.ledger.copy_state()
    assert len([key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]) == 4
