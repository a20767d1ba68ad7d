"""Run every check that needs no network and no running node, and say at the end which of them failed."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sysconfig.get_path("scripts"))

CHECKS = (
    ("format", ("ruff", "format", "--check", "--quiet", ".")),
    ("lint", ("ruff", "check", "--quiet", ".")),
    ("types", ("mypy",)),
    ("layers", ("lint-imports", "--no-logo")),
    ("generated code", ("python", ".ci/generate_protos.py", "--check")),
    ("layout and sizes", ("pytest", "-q", "tests/architecture")),
)


def main() -> None:
    """Run the checks in order; exit with 1 if any failed."""
    failed = []
    for name, (program, *arguments) in CHECKS:
        started = time.monotonic()
        code = subprocess.run([BIN / program, *arguments], cwd=ROOT, check=False).returncode
        print(f"{'ok' if code == 0 else 'FAILED':6} {name} ({time.monotonic() - started:.1f} s)", flush=True)
        if code != 0:
            failed.append(name)
    if failed:
        sys.exit("failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
