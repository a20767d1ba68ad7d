"""`tanpo contract test` and `gas`: tests of contracts, and what their calls spent."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tanpo.cli.author_tests import measure_gas
from tanpo.cli.starting import create_contract
from tanpo.testing import GasUse
from tanpo.testing.commands import read_json_here, run_tanpo, run_tanpo_here
from tanpo.testing.gas_report import summarise_gas


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """A folder with a contract and its tests, and settings of pytest that are its own."""
    create_contract("points", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def test_gas_is_summed_up_by_entry_point_and_failures_are_apart() -> None:
    uses = [
        GasUse(contract=contract, entry=entry, gas=gas, code=code)
        for contract, entry, gas, code in (
            ("b", "x", 5, ""),
            ("a", "y", 30, ""),
            ("a", "y", 10, ""),
            ("a", "y", 20, ""),
            ("a", "y", 1, "TOO_MUCH"),
            ("a", "z", 7, "NEVER"),
        )
    ]
    found = [
        (one.contract, one.entry, one.calls, one.failed, one.gas_min, one.gas_median, one.gas_max)
        for one in summarise_gas(uses)
    ]
    assert found == [("a", "y", 3, 1, 10, 20, 30), ("a", "z", 0, 1, 0, 0, 0), ("b", "x", 1, 0, 5, 5, 5)]


def test_tests_run_and_end_with_the_gas_of_each_entry_point(points: Path) -> None:
    done = run_tanpo("contract", "test", str(points))
    assert (done.returncode, "6 passed" in done.stdout) == (0, True), done.stdout + done.stderr
    assert "DeprecationWarning" not in done.stdout + done.stderr
    headings, *rows = (
        line.split() for line in done.stdout.partition("gas by entry point")[2].splitlines()[1:5]
    )
    assert headings == ["contract", "entry", "calls", "failed", "min", "median", "max"]
    assert [row[:4] for row in rows] == [
        ["points", "@init", "5", "1"],
        ["points", "account", "2", "0"],
        ["points", "give", "1", "4"],
    ]
    found = read_json_here("contract", "gas", str(points))
    assert [[str(value) for value in one.values()] for one in found] == rows
    assert min(one["gas_min"] for one in found) > 0


@pytest.mark.parametrize("ci", ["", "true"])
def test_tests_that_fail_are_told_and_have_no_report(
    points: Path, monkeypatch: pytest.MonkeyPatch, ci: str
) -> None:
    monkeypatch.setenv("CI", ci)
    file = points / "points.py"
    file.write_text(file.read_text().replace("taker.points += amount", "taker.points += 1"))
    assert run_tanpo("contract", "test", str(points)).returncode == 1
    done = run_tanpo_here("contract", "gas", str(points))
    assert (done.returncode, done.stdout) == (1, "")
    assert "1 failed, 5 passed" in done.stderr
    assert "test_points.py::test_points_go_from_the_allowance_of_the_giver_to_the_other" in done.stderr
    assert run_tanpo_here("contract", "gas", str(points / "absent")).returncode == 2


def test_as_json_it_is_told_how_each_test_ended_and_why(points: Path) -> None:
    found = read_json_here("contract", "test", str(points))
    assert (found["passed"], [one["outcome"] for one in found["tests"]]) == (True, ["passed"] * 6)
    assert {one["reason"] for one in found["tests"]} == {""}
    assert [(row["entry"], row["calls"]) for row in found["gas"]] == [
        ("@init", 5),
        ("account", 2),
        ("give", 1),
    ]

    (points / "test_more.py").write_text(_MORE_TESTS)
    (points / "test_open.py").write_text("(")
    done = run_tanpo_here("contract", "test", str(points / "test_more.py"), "-o", "json")
    report = json.loads(done.stdout)
    assert (done.returncode, done.stderr, report["passed"]) == (1, "", False)
    told = {(one["test"].rpartition("::")[2], one["outcome"]): one["reason"] for one in report["tests"]}
    assert sorted(told) == [
        ("test_fails", "failed"),
        ("test_is_not_cleaned_up", "error"),
        ("test_is_not_cleaned_up", "passed"),
        ("test_is_skipped", "skipped"),
    ]
    assert "ContractRefused" in told["test_fails", "failed"]
    assert told["test_is_skipped", "skipped"] == "Skipped: not today"
    done = run_tanpo_here("contract", "test", str(points), "-o", "json")
    (broken,) = (one for one in json.loads(done.stdout)["tests"] if "test_open.py" in one["test"])
    assert (done.returncode, broken["outcome"]) == (1, "error")
    assert "SyntaxError" in broken["reason"]


_MORE_TESTS = """
import pytest
from tanpo.testing import Ledger

@pytest.fixture
def unclean():
    yield
    raise OSError

def test_is_not_cleaned_up(unclean):
    pass

@pytest.mark.skip(reason="not today")
def test_is_skipped():
    pass

def test_fails():
    Ledger().deploy("points", source="x: float")
"""


def test_tests_that_cannot_run_give_one_error_as_json_too(points: Path) -> None:
    (points / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    for command in ("test", "gas"):
        done = run_tanpo_here("contract", command, str(points), "-o", "json")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert "--no-such-option" in done.stderr


@pytest.mark.parametrize("command", ["gas", "test"])
def test_where_there_are_no_tests_it_says_so(tmp_path: Path, command: str) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = run_tanpo_here("contract", command, str(tmp_path), "-o", "json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there are no tests" in done.stderr
    assert str(tmp_path) in done.stderr


def test_without_pytest_the_remedy_is_named(points: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As Python marks a module that cannot be imported.
    monkeypatch.setitem(sys.modules, "pytest", None)
    for command in ("test", "gas"):
        done = run_tanpo_here("contract", command, str(points))
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "pip install pytest" in done.stderr


def test_a_contract_named_like_a_module_of_python_hides_it_from_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_contract("json", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(tmp_path)
    assert {row["contract"] for row in measure_gas([Path()])} == {"json"}
