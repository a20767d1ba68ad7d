"""Calls spread over processes that never outlive whoever asked for them, however that one ends.

Not `concurrent.futures`: there an interrupt waits for what is running, a worker that dies while it answers
blocks the asker for ever, and workers go on when the asker is killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Final, TypeVar

from tanpo.ledger.errors import InvariantViolation, Reason, Unavailable

Result = TypeVar("Result")

SIGNAL_S: Final = 0.5
"""The longest that Ctrl-C may go unnoticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Worker:
    process: SpawnProcess
    link: Connection


def run_in_workers(
    function: Callable[..., Result], calls: Sequence[tuple[object, ...]], jobs: int
) -> Generator[Result, None, None]:
    """Yield what each call returns, in their order, with `jobs` of them run at a time.

    Whoever stops early closes the generator; no worker is left then.

    Raises:
        Unavailable: a worker was killed.
    """
    workers: list[_Worker] = []
    try:
        with _deaf_to_interrupts():
            for _ in range(min(jobs, len(calls))):
                workers.append(_start(function))
        yield from _share_out(calls, workers)
    finally:
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.join()


def _share_out(calls: Sequence[tuple[object, ...]], workers: Sequence[_Worker]) -> Iterator[Result]:
    """Give each worker one call, and another whenever it has answered."""
    waiting = iter(enumerate(calls))
    busy = {worker.link: worker for worker in workers}
    found: dict[int, Result] = {}
    for worker in workers:
        worker.link.send(next(waiting))
    for number in range(len(calls)):
        while number not in found:
            # Not for ever at a time: a signal in the moment before a wait begins would not end it.
            for link in [link for link in wait(busy, SIGNAL_S) if isinstance(link, Connection)]:
                answer: tuple[int, Result] = _receive(busy[link])
                found[answer[0]] = answer[1]
                if (call := next(waiting, None)) is None:
                    del busy[link]
                else:
                    link.send(call)
        yield found.pop(number)


def _receive(worker: _Worker) -> tuple[int, Result]:
    try:
        number, result = worker.link.recv()
        return number, result
    except (EOFError, OSError):
        worker.process.join()
        code = worker.process.exitcode
        if code is not None and code < 0:
            raise Unavailable(
                Reason.UNREACHABLE,
                "a worker process was killed, perhaps for want of memory",
                value=signal.Signals(-code).name,
                remedy="run fewer at a time with --jobs",
            ) from None
        raise InvariantViolation(f"a worker process ended with exit code {code}; see above") from None


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: it goes to the whole group, and we end them ourselves."""
    # Starting Python's own process of that name unblocks the signal: not while it must stay blocked.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _start(function: Callable[..., Result]) -> _Worker:
    # Spawned, not forked: each starts from the same empty state whatever ran here before.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(function, theirs), daemon=True)
    process.start()
    # Ours alone may hold the link open from here on, or the worker's death would go unnoticed.
    theirs.close()
    return _Worker(process=process, link=ours)


def _work(function: Callable[..., Result], link: Connection) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        number, call = link.recv()
        link.send((number, function(*call)))


def _end_with_parent() -> None:
    """End this process, whatever it is doing, when the one that started it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
