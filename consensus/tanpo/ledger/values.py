"""Values that cross the border of a contract: arguments, results, event fields, abort details.

A value is a boolean, an integer of at most 256 bits with its sign, text, bytes, a sequence of values, or a
record (names to values). Encoded, each has one spelling; records list their fields in ascending order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from tanpo.ledger.codec import Reader, Writer, malformed
from tanpo.ledger.errors import Reason, TransactionRejected

Value: TypeAlias = "bool | int | str | bytes | tuple[Value, ...] | Mapping[str, Value]"
Fields: TypeAlias = "tuple[tuple[str, Value], ...]"

INT_MAX: Final = 2**255 - 1
INT_MIN: Final = -(2**255) + 1
TEXT_BYTES_MAX: Final = 4096
ITEMS_MAX: Final = 4096
DEPTH_MAX: Final = 8
NAME_BYTES_MAX: Final = 64

_FALSE, _TRUE, _INT, _TEXT, _BYTES, _SEQUENCE, _RECORD = range(7)


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
        writer.u8(_TRUE if value else _FALSE)
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
        write_fields(writer, tuple(sorted(value.items())), depth + 1)
    else:
        raise TransactionRejected(
            Reason.ARGUMENT_TYPE,
            f"a value of type {type(value).__name__} cannot enter a transaction",
            value=type(value).__name__,
            limit="bool, int, str, bytes, list, record",
            remedy="amounts are integers in the smallest unit; send decimals as integers or text",
        )


def read_value(reader: Reader, depth: int = 0) -> Value:
    """Read one value. `depth` counts the containers around it."""
    if depth > DEPTH_MAX:
        raise malformed("value is nested too deep", value=depth, limit=DEPTH_MAX)
    tag = reader.u8()
    match tag:
        case 0:
            return False
        case 1:
            return True
        case 2:
            return _read_int(reader)
        case 3:
            return reader.text(TEXT_BYTES_MAX)
        case 4:
            return reader.blob(TEXT_BYTES_MAX)
        case 5:
            return tuple(read_value(reader, depth + 1) for _ in range(reader.count(ITEMS_MAX)))
        case 6:
            return dict(read_fields(reader, depth + 1))
    raise malformed("unknown value tag", value=tag, limit="0..6")


def write_fields(writer: Writer, fields: Fields, depth: int = 0) -> None:
    """Append named values, which must be in strictly ascending order of name."""
    writer.u32(len(fields))
    previous = ""
    for name, value in fields:
        if not name > previous:
            raise _out_of_range("field names must ascend", name, f"greater than {previous!r}")
        _check_size("name", len(name.encode("utf-8")), NAME_BYTES_MAX)
        writer.text(name)
        write_value(writer, value, depth)
        previous = name


def read_fields(reader: Reader, depth: int = 0) -> Fields:
    """Read named values; names that do not strictly ascend are refused."""
    fields: list[tuple[str, Value]] = []
    previous = ""
    for _ in range(reader.count(ITEMS_MAX)):
        name = reader.text(NAME_BYTES_MAX)
        if not name > previous:
            raise malformed("field names must ascend", value=name, limit=f"greater than {previous!r}")
        fields.append((name, read_value(reader, depth)))
        previous = name
    return tuple(fields)


def value_to_json(value: Value) -> Any:
    """Return a value as JSON data: bytes become `{"$bytes": hex}`, sequences lists."""
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
    writer.u8(_INT).u8(size).raw(value.to_bytes(size, "big", signed=True))


def _read_int(reader: Reader) -> int:
    size = reader.u8()
    raw = reader.raw(size)
    value = int.from_bytes(raw, "big", signed=True)
    if not INT_MIN <= value <= INT_MAX:
        raise malformed("integer out of range", value=f"{size} bytes", limit="255 bits and a sign")
    if raw == b"\x00" or (size > 1 and raw[0] in (0x00, 0xFF) and raw[0] >> 7 == raw[1] >> 7):
        raise malformed("integer is not in its shortest form", value=f"{size} bytes")
    return value


def _write_text(writer: Writer, value: str) -> None:
    try:
        encoded = value.encode("utf-8")
    except UnicodeEncodeError:
        raise _out_of_range("text holds a lone surrogate", repr(value), "valid Unicode") from None
    _check_size("text", len(encoded), TEXT_BYTES_MAX)
    writer.u8(_TEXT).u16(len(encoded)).raw(encoded)


def _check_size(what: str, size: int, size_max: int) -> None:
    if size > size_max:
        raise _out_of_range(f"{what} too long", size, size_max)


def _out_of_range(what: str, value: object, limit: object) -> TransactionRejected:
    return TransactionRejected(Reason.ARGUMENT_RANGE, what, value=value, limit=limit, remedy="send less")
