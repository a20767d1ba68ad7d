"""The model of agreement holds, and each rule it can lose is one of the specification (`consensus/model`)."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from model.catalogue import INSTANCES, REMOVALS
from model.run import run

pytestmark = pytest.mark.timeout(400)

CONSENSUS = Path(__file__).resolve().parent.parent.parent / "consensus"
MODEL = CONSENSUS / "model" / "agreement.pml"
RULE = re.compile(r"\b[A-Z]\d\b")
TIMEOUT_S = 380
MISUSED_CODE = 2
INTERRUPTED_CODE = 130
ENDED_S = 60

needs_spin = pytest.mark.skipif(
    shutil.which("spin") is None or shutil.which("gcc") is None,
    reason="spin or gcc is missing: apt-get install spin gcc",
)


def run_model(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "model.run", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_spin
def test_nothing_forks_with_all_rules_and_something_without_each() -> None:
    """S1, S3 to S5, R1 to R4, V5, D1, D6, D8, E3, E4; and no instance is safe because nothing happens."""
    found = json.loads(run_model("--quick"))

    assert [row["instance"] for row in found["instances"] if row["verdict"] != "agreement"] == []
    assert {row["instance"]: row["unreached"] for row in found["instances"] if row["unreached"]} == {}
    assert [row["rule"] for row in found["rules"] if row["verdict"] != "fork"] == []


@needs_spin
def test_a_fork_is_told_step_by_step() -> None:
    """S1."""
    told = run_model("--explain", "S1_DISTINCT").splitlines()

    assert told[0] == "without S1_DISTINCT: a signer counts twice in a certificate"
    assert [line for line in told[1:] if not line.startswith(("validator", "fork"))] == []
    assert len([line for line in told if line.startswith("fork")]) == len({"one block", "its rival"})


@needs_spin
@pytest.mark.parametrize("option", ["--only", "--explain"])
def test_a_name_that_nothing_has_is_refused_and_not_passed_with_nothing_explored(option: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "model.run", option, "S9_NOTHING"],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )

    assert done.returncode == MISUSED_CODE
    assert done.stderr.startswith("no ")
    assert "S9_NOTHING" in done.stderr
    assert "S1_DISTINCT" in done.stderr


@needs_spin
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_exploration_that_is_interrupted_says_so_and_leaves_no_traceback(ending: signal.Signals) -> None:
    command = [sys.executable, "-m", "model.run", "--quick"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert ": agreement, " in process.stderr.readline()

    process.send_signal(ending)

    output, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == INTERRUPTED_CODE
    assert output == ""
    assert errors.endswith("interrupted\n")
    assert "Traceback" not in errors


def test_what_a_command_started_ends_with_it_when_its_time_is_over(tmp_path: Path) -> None:
    """A linker that outlived gcc would write to the folder while it is removed."""
    os.mkfifo(tmp_path / "held")
    reader = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)

    with pytest.raises(subprocess.TimeoutExpired):
        run(["sh", "-c", "sleep 300 > held & wait"], tmp_path, timeout_s=1)

    # Nothing comes as long as anybody could still write; then the end.
    assert select.select([reader], [], [], ENDED_S)[0] == [reader]
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_missing_tools_are_named_with_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "model.run"],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        env={"PATH": ""},
    )

    assert done.returncode == MISUSED_CODE
    assert done.stderr.startswith("spin and gcc missing")
    assert "apt-get install spin gcc" in done.stderr


def test_every_rule_of_the_model_is_one_of_the_specification() -> None:
    specification = (CONSENSUS / "SPEC.md").read_text()
    specified = set(re.findall(r"^- \*\*([A-Z]\d)\*\*", specification, re.MULTILINE))
    cited = set(RULE.findall(MODEL.read_text()))

    assert cited - specified == set()
    assert {removal.name.split("_")[0] for removal in REMOVALS} <= cited


def test_every_switch_of_the_model_is_thrown() -> None:
    switches = set(re.findall(r"\bNO_([A-Z0-9_]+)", MODEL.read_text()))
    thrown = {removal.name for removal in REMOVALS if not removal.flags}

    assert switches == thrown


def test_names_in_the_catalogue_are_unique() -> None:
    names = [entry.name for entry in (*INSTANCES, *REMOVALS)]

    assert sorted(names) == sorted(set(names))
