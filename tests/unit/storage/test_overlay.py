from __future__ import annotations

from bisect import bisect_left

from tanpo.storage import Overlay


class Rows:
    """Committed state held in a dict."""

    def __init__(self, rows: dict[bytes, bytes]) -> None:
        self.rows = rows

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        keys = sorted(self.rows)
        keys = keys[bisect_left(keys, start) : bisect_left(keys, stop)][:limit]
        return [(key, self.rows[key]) for key in keys]


def test_a_write_hides_the_value_below_and_a_delete_hides_the_key() -> None:
    overlay = Overlay(Rows({b"a": b"1", b"b": b"2", b"c": b"3"}), {b"a": b"", b"b": None})
    assert [overlay.get(key) for key in (b"a", b"b", b"c", b"d")] == [b"", None, b"3", None]
    assert overlay.scan(b"a", b"z", 9) == [(b"a", b""), (b"c", b"3")]


def test_a_limited_scan_is_full_although_deletes_hide_its_first_keys() -> None:
    overlay = Overlay(Rows({b"%d" % n: b"x" for n in range(10)}), {b"0": None, b"1": None, b"2": None})
    assert [key for key, _ in overlay.scan(b"0", b"9", 3)] == [b"3", b"4", b"5"]


def test_changes_applied_after_a_scan_are_listed_in_order() -> None:
    overlay = Overlay(Rows({b"m": b"0"}))
    assert overlay.scan(b"a", b"z", 9) == [(b"m", b"0")]
    overlay.apply({b"z": b"9", b"b": b"1"})
    overlay.apply({b"b": None, b"c": b"2"})
    assert overlay.scan(b"a", b"zz", 9) == [(b"c", b"2"), (b"m", b"0"), (b"z", b"9")]
    assert dict(overlay.changes) == {b"z": b"9", b"b": None, b"c": b"2"}


def test_overlays_stack_and_can_be_moved_onto_the_state_that_absorbed_their_parent() -> None:
    rows = Rows({b"a": b"1"})
    parent = Overlay(rows, {b"a": b"2", b"b": b"2"})
    child = Overlay(parent, {b"b": b"3"})
    assert child.scan(b"", b"z", 9) == [(b"a", b"2"), (b"b", b"3")]
    rows.rows = {b"a": b"2", b"b": b"2"}
    child.rebase(rows)
    assert child.scan(b"", b"z", 9) == [(b"a", b"2"), (b"b", b"3")]
