"""Stubs for editors: they name what the dialect names, and find mistakes where the types are wrong."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

from tanpo.cli.starting import create_contract
from tanpo.contracts import load_source
from tanpo.testing.commands import read_json_here, run_tanpo_here
from tanpo.vm.scope import RESERVED

PYTHON = {
    "int",
    "bool",
    "str",
    "bytes",
    "list",
    "dict",
    "tuple",
    "len",
    "range",
    "min",
    "max",
    "abs",
    "sorted",
}


def run_mypy(folder: Path, *files: str) -> list[str]:
    """Return what mypy says of files that take the stub's names from `dialect`."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=", "--cache-dir=.cache", "--no-error-summary", *files],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_the_stub_names_what_the_dialect_adds_to_python(tmp_path: Path) -> None:
    text = Path(read_json_here("contract", "stubs", str(tmp_path))["stubs"]).read_text()
    named = set(re.findall(r"^(?:def|class) ([A-Za-z]\w*)|^(ctx):", text, re.MULTILINE))
    dialect = {one or other for one, other in named}
    assert RESERVED - PYTHON - {"True", "False", "None"} <= dialect
    assert "members" in dialect


def test_mypy_reads_contracts_with_the_stub_and_finds_what_is_wrong(tmp_path: Path) -> None:
    contract, _ = create_contract("points", tmp_path)
    (tmp_path / "rates.py").write_text("")
    stub = Path(read_json_here("contract", "stubs", str(tmp_path))["stubs"])
    stub.rename(tmp_path / "dialect.pyi")
    handle = 'other: Contract["rates"]\n@view\ndef f() -> int:\n    return other.rate()\n'
    sources = {
        "good": contract.read_text(),
        "handle": handle,
        "members": load_source("members"),
        "bad": contract.read_text().replace("taker.points += amount", "taker.points += to"),
    }
    for name, text in sources.items():
        (tmp_path / f"c_{name}.py").write_text("from dialect import *\n" + text)
    found = run_mypy(tmp_path, *(f"c_{name}.py" for name in sources))
    assert [line.split(":")[0] for line in found] == ["c_bad.py"]
    assert "[operator]" in found[0]


def test_a_contract_named_by_a_keyword_leaves_the_stub_valid(tmp_path: Path) -> None:
    create_contract("class", tmp_path)
    create_contract("match", tmp_path)
    text = Path(read_json_here("contract", "stubs", str(tmp_path))["stubs"]).read_text()
    ast.parse(text)
    assert "class match: ..." in text


def test_a_stub_is_written_again_but_that_of_another_stays(tmp_path: Path) -> None:
    assert run_tanpo_here("contract", "stubs", str(tmp_path)).returncode == 0
    (tmp_path / "rates.py").write_text("")
    assert run_tanpo_here("contract", "stubs", str(tmp_path)).returncode == 0
    file = tmp_path / "__builtins__.pyi"
    assert "class rates: ..." in file.read_text()
    file.write_text("mine: int\n")
    done = run_tanpo_here("contract", "stubs", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n"), file.read_text()) == (2, 1, "mine: int\n")
