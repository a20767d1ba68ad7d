"""The contract that `tanpo contract new` begins with, and its tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tanpo.contracts import PRODUCT_CONTRACTS
from tanpo.ledger.errors import Reason, UsageError

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,47}\Z")

_CONTRACT: Final = '''\
"""Points that members give each other, each from an allowance of its own."""


@record
class Account:
    """What a member may still give, and what it was given."""

    allowance: int
    points: int


accounts: Map[str, Account]
start: int


@init
def setup(allowance: int) -> None:
    require(allowance > 0, "ALLOWANCE_RANGE", value=allowance)
    start = allowance


def account_of(member: str) -> Account:
    return accounts.get(member, Account(allowance=start, points=0))


@entry
def give(to: str, amount: int) -> int:
    """Give points and return what the sender may still give."""
    require(to != ctx.sender, "TO_ITSELF", to=to)
    giver = account_of(ctx.sender)
    require(0 < amount <= giver.allowance, "AMOUNT_RANGE", value=amount, limit=giver.allowance)
    taker = account_of(to)
    giver.allowance -= amount
    taker.points += amount
    accounts[ctx.sender] = giver
    accounts[to] = taker
    emit("Given", giver=ctx.sender, to=to, amount=amount)
    return giver.allowance


@view
def account(member: str) -> Account:
    return account_of(member)
'''

_TESTS: Final = '''\
"""Tests of the contract {name}: every call runs on both engines of the machine."""

from pathlib import Path

import pytest
from tanpo.testing import CallFailed, Ledger

SOURCE = Path(__file__).with_name("{name}.py").read_text(encoding="ascii")


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.deploy("{name}", source=SOURCE, arguments={{"allowance": 10}})
    return ledger


def test_points_go_from_the_allowance_of_the_giver_to_the_other(ledger: Ledger) -> None:
    assert ledger.call("{name}", "give", sender="alice", to="bob", amount=4) == 6
    assert ledger.view("{name}", "account", member="alice") == {{"allowance": 6, "points": 0}}
    assert ledger.view("{name}", "account", member="bob") == {{"allowance": 10, "points": 4}}
    assert ledger.list_events("Given") == [{{"giver": "alice", "to": "bob", "amount": 4}}]


@pytest.mark.parametrize("amount", [-1, 0, 11])
def test_nobody_gives_more_than_is_left_or_less_than_one(ledger: Ledger, amount: int) -> None:
    with ledger.expect_abort("AMOUNT_RANGE", value=amount, limit=10):
        ledger.call("{name}", "give", sender="alice", to="bob", amount=amount)


def test_nobody_gives_points_to_itself(ledger: Ledger) -> None:
    with ledger.expect_abort("TO_ITSELF"):
        ledger.call("{name}", "give", sender="alice", to="alice", amount=1)


def test_the_contract_is_not_installed_without_an_allowance() -> None:
    with pytest.raises(CallFailed, match="ALLOWANCE_RANGE"):
        Ledger().deploy("{name}", source=SOURCE, arguments={{"allowance": 0}})
'''


def create_contract(name: str, folder: Path) -> tuple[Path, Path]:
    """Write a contract of this name and its tests into a folder, which is made; return both paths.

    Raises:
        UsageError: the name cannot be a contract's here, a file is there already, or none can be written.
    """
    _check_name(name)
    contract, tests = folder / f"{name}.py", folder / f"test_{name.replace('-', '_')}.py"
    for path in (contract, tests):
        if path.exists() or path.is_symlink():
            raise UsageError(
                Reason.MISUSE,
                "the file is there already, and is not overwritten",
                value=path,
                remedy="choose another name or --dir",
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in ((contract, _CONTRACT), (tests, _TESTS.format(name=name))):
            # Whoever made the file since we looked keeps it.
            with path.open("x", encoding="ascii") as stream:
                stream.write(text)
    except OSError as error:
        raise UsageError(
            Reason.CONFIGURATION,
            f"the contract cannot be written: {error.strerror}",
            value=error.filename,
            remedy="choose another --dir",
        ) from None
    return contract, tests


def _check_name(name: str) -> None:
    if not _NAME.match(name):
        limit, remedy = "1 to 48 of a-z, 0-9, - and _, a letter first", "choose another name"
    elif name in PRODUCT_CONTRACTS:
        limit, remedy = "a name that no contract of the product has", "choose another name"
    elif name.startswith("test_") or name.endswith("_test"):
        limit, remedy = "no test_ in front and no _test behind", "choose a name that pytest takes for no test"
    else:
        return
    raise UsageError(
        Reason.MISUSE,
        "a contract cannot have this name here",
        value=name or "an empty name",
        limit=limit,
        remedy=remedy,
    )
