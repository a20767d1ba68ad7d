"""The order of contracts by their handles."""

from __future__ import annotations

import pytest
from tanpo.vm import compile_in_order, find_ways_back, sort_by_handles

VIEW = "@view\ndef f() -> int:\n    return 1\n"


def test_each_comes_after_those_it_has_handles_of_and_by_name_otherwise() -> None:
    handles = {"d": ["b"], "b": ["a", "absent"], "c": (), "a": ()}
    assert sort_by_handles(handles) == (["a", "c", "b", "d"], [])


def test_those_that_need_each_other_are_told_with_those_behind_them() -> None:
    handles = {"a": ["b"], "b": ["a"], "c": ["b"], "d": ()}
    assert sort_by_handles(handles) == (["d"], ["a", "b", "c"])


@pytest.mark.parametrize(
    ("others", "found"),
    [
        ({"b": ["a"], "c": []}, ("b",)),
        ({"b": ["d"], "d": ["a"], "c": ["b"]}, ("b", "c")),
        ({"b": ["c"], "c": ["b"]}, ()),
        ({}, ()),
    ],
)
def test_handles_that_lead_back_are_found_through_others(
    others: dict[str, list[str]], found: tuple[str, ...]
) -> None:
    assert find_ways_back("a", ("b", "c"), others) == found


def test_sources_compile_in_any_order_and_what_does_not_has_its_faults() -> None:
    sources = {
        "c": f'b: Contract["b"]\n{VIEW}',
        "b": f'a: Contract["a"]\n{VIEW}',
        "a": VIEW,
        "lost": f'gone: Contract["gone"]\n{VIEW}',
        "broken": "x: float\n" + VIEW,
    }
    compiled, faults = compile_in_order(sources)
    assert (sorted(compiled), sorted(faults)) == (["a", "b", "c"], ["broken", "lost"])
    assert [fault.code for fault in faults["lost"]] == ["HANDLE"]
