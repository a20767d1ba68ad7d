"""Arguments of every declared type reach every entry point, and whatever they are, calls end in a code."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tanpo.contracts import PRODUCT_CONTRACTS, load_source
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.values import Value
from tanpo.testing import Ledger, Market
from tanpo.testing.market import CUSTODIAN, DEALERS, REGISTRAR
from tanpo.testing.strategies import arguments_of, calls_of, values_of
from tanpo.vm import GAS_LIMIT_MAX, Interface, compile_contract
from tanpo.vm.types import NOTHING

MEMBERS = (REGISTRAR, CUSTODIAN, *DEALERS)

ECHO = """
@record
class Part:
    name: str
    shares: list[int]


@record
class Whole:
    parts: list[Part]
    by_name: dict[str, Part]
    by_number: dict[int, tuple[bool, bytes]]
    by_flag: dict[bool, int]
    by_bytes: dict[bytes, str]


@entry
def echo(whole: Whole, number: int) -> tuple[Whole, int]:
    return (whole, number)


@entry
def send(sender: str, gas_limit: int) -> str:
    return sender
"""


@lru_cache(maxsize=1)
def list_interfaces() -> dict[str, Interface]:
    found: dict[str, Interface] = {}
    for name in PRODUCT_CONTRACTS:
        found[name] = compile_contract(load_source(name), name=name, interfaces=found).interface
    return found


@pytest.fixture(scope="module")
def market() -> Market:
    market = Market()
    market.define_all()
    return market


@pytest.mark.parametrize("contract", [name for name, one in list_interfaces().items() if one.entries])
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_calls_of_the_product_are_well_typed_and_conserve(
    contract: str, market: Market, data: st.DataObject
) -> None:
    call = data.draw(calls_of(list_interfaces()[contract], members=MEMBERS))
    assert not call.attempt(market.ledger).startswith("ARGUMENT_")
    market.check_conservation()


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_values_of_every_type_go_in_and_come_out_the_same(data: st.DataObject) -> None:
    ledger = Ledger()
    interface = ledger.deploy("echo", source=ECHO)
    drawn: dict[str, Any] = data.draw(arguments_of(interface, "echo", where={"number": st.integers(5, 6)}))
    assert drawn["number"] in (5, 6)
    found = ledger.call("echo", "echo", sender="alice", gas_limit=GAS_LIMIT_MAX, **drawn)
    assert found == (drawn["whole"], drawn["number"])


@given(data=st.data())
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_calls_are_made_whatever_their_parameters_are_named(data: st.DataObject) -> None:
    source = ECHO[ECHO.index("@entry\ndef send") :]
    ledger = Ledger()
    call = data.draw(calls_of(ledger.deploy("echo", source=source), members=("alice", "bob")))
    assert (call.attempt(ledger), call.sender in ("alice", "bob")) == ("", True)


def find_drawn(wanted: Iterable[Value], drawn: st.SearchStrategy[dict[str, Value]], name: str) -> set[Value]:
    seen: set[Value] = set()

    @given(drawn)
    @settings(max_examples=200, deadline=None, database=None, derandomize=True)
    def collect(arguments: dict[str, Value]) -> None:
        seen.add(arguments[name])

    collect()
    return seen & set(wanted)


def test_members_are_drawn_for_texts_and_the_edges_for_all() -> None:
    source = "@entry\ndef f(who: str, units: int) -> None:\n    pass\n"
    interface = compile_contract(source, name="c", interfaces={}).interface
    drawn = arguments_of(interface, "f", members=("alice", "bob"))
    wanted = ("alice", "bob", "", "x" * 4096)
    assert find_drawn(wanted, drawn, "who") == set(wanted)
    edges = (0, 2**255 - 1, 1 - 2**255)
    assert find_drawn(edges, drawn, "units") == set(edges)


def test_what_cannot_be_drawn_is_misuse_and_names_what_there_is() -> None:
    interface = compile_contract(ECHO, name="echo", interfaces={}).interface
    for what, draw in (
        ("value: nowhere", lambda: arguments_of(interface, "nowhere")),
        ("value: units", lambda: arguments_of(interface, "echo", where={"units": st.just(1)})),
        ("value: units", lambda: calls_of(interface, members=("a",), where={"units": st.just(1)})),
        ("0 members", lambda: calls_of(interface, members=())),
        ("value: None", lambda: values_of(NOTHING)),
    ):
        with pytest.raises(UsageError) as refused:
            draw()
        assert refused.value.reason is Reason.MISUSE
        assert what.removeprefix("value: ") in str(refused.value.value)
