"""How keys of the state are spelled: by contracts that write them, and by clients that have them proved.

A key of a `Map` and the group of an `Index` are injective: every part carries its length, so that
`("a:b", "c")` and `("a", "b:c")` differ. A member of an `Index` is spelled so that the byte order of keys is
the natural order of members: that is the order in which pages list them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tanpo.ledger.codec import malformed
from tanpo.ledger.errors import CorruptState, Reason
from tanpo.ledger.shapes import Scalar, Shape, TupleShape
from tanpo.ledger.statekey import KIND_PLAIN, SPACE_CONTRACT

Encode = Callable[[Any], bytes]
Decode = Callable[[bytes], object]
Read = Callable[[bytes, int], tuple[object, int]]
Refuse = Callable[[int], Exception]
"""Makes the error for a key, group or member of that many bytes, which are too many."""

KEY_PART_BYTES_MAX: Final = 512
"""Longest encoded key, group or member; leaves room for contract and slot in a state key."""

_SIGN: Final = 0x80
U8: Final = [byte.to_bytes(1, "big") for byte in range(256)]
"""Every byte: looking one up is three times as fast as spelling it."""

_ESCAPE: Final = b"\x00\xff"
_END: Final = b"\x00\x01"


def slot_prefix(contract: str, slot: str) -> bytes:
    """Return contract and slot, each with its length."""
    parts = (contract.encode("ascii"), slot.encode("ascii"))
    return b"".join(len(part).to_bytes(1, "big") + part for part in parts)


def plain_prefix(contract: str, slot: str) -> bytes:
    """Return what the state keys of a plain variable or `Map` begin with; the encoded key follows."""
    return U8[SPACE_CONTRACT] + U8[KIND_PLAIN] + slot_prefix(contract, slot)


def index_group(prefix: bytes, spelled: bytes) -> bytes:
    """Return the group of an `Index`: its `slot_prefix`, and the encoded value with its length."""
    return prefix + len(spelled).to_bytes(2, "big") + spelled


def build_key_encoder(kind: Shape, refuse: Refuse) -> Encode:
    """Return the injective encoding of a key type; keys that are too long raise what `refuse` makes."""
    encoders = [_PLAIN[part] for part in list_parts(kind)]
    if not isinstance(kind, TupleShape):
        return _bounded(encoders[0], refuse)
    if len(encoders) == 2:
        # By far the commonest: positions, and whatever else is kept per account and instrument.
        first, second = encoders
        return _bounded(lambda key: first(key[0]) + second(key[1]), refuse)
    return _bounded(
        lambda key: b"".join([encode(part) for encode, part in zip(encoders, key, strict=True)]), refuse
    )


def build_member_codec(kind: Shape, refuse: Refuse) -> tuple[Encode, Decode]:
    """Return the order-preserving encoding of a member type, and its reverse."""
    parts = list_parts(kind)
    if not isinstance(kind, TupleShape):
        return _bounded(_LAST_ENCODE.get(parts[0], _ORDERED[parts[0]]), refuse), _LAST_READERS[parts[0]]
    encoders = [_ORDERED[part] for part in parts]

    def encode_row(member: tuple[object, ...]) -> bytes:
        return b"".join([encode(part) for encode, part in zip(encoders, member, strict=True)])

    readers = [_READERS[part] for part in parts]
    return _bounded(encode_row, refuse), lambda data: _read_row(readers, data)


def list_parts(kind: Shape) -> tuple[Scalar, ...]:
    """Return the scalars that a key, group or member consists of: one, or those of a tuple.

    Raises:
        PeerFault: it holds something else, which no contract can have for a key.
    """
    parts = kind.items if isinstance(kind, TupleShape) else (kind,)
    scalars = tuple(part for part in parts if isinstance(part, Scalar))
    if len(scalars) != len(parts) or not parts:
        raise malformed("a key is neither a scalar nor a tuple of scalars", value=str(kind))
    return scalars


def _bounded(encode: Encode, refuse: Refuse) -> Encode:
    def encode_bounded(key: Any) -> bytes:
        encoded = encode(key)
        if len(encoded) > KEY_PART_BYTES_MAX:
            raise refuse(len(encoded))
        return encoded

    return encode_bounded


def _plain_text(value: str) -> bytes:
    encoded = value.encode("utf-8")
    return len(encoded).to_bytes(2, "big") + encoded


def _plain_bytes(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def _plain_bool(value: bool) -> bytes:
    return b"\x01" if value else b"\x00"


def _ordered_int(number: int) -> bytes:
    size = (abs(number).bit_length() + 7) // 8
    if number >= 0:
        return U8[_SIGN + size] + number.to_bytes(size, "big")
    # Every bit of the magnitude turned over, so that the larger one comes first.
    return U8[_SIGN - 1 - size] + ((1 << 8 * size) - 1 + number).to_bytes(size, "big")


def _ordered_text(value: str) -> bytes:
    return _ordered_bytes(value.encode("utf-8"))


def _ordered_bytes(value: bytes) -> bytes:
    return value.replace(b"\x00", _ESCAPE) + _END


_PLAIN: Final[dict[Scalar, Encode]] = {
    Scalar.INT: _ordered_int,
    Scalar.BOOL: _plain_bool,
    Scalar.STR: _plain_text,
    Scalar.BYTES: _plain_bytes,
}
_ORDERED: Final[dict[Scalar, Encode]] = {
    Scalar.INT: _ordered_int,
    Scalar.BOOL: _plain_bool,
    Scalar.STR: _ordered_text,
    Scalar.BYTES: _ordered_bytes,
}
_LAST_ENCODE: Final[dict[Scalar, Encode]] = {
    Scalar.STR: lambda value: value.encode("utf-8"),
    Scalar.BYTES: lambda value: value,
}


def _read_row(parts: list[Read], data: bytes) -> tuple[object, ...]:
    row: list[object] = []
    position = 0
    for read in parts:
        part, position = read(data, position)
        row.append(part)
    if position != len(data):
        raise CorruptState(Reason.DATA_CORRUPT, "index entry is longer than its type", value=data.hex())
    return tuple(row)


def _read_int(data: bytes, position: int) -> tuple[object, int]:
    first = data[position]
    if first >= _SIGN:
        stop = position + 1 + first - _SIGN
        return int.from_bytes(data[position + 1 : stop], "big"), stop
    size = _SIGN - 1 - first
    stop = position + 1 + size
    return int.from_bytes(data[position + 1 : stop], "big") + 1 - (1 << 8 * size), stop


def _read_bool(data: bytes, position: int) -> tuple[object, int]:
    return data[position] == 1, position + 1


def _read_text(data: bytes, position: int) -> tuple[object, int]:
    raw, stop = _read_bytes(data, position)
    return raw.decode("utf-8"), stop


def _read_bytes(data: bytes, position: int) -> tuple[bytes, int]:
    # A zero byte begins an escape or the end, and never is the second byte of either.
    stop = data.find(_END, position)
    if stop < 0:
        raise CorruptState(Reason.DATA_CORRUPT, "index entry is cut short", value=data.hex())
    return data[position:stop].replace(_ESCAPE, b"\x00"), stop + 2


_READERS: Final[dict[Scalar, Read]] = {
    Scalar.INT: _read_int,
    Scalar.BOOL: _read_bool,
    Scalar.STR: _read_text,
    Scalar.BYTES: _read_bytes,
}
_LAST_READERS: Final[dict[Scalar, Decode]] = {
    Scalar.INT: lambda data: _read_int(data, 0)[0],
    Scalar.BOOL: lambda data: _read_bool(data, 0)[0],
    Scalar.STR: lambda data: data.decode("utf-8"),
    Scalar.BYTES: lambda data: data,
}
