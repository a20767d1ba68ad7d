"""Who votes on blocks, and which changes of that the members may agree on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tanpo.ledger.certificate import VALIDATORS_MAX
from tanpo.ledger.errors import LedgerError
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.types import MemberId
from tanpo.ledger.validators import Validator, verify_change
from tanpo.ledger.values import Value
from tanpo.testing import (
    CallFailed,
    Ledger,
    Market,
    build_member,
    build_member_arguments,
    build_validator,
)

MEMBERS = ("trust-bank", "custody-bank", "dealer-a", "dealer-b", "dealer-c")
VOTERS = MEMBERS[:4]
FIRST = tuple(build_validator(member) for member in MEMBERS)


def replace(ledger: Ledger, validators: Sequence[Value], signers: Sequence[str] = VOTERS) -> None:
    ledger.call("validators", "replace", sender=signers[0], signers=signers, validators=tuple(validators))


def run_node_call(ledger: Ledger, entry: str) -> None:
    ledger.call("validators", entry, sender="", signers=())


def view(ledger: Ledger, name: str) -> Any:
    return ledger.view("validators", name)


def deploy(*validators: Value, members: Sequence[str] = MEMBERS) -> Ledger:
    ledger = Ledger()
    ledger.deploy("members", arguments=build_member_arguments(*map(build_member, members)))
    ledger.deploy("validators", arguments={"validators": validators})
    return ledger


def test_the_first_validators_are_those_given_at_genesis(market: Market) -> None:
    assert view(market.ledger, "current") == FIRST
    assert view(market.ledger, "pending") == ()
    assert view(market.ledger, "epoch") == {"number": 0, "base_height": 0}


def test_agreed_validators_are_pending_until_the_nodes_begin_the_epoch(market: Market) -> None:
    ledger, wanted = market.ledger, (*FIRST, build_validator("dealer-a", "node-2"))
    replace(ledger, wanted)
    assert (view(ledger, "current"), view(ledger, "pending")) == (FIRST, wanted)
    assert ledger.list_events("ReplacementAgreed") == [{"epoch": 1, "validators": 6, "kept": 5}]
    ledger.advance()
    run_node_call(ledger, "begin_epoch")
    assert (view(ledger, "current"), view(ledger, "pending")) == (wanted, ())
    assert view(ledger, "epoch") == {"number": 1, "base_height": ledger.height}


@pytest.mark.parametrize(
    "wanted",
    [
        FIRST[:4],
        FIRST[::-1],
        (*FIRST[:4], build_validator("dealer-c", key="new")),
        (*FIRST[:4], build_validator("dealer-c", "node-2")),
        (*FIRST, build_validator("dealer-a", "node-2")),
    ],
    ids=["remove", "reorder", "change a key", "replace", "add"],
)
def test_one_validator_at_a_time_may_change(market: Market, wanted: Sequence[Value]) -> None:
    replace(market.ledger, wanted)
    run_node_call(market.ledger, "begin_epoch")
    assert view(market.ledger, "current") == wanted


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ((), "VALIDATOR_COUNT"),
        (tuple(build_validator("dealer-a", f"n{n}") for n in range(65)), "VALIDATOR_COUNT"),
        (FIRST, "VALIDATORS_UNCHANGED"),
        ((*FIRST, build_validator("nobody")), "MEMBER_UNKNOWN"),
        ((*FIRST, build_validator("dealer-a", key="other")), "VALIDATOR_TWICE"),
        ((*FIRST, {**FIRST[0], "node": "node-2"}), "VALIDATOR_TWICE"),
        ((*FIRST, build_validator("dealer-a", "")), "NODE_NAME"),
        ((*FIRST, build_validator("dealer-a", "2node")), "NODE_NAME"),
        ((*FIRST, build_validator("dealer-a", "Node")), "NODE_NAME"),
        ((*FIRST, build_validator("dealer-a", "n" * 49)), "NODE_NAME"),
        ((*FIRST, {"member": "dealer-a", "node": "node-2", "public_key": b"short"}), "KEY_FORM"),
        ((*FIRST, {"member": "dealer-a", "node": "node-2", "public_key": bytes(91)}), "KEY_FORM"),
        ((*FIRST[:3], build_validator("dealer-b", "x"), build_validator("dealer-c", "x")), "QUORUM_LOST"),
    ],
)
def test_validators_that_cannot_be_are_refused(market: Market, wanted: Sequence[Value], code: str) -> None:
    with market.ledger.expect_abort(code):
        replace(market.ledger, wanted)


def test_a_change_waits_until_the_one_before_is_in_force(market: Market) -> None:
    replace(market.ledger, FIRST[:4])
    with market.ledger.expect_abort("CHANGE_PENDING"):
        replace(market.ledger, FIRST[::-1])
    run_node_call(market.ledger, "begin_epoch")
    replace(market.ledger, FIRST[3::-1])


def test_three_of_five_members_are_not_enough(market: Market) -> None:
    with market.ledger.expect_abort("UNAUTHORISED", votes=3, members=5):
        replace(market.ledger, FIRST[:4], VOTERS[:3])


@pytest.mark.parametrize("entry", ["begin_epoch", "refuse_pending"])
def test_only_the_nodes_begin_an_epoch_or_refuse_its_validators(market: Market, entry: str) -> None:
    replace(market.ledger, FIRST[:4])
    with market.ledger.expect_abort("UNAUTHORISED", caller="dealer-a"):
        market.ledger.call("validators", entry, sender="dealer-a", signers=MEMBERS)


def test_no_epoch_begins_without_validators_for_it(market: Market) -> None:
    with market.ledger.expect_abort("NOTHING_PENDING"):
        run_node_call(market.ledger, "begin_epoch")


def test_refused_validators_are_gone_and_others_may_follow(market: Market) -> None:
    replace(market.ledger, FIRST[:4])
    run_node_call(market.ledger, "refuse_pending")
    assert (view(market.ledger, "current"), view(market.ledger, "pending")) == (FIRST, ())
    replace(market.ledger, FIRST[::-1])


def test_fewer_than_four_validators_change_freely() -> None:
    ledger = deploy(*FIRST[:3])
    replace(ledger, FIRST[3:])
    assert view(ledger, "pending") == FIRST[3:]


RELAY = """
validators: Contract["validators"]


@entry
def begin() -> None:
    validators.begin_epoch()


@entry
def replace(members: list[validators.Validator]) -> None:
    validators.replace(validators=members)
"""


def test_a_contract_can_neither_vote_nor_pass_for_a_node(market: Market) -> None:
    market.ledger.deploy("relay", source=RELAY)
    with market.ledger.expect_abort("UNAUTHORISED", caller="contract:relay"):
        market.ledger.call("relay", "replace", sender="dealer-a", signers=VOTERS, members=FIRST[:4])
    with market.ledger.expect_abort("UNAUTHORISED", caller="contract:relay"):
        market.ledger.call("relay", "begin", sender="dealer-a", signers=VOTERS)


@pytest.mark.parametrize(
    "wrong", [(), (FIRST[0], FIRST[0]), (build_validator("nobody"),)], ids=["none", "twice", "a stranger"]
)
def test_wrong_first_validators_stop_the_installation(wrong: tuple[Value, ...]) -> None:
    with pytest.raises(CallFailed):
        deploy(*wrong)


def test_as_many_validators_as_certificates_hold_fit() -> None:
    first = tuple(build_validator("trust-bank", f"node-{number}") for number in range(VALIDATORS_MAX))
    ledger = deploy(*first)
    replace(ledger, first[1:])
    run_node_call(ledger, "begin_epoch")
    assert len(view(ledger, "current")) == VALIDATORS_MAX - 1
    assert all(use.gas < 200_000 for use in ledger.gas_report)


KEYS = [PrivateKey.generate().public_key.encoded for _ in range(9)]


def to_value(choice: Sequence[tuple[int, int]]) -> tuple[Value, ...]:
    """Return validators, each the node of one number with the key of another."""
    return tuple({"member": "alpha", "node": f"n{node}", "public_key": KEYS[key]} for node, key in choice)


def to_validators(choice: Sequence[tuple[int, int]]) -> tuple[Validator, ...]:
    return tuple(
        Validator(member=MemberId("alpha"), node=f"n{node}", public_key=KEYS[key]) for node, key in choice
    )


PAIRS = st.tuples(st.integers(0, 8), st.integers(0, 8))


@given(
    now=st.permutations(range(9)).flatmap(lambda order: st.integers(1, 7).map(lambda n: order[:n])),
    data=st.data(),
)
def test_contract_and_nodes_refuse_the_same_changes(now: list[int], data: Any) -> None:
    first = [(number, number) for number in now]
    then = list(first)
    for _ in range(data.draw(st.integers(0, 3))):
        then[data.draw(st.integers(0, len(then) - 1))] = data.draw(PAIRS)
    then += data.draw(st.lists(PAIRS, max_size=2))
    ledger = deploy(*to_value(first), members=("alpha",))
    try:
        verify_change(to_validators(first), to_validators(then))
        is_allowed = True
    except LedgerError:
        is_allowed = False
    try:
        replace(ledger, to_value(then), ("alpha",))
        is_agreed = True
    except CallFailed:
        is_agreed = False
    assert is_agreed == is_allowed
    assert cast("bool", view(ledger, "pending") != ()) == is_agreed
