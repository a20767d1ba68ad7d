"""Stacked overlays against a plain dictionary."""

from __future__ import annotations

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st
from tanpo.storage import Overlay

keys = st.binary(max_size=2).map(lambda raw: bytes(byte % 3 for byte in raw))
values = st.one_of(st.none(), st.binary(max_size=1))
changes = st.dictionaries(keys, values, max_size=8)


class Rows:
    def __init__(self, rows: dict[bytes, bytes]) -> None:
        self.rows = rows

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        ordered = sorted(self.rows)
        chosen = ordered[bisect_left(ordered, start) : bisect_left(ordered, stop)][:limit]
        return [(key, self.rows[key]) for key in chosen]


@given(
    rows=st.dictionaries(keys, st.binary(max_size=1)),
    layers=st.lists(st.lists(changes, min_size=1, max_size=3), max_size=3),
    start=keys,
    stop=keys,
    limit=st.integers(0, 6),
)
def test_overlays_read_like_one_dictionary(
    rows: dict[bytes, bytes],
    layers: list[list[dict[bytes, bytes | None]]],
    start: bytes,
    stop: bytes,
    limit: int,
) -> None:
    model: dict[bytes, bytes | None] = dict(rows)
    reader: Rows | Overlay = Rows(rows)
    for layer in layers:
        reader = Overlay(reader)
        for batch in layer:
            reader.apply(batch)
            model.update(batch)
            held = {key: value for key, value in model.items() if value is not None}
            assert reader.scan(start, stop, limit) == Rows(held).scan(start, stop, limit)
            assert all(reader.get(key) == value for key, value in model.items())
