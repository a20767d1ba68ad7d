"""Whom a transaction concerns."""

from __future__ import annotations

from typing import Any

import pytest
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.receipt import Event, Receipt
from tanpo.ledger.transaction import Call, Transaction, build_transaction
from tanpo.ledger.types import Height, MemberId, NetworkId, TxId
from tanpo.node.parties import find_parties

MEMBERS = frozenset({"alpha", "beta", "gamma", "delta"})


def transaction_of(arguments: dict[str, Any]) -> Transaction:
    return build_transaction(
        network_id=NetworkId(bytes(32)),
        member=MemberId("alpha"),
        request_id="r",
        valid_until_ms=1,
        gas_limit=1,
        signers=[PrivateKey.generate().key_id],
        call=Call.create("notes", "write", arguments),
    )


def receipt_of(*events: dict[str, Any]) -> Receipt:
    return Receipt(
        tx_id=TxId(bytes(32)),
        height=Height(1),
        index=0,
        succeeded=True,
        code="",
        details=(),
        contract="notes",
        line=0,
        gas_used=1,
        value=(),
        events=tuple(
            Event(contract="notes", name="Moved", fields=tuple(sorted(event.items()))) for event in events
        ),
    )


@pytest.mark.parametrize(
    ("arguments", "events", "others"),
    [
        ({}, [], set()),
        ({"account": "beta/main"}, [], {"beta"}),
        ({"account": "betas/main", "text": "to beta", "raw": b"beta", "n": 1}, [], set()),
        ({"legs": ({"giver": "beta", "taker": ("gamma/a/b",)},)}, [], {"beta", "gamma"}),
        ({"note": "beta"}, [{"by": "alpha", "to": "delta/x"}, {"to": "gamma"}], {"beta", "gamma", "delta"}),
        ({"account": "/beta", "other": "Beta"}, [], set()),
    ],
)
def test_parties_are_who_signs_and_who_is_named(
    arguments: dict[str, Any], events: list[dict[str, Any]], others: set[str]
) -> None:
    found = find_parties(transaction_of(arguments), [MemberId("alpha")], receipt_of(*events), MEMBERS)
    assert found == tuple(sorted({"alpha", *others}))


def test_members_who_sign_too_are_parties() -> None:
    signing = [MemberId("alpha"), MemberId("gamma")]
    assert find_parties(transaction_of({}), signing, receipt_of(), MEMBERS) == ("alpha", "gamma")
