"""Listings of a state that remember where nothing is give what plain ones would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tanpo.storage import Overlay, StateReader
from tanpo.testing import MemoryState

INDEX = b"\x01\x01"
keys = st.integers(0, 40).map(lambda number: INDEX + b"%02d" % number)
changes = st.dictionaries(keys, st.sampled_from((b"", None)), max_size=30)
scans = st.tuples(keys, keys, st.integers(1, 12))
turns = st.lists(st.one_of(changes, scans), max_size=20)


@given(st.dictionaries(keys, st.just(b"")), changes, turns)
def test_overlays_list_what_is_there_whatever_was_listed_before(
    rows: dict[bytes, bytes], first: dict[bytes, bytes | None], several: list[object]
) -> None:
    state = MemoryState()
    state.apply(rows.items())
    below = Overlay(state, first)
    overlay = Overlay(below)
    plain: dict[bytes, bytes | None] = {**rows, **first}
    for turn in several:
        if isinstance(turn, dict):
            overlay.apply(turn)
            plain.update(turn)
            continue
        assert isinstance(turn, tuple)
        start, stop, limit = turn
        there = sorted((key, value) for key, value in plain.items() if value is not None)
        assert overlay.scan(start, stop, limit) == [pair for pair in there if start <= pair[0] < stop][:limit]


class CountedState:
    """A state that counts the pairs it is asked for."""

    def __init__(self, state: StateReader) -> None:
        self.state = state
        self.pairs = 0

    def get(self, key: bytes) -> bytes | None:
        return self.state.get(key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        found = self.state.scan(start, stop, limit)
        self.pairs += len(found)
        return found


def test_what_a_block_deleted_is_stepped_over_once_however_often_and_from_wherever_it_is_listed() -> None:
    names = [INDEX + b"%06d" % number for number in range(2_001)]
    state = MemoryState()
    state.apply((name, b"") for name in names)
    counted = CountedState(state)
    overlay = Overlay(counted, dict.fromkeys(names[1:-1]))
    for limit in (2, 1, 1, 2):
        for start in (names[0], names[1_500], names[1_000], *names[999:900:-1]):
            found = overlay.scan(start, INDEX + b"\xff", limit)
            assert [key for key, _ in found] == ([names[0], names[-1]] if start == names[0] else names[-1:])[
                :limit
            ]
    assert counted.pairs < 2_500
