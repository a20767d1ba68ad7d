"""The `tanpo` command as a user runs it: a process of its own, without settings of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
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


def run_tanpo_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as `run_tanpo` does, but in this process: a second less for each."""
    from tanpo.cli.output import Reporting
    from tanpo.cli.root import app

    out, err, code = StringIO(), StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            with Reporting():
                app(arguments, prog_name="tanpo")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def read_json_here(*arguments: str) -> Any:
    """Return what the command prints with `-o json`, run in this process. Raises as `read_json` does."""
    done = run_tanpo_here(*arguments, "-o", "json")
    done.check_returncode()
    return json.loads(done.stdout)


def read_json(*arguments: str) -> Any:
    """Return what the command prints with `-o json`.

    Raises:
        CalledProcessError: it failed; the error holds what it printed.
    """
    done = run_tanpo(*arguments, "-o", "json")
    done.check_returncode()
    return json.loads(done.stdout)
