"""Values that cross the border of a contract: arguments, results, event fields, abort details.

A value is a boolean, an integer of at most 256 bits with its sign, text, bytes, a sequence of values, or a
record (names to values). Encoded, each has one spelling; records list their fields in ascending order.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

from tanpo.ledger.codec import Reader, Writer, malformed
from tanpo.ledger.errors import PeerFault, Reason, TransactionRejected

Value: TypeAlias = "bool | int | str | bytes | tuple[Value, ...] | Mapping[str, Value]"
Fields: TypeAlias = "tuple[tuple[str, Value], ...]"

INT_MAX: Final = 2**255 - 1
INT_MIN: Final = -(2**255) + 1
INT_BYTES_MAX: Final = 32
TEXT_BYTES_MAX: Final = 4096
ITEMS_MAX: Final = 4096
DEPTH_MAX: Final = 8
NAME_BYTES_MAX: Final = 64

_FALSE, _TRUE, _INT, _TEXT, _BYTES, _SEQUENCE, _RECORD = range(7)
_FALSE_TAG, _TRUE_TAG, _TEXT_TAG = bytes((_FALSE,)), bytes((_TRUE,)), bytes((_TEXT,))


def encode_value(value: Value) -> bytes:
    """Return the canonical encoding of one value.

    Raises:
        TransactionRejected: the value is outside the limits of this module, or of another type.
    """
    writer = Writer()
    write_value(writer, value)
    return writer.finish()


def decode_value(data: bytes) -> Value:
    """Return the value that `data` spells. Raises `PeerFault` for any bytes that spell none."""
    reader = Reader(data)
    value = read_value(reader)
    reader.finish()
    return value


def write_value(writer: Writer, value: Value, depth: int = 0) -> None:
    """Append one value. `depth` counts the containers around it."""
    if depth > DEPTH_MAX:
        raise _out_of_range("value is nested too deep", depth, DEPTH_MAX)
    if value is True or value is False:
        writer.raw(_TRUE_TAG if value else _FALSE_TAG)
    elif type(value) is int:
        _write_int(writer, value)
    elif type(value) is str:
        _write_text(writer, value)
    elif type(value) is bytes:
        _check_size("bytes", len(value), TEXT_BYTES_MAX)
        writer.u8(_BYTES).blob(value)
    elif isinstance(value, tuple | list):
        _check_size("sequence", len(value), ITEMS_MAX)
        writer.u8(_SEQUENCE).u32(len(value))
        for item in value:
            write_value(writer, item, depth + 1)
    elif isinstance(value, Mapping):
        _check_size("record", len(value), ITEMS_MAX)
        writer.u8(_RECORD)
        write_fields(writer, sort_fields(value), depth + 1)
    else:
        raise _wrong_type("value", value, "bool, int, str, bytes, list, record")


def sort_fields(values: Mapping[str, Value]) -> Fields:
    """Return named values in ascending order of name.

    Raises:
        TransactionRejected: a name is not text.
    """
    for name in values:
        if type(name) is not str:
            raise _wrong_type("name", name, "str")
    return tuple(sorted(values.items(), key=_name_of))


def read_value(reader: Reader, depth: int = 0) -> Value:
    """Read one value. `depth` counts the containers around it."""
    try:
        value, position = _scan_value(reader.data, reader.position, depth)
    except IndexError:
        raise _truncated(reader) from None
    if position > len(reader.data):
        raise _truncated(reader)
    reader.position = position
    return value


def write_fields(writer: Writer, fields: Fields, depth: int = 0) -> None:
    """Append named values, which must be in strictly ascending order of name."""
    writer.u32(len(fields))
    previous = ""
    for name, value in fields:
        if not name > previous:
            raise _out_of_range("field names must ascend", name, f"greater than {previous!r}")
        writer.raw(_spell_name(name))
        write_value(writer, value, depth)
        previous = name


def read_fields(reader: Reader, depth: int = 0) -> Fields:
    """Read named values; names that do not strictly ascend are refused."""
    try:
        fields, position = _scan_fields(reader.data, reader.position, depth)
    except IndexError:
        raise _truncated(reader) from None
    if position > len(reader.data):
        raise _truncated(reader)
    reader.position = position
    return tuple(fields)


def value_to_json(value: Value) -> Any:
    """Return a value as JSON data: bytes become `{"$bytes": hex}`, sequences lists.

    A record whose one name is `$bytes` would read back as bytes; the dialect allows no such name.
    """
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, tuple | list):
        return [value_to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {name: value_to_json(item) for name, item in value.items()}
    return value


def value_from_json(data: Any) -> Value:
    """Return the value that `value_to_json` wrote. Raises `ValueError` for floats and nulls."""
    if isinstance(data, dict):
        if set(data) == {"$bytes"}:
            return bytes.fromhex(data["$bytes"])
        return {str(name): value_from_json(item) for name, item in data.items()}
    if isinstance(data, list):
        return tuple(value_from_json(item) for item in data)
    if isinstance(data, bool | int | str):
        return data
    raise ValueError(f"{data!r} is not a value: use integers, text, booleans, lists, objects")


def _write_int(writer: Writer, value: int) -> None:
    if not INT_MIN <= value <= INT_MAX:
        raise _out_of_range("integer out of range", f"{value.bit_length()} bits", "255 bits and a sign")
    # Two's complement: -128 fits one byte although 128 needs two, hence the complement of a negative.
    size = 0 if value == 0 else ((~value if value < 0 else value).bit_length() + 8) // 8
    writer.raw(bytes((_INT, size)) + value.to_bytes(size, "big", signed=True))


# Arguments are most of a transaction, and every node decodes every transaction: the four functions below scan
# them in place. An index beyond the end raises IndexError; a slice beyond it comes out short, and then so
# does every later one, until the caller finds the position behind the end and refuses the whole.


def _scan_value(data: bytes, position: int, depth: int) -> tuple[Value, int]:
    if depth > DEPTH_MAX:
        raise malformed("value is nested too deep", value=depth, limit=DEPTH_MAX)
    tag = data[position]
    if tag == _TEXT:
        return _scan_text(data, position + 1, TEXT_BYTES_MAX)
    if tag == _INT:
        return _scan_int(data, position + 1)
    if tag == _RECORD:
        fields, position = _scan_fields(data, position + 1, depth + 1)
        return dict(fields), position
    if tag == _SEQUENCE:
        return _scan_sequence(data, position + 1, depth + 1)
    if tag == _BYTES:
        start = position + 5
        stop = start + _scan_count(data, position + 1, TEXT_BYTES_MAX, "bytes too long")
        return data[start:stop], stop
    if tag > _RECORD:
        raise malformed("unknown value tag", value=tag, limit="0..6")
    return tag == _TRUE, position + 1


def _scan_text(data: bytes, position: int, size_max: int) -> tuple[str, int]:
    size = data[position] << 8 | data[position + 1]
    if size > size_max:
        raise malformed("text too long", value=size, limit=size_max)
    start = position + 2
    stop = start + size
    try:
        return data[start:stop].decode(), stop
    except UnicodeDecodeError:
        raise malformed("text is not UTF-8") from None


def _scan_int(data: bytes, position: int) -> tuple[int, int]:
    size = data[position]
    start = position + 1
    stop = start + size
    value = int.from_bytes(data[start:stop], "big", signed=True)
    if size > 1:
        first = data[start]
        if (first == 0x00 or first == 0xFF) and first >> 7 == data[start + 1] >> 7:
            raise malformed("integer is not in its shortest form", value=f"{size} bytes")
        if size > INT_BYTES_MAX or value < INT_MIN:
            raise malformed("integer out of range", value=f"{size} bytes", limit="255 bits and a sign")
    elif size == 1 and value == 0:
        raise malformed("integer is not in its shortest form", value="1 byte")
    return value, stop


def _scan_sequence(data: bytes, position: int, depth: int) -> tuple[tuple[Value, ...], int]:
    count = _scan_count(data, position, ITEMS_MAX, "too many items")
    position += 4
    items: list[Value] = []
    for _ in range(count):
        item, position = _scan_value(data, position, depth)
        items.append(item)
    return tuple(items), position


def _scan_fields(data: bytes, position: int, depth: int) -> tuple[list[tuple[str, Value]], int]:
    count = _scan_count(data, position, ITEMS_MAX, "too many items")
    position += 4
    fields: list[tuple[str, Value]] = []
    previous = ""
    for _ in range(count):
        name, position = _scan_text(data, position, NAME_BYTES_MAX)
        if not name > previous:
            raise malformed("field names must ascend", value=name, limit=f"greater than {previous!r}")
        value, position = _scan_value(data, position, depth)
        fields.append((name, value))
        previous = name
    return fields, position


def _scan_count(data: bytes, position: int, count_max: int, what: str) -> int:
    # Two bytes hold every count in bounds; the upper two must then be zero.
    count = data[position + 2] << 8 | data[position + 3]
    if data[position] or data[position + 1] or count > count_max:
        count = int.from_bytes(data[position : position + 4], "big")
        raise malformed(what, value=count, limit=count_max)
    return count


def _truncated(reader: Reader) -> PeerFault:
    return malformed("truncated", value=f"{len(reader.data)} bytes", limit="every field whole")


def _write_text(writer: Writer, value: str) -> None:
    encoded = _encode_text(value)
    _check_size("text", len(encoded), TEXT_BYTES_MAX)
    writer.raw(_TEXT_TAG + len(encoded).to_bytes(2, "big") + encoded)


@lru_cache(maxsize=4096)
def _spell_name(name: str) -> bytes:
    encoded = _encode_text(name)
    _check_size("name", len(encoded), NAME_BYTES_MAX)
    return len(encoded).to_bytes(2, "big") + encoded


def _encode_text(value: str) -> bytes:
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        raise _out_of_range("text holds a lone surrogate", repr(value), "valid Unicode") from None


def _name_of(field: tuple[str, Value]) -> str:
    return field[0]


def _check_size(what: str, size: int, size_max: int) -> None:
    if size > size_max:
        raise _out_of_range(f"{what} too long", size, size_max)


def _out_of_range(what: str, value: object, limit: object) -> TransactionRejected:
    return TransactionRejected(Reason.ARGUMENT_RANGE, what, value=value, limit=limit, remedy="send less")


def _wrong_type(what: str, value: object, limit: str) -> TransactionRejected:
    return TransactionRejected(
        Reason.ARGUMENT_TYPE,
        f"a {what} of type {type(value).__name__} cannot enter a transaction",
        value=type(value).__name__,
        limit=limit,
        remedy="amounts are integers in the smallest unit; send decimals as integers or text",
    )
