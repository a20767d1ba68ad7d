"""Errors keep their class, reason, value, limit and remedy on the way from a node."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st
from tanpo.client import HandshakeFailed, NodeFailed, Unreachable
from tanpo.client.rpc_errors import error_from_rpc, error_from_status
from tanpo.ledger.errors import (
    CorruptState,
    LedgerError,
    PeerFault,
    Reason,
    TransactionRejected,
    Unavailable,
    UsageError,
)
from tanpo.node.status import build_internal_status, build_status

REFUSED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: connection refused"
HANDSHAKE = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Ssl handshake failed "
    "(TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:"
    "CERTIFICATE_VERIFY_FAILED"
)


class Failure(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode, details: str = "", metadata: Any = None) -> None:
        super().__init__()
        self._parts = (code, details, metadata)

    def code(self) -> grpc.StatusCode:
        return self._parts[0]

    def details(self) -> str:
        return self._parts[1]

    def trailing_metadata(self) -> Any:
        return self._parts[2]


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (TransactionRejected(Reason.EXPIRED, "m", value=1, limit=2, remedy="r"), TransactionRejected),
        (TransactionRejected(Reason.NOT_FOUND, "m"), TransactionRejected),
        (TransactionRejected(Reason.REQUEST_ID_REUSED, "m"), TransactionRejected),
        (PeerFault(Reason.MALFORMED, "m"), TransactionRejected),
        (Unavailable(Reason.MEMPOOL_FULL, "m"), Unavailable),
        (Unavailable(Reason.NOT_FOUND, "m"), Unavailable),
        (Unavailable(Reason.DEADLINE, "m"), Unavailable),
        (UsageError(Reason.CALLER_UNKNOWN, "m"), UsageError),
        (UsageError(Reason.CALLER_FORBIDDEN, "m"), UsageError),
        (CorruptState(Reason.DATA_CORRUPT, "m"), NodeFailed),
    ],
)
def test_what_a_node_reports_comes_back(error: LedgerError, wanted: type[LedgerError]) -> None:
    found = error_from_status(build_status(error))

    assert type(found) is wanted
    assert (found.reason, found.message, found.value, found.limit, found.remedy) == (
        error.reason,
        error.message,
        error.value,
        error.limit,
        error.remedy,
    )


def test_the_full_status_travels_in_the_metadata() -> None:
    status = build_status(TransactionRejected(Reason.EXPIRED, "too late"))
    failure = Failure(
        grpc.StatusCode.FAILED_PRECONDITION,
        "too late",
        (("other", "x"), ("grpc-status-details-bin", status.SerializeToString())),
    )

    assert error_from_rpc(failure, "h:1").reason is Reason.EXPIRED


@pytest.mark.parametrize("raw", [b"\xff\xff", b""])
def test_a_status_that_cannot_be_read_falls_back_to_the_code(raw: bytes) -> None:
    failure = Failure(grpc.StatusCode.NOT_FOUND, "gone", (("grpc-status-details-bin", raw),))

    assert isinstance(error_from_rpc(failure, "h:1"), TransactionRejected)


def test_an_internal_error_is_the_nodes_failure_with_its_reference() -> None:
    found = error_from_status(build_internal_status("ref-7"))

    assert isinstance(found, NodeFailed)
    assert "ref-7" in found.message
    assert not found.retriable


def test_a_reason_of_a_newer_node_keeps_text_and_class() -> None:
    detail = AnyMessage()
    detail.Pack(
        error_details_pb2.ErrorInfo(
            reason="FUTURE", domain="tanpo", metadata={"value": "7", "retry": "false"}
        )
    )
    status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message="no", details=[detail])

    found = error_from_status(status)

    assert isinstance(found, TransactionRejected)
    assert (found.message, found.value) == ("FUTURE: no", "7")


@pytest.mark.parametrize(
    ("code", "details", "wanted", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, REFUSED, Unreachable, Reason.UNREACHABLE),
        (grpc.StatusCode.UNAVAILABLE, HANDSHAKE, HandshakeFailed, Reason.CONFIGURATION),
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", Unavailable, Reason.UNREACHABLE),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", Unavailable, Reason.DEADLINE),
        (grpc.StatusCode.CANCELLED, "", Unavailable, Reason.UNREACHABLE),
        (grpc.StatusCode.UNIMPLEMENTED, "", UsageError, Reason.VERSION_UNKNOWN),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "", Unavailable, Reason.MEMPOOL_FULL),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "Received message larger than max (5 vs. 4)",
            NodeFailed,
            Reason.TOO_LARGE,
        ),
        (grpc.StatusCode.PERMISSION_DENIED, "", UsageError, Reason.CALLER_FORBIDDEN),
        (grpc.StatusCode.UNKNOWN, "", NodeFailed, Reason.PROTOCOL),
        (grpc.StatusCode.DATA_LOSS, "", NodeFailed, Reason.PROTOCOL),
    ],
)
def test_plain_grpc_errors_have_a_class(
    code: grpc.StatusCode, details: str, wanted: type[LedgerError], reason: Reason
) -> None:
    found = error_from_rpc(Failure(code, details), "h:1")

    assert type(found) is wanted
    assert found.reason is reason


@given(st.binary(max_size=200), st.sampled_from(list(grpc.StatusCode)))
def test_whatever_a_node_sends_becomes_an_error_of_ours(raw: bytes, code: grpc.StatusCode) -> None:
    assert isinstance(
        error_from_rpc(Failure(code, "d", (("grpc-status-details-bin", raw),)), "h:1"), LedgerError
    )
