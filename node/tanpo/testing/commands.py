"""The `tanpo` command as a user runs it: a process of its own, without settings of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, Final

TIMEOUT_S: Final = 150


def run_tanpo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end and return its exit code and what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TANPO_")}
    return subprocess.run(  # noqa: S603 - this Python, and arguments of a test
        [sys.executable, "-m", "tanpo.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        env=environment,
    )


def read_json(*arguments: str) -> Any:
    """Return what the command prints with `-o json`.

    Raises:
        CalledProcessError: it failed; the error holds what it printed.
    """
    done = run_tanpo(*arguments, "-o", "json")
    done.check_returncode()
    return json.loads(done.stdout)
