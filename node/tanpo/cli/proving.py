"""Keys of the state from the command line, read as the layout of the contract says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tanpo.cli.arguments import Interfaces
from tanpo.ledger.errors import Reason, TransactionRejected
from tanpo.ledger.shapes import IndexShape, MapShape, Shape, TupleShape
from tanpo.ledger.statelayout import StateLayout
from tanpo.ledger.transaction import TX_ID_BYTES
from tanpo.ledger.types import TxId
from tanpo.ledger.values import Value

_PLAIN: Final = Interfaces({})


def parse_tx_id(text: str) -> TxId:
    """Return a transaction's id. Raises `TransactionRejected` for a text that is none."""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != TX_ID_BYTES:
        raise TransactionRejected(
            Reason.MALFORMED,
            "this is no id of a transaction",
            value=text,
            limit=f"{2 * TX_ID_BYTES} hexadecimal digits",
            remedy="give the id that `tanpo tx submit -o json` printed",
        )
    return TxId(found)


def parse_key(layout: StateLayout, variable: str, parts: Sequence[str]) -> Value | None:
    """Return the key of a variable, None for one without keys.

    Raises:
        TransactionRejected: the contract has no such variable, or the parts are not those of its key.
    """
    kind = layout.get_shape(variable)
    if isinstance(kind, IndexShape):
        raise _wrong(f"{layout.contract}.{variable} is {kind}", variable, "a Map or a plain variable")
    if isinstance(kind, MapShape):
        return _parse_parts(kind.key, parts)
    if parts:
        raise _wrong(f"{layout.contract}.{variable} is {kind}, and has no keys", " ".join(parts), "no key")
    return None


def parse_group(layout: StateLayout, variable: str, parts: Sequence[str]) -> Value:
    """Return a group of an index. Raises as `parse_key`."""
    kind = layout.get_shape(variable)
    if not isinstance(kind, IndexShape):
        raise _wrong(f"{layout.contract}.{variable} is {kind}", variable, "an Index")
    return _parse_parts(kind.group, parts)


def _parse_parts(kind: Shape, parts: Sequence[str]) -> Value:
    kinds = kind.items if isinstance(kind, TupleShape) else (kind,)
    if len(kinds) != len(parts):
        raise _wrong("the key has another number of parts", len(parts), f"{len(kinds)}: {kind}")
    values = tuple(
        _PLAIN.parse_value(part, str(one), "", f"part {number}")
        for number, (one, part) in enumerate(zip(kinds, parts, strict=True), 1)
    )
    return values if isinstance(kind, TupleShape) else values[0]


def _wrong(what: str, value: object, limit: object) -> TransactionRejected:
    return TransactionRejected(
        Reason.ARGUMENT_TYPE, what, value=value, limit=limit, remedy="give a key of that type"
    )
