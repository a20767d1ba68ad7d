"""The mutants are what they claim to be, and some of them are hunted down; `make mutants` hunts them all."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SEEDS = 40
"""Enough for those below, each of which needs fewer than ten."""

ENDS_WITHIN_S = 60
"""A bound for a busy machine."""

PROGRAM = """
import runpy, subprocess, sys

class Popen(subprocess.Popen):
    def __init__(self, _, **options):
        super().__init__(hunter, **options)
        print(self.pid, flush=True)

# Whatever is to be hunted, this is what hunts.
subprocess.Popen = Popen
run, hunter = sys.argv[1], sys.argv[2:]
sys.argv = [run, "--only", "two votes at one rank", "--jobs", "1"]
runpy.run_path(run, run_name="__main__")
"""


def start_hunt(*hunter: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(HERE / "run.py"), sys.executable, *hunter]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


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


@pytest.mark.parametrize(
    ("ending", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_no_hunt_goes_on_without_the_one_who_asked_for_it(ending: signal.Signals, code: int) -> None:
    # Seeds of the code as it is: nothing ever ends this hunt.
    process = start_hunt(str(HERE / "hunt.py"), "0", "1000000000")
    assert process.stdout is not None
    hunter = os.pidfd_open(int(process.stdout.readline()))
    try:
        process.send_signal(ending)

        errors = process.communicate(timeout=ENDS_WITHIN_S)[1]

        assert select.select([hunter], [], [], ENDS_WITHIN_S)[0] == [hunter]
        assert process.returncode == code
        assert "Traceback" not in errors
    finally:
        process.kill()
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(hunter, signal.SIGKILL)
        os.close(hunter)
        process.communicate()


def test_a_hunt_that_fails_is_told_and_costs_no_other_result() -> None:
    output, errors = start_hunt("-c", "raise SystemExit('no such module')").communicate(timeout=ENDS_WITHIN_S)

    report = json.loads(output.partition("\n")[2])
    assert report["failed"] == ["two votes at one rank"]
    assert (report["caught"], report["survivors"]) == (0, [])
    assert "no such module" in report["mutants"][0]["failure"]
    assert "Traceback" not in errors
