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
from tanpo.vm.types import BOOL, BYTES, INT, STR, TupleOf, Type

Encode = Callable[[Any], bytes]
Decode = Callable[[bytes], object]

_SIGN: Final = 0x80
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
        return _bounded(_LAST_ENCODE.get(name, _ORDERED[name])), lambda data: _read_last(kind, data)
    encoders = [_ORDERED[str(part)] for part in kind.items]

    def encode_row(member: tuple[object, ...]) -> bytes:
        return b"".join([encode(part) for encode, part in zip(encoders, member, strict=True)])

    return _bounded(encode_row), lambda data: _read_row(kind.items, data)


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
    magnitude = abs(number).to_bytes(size, "big")
    if number >= 0:
        return bytes((_SIGN + size,)) + magnitude
    return bytes((_SIGN - 1 - size,)) + bytes(255 - byte for byte in magnitude)


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


def _read_last(kind: Type, data: bytes) -> object:
    if kind == STR:
        return data.decode("utf-8")
    if kind == BYTES:
        return data
    return _read_part(kind, data, 0)[0]


def _read_row(kinds: tuple[Type, ...], data: bytes) -> tuple[object, ...]:
    parts: list[object] = []
    position = 0
    for kind in kinds:
        part, position = _read_part(kind, data, position)
        parts.append(part)
    if position != len(data):
        raise CorruptState(Reason.DATA_CORRUPT, "index entry is longer than its type", value=data.hex())
    return tuple(parts)


def _read_part(kind: Type, data: bytes, position: int) -> tuple[object, int]:
    if kind == BOOL:
        return data[position] == 1, position + 1
    if kind == INT:
        first = data[position]
        size = first - _SIGN if first >= _SIGN else _SIGN - 1 - first
        stop = position + 1 + size
        raw = data[position + 1 : stop]
        if first >= _SIGN:
            return int.from_bytes(raw, "big"), stop
        return -int.from_bytes(bytes(255 - byte for byte in raw), "big"), stop
    stop = position
    while data[stop : stop + 2] != _END:
        stop += 2 if data[stop : stop + 2] == _ESCAPE else 1
        if stop >= len(data):
            raise CorruptState(Reason.DATA_CORRUPT, "index entry is cut short", value=data.hex())
    raw = data[position:stop].replace(_ESCAPE, b"\x00")
    return (raw.decode("utf-8") if kind == STR else raw), stop + 2
