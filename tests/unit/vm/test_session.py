"""Transactions are all or nothing, views change nothing, a block is written once at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tanpo.ledger.errors import InvariantViolation, Reason, TransactionRejected, UsageError
from tanpo.ledger.statekey import KEY_BYTES_MAX
from tanpo.ledger.transaction import Call
from tanpo.vm import GAS_LIMIT_MAX, Machine, gas

if TYPE_CHECKING:
    Chain = Any

SOURCE = """
balances: Map[str, int]
flags: Map[tuple[int, bool], bytes]
held: Index[str, str]
total: int

@init
def setup(start: int) -> None:
    total = start

@entry
def add(who: str, amount: int) -> int:
    balances[who] = balances.get(who, 0) + amount
    total += amount
    held.add("all", who)
    emit("Added", who=who)
    require(amount > 0, "NOT_POSITIVE", amount=amount)
    return total

@entry
def drop(who: str) -> None:
    del balances[who]
    held.remove("all", who)

@entry
def mark(number: int, flag: bool) -> None:
    flags[(number, flag)] = b"x"

@view
def balance(who: str) -> int:
    return balances[who]

@view
def page(after: str, limit: int) -> list[str]:
    return held.page("all", after, limit)

@view
def first(limit: int) -> list[str]:
    return held.first("all", limit)

@view
def marked(number: int, flag: bool) -> bool:
    return (number, flag) in flags

@view
def has(who: str) -> bool:
    return held.contains("all", who)
"""


@pytest.fixture
def bank(chain: Chain) -> Chain:
    chain.deploy(SOURCE)
    outcome = chain.session.initialise("t", (("start", 0),), chain.context, 100_000)
    assert outcome.ok
    return chain


def test_failed_transaction_leaves_neither_writes_nor_events(bank: Chain) -> None:
    bank.value("add", who="alice", amount=5)
    outcome = bank.run("add", who="bob", amount=0)
    assert (outcome.code, outcome.details, outcome.events) == ("NOT_POSITIVE", (("amount", 0),), ())
    assert bank.view("balance", who="bob").code == "STATE_MISSING"
    assert bank.view("has", who="bob").value is False
    assert bank.value("add", who="alice", amount=1) == 6


def test_failed_transaction_adds_nothing_to_the_block(bank: Chain) -> None:
    bank.commit()
    bank.run("add", who="bob", amount=-1)
    assert bank.commit() == {}


def test_out_of_gas_anywhere_undoes_everything(bank: Chain) -> None:
    bank.value("add", who="alice", amount=5)
    full = bank.run("add", who="alice", amount=1).gas_used
    before = dict(bank.commit())
    for given in range(1, full):
        outcome = bank.run("add", who="alice", amount=1, gas=given)
        assert (outcome.code, outcome.gas_used) == ("OUT_OF_GAS", given)
    assert bank.commit() == {}
    assert before
    assert bank.run("add", who="alice", amount=1, gas=full).ok


def test_writes_of_a_block_are_encoded_under_the_keys_of_the_ledger(bank: Chain) -> None:
    bank.value("add", who="alice", amount=5)
    bank.value("add", who="alice", amount=5)
    assert bank.commit() == {
        b"\x01\x00\x01t\x05total": b"\x01\x0a",
        b"\x01\x00\x01t\x08balances\x00\x05alice": b"\x01\x0a",
        b"\x01\x01\x00\x0e\x01t\x04held\x00\x05\x00\x03allalice": b"",
    }


def test_deletion_is_a_change_to_none_and_survives_the_commit(bank: Chain) -> None:
    bank.value("add", who="alice", amount=5)
    bank.commit()
    bank.value("drop", who="alice")
    changes = bank.commit()
    assert changes[b"\x01\x00\x01t\x08balances\x00\x05alice"] is None
    assert changes[b"\x01\x01\x00\x0e\x01t\x04held\x00\x05\x00\x03allalice"] is None
    assert bank.code("drop", who="alice") == "STATE_MISSING"


def test_index_entry_added_and_removed_in_one_block_is_no_change(bank: Chain) -> None:
    bank.commit()
    bank.value("add", who="alice", amount=5)
    bank.value("drop", who="alice")
    assert not [key for key in bank.commit() if key[1] == 1]


def test_view_changes_nothing_and_entries_are_not_views(bank: Chain) -> None:
    assert bank.view("add", who="alice", amount=5).code == Reason.ENTRY_UNKNOWN
    assert bank.run("balance", who="alice").code == Reason.ENTRY_UNKNOWN


def test_pages_follow_the_order_of_members_across_committed_and_new_ones(bank: Chain) -> None:
    for who in ("d", "b", "f", "bb"):
        bank.value("add", who=who, amount=1)
    bank.commit()
    for who in ("a", "c", "e"):
        bank.value("add", who=who, amount=1)
    bank.value("drop", who="d")
    assert bank.view("first", limit=3).value == ("a", "b", "bb")
    assert bank.view("page", after="bb", limit=3).value == ("c", "e", "f")
    assert bank.view("page", after="f", limit=3).value == ()
    assert bank.view("first", limit=100).value == ("a", "b", "bb", "c", "e", "f")


def test_page_steps_over_any_number_of_removed_members(bank: Chain) -> None:
    names = [f"m{i:02}" for i in range(30)]
    for who in names:
        bank.value("add", who=who, amount=1)
    bank.commit()
    for who in names[:25]:
        bank.value("drop", who=who)
    assert bank.view("first", limit=3).value == ("m25", "m26", "m27")


@pytest.mark.parametrize("limit", [0, -1, 101])
def test_page_size_is_bounded(limit: int, bank: Chain) -> None:
    outcome = bank.view("first", limit=limit)
    assert (outcome.code, outcome.details) == ("INDEX", (("limit", 100), ("value", limit)))


def test_gas_does_not_depend_on_what_is_cached(bank: Chain) -> None:
    for who in ("alice", "bob"):
        bank.value("add", who=who, amount=5)
    bank.commit()
    cold = [bank.view("balance", who="alice").gas_used, bank.view("first", limit=5).gas_used]
    bank.view("has", who="bob")
    warm = [bank.view("balance", who="alice").gas_used, bank.view("first", limit=5).gas_used]
    assert cold == warm


def test_integer_keys_of_any_size_are_distinct(bank: Chain) -> None:
    collision = 2**61 - 1
    for number in (0, collision, -collision, 2 * collision):
        assert bank.view("marked", number=number, flag=True).value is False
        bank.value("mark", number=number, flag=True)
    assert bank.view("marked", number=0, flag=False).value is False
    bank.commit()
    assert bank.view("marked", number=collision, flag=True).value is True
    assert bank.view("marked", number=3 * collision, flag=True).value is False


def test_contract_without_init_takes_no_arguments(chain: Chain) -> None:
    chain.deploy("@view\ndef one() -> int:\n    return 1\n")
    assert chain.session.initialise("t", (), chain.context, 1000).ok
    outcome = chain.session.initialise("t", (("a", 1),), chain.context, 1000)
    assert outcome.code == Reason.ARGUMENT_UNKNOWN


def test_migrate_runs_on_the_state_that_is_there(chain: Chain) -> None:
    chain.deploy("total: int\n@entry\ndef put() -> None:\n    total = 4\n")
    chain.value("put")
    chain.commit()
    chain.deploy(
        "total: int\nscaled: int\n@migrate\ndef scale() -> None:\n    scaled = total * 100\n"
        "@view\ndef get() -> int:\n    return scaled\n"
    )
    assert chain.session.migrate("t", chain.context, 100_000).ok
    assert chain.view("get").value == 400


@pytest.mark.parametrize("gas", [0, -1, GAS_LIMIT_MAX + 1])
def test_gas_limit_outside_its_range_is_an_outcome(gas: int, bank: Chain) -> None:
    outcome = bank.run("add", who="alice", amount=5, gas=gas)
    assert (outcome.code, outcome.gas_used) == (Reason.GAS_LIMIT, 0)


def test_fault_of_the_node_is_never_an_outcome(chain: Chain) -> None:
    chain.deploy(SOURCE)

    class Broken:
        def get(self, key: bytes) -> bytes | None:
            raise MemoryError

        def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
            return []

    session = Machine(chain.contracts, engine=chain.engine).open_session(Broken())
    with pytest.raises(InvariantViolation, match="MemoryError"):
        session.run(Call.create("t", "add", {"who": "a", "amount": 1}), chain.context, 100_000)


def test_error_of_the_state_reader_is_never_blamed_on_the_contract(chain: Chain) -> None:
    chain.deploy(SOURCE)

    class Broken:
        def get(self, key: bytes) -> bytes | None:
            raise IndexError

        def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
            return []

    session = Machine(chain.contracts, engine=chain.engine).open_session(Broken())
    with pytest.raises(InvariantViolation, match="IndexError"):
        session.run(Call.create("t", "add", {"who": "a", "amount": 1}), chain.context, 100_000)


BAD_CALLS = [
    (Reason.CONTRACT_UNKNOWN, "nowhere", "add", {}, "nowhere", "t"),
    (Reason.ENTRY_UNKNOWN, "t", "sub", {}, "sub", "add, drop, mark"),
    (Reason.ENTRY_UNKNOWN, "t", "setup", {"start": 1}, "setup", "add, drop, mark"),
    (Reason.ARGUMENT_MISSING, "t", "add", {"who": "a"}, "amount", "who, amount"),
    (Reason.ARGUMENT_UNKNOWN, "t", "add", {"who": "a", "amount": 1, "x": 2}, "x", "who, amount"),
    (Reason.ARGUMENT_TYPE, "t", "add", {"who": "a", "amount": True}, "bool", "int"),
    (Reason.ARGUMENT_TYPE, "t", "add", {"who": 5, "amount": 1}, "int", "str"),
    (Reason.ARGUMENT_TYPE, "t", "add", {"who": b"a", "amount": 1}, "bytes", "str"),
    (Reason.ARGUMENT_TYPE, "t", "add", {"who": ("a",), "amount": 1}, "list", "str"),
    (Reason.ARGUMENT_RANGE, "t", "add", {"who": "a", "amount": 2**255}, "256 bits", "2**255 - 1"),
    (Reason.ARGUMENT_RANGE, "t", "add", {"who": "a" * 4097, "amount": 1}, "4097 bytes", "4096"),
    (Reason.ARGUMENT_RANGE, "t", "add", {"who": "\ud800", "amount": 1}, "surrogate", "Unicode"),
]


@pytest.mark.parametrize(("reason", "contract", "entry", "arguments", "value", "limit"), BAD_CALLS)
def test_bad_call_is_rejected_and_as_an_outcome_has_the_same_reason(
    reason: Reason, contract: str, entry: str, arguments: dict[str, Any], value: str, limit: str, bank: Chain
) -> None:
    call = Call(contract=contract, entry=entry, arguments=tuple(sorted(arguments.items())))
    with pytest.raises(TransactionRejected) as caught:
        bank.machine.check_call(call)
    assert caught.value.reason == reason
    assert value in caught.value.value
    assert limit in caught.value.limit
    assert caught.value.remedy
    outcome = bank.session.run(call, bank.context, 100_000)
    assert (outcome.ok, outcome.code, outcome.gas_used, outcome.line) == (False, reason, 0, 0)


def test_nested_argument_is_named_by_its_path(chain: Chain) -> None:
    chain.deploy(
        "@record\nclass Leg:\n    to: str\n    quantity: int\n"
        "@entry\ndef settle(legs: list[Leg], by: dict[str, tuple[int, bool]]) -> int:\n"
        "    return legs[0].quantity\n"
    )
    good: dict[str, Any] = {
        "legs": ({"to": "a", "quantity": 3},),
        "by": (("a", (1, True)), ("b", (2, False))),
    }
    assert chain.value("settle", **good) == 3

    def reject(**changed: Any) -> TransactionRejected:
        with pytest.raises(TransactionRejected) as caught:
            chain.machine.check_call(Call.create("t", "settle", {**good, **changed}))
        return caught.value

    assert "legs[1].quantity" in reject(legs=(*good["legs"], {"to": "a", "quantity": "3"})).message
    assert "exactly the fields to, quantity" in reject(legs=({"to": "a"},)).limit
    assert "by[1][1][0]" in reject(by=(("a", (1, True)), ("b", (True, False)))).message
    assert reject(by=(("b", (1, True)), ("a", (2, False)))).reason == Reason.ARGUMENT_RANGE
    assert reject(by=(("a", (1, True)), ("a", (2, False)))).reason == Reason.ARGUMENT_RANGE
    assert reject(legs="x").reason == Reason.ARGUMENT_TYPE


def test_subclasses_of_scalars_are_refused(bank: Chain) -> None:
    class Sly(str):
        __slots__ = ()

    call = Call(contract="t", entry="add", arguments=(("amount", 1), ("who", Sly("a"))))
    assert bank.session.run(call, bank.context, 100_000).code == Reason.ARGUMENT_TYPE


def test_machine_refuses_a_contract_under_another_name(bank: Chain) -> None:
    with pytest.raises(UsageError):
        Machine({"u": bank.contracts["t"]})


def test_failed_transaction_does_not_make_a_page_dearer_for_others(chain: Chain) -> None:
    chain.deploy("""
members: Index[int, int]

@entry
def add(count: int, ok: bool) -> None:
    for i in range(count):
        members.add(1, i)
    require(ok, "NOT_OK")

@entry
def first() -> int:
    return len(members.first(1, 1))
""")
    before = chain.run("first")
    assert chain.run("add", count=50, ok=False).code == "NOT_OK"
    assert chain.run("first").gas_used == before.gas_used
    assert chain.run("add", count=3, ok=True).ok
    assert chain.run("first").value == 1
    assert chain.run("add", count=50, ok=False).code == "NOT_OK"
    assert chain.run("first").gas_used == before.gas_used + 3 * gas.PAGE_TOUCHED
    assert len(chain.commit()) == 3


def test_page_lists_what_the_block_added_among_what_is_committed(chain: Chain) -> None:
    chain.deploy("""
members: Index[int, int]

@entry
def change(count: int, gone: int) -> None:
    for i in range(count):
        members.add(1, (count - i) * 2)
    members.remove(1, gone)

@view
def page(after: int, limit: int) -> list[int]:
    return members.page(1, after, limit)
""")
    assert chain.run("change", count=200, gone=10).ok
    chain.commit()
    assert chain.run("change", count=100, gone=12).ok
    assert chain.run("change", count=2, gone=16).ok
    left = [number for number in range(2, 401, 2) if number not in (12, 16)]
    for after, limit in ((0, 3), (0, 100), (6, 5), (150, 100), (398, 7), (400, 1)):
        listed = [number for number in left if number > after][:limit]
        assert chain.view("page", after=after, limit=limit).value == tuple(listed)


def test_page_steps_over_hundreds_of_deleted_members_in_few_scans(chain: Chain) -> None:
    chain.deploy("""
members: Index[int, int]

@entry
def add(count: int) -> None:
    for i in range(count):
        members.add(1, i)

@entry
def remove(count: int) -> int:
    for i in range(count):
        members.remove(1, i)
    return members.first(1, 1)[0]
""")
    assert chain.run("add", count=800).ok
    chain.commit()
    few, many = chain.run("remove", count=1), chain.run("remove", count=701)
    assert (few.value, many.value) == (1, 701)
    chain.state.scans = 0
    assert chain.run("remove", count=701).value == 701
    assert 0 < chain.state.scans < 16


@pytest.mark.parametrize("work", ["names.add(a, b)", "names.remove(a, b)", "found = names.contains(a, b)"])
def test_entry_of_an_index_has_a_key_that_the_state_can_hold(chain: Chain, work: str) -> None:
    chain.deploy(f"names: Index[str, str]\n\n@entry\ndef main(a: str, b: str) -> None:\n    {work}\n")
    codes = {size: chain.run("main", a="a" * 510, b="b" * size).code for size in range(480, 512)}
    assert set(codes.values()) == {"", "KEY_RANGE"}
    longest = max(size for size, code in codes.items() if not code)
    assert all((size > longest) == bool(code) for size, code in codes.items())
    if "add" in work:
        assert max(map(len, chain.commit())) == KEY_BYTES_MAX
