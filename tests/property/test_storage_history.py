"""The state of every height of the window, compared with the states as they were."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.types import Height
from tanpo.storage.database import Database, scan_keys, seal
from tanpo.storage.history import STEPS_MAX, History
from tanpo.storage.layout import state_key
from tanpo.storage.tree import StateTree

WINDOW = 3
State = dict[bytes, bytes]
Changes = dict[bytes, "bytes | None"]

# Zero bytes and prefixes of each other, for what they do to the order of escaped keys.
keys = st.lists(st.sampled_from([b"\x00", b"\x01", b"a", b"\xff"]), max_size=3).map(b"".join)
values = st.one_of(st.none(), st.sampled_from([b"", b"1", b"2"]))
blocks = st.lists(st.dictionaries(keys, values, max_size=12), min_size=1, max_size=9)


class Ledger:
    """State, tree and history in one database, a block at a time."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.tree = StateTree.open(database, window=WINDOW, cache_records=100)
        self.history = History(database, self.tree)
        self.states: list[State] = []

    def commit(self, changes: Changes) -> None:
        height = Height(len(self.states))
        puts: dict[bytes, bytes] = {}
        deletes: list[bytes] = []
        for key, value in changes.items():
            stored = state_key(key)
            if value is None:
                deletes.append(stored)
            else:
                puts[stored] = seal(stored, value)
        self.history.stage(height, changes, puts, deletes)
        plan = self.tree.begin(height, changes)
        self.tree.stage(plan, puts, deletes)
        self.database.write(puts, deletes)
        self.tree.publish(plan)
        merged = {**(self.states[-1] if self.states else {}), **changes}
        self.states.append({key: value for key, value in merged.items() if value is not None})

    @property
    def held(self) -> range:
        return range(max(0, len(self.states) - 1 - WINDOW), len(self.states))


@contextmanager
def ledger_of(changes: list[Changes]) -> Iterator[Ledger]:
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(
            Path(folder) / "state", remedy="none", cache_bytes=1 << 20, write_buffer_bytes=1 << 20
        )
        ledger = Ledger(database)
        for block in changes:
            ledger.commit(block)
        yield ledger
        ledger.tree.close()
        database.close()


@settings(max_examples=60)
@given(changes=blocks, asked=st.lists(keys, min_size=1, max_size=8))
def test_each_key_has_the_value_that_it_had(changes: list[Changes], asked: list[bytes]) -> None:
    with ledger_of(changes) as ledger:
        for height in ledger.held:
            past = ledger.history.at(Height(height))
            assert {key: past.get(key) for key in asked} == {
                key: ledger.states[height].get(key) for key in asked
            }
            past.check()


@settings(max_examples=60)
@given(changes=blocks, start=keys, stop=keys, limit=st.integers(1, 9))
def test_each_range_has_the_pairs_that_it_had(
    changes: list[Changes], start: bytes, stop: bytes, limit: int
) -> None:
    with ledger_of(changes) as ledger:
        for height in ledger.held:
            rows = sorted(ledger.states[height].items())
            asked = [(key, value) for key, value in rows if start <= key < stop]
            past = ledger.history.at(Height(height))
            assert past.scan(start, stop, limit) == asked[:limit]
            assert past.scan(b"", b"\xff" * 9, 1_000) == rows


@settings(max_examples=30)
@given(changes=st.lists(st.dictionaries(keys, values, max_size=12), min_size=WINDOW + 2, max_size=9))
def test_what_leaves_the_window_leaves_nothing_behind(changes: list[Changes]) -> None:
    with ledger_of(changes) as ledger:
        oldest = ledger.held[0]
        past = ledger.history.at(Height(oldest))
        with pytest.raises(UsageError) as refusal:
            ledger.history.at(Height(oldest - 1))
        assert refusal.value.reason == Reason.HEIGHT_PRUNED
        heights = {int.from_bytes(key[-4:], "big") for key in scan_keys(ledger.database, b"V", b"X")}
        assert heights <= set(range(oldest + 1, len(changes)))
        ledger.commit({})
        with pytest.raises(UsageError):
            past.check()


def test_a_height_that_is_not_yet_there_is_refused() -> None:
    with ledger_of([{b"a": b"1"}]) as ledger, pytest.raises(UsageError) as refusal:
        ledger.history.at(Height(1))
    assert (refusal.value.reason, refusal.value.limit) == (Reason.HEIGHT_UNKNOWN, "0..0")


def test_a_listing_that_steps_over_too_much_is_void() -> None:
    added: Changes = {b"k%05d" % number: b"" for number in range(STEPS_MAX + 1)}
    with ledger_of([{b"k99999": b"1"}, added, {}]) as ledger:
        past = ledger.history.at(Height(0))
        assert past.scan(b"k05000", b"l", 1) == [(b"k99999", b"1")]
        past.check()
        past.scan(b"k0", b"l", 1)
        with pytest.raises(UsageError, match="too much of what is listed has changed since height 0"):
            past.check()
        assert past.get(b"k99999") == b"1"
