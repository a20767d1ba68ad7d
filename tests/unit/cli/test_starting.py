"""`tanpo contract new`: a contract that passes its own tests from the first minute."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tanpo.testing.commands import read_json_here, run_tanpo_here


def run_pytest(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the tests of a folder as its author does: in a process of their own, without our settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment,
    )


def test_what_it_writes_is_a_contract_and_passes_its_tests_until_it_is_broken(tmp_path: Path) -> None:
    made = read_json_here("contract", "new", "my-points", "--dir", str(tmp_path / "deep" / "er"))
    contract, tests = Path(made["contract"]), Path(made["tests"])
    assert (contract.name, tests.name) == ("my-points.py", "test_my_points.py")
    assert run_tanpo_here("contract", "check", str(contract)).returncode == 0
    passed = run_pytest(contract.parent)
    assert (passed.returncode, "6 passed" in passed.stdout) == (0, True), passed.stdout
    contract.write_text(contract.read_text().replace("giver.allowance -= amount", "giver.allowance -= 0"))
    failed = run_pytest(contract.parent)
    assert (failed.returncode, "1 failed" in failed.stdout) == (1, True), failed.stdout


@pytest.mark.parametrize("there", ["points.py", "test_points.py"])
def test_nothing_is_overwritten_or_half_written(there: str, tmp_path: Path) -> None:
    (tmp_path / there).write_text("mine")
    done = run_tanpo_here("contract", "new", "points", "--dir", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert str(tmp_path / there) in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["", "Points", "../points", "a" * 49, "members", "test_points", "points_test"]
)
def test_a_name_that_cannot_be_is_refused(name: str, tmp_path: Path) -> None:
    done = run_tanpo_here("contract", "new", name, "--dir", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert (name or "an empty name") in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_is_one_line_on_stderr(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_tanpo_here("contract", "new", "points", "--dir", str(tmp_path / "file" / "below"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
