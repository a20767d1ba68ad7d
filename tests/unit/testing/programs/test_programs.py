"""Random programs: what they reach, that both engines and CPython agree, and how a difference is shown."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tanpo.testing.programs import (
    Bench,
    compare_interpreters,
    find_interpreters,
    run_chunk,
    shrink,
    write_program,
)
from tanpo.testing.programs.constructs import list_constructs
from tanpo.testing.programs.prelude import NAMES, div_round
from tanpo.vm import ENGINES
from tanpo.vm.closures import expressions

RUNTIME_CODES = {
    *("OUT_OF_GAS", "INT_OVERFLOW", "DIV_ZERO", "KEY", "INDEX", "VALUE_SIZE", "SHIFT_RANGE", "KEY_RANGE"),
    *("STATE_MISSING", "INT_PARSE", "REENTRANT", "CALL_DEPTH"),
}


def test_engines_and_cpython_agree_on_programs_that_reach_everything() -> None:
    found = run_chunk(0, 1_600, 8)
    document = found.describe()
    assert found.differing == 0, json.dumps(document["differences"], indent=2)
    assert found.plain > 150
    assert document["constructs_never_seen"] == []
    assert set(found.codes) >= RUNTIME_CODES
    assert found.codes["success"] > found.calls // 2


def test_types_that_nest_as_deep_as_the_language_allows_are_not_nested_further() -> None:
    deepest = 9_063_364  # Its type `dict[bool, dict[bool, dict[str, list[int]]]]` fits in no list.
    assert run_chunk(deepest, 1, 8).differing == 0


def test_a_construct_that_never_turns_up_is_listed() -> None:
    never_seen = run_chunk(0, 4, 0).describe()["constructs_never_seen"]
    assert isinstance(never_seen, list)
    assert 0 < len(never_seen) < len(list_constructs())


def test_a_seed_always_gives_the_same_program() -> None:
    assert write_program(7).write() == write_program(7).write()
    assert write_program(7).steps == write_program(7).steps
    assert write_program(7).write() != write_program(8).write()


def test_every_python_found_gives_the_same_digest() -> None:
    digests = run_chunk(300, 40, 0).digests
    results = compare_interpreters(300, 40, digests)
    assert len(results) == 2 * len(find_interpreters())
    assert [result for result in results if result.get("same") is not True] == []


@pytest.mark.parametrize("seed", [1_011_452, 1_084_964])
def test_comprehension_that_changes_what_it_runs_over_means_the_same_on_cpython(seed: int) -> None:
    """It runs over the items that were there when it began; CPython would run over what is left of them."""
    trial = Bench().try_program(write_program(seed), with_python=True)
    assert trial.difference == ""


def test_another_digest_is_a_difference_between_interpreters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tanpo.testing.programs.interpreters.find_interpreters", lambda: {"here": sys.executable}
    )
    results = compare_interpreters(300, 1, ["another"])
    assert [(result["same"], result["first_chunk_that_differs"]) for result in results] == [(False, 0)] * 2


def test_interpreter_that_cannot_run_is_skipped_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "python3.99"
    broken.write_text("#!/bin/sh\necho no such module >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(
        "tanpo.testing.programs.interpreters.find_interpreters", lambda: {"3.99": str(broken)}
    )
    assert compare_interpreters(0, 1, ["x"])[0] == {
        "python": "3.99",
        "hash_seed": "1",
        "skipped": "no such module",
    }


def test_difference_is_shrunk_to_what_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = expressions._checked(lambda left, right: left - right + 1)
    monkeypatch.setitem(expressions.OPERATIONS, "int.sub", wrong)
    bench = Bench()
    seed = next(
        seed for seed in range(1_000) if bench.try_program(write_program(seed), with_python=False).difference
    )
    smallest, trial = shrink(bench, write_program(seed))
    assert trial.difference
    assert "-" in smallest.write()
    assert 2 * len(smallest.write().splitlines()) < len(write_program(seed).write().splitlines())


def test_cpython_contradicts_both_engines_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NAMES, "div_round", lambda a, b, mode: div_round(a, b, mode) + 1)
    bench = Bench()
    differences = [bench.try_program(write_program(seed), with_python=True).difference for seed in range(400)]
    assert any("CPython" in difference for difference in differences)


def test_fault_in_both_engines_is_found_by_cpython(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(expressions.OPERATIONS, "int.max", expressions._plain(min))
    closures = Bench({"closures": ENGINES["closures"]})
    differences = [
        closures.try_program(write_program(seed), with_python=True).difference for seed in range(400)
    ]
    assert any("CPython" in difference for difference in differences)


def test_command_prints_json_and_succeeds() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tanpo.testing.programs", "--programs", "30", "--first", "5", "--jobs", "2"],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    document = json.loads(ran.stdout)
    assert (document["programs"], document["first"], document["programs_that_differ"]) == (30, 5, 0)
    assert document["digest"] == run_chunk(5, 30, 4).describe()["digest"]
