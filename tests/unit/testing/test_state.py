"""The state in memory: ordered, exact, and deletions stay deleted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tanpo.testing import MemoryState

keys = st.binary(max_size=3)
changes = st.lists(st.tuples(keys, st.none() | st.binary(max_size=2)), max_size=20)


@given(changes=changes, start=keys, stop=keys, limit=st.integers(0, 5))
def test_a_scan_returns_what_a_sorted_dictionary_would(
    changes: list[tuple[bytes, bytes | None]], start: bytes, stop: bytes, limit: int
) -> None:
    state = MemoryState()
    model: dict[bytes, bytes] = {}
    for key, value in changes:
        state.apply([(key, value)])
        if value is None:
            model.pop(key, None)
        else:
            model[key] = value
    assert state.snapshot() == model
    expected = [(key, model[key]) for key in sorted(model) if start <= key < stop]
    assert state.scan(start, stop, limit) == expected[:limit]
    assert [state.get(key) for key, _ in changes] == [model.get(key) for key, _ in changes]
