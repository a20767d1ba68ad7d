"""Turns what a node or gRPC reports back into the ledger's error classes: the inverse of the node's table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2
from tanpo.client.errors import HandshakeFailed, NodeFailed, Unreachable
from tanpo.ledger.errors import LedgerError, Reason, TransactionRejected, Unavailable, UsageError, clip

ERROR_DOMAIN: Final = "tanpo"
STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"

_USAGE: Final = frozenset(
    {
        Reason.CALLER_UNKNOWN,
        Reason.CALLER_FORBIDDEN,
        Reason.MISUSE,
        Reason.CONFIGURATION,
        Reason.GENESIS_MISMATCH,
        Reason.VERSION_UNKNOWN,
    }
)
_NODE_FAULTS: Final = frozenset(
    {Reason.DATA_CORRUPT, Reason.DATA_LOCKED, Reason.DISK_FULL, Reason.EQUIVOCATION, Reason.PROTOCOL}
)
_REFUSALS: Final = frozenset(
    {
        code_pb2.INVALID_ARGUMENT,
        code_pb2.NOT_FOUND,
        code_pb2.ALREADY_EXISTS,
        code_pb2.FAILED_PRECONDITION,
        code_pb2.OUT_OF_RANGE,
    }
)
_HANDSHAKE_SIGNS: Final = ("certificate", "ssl_error_ssl", "hostname")
_CONNECT_SIGNS: Final = ("failed to connect to all addresses", "dns resolution failed", "name resolution")
"""gRPC's words for "no connection, nothing sent". Should they change, we only grow more cautious. A handshake
that was merely cut short is no matter of certificates: the node may be restarting."""


class RpcFailure(Protocol):
    """What the errors of synchronous and asynchronous gRPC have in common."""

    def code(self) -> grpc.StatusCode:
        """The status code."""
        ...

    def details(self) -> str | None:
        """The status message."""
        ...

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """The metadata after the answer, which carries the full status."""
        ...


def error_from_rpc(failure: grpc.RpcError, address: str) -> LedgerError:
    """Return the error for a failed call to the node at `address`."""
    known = cast(RpcFailure, failure)
    status = _find_status(known.trailing_metadata() or ())
    if status is not None and status.code == known.code().value[0]:
        return error_from_status(status)
    return _error_from_code(known.code(), clip(known.details() or ""), address)


def error_from_status(status: status_pb2.Status) -> LedgerError:
    """Return the error that a status spells. A reason this client does not know yet keeps its text."""
    info = _find_info(status)
    message = clip(status.message)
    if info is None:
        return _plain(status.code, message)
    reason = _find_reason(info.reason)
    if reason is None:
        return _plain(status.code, f"{clip(info.reason)}: {message}", dict(info.metadata))
    return _class_of(reason, status.code, is_retriable=info.metadata.get("retry") == "true")(
        reason,
        message,
        value=info.metadata.get("value", ""),
        limit=info.metadata.get("limit", ""),
        remedy=clip(info.metadata.get("remedy", "")),
    )


def _class_of(reason: Reason, code: int, *, is_retriable: bool) -> type[LedgerError]:
    if is_retriable:
        return Unavailable
    if reason in _USAGE:
        return UsageError
    if reason in _NODE_FAULTS or code in (code_pb2.INTERNAL, code_pb2.UNKNOWN, code_pb2.DATA_LOSS):
        return NodeFailed
    return TransactionRejected


def _plain(code: int, message: str, metadata: dict[str, str] | None = None) -> LedgerError:
    found = metadata or {}
    value, limit, remedy = found.get("value", ""), found.get("limit", ""), clip(found.get("remedy", ""))
    if found.get("retry") == "true" or code == code_pb2.UNAVAILABLE:
        return Unavailable(Reason.PROTOCOL, message, value=value, limit=limit, remedy=remedy)
    if code in _REFUSALS:
        return TransactionRejected(Reason.PROTOCOL, message, value=value, limit=limit, remedy=remedy)
    if code in (code_pb2.UNAUTHENTICATED, code_pb2.PERMISSION_DENIED):
        return UsageError(Reason.CALLER_FORBIDDEN, message, value=value, limit=limit, remedy=remedy)
    return NodeFailed(
        Reason.PROTOCOL,
        f"the node failed: {message}",
        value=value,
        limit=limit,
        remedy=remedy or "ask another node",
    )


def _error_from_code(code: grpc.StatusCode, details: str, address: str) -> LedgerError:
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return _error_from_connection(details, address)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return Unavailable(
                Reason.DEADLINE,
                f"the node at {address} did not answer in time",
                value=address,
                # What a firewall drops in silence looks like this, too.
                remedy="try again, or allow more time; if it never answers, see that it runs, and that no "
                "firewall in between drops what is sent to it",
            )
        case grpc.StatusCode.CANCELLED:
            return Unavailable(
                Reason.UNREACHABLE, f"the call to {address} was cancelled", value=address, remedy="try again"
            )
        case grpc.StatusCode.RESOURCE_EXHAUSTED if "larger than max" in details:
            return NodeFailed(
                Reason.TOO_LARGE,
                f"a message to or from {address} is too large: {details}",
                value=details,
                limit="4 MB",
                remedy="ask for less at a time",
            )
        case grpc.StatusCode.UNIMPLEMENTED:
            return UsageError(
                Reason.VERSION_UNKNOWN,
                f"the node at {address} does not know this call",
                value=details,
                remedy="upgrade the node, or use a client of its version",
            )
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Unavailable(
                Reason.MEMPOOL_FULL,
                f"the node at {address} is overloaded",
                value=details,
                remedy="try again later",
            )
    return _plain(code.value[0], f"{address}: {details}")


def _error_from_connection(details: str, address: str) -> LedgerError:
    lowered = details.lower()
    is_unsent = any(sign in lowered for sign in _CONNECT_SIGNS)
    if is_unsent and any(sign in lowered for sign in _HANDSHAKE_SIGNS):
        return HandshakeFailed(
            Reason.CONFIGURATION,
            f"the TLS handshake with {address} failed: {details}",
            value=address,
            limit="certificates valid now, issued by a CA that the other side trusts, for the name dialled",
            remedy="check the trusted CA file, the target name and both certificates' expiry",
        )
    return (Unreachable if is_unsent else Unavailable)(
        Reason.UNREACHABLE,
        f"the node at {address} cannot be reached: {details}",
        value=address,
        remedy="check that the node runs at this address and accepts our certificate, or try another node",
    )


def _find_status(metadata: Iterable[tuple[str, str | bytes]]) -> status_pb2.Status | None:
    for key, value in metadata:
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None


def _find_info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo | None:
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Is(info.DESCRIPTOR):
            try:
                detail.Unpack(info)
            except DecodeError:
                return None
            return info if info.domain == ERROR_DOMAIN else None
    return None


def _find_reason(text: str) -> Reason | None:
    try:
        return Reason(text)
    except ValueError:
        return None
