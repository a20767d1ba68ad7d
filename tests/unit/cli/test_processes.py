"""A process is known by its id and its start: one that merely inherited the id is never touched."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tanpo.cli.processes import (
    ProcessRecord,
    find_started,
    load_record,
    read_resident_bytes,
    save_record,
    start_detached,
)

WAIT_S = 60.0


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[ProcessRecord]:
    record = start_detached(
        [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"],
        log=tmp_path / "log",
    )
    yield record
    record.send_signal(signal.SIGKILL)
    record.wait_ended(WAIT_S)


def test_a_started_process_runs_in_a_session_of_its_own(sleeper: ProcessRecord) -> None:
    assert sleeper.is_running
    assert os.getsid(sleeper.pid) == sleeper.pid
    assert read_resident_bytes(sleeper.pid) > 0


def test_a_killed_process_is_seen_to_have_ended(sleeper: ProcessRecord) -> None:
    assert sleeper.send_signal(signal.SIGKILL)
    assert sleeper.wait_ended(WAIT_S)
    assert not sleeper.is_running
    assert not sleeper.send_signal(signal.SIGKILL)
    assert read_resident_bytes(sleeper.pid) == 0


def test_waiting_ends_in_time_while_the_process_runs_on(sleeper: ProcessRecord) -> None:
    assert not sleeper.wait_ended(0.0)
    assert sleeper.is_running


def test_a_recycled_id_is_never_signalled() -> None:
    other = ProcessRecord(pid=os.getpid(), started="another boot:1")
    assert not other.is_running
    assert not other.send_signal(signal.SIGKILL)


def test_an_id_that_nobody_has_does_not_run() -> None:
    assert find_started(2**22 + 1) is None


def test_output_is_appended_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    program = "import sys; print('out'); sys.stdout.flush(); print('error', file=sys.stderr)"
    record = start_detached([sys.executable, "-c", program], log=log)
    assert record.wait_ended(WAIT_S)
    assert log.read_text() == "before\nout\nerror\n"


def test_a_pid_file_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "node.pid"
    save_record(path, ProcessRecord(pid=7, started="boot:9"))
    assert load_record(path) == ProcessRecord(pid=7, started="boot:9")


@pytest.mark.parametrize("text", ["", "{}", "[]", "12\n", '{"pid": "x", "started": ""}', "\x00"])
def test_a_pid_file_that_cannot_be_read_names_no_process(tmp_path: Path, text: str) -> None:
    path = tmp_path / "node.pid"
    path.write_text(text)
    assert load_record(path) is None


def test_an_absent_pid_file_names_no_process(tmp_path: Path) -> None:
    assert load_record(tmp_path / "node.pid") is None
