"""Sets of contracts are told apart by their sources, and compiled once."""

from __future__ import annotations

import pytest
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.transaction import Call
from tanpo.node.contract_sets import SETS_CACHED_MAX, ContractSet, ContractSource, Programs, Sessions
from tanpo.testing import MemoryState
from tanpo.vm import CallContext, ContractRefused

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


def test_a_source_is_compiled_once_however_many_contracts_it_does_not_call_there_are() -> None:
    programs = Programs()
    stock = programs.compile_source(STOCK, name="stock", interfaces={}).interface
    shop = programs.compile_source(SHOP, name="shop", interfaces={"stock": stock})
    other = programs.compile_source(STOCK, name="other", interfaces={}).interface
    assert programs.compile_source(SHOP, name="shop", interfaces={"other": other, "stock": stock}) is shop
    changed = programs.compile_source(
        STOCK.replace("count: int", "count: int, by: str"), name="stock", interfaces={}
    )
    for interfaces in ({}, {"other": other}, {"stock": changed.interface}):
        with pytest.raises(ContractRefused):
            programs.compile_source(SHOP, name="shop", interfaces=interfaces)


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


COUNTER = """
count: int

@entry
def add() -> None:
    count = {}
"""


def make_counters(*numbers: int) -> list[ContractSet]:
    return [ContractSet.create((ContractSource.create("c", COUNTER.format(number)),)) for number in numbers]


def test_sets_that_take_turns_are_opened_once() -> None:
    sessions, state = Sessions(Programs()), MemoryState()
    sets = make_counters(*range(SETS_CACHED_MAX))
    opened = [sessions.begin(one, state) for one in sets]
    assert [sessions.begin(one, state) for one in sets] == opened
    (other,) = make_counters(99)
    sessions.begin(other, state)  # takes the place of the one that waited longest
    assert sessions.begin(sets[1], state) is opened[1]
    assert sessions.begin(sets[0], state) is not opened[0]


def test_a_session_whose_turn_is_over_holds_nothing_of_it() -> None:
    sessions, state = Sessions(Programs()), MemoryState()
    one, other = make_counters(1, 2)
    session = sessions.begin(one, state)
    context = CallContext(sender="a", signers=("a",), time_ms=1, height=1, tx_id=bytes(32))
    assert session.run(Call.create("c", "add", {}), context, 100_000).ok
    assert session.collect_changes()
    sessions.begin(other, state)
    assert session.collect_changes() == {}
    assert session.run(Call.create("c", "add", {}), context, 100_000).ok
    assert sessions.begin(one, state).collect_changes() == {}
