"""The checker says the same, word for word, on every version of Python found here and under any hash seed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tanpo.testing.programs import find_interpreters, run_script

SCRIPT = Path(__file__).parent / "digest.py"
MUTANTS = 300


def collect_refusals(interpreter: str, seed: str) -> str:
    result = run_script(interpreter, SCRIPT, str(MUTANTS), hash_seed=seed, timeout_s=110)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def expected() -> str:
    return collect_refusals(sys.executable, "0")


@pytest.mark.parametrize("interpreter", find_interpreters().values())
def test_refusals_are_the_same(interpreter: str, expected: str) -> None:
    assert collect_refusals(interpreter, "4242") == expected
