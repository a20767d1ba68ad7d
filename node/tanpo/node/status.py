"""The one place where errors become gRPC statuses.

Every status carries a `google.rpc.ErrorInfo`: a stable reason, domain "tanpo", and as metadata the offending
value, the limit, the remedy and whether to retry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2
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

ERROR_DOMAIN: Final = "tanpo"
STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"
"""The trailing metadata in which gRPC carries a `google.rpc.Status`."""

REFUSAL_CODES: Final = {
    Reason.CALLER_UNKNOWN: StatusCode.UNAUTHENTICATED,
    Reason.CALLER_FORBIDDEN: StatusCode.PERMISSION_DENIED,
    Reason.REQUEST_ID_REUSED: StatusCode.ALREADY_EXISTS,
    Reason.NOT_FOUND: StatusCode.NOT_FOUND,
    Reason.CONTRACT_UNKNOWN: StatusCode.NOT_FOUND,
    Reason.ENTRY_UNKNOWN: StatusCode.NOT_FOUND,
    Reason.HEIGHT_UNKNOWN: StatusCode.OUT_OF_RANGE,
    Reason.HEIGHT_PRUNED: StatusCode.OUT_OF_RANGE,
    Reason.KEY_REVOKED: StatusCode.FAILED_PRECONDITION,
    Reason.EXPIRED: StatusCode.FAILED_PRECONDITION,
    Reason.CONTRACT_REFUSED: StatusCode.FAILED_PRECONDITION,
    Reason.VIEW_FAILED: StatusCode.FAILED_PRECONDITION,
    Reason.SLOW_READER: StatusCode.RESOURCE_EXHAUSTED,
}
"""Reasons whose code is not that of their class, where sending the same again cannot help."""

RETRY_CODES: Final = {
    Reason.MEMPOOL_FULL: StatusCode.RESOURCE_EXHAUSTED,
    Reason.MEMBER_QUOTA: StatusCode.RESOURCE_EXHAUSTED,
    Reason.SLOW_READER: StatusCode.RESOURCE_EXHAUSTED,
    Reason.DEADLINE: StatusCode.DEADLINE_EXCEEDED,
}
"""The same for errors that pass by themselves."""

CODE_BY_CLASS: Final[tuple[tuple[type[LedgerError], Mapping[Reason, StatusCode], StatusCode], ...]] = (
    (Unavailable, RETRY_CODES, StatusCode.UNAVAILABLE),
    (TransactionRejected, REFUSAL_CODES, StatusCode.INVALID_ARGUMENT),
    (PeerFault, REFUSAL_CODES, StatusCode.INVALID_ARGUMENT),
    (UsageError, REFUSAL_CODES, StatusCode.FAILED_PRECONDITION),
    (CorruptState, {}, StatusCode.DATA_LOSS),
)
"""For each class of error, the codes of some of its reasons and the code of all others."""


def compute_code(error: LedgerError) -> StatusCode:
    """Return the gRPC code of an error."""
    for kind, by_reason, otherwise in CODE_BY_CLASS:
        if isinstance(error, kind):
            return by_reason.get(error.reason, otherwise)
    return StatusCode.INTERNAL


def build_status(error: LedgerError) -> status_pb2.Status:
    """Return the status of an error, with its details."""
    return _build(
        compute_code(error),
        error.message,
        error_details_pb2.ErrorInfo(
            reason=error.reason.value,
            domain=ERROR_DOMAIN,
            metadata={
                "value": error.value,
                "limit": error.limit,
                "remedy": error.remedy,
                "retry": "true" if error.retriable else "false",
            },
        ),
    )


def build_internal_status(reference: str) -> status_pb2.Status:
    """Return the status of an unexpected failure: only a reference into the log, never its text."""
    return _build(
        StatusCode.INTERNAL,
        f"internal error, reference {reference}",
        error_details_pb2.ErrorInfo(
            reason="INTERNAL",
            domain=ERROR_DOMAIN,
            metadata={
                "value": reference,
                "limit": "",
                "remedy": "give the reference to the operator of this node, whose log explains it",
                "retry": "false",
            },
        ),
    )


def find_code(status: status_pb2.Status) -> StatusCode:
    """Return gRPC's name for a status' code."""
    return next(code for code in StatusCode if code.value[0] == status.code)


def _build(code: StatusCode, message: str, info: error_details_pb2.ErrorInfo) -> status_pb2.Status:
    detail = Any()
    detail.Pack(info)
    return status_pb2.Status(code=code.value[0], message=message, details=[detail])
