"""The checker says the same, word for word, on every version of Python found here and under any hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "digest.py"
MUTANTS = 300


def find_interpreters() -> list[str]:
    """Return this interpreter, and of every later version that the machine offers one."""
    found = {f"{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    for path in sorted((Path.home() / ".pyenv" / "versions").glob("3.*/bin/python")):
        version = path.parts[-3].rpartition(".")[0]
        if version.startswith("3.") and int(version.split(".")[1]) >= 11:
            found.setdefault(version, str(path))
    return list(found.values())


def compute_digest(interpreter: str, seed: str) -> str:
    """Run the script under an interpreter and a hash seed."""
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        [interpreter, "-W", "error", str(SCRIPT), str(MUTANTS)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=110,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def expected() -> str:
    return compute_digest(sys.executable, "0")


@pytest.mark.parametrize("interpreter", find_interpreters())
def test_refusals_are_the_same(interpreter: str, expected: str) -> None:
    assert compute_digest(interpreter, "4242") == expected
