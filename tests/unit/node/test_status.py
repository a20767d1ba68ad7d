from __future__ import annotations

import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode
from tanpo.ledger.errors import (
    CorruptState,
    LedgerError,
    PeerFault,
    Reason,
    TransactionRejected,
    Unavailable,
    UsageError,
)
from tanpo.node.status import CODE_BY_CLASS, build_internal_status, build_status, compute_code, find_code

CLASSES = (TransactionRejected, PeerFault, Unavailable, UsageError, CorruptState)
RETRIED = {StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.DEADLINE_EXCEEDED}


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("reason", list(Reason))
def test_every_error_has_a_code_that_agrees_with_whether_to_retry(
    kind: type[LedgerError], reason: Reason
) -> None:
    error = kind(reason, "message", value="v", limit="l", remedy="r")
    status = build_status(error)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert find_code(status) is compute_code(error)
    assert compute_code(error) not in (StatusCode.OK, StatusCode.UNKNOWN, StatusCode.CANCELLED)
    assert (info.reason, info.domain) == (reason.value, "tanpo")
    retry = "true" if error.retriable else "false"
    assert dict(info.metadata) == {"value": "v", "limit": "l", "remedy": "r", "retry": retry}
    if error.retriable:
        assert compute_code(error) in RETRIED
    elif reason is not Reason.SLOW_READER:
        assert compute_code(error) not in RETRIED


def test_table_covers_every_class_of_error() -> None:
    ours = {kind for kind in LedgerError.__subclasses__() if kind.__module__ == LedgerError.__module__}

    assert {kind for kind, _, _ in CODE_BY_CLASS} == ours


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TransactionRejected(Reason.MALFORMED, ""), StatusCode.INVALID_ARGUMENT),
        (TransactionRejected(Reason.REQUEST_ID_REUSED, ""), StatusCode.ALREADY_EXISTS),
        (TransactionRejected(Reason.NOT_FOUND, ""), StatusCode.NOT_FOUND),
        (Unavailable(Reason.NOT_FOUND, ""), StatusCode.UNAVAILABLE),
        (Unavailable(Reason.MEMPOOL_FULL, ""), StatusCode.RESOURCE_EXHAUSTED),
        (Unavailable(Reason.DEADLINE, ""), StatusCode.DEADLINE_EXCEEDED),
        (UsageError(Reason.CALLER_UNKNOWN, ""), StatusCode.UNAUTHENTICATED),
        (UsageError(Reason.CALLER_FORBIDDEN, ""), StatusCode.PERMISSION_DENIED),
        (CorruptState(Reason.DATA_CORRUPT, ""), StatusCode.DATA_LOSS),
        (LedgerError(Reason.MALFORMED, ""), StatusCode.INTERNAL),
    ],
)
def test_codes_that_clients_rely_on_stay(error: LedgerError, code: StatusCode) -> None:
    assert compute_code(error) is code


def test_internal_status_holds_a_reference_and_nothing_else() -> None:
    status = build_internal_status("abc123")
    assert find_code(status) is StatusCode.INTERNAL
    assert status.message == "internal error, reference abc123"
