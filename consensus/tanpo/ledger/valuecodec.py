"""How values of the state are spelled: by their declared type, one spelling each.

int     size u8, then two's complement in as few bytes as possible      bool    one byte, 0 or 1
str     length u16, UTF-8                                              bytes   length u16, raw
list    count u16, items          dict   count u16, pairs in ascending order of key
tuple, record   the parts one after the other
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tanpo.ledger.errors import CorruptState, Reason
from tanpo.ledger.keycodec import U8
from tanpo.ledger.shapes import DictShape, ListShape, RowShape, Scalar, Shape, TupleShape
from tanpo.ledger.values import ITEMS_MAX, TEXT_BYTES_MAX

Encode = Callable[[Any], bytes]
Read = Callable[[bytes, int], tuple[Any, int]]


_U16: Final = [size.to_bytes(2, "big") for size in range(max(TEXT_BYTES_MAX, ITEMS_MAX) + 1)]
"""Every count and size, as `U8`."""


def build_encoder(kind: Shape) -> Encode:
    """Return a function that spells values of this type."""
    match kind:
        case RowShape(fields=fields):
            return _row_encoder([build_encoder(part) for _, part in fields])
        case TupleShape(items=items):
            return _row_encoder([build_encoder(part) for part in items])
        case ListShape(item=item):
            return _list_encoder(build_encoder(item))
        case DictShape(key=key, value=value):
            each = _list_encoder(_row_encoder([build_encoder(key), build_encoder(value)]))
            return lambda entries: each(sorted(entries.items(), key=_first))
    return _ENCODERS[kind]


def build_decoder(kind: Shape) -> Callable[[bytes], object]:
    """Return the reverse of `build_encoder`. Bytes that are no spelling raise `CorruptState`."""
    read = _build_reader(kind)

    def decode(data: bytes) -> object:
        try:
            value, stop = read(data, 0)
        except (IndexError, UnicodeDecodeError):
            stop, value = -1, None
        if stop != len(data):
            raise CorruptState(Reason.DATA_CORRUPT, f"stored value is no {kind}", value=data[:32].hex())
        return value

    return decode


def _first(pair: tuple[Any, object]) -> Any:
    return pair[0]


def _encode_int(number: int) -> bytes:
    if number == 0:
        return b"\x00"
    size = ((~number if number < 0 else number).bit_length() + 8) // 8
    return U8[size] + number.to_bytes(size, "big", signed=True)


def _encode_bool(value: bool) -> bytes:
    return b"\x01" if value else b"\x00"


def _encode_text(value: str) -> bytes:
    encoded = value.encode("utf-8")
    return _U16[len(encoded)] + encoded


def _encode_bytes(raw: bytes) -> bytes:
    return _U16[len(raw)] + raw


_ENCODERS: Final[dict[Scalar, Encode]] = {
    Scalar.INT: _encode_int,
    Scalar.BOOL: _encode_bool,
    Scalar.STR: _encode_text,
    Scalar.BYTES: _encode_bytes,
}


def _row_encoder(parts: list[Encode]) -> Encode:
    if len(parts) == 1:
        one = parts[0]
        return lambda row: one(row[0])

    def encode(row: list[object] | tuple[object, ...]) -> bytes:
        return b"".join([part(item) for part, item in zip(parts, row, strict=True)])

    return encode


def _list_encoder(each: Encode) -> Encode:
    def encode(items: list[object]) -> bytes:
        encoded = [each(item) for item in items]
        return _U16[len(encoded)] + b"".join(encoded)

    return encode


def _build_reader(kind: Shape) -> Read:
    match kind:
        case RowShape(fields=fields):
            return _list_reader([_build_reader(part) for _, part in fields])
        case TupleShape(items=items):
            row = _list_reader([_build_reader(part) for part in items])
            return lambda data, position: _as_tuple(row(data, position))
        case ListShape(item=item):
            return (_ITEMS_READERS.get(item) if isinstance(item, Scalar) else None) or _items_reader(
                _build_reader(item)
            )
        case DictShape(key=key, value=value):
            return _pairs_reader(_build_reader(key), _build_reader(value))
    return _READERS[kind]


def _as_tuple(result: tuple[list[object], int]) -> tuple[object, int]:
    return tuple(result[0]), result[1]


def _read_int(data: bytes, position: int) -> tuple[object, int]:
    stop = position + 1 + data[position]
    return int.from_bytes(data[position + 1 : stop], "big", signed=True), stop


def _read_bool(data: bytes, position: int) -> tuple[object, int]:
    return data[position] == 1, position + 1


def _read_text(data: bytes, position: int) -> tuple[object, int]:
    stop = position + 2 + (data[position] << 8 | data[position + 1])
    return data[position + 2 : stop].decode("utf-8"), stop


def _read_bytes(data: bytes, position: int) -> tuple[object, int]:
    stop = position + 2 + (data[position] << 8 | data[position + 1])
    return data[position + 2 : stop], stop


_READERS: Final[dict[Scalar, Read]] = {
    Scalar.INT: _read_int,
    Scalar.BOOL: _read_bool,
    Scalar.STR: _read_text,
    Scalar.BYTES: _read_bytes,
}


def _list_reader(parts: list[Read]) -> Read:
    if len(parts) == 1:
        one = parts[0]

        def read_one(data: bytes, position: int) -> tuple[object, int]:
            value, position = one(data, position)
            return [value], position

        return read_one

    def read(data: bytes, position: int) -> tuple[object, int]:
        row: list[object] = []
        for part in parts:
            value, position = part(data, position)
            row.append(value)
        return row, position

    return read


def _items_reader(each: Read) -> Read:
    def read(data: bytes, position: int) -> tuple[object, int]:
        items: list[object] = []
        count = data[position] << 8 | data[position + 1]
        position += 2
        for _ in range(count):
            value, position = each(data, position)
            items.append(value)
        return items, position

    return read


def _pairs_reader(read_key: Read, read_value: Read) -> Read:
    def read(data: bytes, position: int) -> tuple[object, int]:
        entries: dict[object, object] = {}
        count = data[position] << 8 | data[position + 1]
        position += 2
        for _ in range(count):
            key, position = read_key(data, position)
            entries[key], position = read_value(data, position)
        return entries, position

    return read


def _read_ints(data: bytes, position: int) -> tuple[object, int]:
    items: list[int] = []
    count = data[position] << 8 | data[position + 1]
    position += 2
    for _ in range(count):
        start = position + 1
        position = start + data[position]
        items.append(int.from_bytes(data[start:position], "big", signed=True))
    return items, position


def _read_texts(data: bytes, position: int) -> tuple[object, int]:
    items: list[str] = []
    count = data[position] << 8 | data[position + 1]
    position += 2
    for _ in range(count):
        start = position + 2
        position = start + (data[position] << 8 | data[position + 1])
        items.append(data[start:position].decode("utf-8"))
    return items, position


_ITEMS_READERS: Final[dict[Scalar, Read]] = {Scalar.INT: _read_ints, Scalar.STR: _read_texts}
"""Lists of the commonest items, read without a call for each of them: twice as fast."""
