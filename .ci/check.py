"""Run every check that needs no network and no running node, and say at the end which of them failed."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sysconfig.get_path("scripts"))

AT_ONCE = 2
"""Types and layout take nearly all of the time, and a core each."""

CHECKS = (
    ("format", ("ruff", "format", "--check", "--quiet", ".")),
    ("lint", ("ruff", "check", "--quiet", ".")),
    ("types", ("mypy",)),
    ("layers", ("lint-imports", "--no-logo")),
    ("generated code", ("python", ".ci/generate_protos.py", "--check")),
    ("layout and sizes", ("pytest", "-q", "tests/architecture")),
)


def run(command: tuple[str, ...]) -> tuple[int, str, float]:
    """Run a check; return its exit code, all that it printed, and how many seconds it took."""
    started = time.monotonic()
    program, *arguments = command
    done = subprocess.run(
        [BIN / program, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, time.monotonic() - started


def main() -> None:
    """Run the checks, and tell of them in order; exit with 1 if any failed."""
    failed = []
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        results = pool.map(run, (command for _, command in CHECKS))
        for (name, _), (code, printed, seconds) in zip(CHECKS, results, strict=True):
            print(f"{printed}{'ok' if code == 0 else 'FAILED':6} {name} ({seconds:.1f} s)", flush=True)
            if code != 0:
                failed.append(name)
    if failed:
        sys.exit("failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
