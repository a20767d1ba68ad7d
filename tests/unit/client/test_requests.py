"""When submitting is over, and what may be said of it then."""

from __future__ import annotations

from typing import Any

import pytest
from tanpo.api.v1 import ledger_pb2
from tanpo.client import HandshakeFailed, OutcomeUnknown, Rejected, Unreachable
from tanpo.client.requests import submit, submit_one
from tanpo.ledger.errors import (
    LedgerError,
    PeerFault,
    Reason,
    TransactionRejected,
    Unavailable,
    UsageError,
)
from tanpo.node.status import build_status

LOST = Unavailable(Reason.UNREACHABLE, "lost")
EXPIRED = TransactionRejected(Reason.EXPIRED, "expired")
UNSENT = [
    Unreachable(Reason.UNREACHABLE, "gone"),
    Unavailable(Reason.MEMPOOL_FULL, "full"),
    Unavailable(Reason.MEMBER_QUOTA, "quota"),
    Unavailable(Reason.STARTING, "starting"),
]


def respond(*outcomes: ledger_pb2.Outcome) -> ledger_pb2.SubmitResponse:
    return ledger_pb2.SubmitResponse(outcomes=outcomes)


def outcome_of(transaction: Any, state: int, error: LedgerError | None = None) -> ledger_pb2.Outcome:
    return ledger_pb2.Outcome(
        state=state,  # type: ignore[arg-type]  # an enum's number
        tx_id=transaction.tx_id,
        member=transaction.member,
        request_id=transaction.request_id,
        error=None if error is None else build_status(error),
    )


@pytest.mark.parametrize("error", UNSENT)
def test_a_refusal_stands_when_nothing_was_admitted_before(
    make_context: Any, make_envelope: Any, script: Any, error: LedgerError
) -> None:
    with pytest.raises(TransactionRejected, match="expired"):
        script.run(submit(make_context(), make_envelope(), 10.0), error, EXPIRED)


@pytest.mark.parametrize("error", UNSENT)
def test_a_deadline_without_doubt_raises_the_last_failure(
    make_context: Any, make_envelope: Any, script: Any, error: LedgerError
) -> None:
    with pytest.raises(type(error)) as caught:
        script.run(submit(make_context(), make_envelope(), 2.0), error, error, error)
    assert not isinstance(caught.value, OutcomeUnknown)


@pytest.mark.parametrize(
    "last", [EXPIRED, UsageError(Reason.CALLER_UNKNOWN, "who"), HandshakeFailed(Reason.CONFIGURATION, "tls")]
)
def test_nothing_stands_after_an_attempt_that_may_have_got_through(
    make_context: Any, make_envelope: Any, script: Any, last: LedgerError
) -> None:
    with pytest.raises(OutcomeUnknown) as caught:
        script.run(submit(make_context(), make_envelope(), 10.0), LOST, last)

    assert caught.value.__cause__ is last
    assert caught.value.retriable


@pytest.mark.parametrize("state", [ledger_pb2.Outcome.PENDING, ledger_pb2.Outcome.UNKNOWN])
def test_what_is_not_decided_is_submitted_again(
    make_context: Any, make_envelope: Any, answer_committed: Any, script: Any, state: int
) -> None:
    envelope = make_envelope()
    (tx,) = envelope.transactions
    plan = submit_one(make_context(), envelope, 10.0)

    result = script.run(plan, respond(outcome_of(tx, state)), respond(answer_committed(tx)))

    assert result.tx_id == tx.tx_id
    assert {attempt.request.envelope for attempt in script.attempts} == {envelope.encoded}


def test_a_rejection_to_come_back_from_is_not_final(
    make_context: Any, make_envelope: Any, answer_committed: Any, script: Any
) -> None:
    envelope = make_envelope()
    (tx,) = envelope.transactions
    stopping = outcome_of(tx, ledger_pb2.Outcome.REJECTED, Unavailable(Reason.STOPPING, "stopping"))

    assert script.run(
        submit_one(make_context(), envelope, 10.0), respond(stopping), respond(answer_committed(tx))
    ).succeeded


def test_an_envelope_rejected_whole_raises_the_first_reason(
    make_context: Any, make_envelope: Any, script: Any
) -> None:
    envelope = make_envelope(count=2)
    rejected = [outcome_of(tx, ledger_pb2.Outcome.REJECTED, EXPIRED) for tx in envelope.transactions]

    with pytest.raises(TransactionRejected, match="expired"):
        script.run(submit(make_context(), envelope, 10.0), respond(*rejected))


def test_an_envelope_rejected_in_part_hides_no_commit(
    make_context: Any, make_envelope: Any, answer_committed: Any, script: Any
) -> None:
    envelope = make_envelope(count=2)
    first, second = envelope.transactions

    committed, rejected = script.run(
        submit(make_context(), envelope, 10.0),
        respond(answer_committed(first), outcome_of(second, ledger_pb2.Outcome.REJECTED, EXPIRED)),
    )

    assert committed.succeeded
    assert isinstance(rejected, Rejected)
    with pytest.raises(TransactionRejected):
        rejected.raise_for_failure()


def test_outcomes_in_another_order_are_a_fault(
    make_context: Any, make_envelope: Any, answer_committed: Any, script: Any
) -> None:
    envelope = make_envelope(count=2)
    first, second = envelope.transactions

    with pytest.raises(OutcomeUnknown) as caught:
        script.run(
            submit(make_context(), envelope, 10.0),
            respond(answer_committed(second, index=1), answer_committed(first)),
        )
    assert isinstance(caught.value.__cause__, PeerFault)


def test_an_unknown_outcome_tells_how_to_find_out(make_context: Any, make_envelope: Any, script: Any) -> None:
    envelope = make_envelope("once")

    with pytest.raises(OutcomeUnknown) as caught:
        script.run(submit(make_context(), envelope, 1.0), 1.0, Unavailable(Reason.DEADLINE, "late"))

    unknown = caught.value
    assert unknown.envelope is envelope
    assert (unknown.member, unknown.request_id, unknown.valid_until_ms) == ("alpha", "once", 5000)
    assert unknown.tx_id == envelope.transactions[0].tx_id
    assert "once" in str(unknown)
    assert "ask for the outcome" in str(unknown)
