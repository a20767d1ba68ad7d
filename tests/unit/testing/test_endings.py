"""Programs of the bench that are interrupted, ended or not read to the end say so without a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCENARIOS = Path(__file__).resolve().parent.parent.parent / "scenario"
ENDS_WITHIN_S = 60
INTERRUPTED = 130
UNREAD = 141
MISUSED = 2


def start_scenarios(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tanpo.testing.scenario", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_program_that_is_interrupted_says_so_on_one_line(ending: signal.Signals) -> None:
    process = start_scenarios(str(SCENARIOS))
    assert process.stdout is not None
    process.stdout.readline()

    process.send_signal(ending)

    assert process.communicate(timeout=ENDS_WITHIN_S)[1] == "interrupted\n"
    assert process.returncode == INTERRUPTED


def test_a_program_whose_reader_leaves_ends_in_silence() -> None:
    with start_scenarios(str(SCENARIOS)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()

        assert process.stderr.read() == ""
        assert process.wait(timeout=ENDS_WITHIN_S) == UNREAD


def test_a_path_without_scenarios_is_misuse(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.scenario"):
        process = start_scenarios(str(path))

        assert process.communicate(timeout=ENDS_WITHIN_S) == ("", f"no scenario files here: {path}\n")
        assert process.returncode == MISUSED
