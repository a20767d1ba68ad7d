"""Make `.venv` with the exact versions of the lock file and this project installed for editing.

Runs under whatever Python the machine has, so it uses the standard library only. A stamp in `.venv` names
what it was made from; nothing is done while that has not changed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / ".made-from"
LOCK = ROOT / "requirements-ci.lock"
PYTHON = VENV / "bin" / "python"
BUILDS_FROM_SOURCE = (3, 13)
"""From this Python on, LevelDB's bindings have no wheel."""


def main() -> None:
    """Make or update the environment if it is missing or stale."""
    wanted = compute_stamp()
    if STAMP.is_file() and STAMP.read_text() == wanted and runs(PYTHON):
        return
    if not runs(PYTHON):
        make_environment()
    print("installing the locked versions into .venv", flush=True)
    pip("install", "--requirement", str(LOCK))
    pip("install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    STAMP.write_text(wanted)


def compute_stamp() -> str:
    """Return a digest of everything the environment is made from."""
    digest = sha256(str(ROOT).encode())
    for path in (ROOT / "pyproject.toml", LOCK):
        digest.update(b"\0" + path.read_bytes())
    return digest.hexdigest()


def runs(python: Path) -> bool:
    """Return whether an environment's interpreter starts and has pip."""
    if not python.is_file():
        return False
    result = subprocess.run([python, "-c", "import pip"], capture_output=True, check=False)
    return result.returncode == 0


def make_environment() -> None:
    """Create `.venv`, or exit with what to install first."""
    version = "{}.{}".format(*sys.version_info[:2])
    if find_spec("ensurepip") is None or find_spec("venv") is None:
        sys.exit(
            f"{sys.executable} cannot make virtual environments: its venv module is not installed.\n"
            f"On Debian or Ubuntu, as root: apt-get install python3-venv (or python{version}-venv)"
        )
    print(f"making .venv with Python {version}", flush=True)
    call([sys.executable, "-m", "venv", "--clear", str(VENV)])


def pip(*arguments: str) -> None:
    """Run the environment's pip, quietly, and explain the usual failure."""
    try:
        call([str(PYTHON), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments])
    except subprocess.CalledProcessError as error:
        if sys.version_info >= BUILDS_FROM_SOURCE:
            print(
                "On Python 3.13 and newer plyvel builds from source. Either install Python 3.12 or 3.11,\n"
                "or on Debian, as root: apt-get install g++ libleveldb-dev python3-dev",
                file=sys.stderr,
            )
        sys.exit(error.returncode)


def call(command: list[str]) -> None:
    """Run a command with the caller's environment, less what would leak another Python into it."""
    leaks = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in leaks}
    subprocess.run(command, check=True, env=environment)


if __name__ == "__main__":
    main()
