from __future__ import annotations

import pytest
from tanpo.ledger import (
    CLIP_MAX,
    CorruptState,
    InvariantViolation,
    LedgerError,
    PeerFault,
    Reason,
    TransactionRejected,
    Unavailable,
    UsageError,
    clip,
    invariant,
)


def test_error_carries_value_limit_and_remedy_as_text() -> None:
    error = TransactionRejected(Reason.EXPIRED, "too late", value=97, limit=12, remedy="send it again")

    assert (error.value, error.limit, error.remedy) == ("97", "12", "send it again")
    assert str(error) == "too late (send it again)"


def test_error_without_a_remedy_is_its_message() -> None:
    assert str(PeerFault(Reason.PROTOCOL, "garbage")) == "garbage"


@pytest.mark.parametrize(
    ("kind", "retriable"),
    [
        (TransactionRejected, False),
        (PeerFault, False),
        (Unavailable, True),
        (UsageError, False),
        (CorruptState, False),
    ],
)
def test_only_unavailable_is_worth_a_retry(kind: type[LedgerError], retriable: bool) -> None:
    assert kind(Reason.STOPPING, "x").retriable is retriable


def test_reason_is_spelled_as_it_is_named() -> None:
    assert all(reason.value == reason.name for reason in Reason)


def test_quoted_value_is_short_and_printable() -> None:
    quoted = clip("\x1b[31m\n" + "a" * 10_000)

    assert len(quoted) == CLIP_MAX
    assert quoted.isprintable()


def test_short_printable_value_is_quoted_as_it_is() -> None:
    assert clip("bond-7 担保") == "bond-7 担保"


def test_invariant_that_does_not_hold_is_no_ledger_error() -> None:
    with pytest.raises(InvariantViolation, match="balances add up") as caught:
        invariant(False, "balances add up")

    assert not isinstance(caught.value, LedgerError)


def test_invariant_that_holds_is_silent() -> None:
    invariant(True, "balances add up")
