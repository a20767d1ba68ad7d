"""What is retried, where, after which pause, and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tanpo.client import HandshakeFailed, NodeFailed, RetryPolicy, Unreachable
from tanpo.client.context import Context
from tanpo.client.plan import Plan, Rpc, call
from tanpo.ledger.errors import (
    LedgerError,
    PeerFault,
    Reason,
    TransactionRejected,
    Unavailable,
    UsageError,
)

ASK: Rpc[Any, Any] = Rpc("ledger", "Query")
BUSY = Unavailable(Reason.MEMPOOL_FULL, "busy")
GONE = Unreachable(Reason.UNREACHABLE, "gone")
BROKEN = NodeFailed(Reason.PROTOCOL, "broken")


def ask(context: Context, deadline_s: float = 10.0, read: Callable[[Any], Any] = lambda a: a) -> Plan[Any]:
    return call(context.route, ASK, "request", read, deadline_s)


def test_an_answer_ends_the_plan(make_context: Any, script: Any) -> None:
    assert script.run(ask(make_context()), "answer") == "answer"
    assert script.pauses == []


def test_pauses_double_up_to_the_longest(make_context: Any, script: Any) -> None:
    script.run(ask(make_context(), 60.0), *[BUSY] * 6, "answer")

    assert script.pauses == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_pauses_are_cut_at_random_by_up_to_half() -> None:
    assert RetryPolicy(delay_first_s=1.0, delay_max_s=8.0, random=lambda: 1.0).compute_delay(2) == 1.0
    assert all(0.025 <= RetryPolicy().compute_delay(1) <= 0.05 for _ in range(50))
    assert RetryPolicy().compute_delay(10_000) <= 1.0


def test_the_deadline_covers_all_attempts_and_pauses(make_context: Any, script: Any) -> None:
    with pytest.raises(Unavailable, match="busy"):
        script.run(ask(make_context(), 4.0), *[BUSY] * 9)

    assert [attempt.timeout_s for attempt in script.attempts] == [4.0, 3.0, 1.0]


def test_an_attempt_that_took_all_the_time_is_the_last(make_context: Any, script: Any) -> None:
    with pytest.raises(Unavailable):
        script.run(ask(make_context(), 4.0), 4.0, BUSY)


@pytest.mark.parametrize(
    "error",
    [TransactionRejected(Reason.NOT_FOUND, "no"), UsageError(Reason.CALLER_UNKNOWN, "who")],
)
def test_what_the_caller_must_change_is_not_retried(
    make_context: Any, script: Any, error: LedgerError
) -> None:
    with pytest.raises(type(error)):
        script.run(ask(make_context(3)), error)


def test_the_next_node_is_asked_at_once_when_one_is_not_there(make_context: Any, script: Any) -> None:
    script.run(ask(make_context(3)), GONE, GONE, GONE, "answer")

    assert [attempt.node for attempt in script.attempts] == [0, 1, 2, 0]
    assert script.pauses == [0.0, 0.0, 4.0]


@pytest.mark.parametrize(
    "error",
    [
        PeerFault(Reason.PROTOCOL, "lies"),
        HandshakeFailed(Reason.CONFIGURATION, "stale"),
        BROKEN,
        UsageError(Reason.CALLER_FORBIDDEN, "not here"),
    ],
)
def test_a_hopeless_node_is_asked_once(make_context: Any, script: Any, error: LedgerError) -> None:
    assert script.run(ask(make_context(2)), error, "answer") == "answer"

    with pytest.raises(type(error)):
        script.run(ask(make_context(2)), error, error)


def test_an_answer_that_cannot_be_believed_counts_as_a_failure(make_context: Any, script: Any) -> None:
    def read(answer: str) -> str:
        if answer == "lie":
            raise PeerFault(Reason.PROTOCOL, "lies")
        return answer

    assert script.run(ask(make_context(2), read=read), "lie", "truth") == "truth"


def test_a_node_gets_its_share_of_the_deadline(make_context: Any, script: Any) -> None:
    script.run(ask(make_context(4), 20.0), 5.0, Unavailable(Reason.DEADLINE, "late"), "answer")

    assert [attempt.timeout_s for attempt in script.attempts] == [5.0, 5.0]


def test_the_share_is_never_too_short_to_answer(make_context: Any, script: Any) -> None:
    script.run(ask(make_context(4), 4.0), "answer")

    assert [attempt.timeout_s for attempt in script.attempts] == [2.0]


def test_all_calls_leave_a_dead_node(make_context: Any, script: Any) -> None:
    context = make_context(2)
    script.run(ask(context), GONE, "answer")
    script.run(ask(context), "answer")

    assert [attempt.node for attempt in script.attempts] == [0, 1, 1]


def test_one_dead_node_is_left_once(make_context: Any) -> None:
    route = make_context(3).route
    route.leave(0)
    route.leave(0)

    assert route.current == 1
