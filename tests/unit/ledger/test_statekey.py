from __future__ import annotations

import pytest
from tanpo.ledger import digit, group_of, index_key, path_of


def test_member_of_an_index_stands_in_its_group() -> None:
    assert group_of(index_key(b"holders|DE", b"bank-1")) == b"holders|DE"


def test_members_of_a_group_share_the_first_16_bits_of_their_paths() -> None:
    paths = [path_of(index_key(b"holders", member)) for member in (b"a", b"b", b"c")]

    assert len({path[:2] for path in paths}) == 1
    assert len({path[2:] for path in paths}) == 3


def test_group_and_member_cannot_be_confused() -> None:
    assert index_key(b"ab", b"c") != index_key(b"a", b"bc")


@pytest.mark.parametrize("key", [b"", b"\x01", b"\x01\x01\x00", b"\x01\x00\x00\x01abc", b"\x02\x00name"])
def test_ordinary_key_has_no_group(key: bytes) -> None:
    assert group_of(key) == b""


def test_digits_of_a_path_run_from_the_most_significant_bits() -> None:
    path = bytes([0b00_01_10_11]) + bytes(30) + bytes([0b11_10_01_00])

    assert [digit(path, depth) for depth in (0, 1, 2, 3, 124, 125, 126, 127)] == [0, 1, 2, 3, 3, 2, 1, 0]
