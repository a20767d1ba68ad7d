"""Sets of contracts are told apart by their sources, and compiled once."""

from __future__ import annotations

import pytest
from tanpo.ledger.errors import Reason, UsageError
from tanpo.node.contract_sets import SETS_CACHED_MAX, ContractSet, ContractSource, Programs
from tanpo.vm import ContractRefused

STOCK = """
@entry
def take(count: int) -> int:
    return count + 0
"""
SHOP = """
stock: Contract["stock"]

@entry
def buy() -> int:
    return stock.take(1)
"""


def make_set(stock: str = STOCK, shop: str = SHOP) -> ContractSet:
    return ContractSet.create((ContractSource.create("stock", stock), ContractSource.create("shop", shop)))


def test_a_set_is_known_by_names_sources_versions_and_order() -> None:
    sources = make_set().sources
    other_version = ContractSource.create("stock", STOCK, language_version=2)
    sets = [
        ContractSet.create(sources),
        ContractSet.create(reversed(sources)),
        ContractSet.create(sources[:1]),
        ContractSet.create((other_version, sources[1])),
        make_set(STOCK.replace("+ 0", "+ 1")),
    ]
    assert len({one.set_hash for one in sets}) == len(sets)
    assert make_set() == make_set()


def test_a_contract_that_did_not_change_is_not_compiled_again() -> None:
    programs = Programs()
    before = programs.compile(make_set())
    after = programs.compile(make_set(STOCK.replace("+ 0", "+ 1")))
    assert after["shop"] is before["shop"]
    assert after["stock"] is not before["stock"]
    assert programs.compile(make_set()) is before
    assert programs.get_machine(make_set()) is programs.get_machine(make_set())


def test_a_contract_is_checked_again_when_what_it_calls_has_another_shape() -> None:
    programs = Programs()
    programs.compile(make_set())
    with pytest.raises(ContractRefused):
        programs.compile(
            make_set(STOCK.replace("count: int", "count: str").replace("count + 0", "len(count)"))
        )


def test_the_latest_sets_are_kept() -> None:
    programs = Programs()
    first = programs.compile(make_set())
    for number in range(SETS_CACHED_MAX):
        programs.compile(make_set(STOCK.replace("+ 0", f"+ {number + 1}")))
    again = programs.compile(make_set())
    assert again is not first
    assert again["stock"] is not first["stock"]


def test_a_contract_in_an_unknown_version_is_refused_with_the_version_known() -> None:
    source = ContractSource.create("stock", STOCK, language_version=9)
    with pytest.raises(UsageError, match="contract stock is in another version") as error:
        Programs().compile(ContractSet.create([source]))
    assert (error.value.reason, error.value.value, error.value.limit) == (Reason.VERSION_UNKNOWN, "9", "1")
