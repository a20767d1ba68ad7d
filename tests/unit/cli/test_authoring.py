"""`tanpo contract check` and `abi`: everything that is wrong with a file at once, or what it offers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tanpo.contracts import PRODUCT_CONTRACTS, load_source
from tanpo.testing.commands import read_json_here, run_tanpo, run_tanpo_here

PRICES = """
registry: Contract["members"]

@record
class Price:
    cents: int

prices: Map[str, Price]

@init
def setup(first: int) -> None:
    prices["EUR"] = Price(cents=first)

@entry
def quote(name: str, cents: int) -> None:
    require(registry.exists(member=ctx.sender), "MEMBER_UNKNOWN")
    prices[name] = Price(cents=cents)
    emit("Quoted", name=name, cents=cents)

@view
def price(name: str) -> Price:
    return prices[name]
"""
READER = """
source: Contract["prices"]

@view
def double(name: str) -> int:
    return source.price(name=name).cents * 2
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("prices.py").write_text(PRICES)
    Path("reader.py").write_text(READER)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_every_fault_is_printed_with_place_code_construct_and_remedy() -> None:
    Path("bad.py").write_text("x: float\n\n@view\ndef f(a: int) -> int:\n    return a / 2\n")
    done = run_tanpo_here("contract", "check", "bad.py", "prices.py")
    lines = done.stdout.splitlines()
    assert (done.returncode, len(lines)) == (1, 3)
    assert lines[0].startswith("bad.py:1:4: TYPE: ")
    assert lines[1].startswith("bad.py:5:12: DIVISION: ")
    assert "found: " in lines[1]
    assert lines[1].endswith("(use //, or div_round(a, b, mode))")
    assert lines[2] == "prices.py: no faults"
    shown = run_tanpo_here("contract", "check", "bad.py", "-o", "json")
    (only,) = json.loads(shown.stdout)
    assert shown.returncode == 1
    assert [(fault["line"], fault["column"], fault["code"]) for fault in only["faults"]] == [
        (1, 4, "TYPE"),
        (5, 12, "DIVISION"),
    ]


@pytest.mark.usefixtures("folder")
def test_handles_reach_the_files_given_and_the_contracts_of_the_product() -> None:
    assert run_tanpo_here("contract", "check", "prices.py").returncode == 0
    alone = run_tanpo_here("contract", "check", "reader.py")
    assert (alone.returncode, "reader.py:2:" in alone.stdout, "HANDLE" in alone.stdout) == (1, True, True)
    assert run_tanpo_here("contract", "check", "reader.py", "prices.py").returncode == 0
    Path("prices.py").rename("other.py")
    assert run_tanpo_here("contract", "check", "reader.py", "--uses", "prices=other.py").returncode == 0
    Path("other.py").write_text("nothing: int\n")
    broken = run_tanpo_here("contract", "check", "reader.py", "--uses", "prices=other.py")
    assert broken.returncode == 1
    assert "other.py:1:1: NO_ENTRY" in broken.stdout


def test_every_contract_of_the_product_passes(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.py" for name in reversed(PRODUCT_CONTRACTS)]
    for path in paths:
        path.write_text(load_source(path.stem))
    done = run_tanpo_here("contract", "check", *map(str, paths))
    assert done.stdout.splitlines() == [f"{path}: no faults" for path in paths]


@pytest.mark.usefixtures("folder")
def test_files_and_names_that_cannot_be_checked_are_misuse() -> None:
    Path("sub").mkdir()
    Path("sub/prices.py").write_text(PRICES)
    for arguments in (
        (),
        ("absent.py",),
        ("sub",),
        ("reader.py", "--uses", "prices"),
        ("reader.py", "--uses", "prices=prices.py", "--uses", "prices=sub/prices.py"),
        ("reader.py", "--uses", "prices=absent.py"),
        ("prices.py", "sub/prices.py"),
    ):
        done = run_tanpo_here("contract", "check", *arguments)
        assert (done.returncode, done.stdout) == (2, ""), arguments


@pytest.mark.usefixtures("folder")
def test_what_is_no_source_file_is_refused_at_once_with_what_it_is() -> None:
    os.mkfifo("pipe.py")
    Path("huge.py").write_bytes(b"#" * 1_000_001)
    for name, why in (("pipe.py", "no regular file"), ("huge.py", "more than 1000000 bytes")):
        for arguments in ((name,), ("reader.py", "--uses", f"prices={name}")):
            done = run_tanpo_here("contract", "check", *arguments)
            shown = " ".join(done.stderr.replace("│", " ").split())
            assert (done.returncode, done.stdout, why in shown) == (2, "", True), shown
            assert "propose" not in shown


@pytest.mark.usefixtures("folder")
def test_a_file_that_is_no_text_is_a_fault_and_not_a_traceback() -> None:
    Path("noise.py").write_bytes(bytes(range(256)))
    done = run_tanpo("contract", "check", "noise.py")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("noise.py:1:1: CONTROL_CHARACTER: ")


@pytest.mark.usefixtures("folder")
def test_the_interface_has_all_that_callers_see() -> None:
    interface = read_json_here("contract", "abi", "prices.py")
    assert interface == {
        "contract": "prices",
        "entries": [
            {
                "name": "quote",
                "parameters": [{"name": "name", "type": "str"}, {"name": "cents", "type": "int"}],
                "returns": "None",
            }
        ],
        "views": [{"name": "price", "parameters": [{"name": "name", "type": "str"}], "returns": "Price"}],
        "records": [{"name": "Price", "fields": [{"name": "cents", "type": "int"}]}],
        "events": [
            {"name": "Quoted", "fields": [{"name": "cents", "type": "int"}, {"name": "name", "type": "str"}]}
        ],
        "init": [{"name": "first", "type": "int"}],
        "imports": [{"contract": "members", "functions": ["exists"]}],
    }
    table = run_tanpo_here("contract", "abi", "prices.py").stdout
    for words in ("init @init first: int", "entry quote name: str, cents: int None", "import members exists"):
        assert words in " ".join(table.split())


@pytest.mark.usefixtures("folder")
def test_there_is_no_interface_of_what_is_no_contract() -> None:
    Path("bad.py").write_text("x: float\n")
    done = run_tanpo_here("contract", "abi", "bad.py")
    assert (done.returncode, done.stdout) == (1, "")
    assert "tanpo: bad.py:1:4: TYPE: " in done.stderr
