"""Workers answer in order, and none is left however whoever asked them ends: real processes and signals."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest
from tanpo.ledger.errors import Unavailable
from tanpo.simulator.workers import run_in_workers

pytestmark = pytest.mark.timeout(120)

ENDS_WITHIN_S = 60
"""A bound for a busy machine; on an idle one all is over within a second."""

WORKERS = 2
INTERRUPTED = 130
SWEEP = ("sim", "--seeds", "40", "--jobs", "2")
TWINS = ("sim", "--twins", "--scenarios", "40", "--jobs", "2")

PROGRAM = f"""
import importlib
import sys
import tanpo.simulator.workers as workers

# All of it is real but what the workers do: they tell who they are, each in one write, and go on.
def run_for_ever(function, calls, jobs, real=workers.run_in_workers):
    text = "import os\\nos.write(1, b'%d\\\\n' % os.getpid())\\nwhile True: pass"
    return real(exec, [(text,)] * {WORKERS}, {WORKERS})

importlib.import_module("tanpo.simulator.sweep").run_in_workers = run_for_ever
twins = importlib.import_module("tanpo.simulator.twins.running")
twins.run_in_workers, twins.PUBLISHED = run_for_ever, ()

from tanpo.cli import main
main()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A command at work, its process and handles of its workers, which go on for ever."""

    process: subprocess.Popen[str]
    workers: list[int]

    def interrupt(self) -> None:
        """Do what Ctrl-C does: it reaches the whole group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait_end(self) -> str:
        """Wait until neither the command nor a worker is left, and return what it said on stderr."""
        errors = self.process.communicate(timeout=ENDS_WITHIN_S)[1]
        for worker in self.workers:
            assert select.select([worker], [], [], ENDS_WITHIN_S)[0] == [worker], "a worker goes on"
        return errors


@contextmanager
def started(arguments: tuple[str, ...]) -> Iterator[Started]:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    workers: list[int] = []
    try:
        for _ in range(WORKERS):
            workers.append(os.pidfd_open(int(process.stdout.readline())))
        yield Started(process=process, workers=workers)
    finally:
        process.kill()
        for worker in workers:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(worker, signal.SIGKILL)
            os.close(worker)
        process.communicate()


def test_answers_come_in_the_order_of_the_calls() -> None:
    calls = [(number, 2) for number in range(9)]

    assert list(run_in_workers(pow, calls, 3)) == [number**2 for number in range(9)]


def test_no_more_workers_are_started_than_there_are_calls() -> None:
    assert list(run_in_workers(os.getppid, [()], 64)) == [os.getpid()]


def test_a_worker_that_is_killed_is_told_and_not_waited_for() -> None:
    answers = run_in_workers(signal.raise_signal, [(signal.SIGKILL,)], 2)

    with pytest.raises(Unavailable, match="a worker process was killed") as told:
        next(answers)

    assert told.value.value == "SIGKILL"


@pytest.mark.parametrize("arguments", [SWEEP, TWINS])
def test_one_interrupt_ends_a_sweep_with_one_line(arguments: tuple[str, ...]) -> None:
    with started(arguments) as sweep:
        sweep.interrupt()

        errors = sweep.wait_end()

    assert errors == "tanpo: interrupted after 0 runs, no violations\n"
    assert sweep.process.returncode == INTERRUPTED


def test_interrupts_in_a_row_end_a_sweep_all_the_same() -> None:
    with started(SWEEP) as sweep:
        for _ in range(3):
            sweep.interrupt()

        errors = sweep.wait_end()

    assert sweep.process.returncode != 0
    assert "SpawnProcess" not in errors


@pytest.mark.parametrize("fatal", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("arguments", [SWEEP, TWINS])
def test_no_worker_outlives_a_sweep_that_is_ended_alone(
    arguments: tuple[str, ...], fatal: signal.Signals
) -> None:
    with started(arguments) as sweep:
        sweep.process.send_signal(fatal)

        sweep.wait_end()

    assert sweep.process.returncode == -fatal


def test_a_killed_worker_ends_a_sweep_with_one_line_that_says_what_was_found() -> None:
    with started(SWEEP) as sweep:
        signal.pidfd_send_signal(sweep.workers[0], signal.SIGKILL)

        errors = sweep.wait_end()

    assert errors == (
        "tanpo: UNREACHABLE: a worker process was killed, perhaps for want of memory, after 0 runs, "
        "no violations; value: SIGKILL; remedy: run fewer at a time with --jobs\n"
    )
    assert sweep.process.returncode == 1
