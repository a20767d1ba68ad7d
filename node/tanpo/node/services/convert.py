"""Between the core's values and protobuf, and the checks of what a request's fields may be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tanpo.api.v1 import ledger_pb2, network_pb2
from tanpo.ledger.codec import U32_MAX
from tanpo.ledger.errors import Reason, TransactionRejected
from tanpo.ledger.membership import Registration
from tanpo.ledger.transaction import REQUEST_ID_MAX, TX_ID_BYTES
from tanpo.node.events import EventRead
from tanpo.node.outcome import Outcome, OutcomeState
from tanpo.node.status import build_status

NAME_MAX: Final = 64
"""Longest name of a member, contract or view that is looked up."""

CONTRACTS_FILTER_MAX: Final = 64

_STATES: Final = {
    OutcomeState.COMMITTED: ledger_pb2.Outcome.COMMITTED,
    OutcomeState.REJECTED: ledger_pb2.Outcome.REJECTED,
    OutcomeState.PENDING: ledger_pb2.Outcome.PENDING,
    OutcomeState.UNKNOWN: ledger_pb2.Outcome.UNKNOWN,
}


def outcome_to_message(outcome: Outcome) -> ledger_pb2.Outcome:
    """Return an outcome as protobuf."""
    return ledger_pb2.Outcome(
        state=_STATES[outcome.state],
        tx_id=outcome.tx_id,
        member=outcome.member,
        request_id=outcome.request_id,
        height=outcome.height,
        index=outcome.index,
        receipt=outcome.receipt,
        error=None if outcome.error is None else build_status(outcome.error),
        as_of_height=outcome.as_of_height,
        as_of_time_ms=outcome.as_of_time_ms,
        since_time_ms=outcome.since_time_ms,
    )


def events_to_message(read: EventRead) -> ledger_pb2.EventBatch:
    """Return the events of one block as protobuf."""
    return ledger_pb2.EventBatch(
        height=read.height,
        block_hash=read.block_hash,
        time_ms=read.time_ms,
        events=[
            ledger_pb2.Event(
                index=event.index,
                tx_id=event.tx_id,
                contract=event.contract,
                name=event.name,
                fields=event.fields,
            )
            for event in read.events
        ],
        next_height=read.next_height,
        next_index=read.next_index,
    )


def check_tx_id(tx_id: bytes) -> bytes:
    """Return a transaction id of the right length. Raises `TransactionRejected` for any other."""
    if len(tx_id) != TX_ID_BYTES:
        raise _malformed("tx_id has a wrong length", f"{len(tx_id)} bytes", f"{TX_ID_BYTES} bytes")
    return tx_id


def check_name(field: str, name: str) -> str:
    """Return a name that may be looked up. Raises `TransactionRejected` when it is empty or too long."""
    if not 1 <= len(name) <= NAME_MAX:
        raise _malformed(f"{field} is empty or too long", name, f"1..{NAME_MAX} characters")
    return name


def check_limit(limit: int, limit_max: int) -> int:
    """Return how many are wanted. Raises `TransactionRejected` for none, or more than are given at once."""
    if not 1 <= limit <= limit_max:
        raise _malformed("limit is out of range", limit, f"1..{limit_max}")
    return limit


def check_height(height: int) -> int:
    """Return a height. Raises `TransactionRejected` for one that no chain reaches."""
    if height > U32_MAX:
        raise _malformed("height is out of range", height, f"0..{U32_MAX}")
    return height


def check_request_id(request_id: str) -> str:
    """Return a request id. Raises `TransactionRejected` when it cannot be one."""
    if not 1 <= len(request_id) <= REQUEST_ID_MAX:
        raise _malformed("request_id is empty or too long", request_id, f"1..{REQUEST_ID_MAX} characters")
    return request_id


def check_contracts(names: Iterable[str]) -> frozenset[str]:
    """Return the contracts of a filter. Raises `TransactionRejected` for too many or unusable names."""
    chosen = list(names)
    if len(chosen) > CONTRACTS_FILTER_MAX:
        raise _malformed("too many contracts in the filter", len(chosen), CONTRACTS_FILTER_MAX)
    return frozenset(check_name("contracts", name) for name in chosen)


def _malformed(what: str, value: object, limit: object) -> TransactionRejected:
    return TransactionRejected(
        Reason.MALFORMED, what, value=value, limit=limit, remedy="correct the field and send again"
    )


def encode_member(member: Registration) -> network_pb2.Member:
    """Return a member as clients read it."""
    return network_pb2.Member(
        member=member.member,
        name=member.name,
        lei=member.lei,
        roles=member.roles,
        # A PEM file is text; what is none is shown as far as it can be.
        ca_certificates=[one.certificate.decode("ascii", "replace") for one in member.authorities],
        keys=member.keys,
        ca_added_heights=[one.added for one in member.authorities],
    )
