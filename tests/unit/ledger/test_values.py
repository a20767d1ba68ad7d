from __future__ import annotations

from typing import Any, cast

import pytest
from tanpo.ledger import (
    DEPTH_MAX,
    INT_MAX,
    INT_MIN,
    ITEMS_MAX,
    TEXT_BYTES_MAX,
    PeerFault,
    Reader,
    Reason,
    TransactionRejected,
    Value,
    Writer,
    decode_value,
    encode_value,
    read_fields,
    value_from_json,
    value_to_json,
    write_fields,
)


def nest(depth: int) -> Value:
    value: Value = 1
    for _ in range(depth):
        value = (value,)
    return value


@pytest.mark.parametrize(
    "value",
    [INT_MAX, INT_MIN, "x" * TEXT_BYTES_MAX, bytes(TEXT_BYTES_MAX), (1,) * ITEMS_MAX, nest(DEPTH_MAX)],
)
def test_value_at_the_limit_round_trips(value: Value) -> None:
    assert decode_value(encode_value(value)) == value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (INT_MAX + 1, Reason.ARGUMENT_RANGE),
        (INT_MIN - 1, Reason.ARGUMENT_RANGE),
        ("x" * (TEXT_BYTES_MAX + 1), Reason.ARGUMENT_RANGE),
        ("担" * (TEXT_BYTES_MAX // 3 + 1), Reason.ARGUMENT_RANGE),
        (bytes(TEXT_BYTES_MAX + 1), Reason.ARGUMENT_RANGE),
        ((1,) * (ITEMS_MAX + 1), Reason.ARGUMENT_RANGE),
        (nest(DEPTH_MAX + 1), Reason.ARGUMENT_RANGE),
        ("\ud800", Reason.ARGUMENT_RANGE),
        ({"\ud800": 1}, Reason.ARGUMENT_RANGE),
        ({"": 1}, Reason.ARGUMENT_RANGE),
        ({"n" * 65: 1}, Reason.ARGUMENT_RANGE),
        ({1: 2}, Reason.ARGUMENT_TYPE),
        ({1: 2, "a": 3}, Reason.ARGUMENT_TYPE),
        (1.5, Reason.ARGUMENT_TYPE),
        (None, Reason.ARGUMENT_TYPE),
        ({1, 2}, Reason.ARGUMENT_TYPE),
        ((1, [2.0]), Reason.ARGUMENT_TYPE),
        (Reason.EXPIRED, Reason.ARGUMENT_TYPE),
    ],
)
def test_value_outside_the_limits_is_refused_with_its_reason(value: object, reason: Reason) -> None:
    with pytest.raises(TransactionRejected) as caught:
        encode_value(cast("Value", value))

    assert caught.value.reason is reason
    assert caught.value.limit
    assert caught.value.remedy


def test_cyclic_value_is_refused_for_its_depth() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)

    with pytest.raises(TransactionRejected, match="nested too deep"):
        encode_value(cast("Value", cycle))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("", id="nothing"),
        pytest.param("07", id="unknown tag"),
        pytest.param("0000", id="trailing byte"),
        pytest.param("020100", id="zero in one byte"),
        pytest.param("0202007f", id="leading zeros"),
        pytest.param("0202ff80", id="leading ones"),
        pytest.param("0220" + "80" + "00" * 31, id="below the least integer"),
        pytest.param("0221" + "01" + "00" * 32, id="33 bytes of integer"),
        pytest.param("0202ff", id="integer cut short"),
        pytest.param("0201", id="integer without bytes"),
        pytest.param("03000261", id="text cut short"),
        pytest.param("03100161", id="text beyond its limit"),
        pytest.param("030001ff", id="text that is not UTF-8"),
        pytest.param("0400001001", id="bytes beyond their limit"),
        pytest.param("0401000000", id="bytes of 16 MiB"),
        pytest.param("040000000161"[:-2], id="bytes cut short"),
        pytest.param("0500001001", id="sequence beyond its limit"),
        pytest.param("0500000001", id="sequence cut short"),
        pytest.param("05" + "00000001" + ("05" + "00000001") * 8 + "00", id="nested nine deep"),
        pytest.param("0600000002" + "00016201" + "00016101", id="names that descend"),
        pytest.param("0600000002" + "00016101" + "00016101", id="a name twice"),
        pytest.param("0600000001" + "000001", id="an empty name"),
        pytest.param("0600000001" + "0041" + "61" * 65 + "01", id="a name beyond its limit"),
    ],
)
def test_bytes_that_spell_no_value_are_a_peer_fault(data: str) -> None:
    with pytest.raises(PeerFault) as caught:
        decode_value(bytes.fromhex(data))

    assert caught.value.reason is Reason.MALFORMED


def test_sequence_of_lists_and_tuples_has_one_spelling() -> None:
    assert encode_value(cast("Value", [1, [2]])) == encode_value((1, (2,)))


def test_record_has_one_spelling_whatever_its_order() -> None:
    assert encode_value({"b": 1, "a": 2}) == encode_value({"a": 2, "b": 1})


def test_written_fields_must_ascend() -> None:
    with pytest.raises(TransactionRejected, match="ascend"):
        write_fields(Writer(), (("b", 1), ("a", 2)))


def test_fields_are_read_without_what_follows_them() -> None:
    writer = Writer()
    write_fields(writer, (("a", 1), ("b", "x")))
    reader = Reader(writer.u8(9).finish())

    assert read_fields(reader) == (("a", 1), ("b", "x"))
    assert reader.u8() == 9


def test_value_round_trips_through_json() -> None:
    value: Value = {"a": (1, "x", True), "b": b"\x00\xff", "c": {"d": -(2**200)}}

    assert value_from_json(value_to_json(value)) == value


@pytest.mark.parametrize("data", [1.5, None, {"a": [None]}, {"$bytes": "xyz"}])
def test_json_that_is_no_value_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match=r"not a value|hexadecimal"):
        value_from_json(data)


def test_fields_cut_anywhere_are_refused() -> None:
    writer = Writer()
    write_fields(writer, (("a", (1, "x", b"y")), ("b", {"c": True})))
    encoded = writer.finish()

    for size in range(len(encoded)):
        with pytest.raises(PeerFault):
            read_fields(Reader(encoded[:size]))
