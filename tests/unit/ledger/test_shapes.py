"""Shapes of variables: what the entry of a contract spells is how its keys and values are stored."""

from __future__ import annotations

import pytest
from tanpo.contracts import PRODUCT_CONTRACTS, load_source
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.keycodec import list_parts
from tanpo.ledger.shapes import (
    DictShape,
    IndexShape,
    ListShape,
    MapShape,
    RowShape,
    Scalar,
    TupleShape,
    parse_variable,
)
from tanpo.ledger.valuecodec import build_encoder
from tanpo.vm import compile_in_order, describe_layout
from tanpo.vm.ir import IndexSlot, MapSlot
from tanpo.vm.stored import shape_of


def test_every_variable_of_the_product_is_stored_as_its_text_says() -> None:
    compiled, faults = compile_in_order({name: load_source(name) for name in PRODUCT_CONTRACTS})

    assert (set(compiled), faults) == (set(PRODUCT_CONTRACTS), {})
    for contract in compiled.values():
        for slot in contract.unit.slots:
            text = describe_layout(contract)[slot.name]
            match slot:
                case MapSlot(key=key, value=value):
                    assert parse_variable(text) == MapShape(shape_of(key), shape_of(value))
                case IndexSlot(group=group, member=member):
                    assert parse_variable(text) == IndexShape(shape_of(group), shape_of(member))
                case _:
                    assert parse_variable(text) == shape_of(slot.type)
            assert str(parse_variable(text)) == text


def test_a_shape_is_read_from_its_text() -> None:
    text = "Map[tuple[str, bytes], (a: dict[int, list[bool]], b: (), c: str)]"

    shape = parse_variable(text)

    row = RowShape(
        (
            ("a", DictShape(Scalar.INT, ListShape(Scalar.BOOL))),
            ("b", RowShape(())),
            ("c", Scalar.STR),
        )
    )
    assert shape == MapShape(TupleShape((Scalar.STR, Scalar.BYTES)), row)
    assert str(shape) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "float",
        "int ",
        " int",
        "list[int",
        "list[int]]",
        "list[]",
        "list[int, int]",
        "dict[int]",
        "tuple[int,int]",
        "tuple[]",
        "(a int)",
        "(a: int,)",
        "(: int)",
        "Map[int]",
        "Map[int, Map[int, int]]",
        "Index[str, str, str]",
        "list[" * 1_000 + "int" + "]" * 1_000,
        "(a: " * 1_000 + "int" + ")" * 1_000,
    ],
)
def test_a_text_that_spells_no_shape_is_refused(text: str) -> None:
    with pytest.raises(PeerFault):
        parse_variable(text)


@pytest.mark.parametrize("text", ["list[int]", "(a: int)", "tuple[list[int], int]", "dict[int, int]"])
def test_a_key_that_no_contract_can_have_is_refused(text: str) -> None:
    shape = parse_variable(text)
    assert not isinstance(shape, MapShape | IndexShape)
    with pytest.raises(PeerFault):
        list_parts(shape)


@pytest.mark.parametrize(
    ("text", "value"),
    [("int", 0), ("bool", False), ("str", ""), ("bytes", b""), ("list[int]", []), ("dict[int, int]", {})],
)
def test_no_value_is_stored_as_nothing(text: str, value: object) -> None:
    """Listings tell index entries from all others by that."""
    shape = parse_variable(text)
    assert not isinstance(shape, MapShape | IndexShape)
    assert build_encoder(shape)(value) != b""
