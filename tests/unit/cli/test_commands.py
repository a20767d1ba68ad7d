"""The command line: help without heavy imports, keys, and errors as one line."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

HEAVY = ("grpc", "cryptography", "google.protobuf", "plyvel", "pydantic", "rich", "tanpo.ledger")


def run_tanpo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tanpo.cli", *arguments], capture_output=True, text=True, check=False
    )


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "sys.argv = ['tanpo', '--help']\n"
        "from tanpo.cli import main\n"
        "try:\n    main()\n"
        "finally:\n"
        f"    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == "[]\n"
    for command in ("net", "demo", "tx", "query", "node", "key", "bench", "sim"):
        assert f"  {command}" in done.stdout


def test_a_key_is_generated_for_its_owner_only_and_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "dealer.key"
    made = run_tanpo("key", "generate", str(file), "-o", "json")
    assert made.returncode == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    shown = run_tanpo("key", "show", str(file), "-o", "json")
    assert json.loads(shown.stdout) == json.loads(made.stdout)
    before = file.read_bytes()
    again = run_tanpo("key", "generate", str(file))
    assert again.returncode == 1
    assert again.stdout == ""
    assert again.stderr.startswith("tanpo: CONFIGURATION: ")
    assert again.stderr.count("\n") == 1
    assert file.read_bytes() == before


def test_a_folder_without_a_network_is_one_line_on_stderr(tmp_path: Path) -> None:
    done = run_tanpo("net", "status", "--dir", str(tmp_path), "-o", "json")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("tanpo: NOT_FOUND: there is no network in this folder; value: ")
    assert done.stderr.count("\n") == 1


def test_a_wrong_option_is_misuse() -> None:
    done = run_tanpo("net", "up", "--members", "3")
    assert done.returncode == 2
    assert "--members" in done.stderr


def test_a_node_without_a_configuration_says_why(tmp_path: Path) -> None:
    done = run_tanpo("node", "run", str(tmp_path / "node.toml"))
    assert done.returncode == 2
    assert json.loads(done.stderr.splitlines()[-1])["reason"] == "CONFIGURATION"
