"""Errors of the disk, and power cuts: some of what `make faults` and `make power-cuts` try at length."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tanpo.testing.disk_faults import Call, choose, judge_trace
from tanpo.testing.power_cuts import Disk

KINDS = "9"
CUTS = "3"


@pytest.mark.timeout(400)
def test_a_process_that_meets_an_error_of_the_disk_ends_and_has_lost_nothing() -> None:
    command = (sys.executable, "-m", "tanpo.testing.disk_faults", str(Path(__file__).parent))
    done = subprocess.run(
        (*command, "--each", "1", "--kinds", KINDS), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["runs"] == int(KINDS)
    assert report["ended"] > int(KINDS) / 2


@pytest.mark.timeout(400)
def test_a_power_cut_loses_nothing_that_was_reported_durable() -> None:
    command = (sys.executable, "-m", "tanpo.testing.power_cuts", str(Path(__file__).parent))
    done = subprocess.run(
        (*command, "--cuts", CUTS, "--seed", "7"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["disks"] == 3 * int(CUTS)


def test_what_was_not_synced_is_not_on_the_disk_that_a_power_cut_leaves() -> None:
    calls = [
        make_call(1, "create", "/state/a"),
        make_call(2, "sync", "/state/a"),
        make_call(3, "create", "/state/b"),
        replace(make_call(4, "rename", "/state/a"), to="/state/c"),
    ]
    late, early = Disk(is_early=False), Disk(is_early=True)
    for call in calls:
        late.hear(call)
        early.hear(call)
    assert late.there == early.there == {"/state/b": 2, "/state/c": 1}
    assert (set(late.durable), set(early.durable)) == ({"/state/a"}, {"/state/b", "/state/c"})
    late.hear(make_call(5, "sync", "/state"))
    assert late.durable == late.there
    assert late.synced == {1: 2}
    late.hear(make_call(6, "unlink", "/state/c"))
    assert "/state/c" in late.durable
    late.hear(make_call(7, "sync", "/state"))
    assert set(late.durable) == {"/state/b"}


def make_call(number: int, name: str, path: str, *, has_failed: bool = False) -> Call:
    return Call(number=number, name=name, has_failed=has_failed, path=path)


def test_a_sync_that_is_tried_again_is_found_out() -> None:
    calls = [make_call(1, "sync", "/guard", has_failed=True), make_call(2, "sync", "/network")]
    assert judge_trace(calls) == []
    assert judge_trace([*calls, make_call(3, "write", "/guard")])
    assert judge_trace([*calls, make_call(3, "sync", "/guard")])


def test_calls_of_every_kind_are_chosen_one_of_each_kind_first() -> None:
    calls = [make_call(number, "write", f"/state/{number:06d}.log") for number in range(1, 10)]
    calls.append(make_call(10, "sync", "/guard"))
    assert [call.number for call in choose(calls, 1)] == [5, 10]
    assert [call.number for call in choose(calls, 3)] == [5, 10, 8, 2]
