"""Runs the tests of contracts with pytest, in a process of its own, and reads what their calls spent."""

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


def run_tests(paths: Sequence[Path]) -> int:
    """Run tests, with their output and the gas report on our stdout, and return the exit code of pytest.

    Raises:
        UsageError: pytest is not installed.
    """
    return subprocess.run(_build_command(paths), check=False).returncode  # noqa: S603 - this Python


def measure_gas(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Run tests in silence and return what their calls spent, a row for each entry point.

    Raises:
        UsageError: pytest is not installed, or the tests do not pass; `value` is then the last of its output.
    """
    with TemporaryDirectory() as folder:
        report = Path(folder) / "gas.json"
        command = [*_build_command(paths), "-q", "--tanpo-gas-file", str(report)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - this Python
        if done.returncode != 0:
            shown = (done.stdout.strip() or done.stderr.strip()).splitlines() or [
                f"exit code {done.returncode}"
            ]
            raise UsageError(
                Reason.CONFIGURATION,
                "there is no gas report of tests that do not pass",
                value=shown[-1],
                remedy="run `tanpo contract test` on the same path, and see why",
            )
        rows: list[dict[str, Any]] = json.loads(report.read_text(encoding="ascii"))
    return rows


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
    return [sys.executable, "-P", "-m", "pytest", "-p", _PLUGIN, *alone, *map(str, paths)]
