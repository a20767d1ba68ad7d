"""Receipts: the outcome of one transaction in a block, recorded alike by every node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from tanpo.ledger.codec import Reader, Writer, malformed
from tanpo.ledger.types import Height, TxId
from tanpo.ledger.values import Fields, Value, read_fields, read_value, write_fields, write_value

RECEIPT_VERSION: Final = 1
EVENTS_MAX: Final = 4096
PLACE_BYTES: Final = 45
"""The size of `encode_place`."""


class Event(NamedTuple):
    """What a contract announced: its name, the event's name and the fields in ascending order."""

    contract: str
    name: str
    fields: Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The outcome of the transaction at (`height`, `index`).

    A failed one has no events and no effects: `code` is the contract's or the machine's stable code,
    `details` the values it was given, `contract` and `line` the place. A succeeded one has `code` empty and
    line 0, and `value` is what the entry point returned, an empty tuple for nothing.
    """

    tx_id: TxId
    height: Height
    index: int
    succeeded: bool
    code: str
    details: Fields
    contract: str
    line: int
    gas_used: int
    value: Value
    events: tuple[Event, ...]


def encode_place(tx_id: bytes, height: int, index: int) -> bytes:
    """Return what the receipt of the transaction at a place begins with; whether it succeeded follows."""
    return Writer().u8(RECEIPT_VERSION).raw(tx_id).u64(height).u32(index).finish()


def is_success(encoded: bytes) -> bool:
    """Whether an encoded receipt is of a transaction that succeeded."""
    return encoded[PLACE_BYTES] == 1


def encode_receipt(receipt: Receipt) -> bytes:
    """Return the canonical encoding, the leaf under a header's receipts root."""
    writer = Writer().raw(encode_place(receipt.tx_id, receipt.height, receipt.index))
    writer.flag(receipt.succeeded).text(receipt.code)
    write_fields(writer, receipt.details)
    writer.text(receipt.contract).u32(receipt.line).u64(receipt.gas_used)
    write_value(writer, receipt.value)
    writer.u32(len(receipt.events))
    for event in receipt.events:
        writer.text(event.contract).text(event.name)
        write_fields(writer, event.fields)
    return writer.finish()


def decode_receipt(encoded: bytes) -> Receipt:
    """Return the receipt that `encoded` spells. Raises `PeerFault` for any other bytes."""
    reader = Reader(encoded)
    version = reader.u8()
    if version != RECEIPT_VERSION:
        raise malformed("unknown receipt version", value=version, limit=RECEIPT_VERSION)
    receipt = Receipt(
        tx_id=TxId(reader.raw(32)),
        height=Height(reader.u64()),
        index=reader.u32(),
        succeeded=reader.flag(),
        code=reader.text(64),
        details=read_fields(reader),
        contract=reader.text(64),
        line=reader.u32(),
        gas_used=reader.u64(),
        value=read_value(reader),
        events=tuple(
            Event(contract=reader.text(64), name=reader.text(64), fields=read_fields(reader))
            for _ in range(reader.count(EVENTS_MAX))
        ),
    )
    reader.finish()
    return receipt
