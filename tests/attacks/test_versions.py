"""The checker says the same, word for word, on every version of Python found here and under any hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tanpo.testing.programs import find_interpreters

SCRIPT = Path(__file__).parent / "digest.py"
MUTANTS = 300


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


@pytest.mark.parametrize("interpreter", find_interpreters().values())
def test_refusals_are_the_same(interpreter: str, expected: str) -> None:
    assert compute_digest(interpreter, "4242") == expected
