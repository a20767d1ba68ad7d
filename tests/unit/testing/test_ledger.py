"""The ledger in memory: what a test sees when a call succeeds, and when it does not."""

from __future__ import annotations

import pytest
from tanpo.client import GAS_LIMIT
from tanpo.ledger.errors import UsageError
from tanpo.testing import CallFailed, GasUse, Ledger, UpgradeRefused
from tanpo.testing.ledger import watch_gas
from tanpo.vm import GAS_LIMIT_MAX, ContractRefused

COUNTER = """
limit: int
total: Map[str, int]


@init
def setup(most: int) -> None:
    require(most > 0, "LIMIT_RANGE", value=most)
    limit = most


@entry
def add(amount: int) -> int:
    found = total.get(ctx.sender, 0) + amount
    total[ctx.sender] = found
    emit("Added", who=ctx.sender, amount=amount)
    require(found <= limit, "TOO_MUCH", value=found, limit=limit)
    return found


@view
def of(who: str) -> int:
    return total.get(who, 0)


@view
def when() -> tuple[int, int]:
    return (ctx.height, ctx.time)


@view
def signed() -> list[str]:
    return ctx.signers
"""


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.deploy("counter", source=COUNTER, arguments={"most": 10})
    return ledger


def test_a_call_returns_its_result_and_leaves_its_events(ledger: Ledger) -> None:
    assert ledger.call("counter", "add", sender="alice", amount=4) == 4
    assert ledger.call("counter", "add", sender="alice", amount=3) == 7
    assert ledger.view("counter", "of", who="alice") == 7
    assert ledger.list_events("Added") == [{"who": "alice", "amount": 4}, {"who": "alice", "amount": 3}]


def test_a_failed_call_raises_with_code_details_and_line_and_changes_nothing(ledger: Ledger) -> None:
    with pytest.raises(CallFailed) as failure:
        ledger.call("counter", "add", sender="alice", amount=11)
    assert (failure.value.code, failure.value.details) == ("TOO_MUCH", {"value": 11, "limit": 10})
    assert (failure.value.contract, failure.value.line) == ("counter", 17)
    assert "counter.add failed with TOO_MUCH(limit=10, value=11) at counter:17" in str(failure.value)
    assert ledger.view("counter", "of", who="alice") == 0
    assert ledger.events == []


def test_an_expected_abort_is_checked_for_code_and_details(ledger: Ledger) -> None:
    with ledger.expect_abort("TOO_MUCH", value=11):
        ledger.call("counter", "add", sender="alice", amount=11)
    with pytest.raises(AssertionError, match="expected NOT_ENOUGH"), ledger.expect_abort("NOT_ENOUGH"):
        ledger.call("counter", "add", sender="alice", amount=11)
    with pytest.raises(AssertionError, match="expected TOO_MUCH"), ledger.expect_abort("TOO_MUCH", value=12):
        ledger.call("counter", "add", sender="alice", amount=11)
    with pytest.raises(AssertionError, match="but the call succeeded"), ledger.expect_abort("TOO_MUCH"):
        ledger.call("counter", "add", sender="alice", amount=1)


def test_an_expectation_that_was_wrong_costs_later_calls_no_copies(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code, amount in (("NOT_ENOUGH", 11), ("TOO_MUCH", 1)):
        with pytest.raises(AssertionError, match="expected"), ledger.expect_abort(code):
            ledger.call("counter", "add", sender="alice", amount=amount)
    copies: list[bool] = []
    original = Ledger.copy_state

    def count(one: Ledger) -> dict[bytes, bytes]:
        copies.append(True)
        return original(one)

    monkeypatch.setattr(Ledger, "copy_state", count)
    ledger.call("counter", "add", sender="alice", amount=1)
    assert copies == []


def test_wrong_arguments_fail_like_any_call(ledger: Ledger) -> None:
    for code, arguments in (
        ("ARGUMENT_MISSING", {}),
        ("ARGUMENT_UNKNOWN", {"amount": 1, "colour": 2}),
        ("ARGUMENT_TYPE", {"amount": True}),
    ):
        with ledger.expect_abort(code):
            ledger.call("counter", "add", sender="alice", **arguments)
    with ledger.expect_abort("ENTRY_UNKNOWN"):
        ledger.call("counter", "of", sender="alice", who="alice")
    with ledger.expect_abort("CONTRACT_UNKNOWN"):
        ledger.call("nowhere", "add", sender="alice")


def test_the_state_outlives_a_deployment_and_equals_what_would_be_stored(ledger: Ledger) -> None:
    ledger.call("counter", "add", sender="alice", amount=4)
    before = ledger.copy_state()
    ledger.deploy("counter-two", source=COUNTER, arguments={"most": 3})
    assert before.items() < ledger.copy_state().items()
    assert ledger.view("counter", "of", who="alice") == 4


def test_height_and_time_are_what_the_test_sets(ledger: Ledger) -> None:
    height, time_ms = ledger.height, ledger.time_ms
    ledger.advance(blocks=3, milliseconds=500)
    assert ledger.view("counter", "when") == (height + 3, time_ms + 500)


def test_a_call_is_signed_by_its_sender_or_by_those_named() -> None:
    ledger = Ledger()
    ledger.deploy("echo", source="@entry\ndef signed() -> list[str]:\n    return ctx.signers\n")
    assert ledger.call("echo", "signed", sender="alice") == ("alice",)
    assert ledger.call("echo", "signed", sender="alice", signers=("bob", "alice")) == ("alice", "bob")


def test_a_contract_is_set_up_for_nobody_as_by_nodes() -> None:
    ledger = Ledger()
    source = "by: str\n@init\ndef f() -> None:\n    by = ctx.sender\n@view\ndef g() -> str:\n    return by\n"
    ledger.deploy("echo", source=source)
    assert ledger.view("echo", "g") == ""


def test_gas_is_reported_call_by_call(ledger: Ledger) -> None:
    ledger.call("counter", "add", sender="alice", amount=1)
    with ledger.expect_abort("TOO_MUCH"):
        ledger.call("counter", "add", sender="alice", amount=10)
    ledger.view("counter", "of", who="alice")
    ledger.upgrade("counter", FINER)
    ledger.deploy("echo", source="@view\ndef one() -> int:\n    return 1\n")
    found = [(use.contract, use.entry, use.code) for use in ledger.gas_report]
    assert found == [
        ("counter", "@init", ""),
        ("counter", "add", ""),
        ("counter", "add", "TOO_MUCH"),
        ("counter", "of", ""),
        ("counter", "@migrate", ""),
    ]
    assert min(use.gas for use in ledger.gas_report) > 0


SPENDER = """
@entry
def spend(turns: int) -> int:
    total = 0
    for i in range(turns):
        total += i
    return total


@view
def look(turns: int) -> int:
    total = 0
    for i in range(turns):
        total += i
    return total
"""


def test_a_call_has_the_gas_of_clients_unless_it_is_given_another_limit() -> None:
    ledger = Ledger()
    ledger.deploy("spender", source=SPENDER)
    ledger.call("spender", "spend", sender="alice", turns=1_000)
    a_turn = ledger.gas_report[-1].gas // 1_000
    beyond = GAS_LIMIT // a_turn + 1_000
    with ledger.expect_abort("OUT_OF_GAS"):
        ledger.call("spender", "spend", sender="alice", turns=beyond)
    ledger.call("spender", "spend", sender="alice", turns=beyond, gas_limit=2 * GAS_LIMIT)
    ledger.view("spender", "look", turns=beyond)
    with ledger.expect_abort("OUT_OF_GAS"):
        ledger.call("spender", "spend", sender="alice", turns=1_000, gas_limit=1_000)
    with ledger.expect_abort("GAS_LIMIT"):
        ledger.call("spender", "spend", sender="alice", turns=1, gas_limit=GAS_LIMIT_MAX + 1)


def test_a_watcher_hears_of_calls_until_it_is_stopped_and_another_is_put_back(ledger: Ledger) -> None:
    outer: list[GasUse] = []
    inner: list[GasUse] = []
    stop_outer = watch_gas(outer.append)
    stop_inner = watch_gas(inner.append)
    ledger.call("counter", "add", sender="alice", amount=1)
    stop_inner()
    ledger.view("counter", "of", who="alice")
    stop_outer()
    ledger.view("counter", "of", who="alice")
    assert ([use.entry for use in inner], [use.entry for use in outer]) == (["add"], ["of"])


def test_a_contract_that_fails_to_set_up_is_not_installed(ledger: Ledger) -> None:
    with pytest.raises(CallFailed, match="LIMIT_RANGE"):
        ledger.deploy("broken", source=COUNTER, arguments={"most": 0})
    with ledger.expect_abort("CONTRACT_UNKNOWN"):
        ledger.call("broken", "add", sender="alice", amount=1)
    ledger.deploy("broken", source=COUNTER, arguments={"most": 1})


def test_a_source_that_is_no_contract_is_refused(ledger: Ledger) -> None:
    with pytest.raises(ContractRefused):
        ledger.deploy("broken", source="import os\n")
    with pytest.raises(UsageError, match="already deployed"):
        ledger.deploy("counter", source=COUNTER)
    with pytest.raises(UsageError, match="no contract gold"):
        ledger.deploy("gold")


FINER = """
limit: int
total: Map[str, int]
scale: int


@migrate
def refine() -> None:
    require(limit < 100, "LIMIT_RANGE")
    require(ctx.sender == "" and len(ctx.signers) == 0, "FOR_SOMEBODY")
    scale = 100
    emit("Refined", scale=scale)


@view
def of(who: str) -> int:
    return total.get(who, 0) * scale
"""
READER = """
counter: Contract["counter"]


@view
def twice(who: str) -> int:
    return counter.of(who=who) * 2
"""


def test_an_upgrade_keeps_what_is_stored_and_migrates_it(ledger: Ledger) -> None:
    ledger.deploy("reader", source=READER)
    ledger.call("counter", "add", sender="alice", amount=3)
    interface = ledger.upgrade("counter", FINER)
    assert interface.entries == ()
    assert ledger.view("reader", "twice", who="alice") == 600
    assert ledger.list_events("Refined") == [{"scale": 100}]
    with ledger.expect_abort("ENTRY_UNKNOWN"):
        ledger.call("counter", "add", sender="alice", amount=1)


def test_an_upgrade_whose_migration_fails_changes_nothing() -> None:
    ledger = Ledger()
    ledger.deploy("counter", source=COUNTER, arguments={"most": 100})
    before = ledger.copy_state()
    with pytest.raises(CallFailed, match=r"counter\.@migrate failed with LIMIT_RANGE"):
        ledger.upgrade("counter", FINER)
    assert ledger.call("counter", "add", sender="alice", amount=1) == 1
    assert before.items() < ledger.copy_state().items()


@pytest.mark.parametrize(
    ("source", "code", "reason"),
    [
        (COUNTER, "SOURCE_UNCHANGED", "in force"),
        (FINER.replace("total: Map[str, int]", "total: Map[str, str]").replace("* scale", "")
         .replace("total.get(who, 0)", "len(total.get(who, \"\"))"), "STATE_CHANGED", "total is stored as"),
        (FINER.replace("def of(", "def off("), "INTERFACE_BROKEN", "reader uses view counter.of"),
        (FINER + '\nreader: Contract["reader"]\n', "IMPORT_CYCLE", "reader needs counter"),
    ],
)  # fmt: skip
def test_an_upgrade_that_nodes_would_refuse_is_refused_with_their_code(
    source: str, code: str, reason: str, ledger: Ledger
) -> None:
    ledger.deploy("reader", source=READER)
    with pytest.raises(UpgradeRefused, match=reason) as refused:
        ledger.upgrade("counter", source)
    assert refused.value.code == code
    assert ledger.call("counter", "add", sender="alice", amount=1) == 1


def test_a_variable_keeps_its_type_through_versions_without_it(ledger: Ledger) -> None:
    view = "@view\ndef f() -> int:\n    return 1\n"
    ledger.upgrade("counter", view)
    with pytest.raises(UpgradeRefused) as refused:
        ledger.upgrade("counter", "limit: str\n" + view)
    assert refused.value.code == "STATE_CHANGED"
    ledger.upgrade("counter", "limit: int\n" + view.replace("return 1", "return limit"))
    assert ledger.view("counter", "f") == 10
    with pytest.raises(UsageError, match="not deployed"):
        ledger.upgrade("nowhere", view)
