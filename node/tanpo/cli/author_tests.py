"""Runs tests of contracts with pytest, in a process of its own; reads how they ended and what they spent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from tanpo.ledger.errors import Reason, UsageError

_PLUGIN: Final = "tanpo.testing.gas_report"
_NO_TESTS: Final = 5
"""The exit code of pytest when it has found none."""

_FAILURES_SHOWN: Final = 3

_QUIET: Final = 'ignore:The configuration option "asyncio_default_fixture_loop_scope"'
"""A plugin of pytest, if it is installed, would begin every run with its advice on a setting of its own."""


def run_tests(paths: Sequence[Path]) -> int:
    """Run tests, with their output and the gas report on our stdout, and return the exit code of pytest.

    Raises:
        UsageError: pytest is not installed.
    """
    return subprocess.run(_build_command(paths), check=False).returncode  # noqa: S603 - this Python


def report_tests(paths: Sequence[Path]) -> dict[str, Any]:
    """Run tests in silence and return how each ended and what their calls spent, whether they pass or not.

    `passed` tells whether all did; `tests` holds `test`, `outcome` and `reason` of each, `gas` what
    `measure_gas` returns.

    Raises:
        UsageError: pytest is not installed, found no tests, or did not come to run them.
    """
    done, report = _run_silently(paths)
    if report is None:
        raise UsageError(
            Reason.CONFIGURATION,
            "the tests did not run",
            value=_tell_failures(done),
            remedy="run `tanpo contract test` on the same path without -o json, and see why",
        )
    return {"passed": done.returncode == 0, **report}


def measure_gas(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Run tests in silence and return what their calls spent, a row for each entry point.

    Raises:
        UsageError: pytest is not installed, or the tests do not pass; `value` is then the last of its output.
    """
    done, report = _run_silently(paths)
    if done.returncode != 0 or report is None:
        raise UsageError(
            Reason.CONFIGURATION,
            "there is no gas report of tests that do not pass",
            value=_tell_failures(done),
            remedy="run `tanpo contract test` on the same path, and see why",
        )
    rows: list[dict[str, Any]] = report["gas"]
    return rows


def _run_silently(paths: Sequence[Path]) -> tuple[subprocess.CompletedProcess[str], dict[str, Any] | None]:
    """Run tests and return how pytest ended, and the report of the plugin if it came to write one."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        command = [*_build_command(paths), "-q", "--tanpo-report-file", str(file)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - this Python
        if done.returncode == _NO_TESTS:
            raise UsageError(
                Reason.MISUSE,
                "there are no tests",
                value=", ".join(map(str, paths)),
                limit="files test_*.py or *_test.py with functions test_*",
                remedy="name the files or folders that hold them; `tanpo contract new` writes some",
            )
        report: dict[str, Any] | None = (
            json.loads(file.read_text(encoding="ascii")) if file.is_file() else None
        )
    return done, report


def _tell_failures(done: subprocess.CompletedProcess[str]) -> str:
    """Return the first tests that did not pass, and the line in which pytest counts them, or refuses."""
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines() or [f"exit code {done.returncode}"]
    # What follows the dash is as long as the values compared, where CI is set in the environment.
    named = [line.partition(" - ")[0] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    more = [f"and {len(named) - _FAILURES_SHOWN} more"] if len(named) > _FAILURES_SHOWN else []
    # Settings that it refuses are followed by where they stand.
    refused = [line for line in lines if " error: " in line]
    return "; ".join([*named[:_FAILURES_SHOWN], *more, (refused or lines)[-1]])


def _build_command(paths: Sequence[Path]) -> list[str]:
    if find_spec("pytest") is None:
        raise UsageError(
            Reason.CONFIGURATION,
            "tests of contracts run with pytest, which is not installed for this Python",
            value=sys.executable,
            remedy="install it beside tanpo: pip install pytest",
        )
    # Calls are counted in the process that runs the tests: there is to be one.
    alone = ["-n", "0"] if find_spec("xdist") else []
    # Without -P, a contract json.py in the current folder would be what pytest imports as json.
    return [sys.executable, "-P", "-W", _QUIET, "-m", "pytest", "-p", _PLUGIN, *alone, *map(str, paths)]
