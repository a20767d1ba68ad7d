"""Errors of the disk at some of the places where a node writes; `make faults` tries all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tanpo.testing.disk_faults import Call, choose, judge_trace

KINDS = "9"


@pytest.mark.timeout(180)
def test_a_process_that_meets_an_error_of_the_disk_ends_and_has_lost_nothing() -> None:
    command = (sys.executable, "-m", "tanpo.testing.disk_faults", str(Path(__file__).parent))
    done = subprocess.run(
        (*command, "--each", "1", "--kinds", KINDS), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["runs"] == report["ended"] == int(KINDS)


def make_call(number: int, name: str, path: str, *, has_failed: bool = False) -> Call:
    return Call(number=number, name=name, has_failed=has_failed, path=path)


def test_a_sync_that_is_tried_again_is_found_out() -> None:
    calls = [make_call(1, "sync", "/guard", has_failed=True), make_call(2, "sync", "/network")]
    assert judge_trace(calls) == []
    assert judge_trace([*calls, make_call(3, "write", "/guard")])
    assert judge_trace([*calls, make_call(3, "sync", "/guard")])


def test_calls_of_every_kind_are_chosen_from_first_to_last() -> None:
    calls = [make_call(number, "write", f"/state/{number:06d}.log") for number in range(1, 10)]
    calls.append(make_call(10, "sync", "/guard"))
    assert [call.number for call in choose(calls, 1)] == [5, 10]
    assert [call.number for call in choose(calls, 3)] == [2, 5, 8, 10]
