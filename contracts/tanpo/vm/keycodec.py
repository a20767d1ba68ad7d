"""How keys of the state are spelled.

A key of a `Map` and the group of an `Index` are injective: every part carries its length, so that
`("a:b", "c")` and `("a", "b:c")` differ. A member of an `Index` is spelled so that the byte order of keys is
the natural order of members: that is the order in which pages list them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tanpo.ledger.errors import CorruptState, Reason
from tanpo.vm.limits import KEY_BYTES_MAX
from tanpo.vm.outcome import Abort
from tanpo.vm.types import TupleOf, Type

Encode = Callable[[Any], bytes]
Decode = Callable[[bytes], object]
Read = Callable[[bytes, int], tuple[object, int]]

_SIGN: Final = 0x80
U8: Final = [byte.to_bytes(1, "big") for byte in range(256)]
"""Every byte: looking one up is three times as fast as spelling it."""

_ESCAPE: Final = b"\x00\xff"
_END: Final = b"\x00\x01"


def slot_prefix(contract: str, slot: str) -> bytes:
    """Return contract and slot, each with its length."""
    parts = (contract.encode("ascii"), slot.encode("ascii"))
    return b"".join(len(part).to_bytes(1, "big") + part for part in parts)


def build_key_encoder(kind: Type) -> Encode:
    """Return the injective encoding of a key type; keys that are too long abort with KEY_RANGE."""
    encoders = [_PLAIN[str(part)] for part in (kind.items if isinstance(kind, TupleOf) else (kind,))]
    if not isinstance(kind, TupleOf):
        return _bounded(encoders[0])
    if len(encoders) == 2:
        # By far the commonest: positions, and whatever else is kept per account and instrument.
        first, second = encoders
        return _bounded(lambda key: first(key[0]) + second(key[1]))
    return _bounded(lambda key: b"".join([encode(part) for encode, part in zip(encoders, key, strict=True)]))


def build_member_codec(kind: Type) -> tuple[Encode, Decode]:
    """Return the order-preserving encoding of a member type, and its reverse."""
    if not isinstance(kind, TupleOf):
        name = str(kind)
        return _bounded(_LAST_ENCODE.get(name, _ORDERED[name])), _LAST_READERS[name]
    encoders = [_ORDERED[str(part)] for part in kind.items]

    def encode_row(member: tuple[object, ...]) -> bytes:
        return b"".join([encode(part) for encode, part in zip(encoders, member, strict=True)])

    readers = [_READERS[str(part)] for part in kind.items]
    return _bounded(encode_row), lambda data: _read_row(readers, data)


def _bounded(encode: Encode) -> Encode:
    def encode_bounded(key: Any) -> bytes:
        encoded = encode(key)
        if len(encoded) > KEY_BYTES_MAX:
            raise Abort("KEY_RANGE", (("limit", KEY_BYTES_MAX), ("size", len(encoded))))
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


_PLAIN: Final[dict[str, Encode]] = {
    "int": _ordered_int,
    "bool": _plain_bool,
    "str": _plain_text,
    "bytes": _plain_bytes,
}
_ORDERED: Final[dict[str, Encode]] = {
    "int": _ordered_int,
    "bool": _plain_bool,
    "str": _ordered_text,
    "bytes": _ordered_bytes,
}
_LAST_ENCODE: Final[dict[str, Encode]] = {
    "str": lambda value: value.encode("utf-8"),
    "bytes": lambda value: value,
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


_READERS: Final[dict[str, Read]] = {
    "int": _read_int,
    "bool": _read_bool,
    "str": _read_text,
    "bytes": _read_bytes,
}
_LAST_READERS: Final[dict[str, Decode]] = {
    "int": lambda data: _read_int(data, 0)[0],
    "bool": lambda data: _read_bool(data, 0)[0],
    "str": lambda data: data.decode("utf-8"),
    "bytes": lambda data: data,
}
