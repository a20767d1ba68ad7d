"""The contract of the bench and the model against which its histories are checked do the same."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from tanpo.client import GAS_LIMIT
from tanpo.testing import CallFailed, Ledger, build_member
from tanpo.testing.chaos.book import CUSTODIAN, REFERENCE, REGISTRAR, describe_instrument
from tanpo.testing.chaos.contract import BENCH_CONTRACT, BENCH_SOURCE
from tanpo.testing.chaos.model import Answer, Model
from tanpo.testing.chaos.operations import Action, Operation
from tanpo.testing.chaos.workloads import INSTRUMENT, Book, Workload, build_call, build_query

MEMBERS = (REGISTRAR, "dealer-a", CUSTODIAN)
ROLES: dict[str, tuple[str, ...]] = {
    REGISTRAR: ("registrar",),
    "dealer-a": ("participant",),
    CUSTODIAN: ("custodian",),
}


@pytest.fixture
def book() -> Book:
    return Book.create(MEMBERS)


@pytest.fixture
def ledger(book: Book) -> Ledger:
    """A ledger with the bench's contract and its bank open."""
    ledger = Ledger()
    ledger.deploy_product([build_member(member, ROLES[member]) for member in MEMBERS])
    ledger.deploy(BENCH_CONTRACT, source=BENCH_SOURCE)
    total = sum(book.opening.values())
    lock: dict[str, Any] = {"instrument": INSTRUMENT, "reference": REFERENCE}
    ledger.call("instruments", "define", sender=REGISTRAR, instrument=describe_instrument())
    ledger.call("instruments", "confirm_lock", sender=CUSTODIAN, quantity=total, **lock)
    for account, quantity in book.opening.items():
        ledger.call("instruments", "mint", sender=REGISTRAR, account=account, quantity=quantity, **lock)
    return ledger


def perform(ledger: Ledger, book: Book, operation: Operation) -> Answer:
    try:
        if operation.is_query:
            contract, view, asked = build_query(operation, book)
            named: dict[str, Any] = dict(asked)
            return Answer(value=ledger.view(contract, view, **named) or ())
        call = build_call(operation, book)
        sender = operation.subject[0].partition("/")[0] if operation.action is Action.TRANSFER else "dealer-a"
        arguments: dict[str, Any] = dict(call.arguments)
        value = ledger.call(call.contract, call.entry, sender=sender, **arguments)
        return Answer(value=() if value is None else value)
    except CallFailed as failed:
        return Answer(code=failed.code)


@pytest.mark.parametrize("seed", range(4))
def test_contract_and_model_answer_alike(ledger: Ledger, book: Book, make: Any, seed: int) -> None:
    workload = Workload.create(seed, MEMBERS, Random(seed))
    model = Model.create(book.opening)
    codes = set()
    for number in range(400):
        action, subject, arguments = workload.choose()
        operation = make(action, subject, *arguments, at=number, ended=number)
        answer = perform(ledger, book, operation)
        expected = model.apply(operation)
        # An empty value and zero are told apart by nobody but the machine.
        assert (answer.code, answer.value or ()) == (expected.code, expected.value or ()), operation
        codes.add(answer.code)
    assert codes == {"", "INSUFFICIENT_BALANCE"}


def test_every_operation_stays_far_below_its_gas(ledger: Ledger, book: Book, make: Any) -> None:
    """Sets grow until they are left, by several processes at once; a bank may have seven members."""
    for element in range(120):
        perform(ledger, book, make(Action.ADD, "s", element, at=0, ended=1))
    perform(ledger, book, make(Action.COLLECT, "s", at=0, ended=1))
    big = Book(accounts=tuple(f"{member}/x-{number}" for member in MEMBERS for number in range(5)))
    perform(ledger, big, make(Action.AUDIT, (), at=0, ended=1))
    assert max(use.gas for use in ledger.gas_report) < GAS_LIMIT * 3 // 4
