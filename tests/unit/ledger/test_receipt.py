from __future__ import annotations

import pytest
from tanpo.ledger import (
    Event,
    Height,
    PeerFault,
    Receipt,
    TransactionRejected,
    TxId,
    decode_receipt,
    encode_receipt,
)

FAILED = Receipt(
    tx_id=TxId(bytes(range(32))),
    height=Height(4),
    index=2,
    succeeded=False,
    code="INSUFFICIENT",
    details=(("available", 3), ("leg", 1)),
    contract="settlement",
    line=17,
    gas_used=900,
    value=(),
    events=(),
)


def test_failed_receipt_keeps_the_details_of_its_refusal() -> None:
    assert decode_receipt(encode_receipt(FAILED)).details == (("available", 3), ("leg", 1))


def test_receipt_round_trips_with_its_events() -> None:
    event = Event(contract="cash", name="Moved", fields=(("amount", 5), ("to", "bank-1")))
    receipt = Receipt(
        tx_id=FAILED.tx_id,
        height=Height(4),
        index=0,
        succeeded=True,
        code="",
        details=(),
        contract="cash",
        line=0,
        gas_used=100,
        value={"left": 7},
        events=(event, event),
    )

    assert decode_receipt(encode_receipt(receipt)) == receipt


def test_receipt_of_another_version_is_refused() -> None:
    with pytest.raises(PeerFault, match="receipt version"):
        decode_receipt(b"\x09" + encode_receipt(FAILED)[1:])


def test_receipt_with_bytes_behind_it_is_refused() -> None:
    with pytest.raises(PeerFault, match="trailing"):
        decode_receipt(encode_receipt(FAILED) + b"\0")


def test_event_fields_must_ascend() -> None:
    event = Event(contract="cash", name="Moved", fields=(("to", "b"), ("amount", 5)))
    receipt = Receipt(
        tx_id=FAILED.tx_id,
        height=Height(1),
        index=0,
        succeeded=True,
        code="",
        details=(),
        contract="cash",
        line=0,
        gas_used=1,
        value=(),
        events=(event,),
    )

    with pytest.raises(TransactionRejected, match="ascend"):
        encode_receipt(receipt)
