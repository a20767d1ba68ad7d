"""The same digest on every version of Python found here, and under any hash seed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tanpo.testing.programs import find_interpreters, run_script

SCRIPT = Path(__file__).parent / "digest.py"


def compute_digest(interpreter: str, seed: str) -> str:
    result = run_script(interpreter, SCRIPT, hash_seed=seed, timeout_s=60)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("interpreter", find_interpreters().values())
@pytest.mark.parametrize("seed", ["1", "4242"])
def test_digest_is_the_same(interpreter: str, seed: str) -> None:
    assert compute_digest(interpreter, seed) == compute_digest(sys.executable, "0")
