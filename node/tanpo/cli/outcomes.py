"""What became of a request, as commands print it."""

from __future__ import annotations

from typing import Any, assert_never

from tanpo.client import Committed, Outcome, Pending, Rejected, Unknown
from tanpo.ledger.values import value_to_json


def describe_outcome(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome ready for JSON."""
    named: dict[str, Any] = {"member": outcome.member, "request_id": outcome.request_id}
    match outcome:
        case Committed(receipt=receipt):
            return named | {
                "state": "committed" if receipt.succeeded else "failed",
                "tx_id": receipt.tx_id.hex(),
                "height": receipt.height,
                "index": receipt.index,
                "code": receipt.code,
                "details": value_to_json(dict(receipt.details)),
                "gas_used": receipt.gas_used,
                "value": value_to_json(receipt.value),
                "events": [
                    {
                        "contract": event.contract,
                        "name": event.name,
                        "fields": value_to_json(dict(event.fields)),
                    }
                    for event in receipt.events
                ],
            }
        case Rejected(tx_id=tx_id, error=error):
            return named | {"state": "rejected", "tx_id": tx_id.hex(), "code": str(error.reason)}
        case Pending(tx_id=tx_id, as_of_height=height):
            return named | {"state": "pending", "tx_id": tx_id.hex(), "as_of_height": height}
        case Unknown(as_of_height=height, as_of_time_ms=time_ms, since_time_ms=since_ms):
            told = {"as_of_height": height, "as_of_time_ms": time_ms, "since_time_ms": since_ms}
            return named | {"state": "unknown", **told}
        case _:
            assert_never(outcome)
