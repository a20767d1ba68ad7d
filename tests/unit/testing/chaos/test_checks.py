"""Every check finds the anomaly that it is there for, in histories made up to have it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tanpo.testing.chaos.checks import (
    Place,
    Requests,
    Violation,
    check_bank,
    check_freshness,
    check_order,
    check_sets,
    check_settled,
)
from tanpo.testing.chaos.operations import Action, Operation, State

ACCOUNTS = {"a": 10, "b": 10}
NEVER = State.NEVER


def find(violations: list[Violation]) -> list[str]:
    return [one.check for one in violations]


def chain(*operations: Operation, top: int = 99) -> Requests:
    """Return the places that the operations themselves tell of."""
    return Requests(
        top=top,
        places={
            one.request_id: (
                Place(
                    height=one.height,
                    index=one.index,
                    succeeded=one.state is State.OK,
                    code=one.code,
                    value=one.value,
                ),
            )
            for one in operations
        },
    )


# -- the bank ---------------------------------------------------------------------------------------------


def test_a_total_that_changed_is_found(make: Any, history: Any) -> None:
    right = make(Action.AUDIT, (), at=0, ended=1, value=(4, 16))
    wrong = make(Action.LOOK_ACCOUNTS, (), at=2, ended=3, value=(4, 17))
    assert find(check_bank(history(right), 20)) == []
    (found,) = check_bank(history(right, wrong), 20)
    assert "the total is 21, not 20" in found.what


def test_an_overdraft_is_found(make: Any, history: Any) -> None:
    read = make(Action.AUDIT, (), at=0, ended=1, value=(-1, 21))
    (found,) = check_bank(history(read), 20)
    assert "overdrawn" in found.what


# -- the set ----------------------------------------------------------------------------------------------


def test_a_reading_with_all_that_was_acknowledged_is_right(make: Any, history: Any) -> None:
    assert (
        check_sets(
            history(
                make(Action.ADD, "s", 1, at=0, ended=1),
                make(Action.ADD, "s", 2, at=2, ended=None),
                make(Action.ADD, "s", 3, at=2, ended=20),
                make(Action.COLLECT, "s", at=3, ended=4, value=(1,)),
                make(Action.COLLECT, "s", at=5, ended=6, value=(1, 3, 2)),
                make(Action.LOOK_SET, "s", at=7, ended=8, value=(1,)),
            )
        )
        == []
    )


def test_a_lost_element_is_found(make: Any, history: Any) -> None:
    add = make(Action.ADD, "s", 1, at=0, ended=1)
    (found,) = check_sets(history(add, make(Action.COLLECT, "s", at=2, ended=3, value=())))
    assert "acknowledged elements [1] are missing" in found.what
    # A query may be old: this alone is no violation (freshness is another check).
    assert check_sets(history(add, make(Action.LOOK_SET, "s", at=2, ended=3, value=()))) == []


@pytest.mark.parametrize("action", [Action.COLLECT, Action.LOOK_SET])
def test_a_phantom_element_is_found(make: Any, history: Any, action: Action) -> None:
    refused = make(Action.ADD, "s", 1, at=0, ended=1, state=NEVER)
    later = make(Action.ADD, "s", 2, at=10, ended=11)
    (found,) = check_sets(history(refused, later, make(action, "s", at=2, ended=3, value=(1, 2, 3))))
    assert "elements [1, 2, 3] were never added" in found.what


def test_an_element_added_twice_is_found(make: Any, history: Any) -> None:
    add = make(Action.ADD, "s", 1, at=0, ended=1)
    (found,) = check_sets(history(add, make(Action.COLLECT, "s", at=2, ended=3, value=(1, 1))))
    assert "elements [1] are there twice" in found.what


def test_two_halves_of_a_split_brain_contradict_each_other(make: Any, history: Any) -> None:
    adds = [make(Action.ADD, "s", element, at=0, ended=9) for element in (1, 2)]
    reads = [
        make(Action.COLLECT, "s", at=1, ended=2, value=(1,), node="n1"),
        make(Action.COLLECT, "s", at=1, ended=2, value=(2,), node="n2"),
    ]
    (found,) = check_sets(history(*adds, *reads))
    assert "two readings contradict each other" in found.what


# -- settlement -------------------------------------------------------------------------------------------


def test_what_the_chain_holds_as_told_is_right(make: Any, history: Any) -> None:
    done = make(Action.WRITE, "r", 1, at=0, ended=1, height=3)
    unknown = make(Action.WRITE, "r", 2, at=0, ended=None)
    never = make(Action.WRITE, "r", 3, at=0, ended=1, state=NEVER)
    assert check_settled(history(done, unknown, never), chain(done)) == []


def test_a_lost_acknowledgement_is_found(make: Any, history: Any) -> None:
    done = make(Action.WRITE, "r", 1, at=0, ended=1, height=3)
    (found,) = check_settled(history(done), chain())
    assert "acknowledged, but not in the chain" in found.what


def test_an_acknowledgement_that_the_chain_has_otherwise_is_found(make: Any, history: Any) -> None:
    done = make(Action.ADD, "s", 1, at=0, ended=1, height=3, value=0)
    for other in (replace(done, height=4), replace(done, value=1), replace(done, state=State.REFUSED)):
        assert find(check_settled(history(done), chain(other))) == ["acknowledged"]


def test_a_request_applied_twice_is_found(make: Any, history: Any) -> None:
    done = make(Action.WRITE, "r", 1, at=0, ended=1, height=3)
    once = chain(done).places[done.request_id]
    twice = Requests(top=9, places={done.request_id: (*once, replace(once[0], height=5))})
    assert find(check_settled(history(done), twice)) == ["exactly once"]


def test_a_request_that_was_to_be_in_no_block_is_found(make: Any, history: Any) -> None:
    never = make(Action.WRITE, "r", 1, at=0, ended=1, state=NEVER, height=3)
    assert find(check_settled(history(never), chain(never))) == ["refused"]


def test_a_request_that_nobody_made_is_found(make: Any, history: Any) -> None:
    stranger = make(Action.WRITE, "r", 1, at=0, ended=1, height=3)
    assert find(check_settled(history(), chain(stranger))) == ["phantom"]


# -- the chain as a witness -------------------------------------------------------------------------------


def test_an_order_that_explains_everything_is_right(make: Any, history: Any) -> None:
    operations = (
        make(Action.TRANSFER, ("a", "b"), 4, at=0, ended=5, height=1),
        make(
            Action.TRANSFER,
            ("a", "b"),
            7,
            at=0,
            ended=9,
            height=2,
            state=State.REFUSED,
            code="INSUFFICIENT_BALANCE",
        ),
        make(Action.AUDIT, (), at=1, ended=12, height=2, index=1, value=(6, 14)),
        make(Action.ADD, "s", 8, at=2, ended=13, height=3, value=0),
        make(Action.SWAP, "r", 0, 5, at=14, ended=15, height=4, value=True),
    )
    queries = (
        make(Action.LOOK_ACCOUNTS, (), at=20, ended=21, height=0, value=(10, 10)),
        make(Action.LOOK_ACCOUNTS, (), at=20, ended=21, height=1, value=(6, 14)),
        make(Action.LOOK_SET, "s", at=20, ended=21, height=2, value=()),
        make(Action.LOOK_SET, "s", at=20, ended=21, height=3, value=(8,)),
        make(Action.LOOK_REGISTER, "r", at=20, ended=21, height=4, value=5),
    )
    assert check_order(history(*operations, *queries), chain(*operations), ACCOUNTS) == []


def test_an_answer_that_the_order_does_not_allow_is_found(make: Any, history: Any) -> None:
    write = make(Action.WRITE, "r", 1, at=0, ended=9, height=1)
    stale = make(Action.READ, "r", at=0, ended=9, height=2, value=0)
    doubled = make(Action.AUDIT, (), at=0, ended=9, height=3, value=(2, 18))
    for wrong in (stale, doubled):
        assert find(check_order(history(write, wrong), chain(write, wrong), ACCOUNTS)) == ["order"]


def test_an_order_against_real_time_is_found(make: Any, history: Any) -> None:
    first = make(Action.WRITE, "r", 1, at=0, ended=1, height=2)
    second = make(Action.WRITE, "r", 2, at=5, ended=6, height=1)
    assert find(check_order(history(first, second), chain(first, second), ACCOUNTS)) == ["real time"]
    concurrent = replace(second, invoked_ns=first.invoked_ns)
    assert check_order(history(first, concurrent), chain(first, concurrent), ACCOUNTS) == []


def test_an_unknown_operation_takes_its_place_from_the_chain(make: Any, history: Any) -> None:
    unknown = make(Action.WRITE, "r", 1, at=0, ended=None)
    read = make(Action.READ, "r", at=5, ended=6, height=2, value=1)
    places = chain(replace(unknown, state=State.OK, height=1), read)
    assert check_order(history(unknown, read), places, ACCOUNTS) == []
    assert find(check_order(history(unknown, read), chain(read), ACCOUNTS)) == ["order"]


def test_a_query_that_is_not_the_state_of_its_height_is_found(make: Any, history: Any) -> None:
    write = make(Action.WRITE, "r", 1, at=0, ended=9, height=2)
    for height, value in ((1, 1), (2, 0), (5, 0)):
        query = make(Action.LOOK_REGISTER, "r", at=20, ended=21, height=height, value=value)
        assert find(check_order(history(write, query), chain(write), ACCOUNTS)) == ["query"]
    beyond = make(Action.LOOK_REGISTER, "r", at=20, ended=21, height=7, value=1)
    assert find(check_order(history(write, beyond), chain(write, top=6), ACCOUNTS)) == ["query"]


# -- freshness --------------------------------------------------------------------------------------------


def test_a_node_that_forgets_what_it_told_is_found(make: Any, history: Any) -> None:
    told = make(Action.WRITE, "r", 1, at=0, ended=1, height=5, node="n1")
    old = make(Action.LOOK_REGISTER, "r", at=2, ended=3, height=4, node="n1", value=0)
    assert find(check_freshness(history(told, old), {})) == ["freshness"]
    for allowed in (
        replace(old, node="n2"),
        replace(old, height=5),
        replace(old, invoked_ns=told.invoked_ns),
    ):
        assert check_freshness(history(told, allowed), {}) == []


def test_a_node_given_another_nodes_data_may_be_behind_what_it_told(make: Any, history: Any) -> None:
    told = make(Action.WRITE, "r", 1, at=0, ended=1, height=5, node="n1")
    old = make(Action.LOOK_REGISTER, "r", at=4, ended=5, height=4, node="n1", value=0)
    assert check_freshness(history(told, old), {"n1": [2_000_000]}) == []
    assert find(check_freshness(history(told, old), {"n2": [2_000_000]})) == ["freshness"]
