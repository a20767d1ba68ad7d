"""Keys and values of the state: one spelling each, injective keys, members in their natural order."""

from __future__ import annotations

import pytest
from tanpo.ledger.errors import CorruptState
from tanpo.vm.keycodec import build_key_encoder, build_member_codec
from tanpo.vm.outcome import Abort
from tanpo.vm.types import BOOL, BYTES, INT, STR, DictOf, ListOf, Record, TupleOf, Type
from tanpo.vm.valuecodec import build_decoder, build_encoder

PAIR = TupleOf((STR, INT))


@pytest.mark.parametrize(
    ("kind", "value", "spelled"),
    [
        (INT, 0, "00"),
        (INT, 127, "017f"),
        (INT, 128, "020080"),
        (INT, -1, "01ff"),
        (INT, -128, "0180"),
        (INT, -129, "02ff7f"),
        (BOOL, True, "01"),
        (STR, "é", "0002c3a9"),
        (BYTES, b"\x00", "000100"),
        (ListOf(INT), [1, 0], "0002010100"),
        (DictOf(STR, BOOL), {"b": True, "a": False}, "000200016100" + "00016201"),
        (PAIR, ("a", 1), "0001610101"),
        (TupleOf((TupleOf((STR,)),)), (("a",),), "000161"),
        (Record("t", "R", (("a", TupleOf((ListOf(INT),))),)), [([1, 0],)], "0002010100"),
        (Record("t", "R", (("a", INT), ("b", ListOf(STR)))), [5, ["x"]], "01050001000178"),
    ],
)
def test_value_has_one_spelling_and_comes_back(kind: Type, value: object, spelled: str) -> None:
    encoded = build_encoder(kind)(value)
    assert encoded.hex() == spelled
    assert build_decoder(kind)(encoded) == value


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (INT, ""),
        (INT, "0201"),
        (INT, "010100"),
        (STR, "0002c3"),
        (STR, "0001ff"),
        (ListOf(INT), "000201"),
        (PAIR, ""),
    ],
)
def test_stored_bytes_that_spell_nothing_stop_the_node(kind: Type, data: str) -> None:
    with pytest.raises(CorruptState):
        build_decoder(kind)(bytes.fromhex(data))


def test_keys_of_parts_are_injective() -> None:
    encode = build_key_encoder(TupleOf((STR, STR, BYTES)))
    keys = [("a:b", "c", b""), ("a", "b:c", b""), ("a", "b", b":c"), ("", "ab", b"c"), ("a\x00", "b", b"c")]
    assert len({encode(key) for key in keys}) == len(keys)


def test_key_that_is_too_long_aborts() -> None:
    with pytest.raises(Abort, match="KEY_RANGE"):
        build_key_encoder(STR)("a" * 511)
    assert len(build_key_encoder(STR)("a" * 510)) == 512


ORDERED: list[tuple[Type, list[object]]] = [
    (INT, [-(2**200), -70000, -256, -255, -2, -1, 0, 1, 2, 255, 256, 70000, 2**200]),
    (STR, ["", "\x00", "a", "a\x00", "aa", "b", "é", "\U0001f600"]),
    (BYTES, [b"", b"\x00", b"\x00\xff", b"\x01", b"\xff", b"\xff\xff"]),
    (PAIR, [("", 5), ("a", -1), ("a", 3), ("a\x00", 0), ("a\x00\x01", 0), ("aa", -9), ("b", 0)]),
    (
        TupleOf((BOOL, BYTES)),
        [(False, b"z"), (True, b""), (True, b"\x00"), (True, b"\x00\xff"), (True, b"\x01")],
    ),
]


@pytest.mark.parametrize(("kind", "members"), ORDERED)
def test_members_are_spelled_in_their_natural_order_and_come_back(kind: Type, members: list[object]) -> None:
    encode, decode = build_member_codec(kind)
    spelled = [encode(member) for member in members]
    assert spelled == sorted(spelled)
    assert len(set(spelled)) == len(spelled)
    assert [decode(data) for data in spelled] == members


def test_members_that_are_cut_short_or_too_long_are_corrupt() -> None:
    encode, decode = build_member_codec(PAIR)
    spelled = encode(("a\x00\x01", -300))
    assert decode(spelled) == ("a\x00\x01", -300)
    for damaged in (b"a", b"a\x00\xff\x01", spelled + b"\x00"):
        with pytest.raises((CorruptState, IndexError)):
            decode(damaged)
