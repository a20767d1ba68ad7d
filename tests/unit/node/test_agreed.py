"""What members agreed to install: in force from the next block on, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import pytest
from tanpo.contracts import load_source
from tanpo.ledger.block import decode_block
from tanpo.ledger.errors import UsageError
from tanpo.ledger.genesis import InstalledContract
from tanpo.ledger.receipt import Receipt
from tanpo.ledger.values import Value
from tanpo.node.body import DecodedBlock, decode_body
from tanpo.node.config import ExecutionMode
from tanpo.node.contract_sets import Programs
from tanpo.node.installing import REASONS_MAX, install_genesis
from tanpo.node.running import play_blocking
from tanpo.node.versions import find_version, load_contracts
from tanpo.testing.chain import MEMBERS, Chain, make_plan

CASH = """
@record
class Slip:
    payer: str
    amount: int

balances: Map[str, int]
total: int

@init
def setup(first: str, amount: int) -> None:
    require(amount > 0, "AMOUNT", amount=amount, given=first)
    balances[first] = amount
    total = amount
    emit("Opened", first=first, by=ctx.sender, signers=ctx.signers)

@entry
def pay(slip: Slip, to: str) -> int:
    balances[slip.payer] -= slip.amount
    balances[to] = balances.get(to, 0) + slip.amount
    return balances[to]

@view
def supply() -> int:
    return total
"""

SHOP = """
cash: Contract["cash"]
slips: list[cash.Slip]

@entry
def buy(amount: int) -> int:
    slip = cash.Slip(payer=ctx.sender, amount=amount)
    slips = [slip]
    return cash.pay(slip, to="shop")

@view
def earned() -> int:
    return cash.supply()
"""

CENTS = """
SCALE = 100

balances: Map[str, int]
total: int
cents: int

@record
class Slip:
    payer: str
    amount: int

@migrate
def upgrade() -> None:
    cents = total * SCALE
    emit("Scaled", cents=cents, at=ctx.height, tx_id=ctx.tx_id)

@entry
def pay(slip: Slip, to: str) -> int:
    balances[slip.payer] -= slip.amount
    balances[to] = balances.get(to, 0) + slip.amount
    return balances[to] * SCALE

@view
def supply() -> int:
    return cents
"""

ARGUMENTS = (("amount", 7), ("first", "dealer-a"))


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    chain = Chain(tmp_path / "data")
    yield chain
    chain.close()


@pytest.fixture
def cash(chain: Chain) -> Chain:
    """A chain with `cash` installed by a vote."""
    install_cash(chain)
    return chain


def install_cash(chain: Chain) -> Receipt:
    receipt = chain.install("cash", CASH, arguments=ARGUMENTS)
    assert read_last(chain)["status"] == "installed", read_last(chain)["reasons"]
    return receipt


def read_last(chain: Chain) -> Any:
    (found,) = cast("Any", chain.view("contracts", "latest", before=0, limit=1))
    return found


def check_refused(chain: Chain, code: str, *reasons: str) -> None:
    """Expect the last proposal to be refused for exactly these reasons."""
    found = read_last(chain)
    assert (found["status"], found["code"], found["reasons"]) == ("refused", code, reasons)


def list_events(receipt: Receipt) -> list[tuple[str, str]]:
    return [(event.contract, event.name) for event in receipt.events]


def pay(chain: Chain, amount: int = 1) -> Any:
    slip: dict[str, Value] = {"payer": "dealer-a", "amount": amount}
    return chain.make_transaction("cash", "pay", {"slip": slip, "to": "shop"}, "dealer-a")


def test_a_contract_is_installed_by_its_members_and_called_in_the_next_block(chain: Chain) -> None:
    assert chain.run(pay(chain))[0].code == "CONTRACT_UNKNOWN"
    receipt = install_cash(chain)
    assert list_events(receipt) == [("contracts", "Agreed"), ("cash", "Opened"), ("contracts", "Installed")]
    opened = dict(receipt.events[1].fields)
    assert opened == {"first": "dealer-a", "by": "", "signers": ()}
    assert chain.view("cash", "supply") == 7
    (paid,) = chain.run(pay(chain, 3))
    assert (paid.succeeded, paid.value) == (True, 3)
    version = chain.execution.contracts.versions["cash"]
    assert (version.version, version.height, version.replaces) == (1, receipt.height, b"")


def test_calls_in_the_block_of_an_installation_do_not_see_it(chain: Chain) -> None:
    plan = make_plan(chain, "cash", CASH, arguments=ARGUMENTS)
    number = chain.propose(plan, CASH)
    receipts = chain.run(pay(chain), chain.make_approval(number, plan), pay(chain))
    assert [one.code for one in receipts] == ["CONTRACT_UNKNOWN", "", "CONTRACT_UNKNOWN"]
    assert chain.run(pay(chain))[0].succeeded


def test_calls_in_the_block_of_an_upgrade_run_with_the_version_before_it(cash: Chain) -> None:
    plan = make_plan(cash, "cash", CENTS)
    number = cash.propose(plan, CENTS)
    receipts = cash.run(pay(cash), cash.make_approval(number, plan), pay(cash))
    assert [one.value for one in receipts] == [1, 4, 2]
    assert cash.view("cash", "supply") == 700
    assert cash.run(pay(cash))[0].value == 300


def test_blocks_above_an_uncommitted_upgrade_run_with_it(cash: Chain) -> None:
    plan = make_plan(cash, "cash", CENTS)
    number = cash.propose(plan, CENTS)
    upgraded = cash.execute(cash.make_approval(number, plan))
    above = cash.execute(pay(cash), above=upgraded)
    beside = cash.execute(pay(cash))
    assert cash.view("cash", "supply") == 7
    cash.commit(upgraded)
    assert cash.view("cash", "supply") == 700
    assert cash.commit(above)[0].value == 100
    cash.execution.discard((beside.block_hash,))


def test_an_upgrade_migrates_the_state_and_keeps_what_it_replaced(cash: Chain) -> None:
    before = cash.execution.contracts.versions["cash"]
    receipt = cash.install("cash", CENTS)
    assert list_events(receipt) == [("contracts", "Agreed"), ("cash", "Scaled"), ("contracts", "Installed")]
    assert dict(receipt.events[1].fields) == {"cents": 700, "at": receipt.height, "tx_id": receipt.tx_id}
    contracts = cash.execution.contracts
    now = contracts.versions["cash"]
    assert (now.version, now.height, now.replaces) == (2, receipt.height, sha256(CASH.encode()).digest())
    store = cash.execution.store
    assert find_version(store, contracts, "cash", 1) == before
    assert find_version(store, contracts, "cash", 0) == find_version(store, contracts, "cash", 2) == now
    assert find_version(store, contracts, "cash", 3) is None
    assert find_version(store, contracts, "nothing", 0) is None


def test_a_restarted_node_runs_with_what_was_installed(cash: Chain) -> None:
    cash.install("cash", CENTS)
    cash.install("shop", SHOP)
    before = cash.execution.contracts.versions
    cash.reopen()
    assert cash.execution.contracts.versions == before
    bought = cash.make_transaction("shop", "buy", {"amount": 2}, "dealer-a")
    assert cash.run(bought)[0].value == 200


def test_blocks_that_a_crash_left_unapplied_are_executed_with_the_contracts_of_their_time(
    tmp_path: Path,
) -> None:
    chain = Chain(tmp_path / "data")
    install_cash(chain)
    chain.run(pay(chain))
    chain.install("cash", CENTS)
    chain.run(pay(chain))
    reached = (chain.execution.store.executed_height, chain.execution.store.state_root)
    chain.close()
    # As if the database had been lost: everything is executed again from the segments.
    (tmp_path / "data" / "state").rename(tmp_path / "lost")
    chain.execution = chain._open()
    assert (chain.execution.store.executed_height, chain.execution.store.state_root) == reached
    assert [chain.execution.contracts.versions["cash"].version, chain.view("cash", "supply")] == [2, 700]
    chain.close()


@pytest.mark.parametrize("mode", ExecutionMode)
def test_two_nodes_come_to_the_same_roots(tmp_path: Path, mode: ExecutionMode) -> None:
    first = Chain(tmp_path / "first")
    second = Chain(tmp_path / "second", mode=mode)
    second.close()
    second.keys, second.validator_keys, second.genesis = first.keys, first.validator_keys, first.genesis
    second.folder = tmp_path / "twin"
    second.execution = second._open()
    for source in (CASH, CENTS, CASH.replace("total: int", "total: str"), "x = (\n"):
        plan = make_plan(first, "cash", source, arguments=ARGUMENTS if source == CASH else ())
        number = first.propose(plan, source)
        transactions = (pay(first), first.make_approval(number, plan), pay(first))
        first.run(*transactions)
    for height in range(1, first.execution.store.executed_height + 1):
        stored = first.execution.store.read_block(cast("Any", height))
        block = decode(first, stored.block)
        assert block.block.header.state_root == second.execution.store.state_root
        play_blocking(second.execution.begin(block))
        second.commit(second.execution.get(block.block.block_hash))
    assert first.execution.store.state_root == second.execution.store.state_root
    first.close()
    second.close()


def decode(chain: Chain, encoded: bytes) -> DecodedBlock:
    return decode_body(decode_block(encoded), chain.genesis.network_id, lambda _: None)


def test_every_fault_of_a_source_is_named_by_line_and_code(chain: Chain) -> None:
    receipt = chain.install("bad", "x: float\n\n@entry\ndef f(a: int) -> int:\n    y = a / 2\n    return z\n")
    check_refused(chain, "CONTRACT_REFUSED", "line 1: TYPE", "line 5: DIVISION", "line 6: NAME_UNKNOWN")
    assert list_events(receipt)[-1] == ("contracts", "Refused")
    assert "bad" not in chain.execution.contracts.versions


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("x = = 1\n", "SYNTAX"),
        ("# \u00e9\n@view\ndef f() -> int:\n    return 1\n", "line 1: NOT_ASCII"),
        ("# nothing\n", "line 1: NO_ENTRY"),
        ('a: Contract["a"]\n\n@view\ndef f() -> int:\n    return 1\n', "line 1: HANDLE"),
    ],
    ids=["syntax", "not ASCII", "nothing", "itself"],
)
def test_a_source_that_is_no_contract_is_refused(chain: Chain, source: str, reason: str) -> None:
    chain.install("a", source)
    found = read_last(chain)
    assert (found["status"], found["code"]) == ("refused", "CONTRACT_REFUSED")
    assert reason in found["reasons"]


def test_a_state_keeps_so_many_reasons_and_no_more(chain: Chain) -> None:
    source = "".join(f"x{n}: float\n" for n in range(60)) + "\n@view\ndef f() -> int:\n    return 1\n"
    chain.install("bad", source)
    reasons = read_last(chain)["reasons"]
    assert len(reasons) == REASONS_MAX + 1
    assert reasons[0] == "line 1: TYPE"
    assert reasons[-1] == "and 28 more"


def test_an_init_that_fails_leaves_nothing_behind(chain: Chain) -> None:
    chain.install("cash", CASH, arguments=(("amount", 0), ("first", "\u00e9\U0001fae8")))
    check_refused(chain, "INIT_FAILED", "AMOUNT at cash:12 (amount=0, given='\\xe9\\U0001fae8')")
    assert "cash" not in load_contracts(chain.execution.store, Programs()).versions
    assert chain.execution.store.scan(b"\x01\x00\x04cash", b"\x01\x00\x04casi", 9) == []
    install_cash(chain)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "ARGUMENT_MISSING (limit='first, amount', value='first')"),
        ((("amount", True), ("first", "a")), "ARGUMENT_TYPE (limit='int', value='bool')"),
        (
            (("amount", 1), ("first", "a"), ("more", 1)),
            "ARGUMENT_UNKNOWN (limit='first, amount', value='more')",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(chain: Chain, arguments: Any, reason: str) -> None:
    chain.install("cash", CASH, arguments=arguments)
    check_refused(chain, "INIT_FAILED", reason)


def test_arguments_that_are_no_values_are_refused(chain: Chain) -> None:
    plan = replace(make_plan(chain, "cash", CASH), arguments=b"\x00\x00\x00\x01")
    chain.run(chain.make_approval(chain.propose(plan, CASH), plan))
    check_refused(chain, "ARGUMENTS_MALFORMED", "the arguments are not named values: truncated")


def test_a_migration_that_fails_or_runs_out_of_gas_changes_nothing(cash: Chain) -> None:
    before = cash.execution.contracts
    endless = CENTS.replace(
        "    cents = total * SCALE\n", "    cents = 1\n    while cents > 0:\n        cents += 1\n"
    )
    cash.install("cash", endless)
    found = read_last(cash)
    assert (found["status"], found["code"]) == ("refused", "MIGRATE_FAILED")
    assert found["reasons"][0].startswith("OUT_OF_GAS at cash:")
    assert cash.execution.contracts.versions == before.versions
    assert cash.view("cash", "supply") == 7
    assert cash.run(pay(cash))[0].value == 1


@pytest.mark.parametrize(
    ("changed", "code", "reason"),
    [
        ({"language_version": 2}, "VERSION_UNKNOWN", "language 2 with gas table 1; nodes run language 1"),
        ({"gas_table_version": 9}, "VERSION_UNKNOWN", "language 1 with gas table 9; nodes run language 1"),
        ({"replaces": bytes(32)}, "REPLACES_ANOTHER", f"the plan is version 2 in place of {'00' * 32}"),
        ({"version": 3}, "REPLACES_ANOTHER", "the plan is version 3 in place of"),
        ({"version": 1, "replaces": b""}, "REPLACES_ANOTHER", "the plan is version 1 in place of nothing"),
        ({"source_hash": bytes(32)}, "SOURCE_HASH", "the source is not the one that the plan names"),
        ({"contract": "other"}, "REPLACES_ANOTHER", "the plan is version 2 in place of"),
    ],
)
def test_a_plan_for_another_version_than_the_one_in_force_is_refused(
    cash: Chain, changed: Any, code: str, reason: str
) -> None:
    plan = replace(make_plan(cash, "cash", CENTS), **changed)
    cash.run(cash.make_approval(cash.propose(plan, CENTS), plan))
    found = read_last(cash)
    assert (found["status"], found["code"]) == ("refused", code)
    assert found["reasons"][0].startswith(reason)
    assert cash.view("cash", "supply") == 7


def test_the_source_in_force_is_no_upgrade(cash: Chain) -> None:
    cash.install("cash", CASH)
    check_refused(cash, "SOURCE_UNCHANGED", "this source is in force")


def test_one_vote_upgrades_one_version(cash: Chain) -> None:
    """Two proposals replace the same version: once one is in force, the other replaces none."""
    first, second = (make_plan(cash, "cash", source) for source in (CENTS, CENTS + "\n# again\n"))
    number, other = cash.propose(first, CENTS), cash.propose(second, CENTS + "\n# again\n")
    cash.run(cash.make_approval(number, first))
    cash.run(cash.make_approval(other, second))
    assert read_last(cash)["code"] == "REPLACES_ANOTHER"
    assert cash.execution.contracts.versions["cash"].version == 2


LEDGER = """
@record
class Line:
    amount: int
    tags: list[str]

lines: Map[str, Line]
names: Index[str, int]
count: int

@view
def total() -> int:
    return 1
"""


def test_a_variable_keeps_its_type_for_ever(chain: Chain) -> None:
    chain.install("book", LEDGER)
    chain.install("book", LEDGER.replace("count: int\n", ""))
    changed = LEDGER.replace("count: int", "count: str").replace("tags: list[str]", "tags: list[int]")
    chain.install("book", changed.replace("Index[str, int]", "Map[str, int]"))
    check_refused(
        chain,
        "STATE_CHANGED",
        "count is stored as int, and would be str; give it another name",
        "lines is stored as Map[str, (amount: int, tags: list[str])], "
        "and would be Map[str, (amount: int, tags: list[int])]; give it another name",
        "names is stored as Index[str, int], and would be Map[str, int]; give it another name",
    )
    chain.reopen()
    chain.install("book", LEDGER.replace("count: int", "count: bool"))
    assert read_last(chain)["code"] == "STATE_CHANGED"
    chain.install("book", LEDGER.replace("Line", "Row").replace("count: int", "counted: str"))
    assert read_last(chain)["status"] == "installed"


def test_an_upgrade_that_breaks_others_is_refused_with_all_that_breaks(cash: Chain) -> None:
    cash.install("shop", SHOP)
    broken = CENTS.replace(
        "payer: str\n    amount: int", "payer: str\n    amount: int\n    memo: str"
    ).replace("@view\ndef supply() -> int", "@view\ndef minted() -> int")
    cash.install("cash", broken)
    found = read_last(cash)
    slip = "cash.Slip(payer: str, amount: int)"
    other = "cash.Slip(payer: str, amount: int, memo: str)"
    check_refused(
        cash,
        "INTERFACE_BROKEN",
        f"shop uses entry cash.pay(slip: {slip}, to: str) -> int; "
        f"it would be entry cash.pay(slip: {other}, to: str) -> int",
        "shop uses view cash.supply() -> int; it would be gone",
        f"shop uses record {slip}; it would be record {other}",
    )
    assert found["height"] == cash.execution.store.executed_height
    cash.install("cash", CENTS + "\n@view\ndef more() -> int:\n    return 1\n")
    assert read_last(cash)["status"] == "installed"


def test_a_view_that_others_use_stays_a_view(cash: Chain) -> None:
    cash.install("shop", SHOP)
    cash.install("cash", CENTS.replace("@view\ndef supply", "@entry\ndef supply"))
    check_refused(
        cash,
        "INTERFACE_BROKEN",
        "shop uses view cash.supply() -> int; it would be entry cash.supply() -> int",
    )


def test_contracts_do_not_come_to_need_each_other(cash: Chain) -> None:
    cash.install("shop", SHOP)
    cash.install("mall", 'shop: Contract["shop"]\n\n@view\ndef f() -> int:\n    return shop.earned()\n')
    source = CENTS.replace("SCALE = 100", 'mall: Contract["mall"]\nSCALE = 100')
    cash.install("cash", source.replace("return cents", "return mall.f()"))
    check_refused(cash, "IMPORT_CYCLE", "mall needs cash already")


def test_a_contract_may_come_to_need_one_that_was_installed_after_it(cash: Chain) -> None:
    cash.install("rates", "@view\ndef rate() -> int:\n    return 9\n")
    source = CENTS.replace("SCALE = 100", 'rates: Contract["rates"]\nSCALE = 100')
    cash.install("cash", source.replace("return cents", "return rates.rate()"))
    cash.install("shop", SHOP)
    cash.reopen()
    assert cash.view("shop", "earned") == 9


def test_what_nodes_call_themselves_is_installed_by_a_genesis_only(chain: Chain) -> None:
    chain.install("validators", "@view\ndef current() -> int:\n    return 1\n")
    assert read_last(chain)["code"] == "NAME_RESERVED"
    plan = replace(make_plan(chain, "validators", CASH), version=2, replaces=bytes(32))
    chain.run(chain.make_approval(chain.propose(plan, CASH), plan))
    assert read_last(chain)["code"] == "NAME_RESERVED"
    for contract in ("validators", "contracts"):
        called = chain.make_transaction(contract, "replace", {}, *MEMBERS)
        assert chain.run(called)[0].code in ("CONTRACT_UNKNOWN", "ENTRY_UNKNOWN")


def test_the_contract_of_proposals_is_upgraded_by_itself(chain: Chain) -> None:
    source = load_source("contracts").replace("OPEN_MAX = 4", "OPEN_MAX = 5")
    receipt = chain.install("contracts", source)
    assert read_last(chain)["status"] == "installed"
    assert list_events(receipt)[-1] == ("contracts", "Installed")
    install_cash(chain)
    chain.reopen()
    chain.install("cash", CENTS)
    assert chain.view("cash", "supply") == 700


def test_a_contract_of_proposals_that_nodes_could_not_use_is_refused(chain: Chain) -> None:
    source = load_source("contracts")
    chain.install("contracts", source.replace("def settle(number: int)", "def settled(number: int)"))
    found = read_last(chain)
    assert (found["code"], found["reasons"]) == (
        "INTERFACE_BROKEN",
        ("every node uses entry contracts.settle(number: int) -> None; it would be gone",),
    )
    broken = source.replace(
        '    end(found, "installed")', '    require(number < 0, "NO")\n    end(found, "installed")'
    )
    chain.install("contracts", broken)
    assert read_last(chain)["code"] == "NODES_FAIL"
    assert read_last(chain)["reasons"][0].startswith("it fails to note what it agreed: NO at contracts:")
    install_cash(chain)


def test_another_contract_of_validators_must_say_the_same(tmp_path: Path) -> None:
    chain = Chain(tmp_path / "data", has_validators=True)
    source = load_source("validators")
    chain.install("validators", source.replace("    return sets[number]\n", "    return []\n"))
    check_refused(chain, "NODES_FAIL", "its view current would answer otherwise, and nodes go by it")
    chain.install(
        "validators", source.replace("    return sets.get(number_of, nothing)", "    return nothing")
    )
    check_refused(chain, "NODES_FAIL", "its view of_epoch would answer otherwise, and nodes go by it")
    chain.install(
        "validators",
        source + "\n@migrate\ndef upgrade() -> None:\n    wanted = sets[number]\n    number += 1\n",
    )
    check_refused(chain, "NODES_FAIL", "its view epoch would answer otherwise, and nodes go by it")
    chain.install("validators", source.replace("NODE_NAME_MAX = 48", "NODE_NAME_MAX = 32"))
    assert read_last(chain)["status"] == "installed"
    chain.close()


def test_a_genesis_goes_through_the_same_checks(chain: Chain) -> None:
    for source, why in (
        ("x: float\n", "CONTRACT_REFUSED"),
        ("@view\ndef f() -> int:\n    return 1\n", "INIT_FAILED"),
    ):
        bad = InstalledContract(name="bad", source=source, arguments=(("a", 1),))
        genesis = replace(chain.genesis, contracts=(*chain.genesis.contracts, bad))
        with pytest.raises(UsageError, match=f"contract bad of the genesis is refused: {why}"):
            install_genesis(genesis, Programs())


def test_a_genesis_with_another_contract_of_proposals_is_refused(chain: Chain) -> None:
    other = InstalledContract(
        name="contracts", source="@view\ndef agreed() -> int:\n    return 1\n", arguments=()
    )
    with pytest.raises(UsageError, match="another contract as contracts") as caught:
        install_genesis(replace(chain.genesis, contracts=(other,)), Programs())
    assert caught.value.value == "without proposal, refuse, settle, source"
