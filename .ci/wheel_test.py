"""Build the wheel and use it as a stranger would: in a new environment, from an empty folder.

What is packed is the sources, byte for byte. The base install is the client: it must import and show its help
without LevelDB or anything else of a node. With the node's extras every module must import. Tested again is
what an installed package finds while it runs: commands, contracts and samples that are read as files, what is
started as `python -m`, and the golden bytes. The other tests would run the same bytes as in the checkout, and
reach nothing outside themselves.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements-ci.lock"
SOURCE_ROOTS = ("consensus", "contracts", "node", "proto")
TEST_TOOLS = ("hypothesis", "pytest", "pytest-asyncio", "pytest-timeout", "pytest-xdist")
TEST_FOLDERS = ("conformance", "unit/cli", "unit/contracts", "unit/node")
TESTS = ("conformance", "unit/cli", "unit/contracts", "unit/node/test_worker_runner.py")
NEEDS_CHECKOUT = (
    "test_readme.py",
    "test_versions.py",
    "test_endings.py",
    "test_author_guides.py",
    "test_stubs.py",
    "test_second_verifier.py",
)
"""They read documents or scenarios, run the sources under Pythons that have no wheel, or need mypy."""

NODE_ONLY = ("plyvel", "prometheus_client", "grpc_health", "pytest")
BASE_PROBE = """
import importlib.util, sys
import tanpo.client, tanpo.cli, tanpo.ledger
present = [name for name in sys.argv[1:] if importlib.util.find_spec(name)]
sys.exit(f"the base install brought {present}" if present else 0)
"""
IMPORT_PROBE = """
import importlib, pkgutil, sys, tanpo
names = {one.name for one in pkgutil.walk_packages(tanpo.__path__, "tanpo.")}
contracts = {f"tanpo.contracts.{name}" for name in sys.argv[1:]}
if contracts - names:
    sys.exit(f"the wheel has no {sorted(contracts - names)}")
for name in sorted(names - contracts):
    if not name.endswith(".__main__"):
        importlib.import_module(name)
"""
CONTRACTS = ("collateral", "contracts", "instruments", "members", "settlement", "validators")
"""Sources in the dialect, which are read and never imported."""


def build_wheel(target: Path) -> Path:
    """Build this project's wheel into `target` and return its path."""
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, ROOT, folder=target)
    return next(target.glob("*.whl"))


def find_content_faults(wheel: Path) -> list[str]:
    """Return what the wheel lacks of the source roots, has beside them, and has in another state."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    sources = {
        path.relative_to(ROOT / root).as_posix(): path.read_bytes()
        for root in SOURCE_ROOTS
        for path in (ROOT / root / "tanpo").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    both = sources.keys() & packed.keys()
    return [
        *(f"not in the wheel: {name}" for name in sorted(sources.keys() - packed.keys())),
        *(f"should not be in the wheel: {name}" for name in sorted(packed.keys() - sources.keys())),
        *(f"another in the wheel: {name}" for name in sorted(both) if packed[name] != sources[name]),
    ]


def run(*command: str | Path, folder: Path) -> None:
    """Run a command in `folder`, with nothing of the checkout on its path; exit if it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    code = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
    if code != 0:
        sys.exit(f"failed with exit code {code}: {' '.join(map(str, command))}")


def check_base(python: Path, tanpo: Path, wheel: Path, folder: Path) -> None:
    """Install the wheel alone and check that it is the client and its command."""
    install(python, str(wheel), folder=folder)
    run(python, "-c", BASE_PROBE, *NODE_ONLY, folder=folder)
    started = time.monotonic()
    run(tanpo, "--help", folder=folder)
    print(f"tanpo --help took {time.monotonic() - started:.2f} s", flush=True)


def check_node(python: Path, wheel: Path, folder: Path) -> None:
    """Add the node's extras, import every module and run the tests of what is found at run time."""
    install(python, f"{wheel}[node]", *TEST_TOOLS, folder=folder)
    run(python, "-c", IMPORT_PROBE, *CONTRACTS, folder=folder)
    for name in TEST_FOLDERS:
        left_out = shutil.ignore_patterns("__pycache__", *NEEDS_CHECKOUT)
        shutil.copytree(ROOT / "tests" / name, folder / "tests" / name, ignore=left_out)
    for path in (ROOT / "pyproject.toml", ROOT / "tests" / "conftest.py"):
        shutil.copy(path, folder / path.relative_to(ROOT))
    # A folder of its own for what tests write: other runs on this machine clear the shared one up.
    own = f"--basetemp={folder / 'written'}"
    tests = [f"tests/{name}" for name in TESTS]
    run(python, "-m", "pytest", "-q", "-n", "2", "--session-timeout=900", own, *tests, folder=folder)


def install(python: Path, *requirements: str, folder: Path) -> None:
    """Install requirements at the versions of the lock file."""
    pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
    run(*pip, "--constraint", LOCK, *requirements, folder=folder)


def main() -> None:
    """Build, install and test; exit with 1 and the reason if anything is wrong."""
    with tempfile.TemporaryDirectory(prefix="tanpo-wheel-") as scratch:
        folder = Path(scratch) / "empty"
        folder.mkdir()
        wheel = build_wheel(Path(scratch))
        faults = find_content_faults(wheel)
        if faults:
            sys.exit("\n".join(faults))
        environment = Path(scratch) / "venv"
        run(sys.executable, "-m", "venv", environment, folder=folder)
        python, tanpo = environment / "bin" / "python", environment / "bin" / "tanpo"
        check_base(python, tanpo, wheel, folder)
        check_node(python, wheel, folder)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    print(f"ok     the wheel of tanpo {version} works from an empty folder")


if __name__ == "__main__":
    main()
