"""The same digest on every version of Python found here, and under any hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tanpo.testing.programs import find_interpreters

SCRIPT = Path(__file__).parent / "digest.py"


def compute_digest(interpreter: str, seed: str) -> str:
    """Run the script under an interpreter and a hash seed."""
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        [interpreter, "-W", "error", str(SCRIPT)], capture_output=True, text=True, env=environment, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize("interpreter", find_interpreters().values())
@pytest.mark.parametrize("seed", ["1", "4242"])
def test_digest_is_the_same(interpreter: str, seed: str) -> None:
    assert compute_digest(interpreter, seed) == compute_digest(sys.executable, "0")
