"""The mutants are what they claim to be, and some of them are hunted down; `make mutants` hunts them all."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SEEDS = 40
"""Enough for those below, each of which needs fewer than ten."""


def run(*arguments: str) -> Any:
    command = [sys.executable, str(HERE / "run.py"), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode in (0, 1), result.stderr
    return json.loads(result.stdout)


def test_every_mutant_changes_the_code_and_breaks_a_rule_of_the_specification() -> None:
    rules = set(re.findall(r"\*\*([A-Z][0-9])\*\*", (ROOT / "consensus" / "SPEC.md").read_text()))

    mutants = run("--list")

    assert len(mutants) >= 20
    assert len({mutant["name"] for mutant in mutants}) == len(mutants)
    assert {mutant["rule"] for mutant in mutants} <= rules
    assert min(mutant["edits"] for mutant in mutants) >= 1


@pytest.mark.parametrize(
    "name",
    [
        "vote after the timeout of the term",
        "two votes at one rank",
        "the vote leaves before it is durable",
    ],
)
def test_a_missing_rule_is_noticed(name: str) -> None:
    report = run("--only", name, "--seeds", str(SEEDS), "--jobs", "1")

    assert report["survivors"] == []
    assert report["mutants"][0]["checker"]


def test_a_name_that_no_mutant_has_is_refused() -> None:
    command = [sys.executable, str(HERE / "run.py"), "--only", "no such mutant"]

    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert result.returncode == 2
    assert result.stderr.startswith("no mutant 'no such mutant'")
