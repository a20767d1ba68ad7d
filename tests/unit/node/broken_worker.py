"""A worker with a fault of its own: `broken_worker.py FAULT FD PID`. A program of the tests alone."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tanpo.node.tasks import run_task as real_run_task
from tanpo.node.worker import serving, wire
from tanpo.node.worker.wire import Kind


def open_a_file(*_: object) -> bytes:
    return Path("/dev/null").read_bytes()


def run_out_of_memory(*_: object) -> bytes:
    return bytes(1 << 40)


def recurse(*arguments: Any) -> bytes:
    return recurse(*arguments)


def give_another_place(session: Any, task: Any, place: Any, index: int) -> bytes:
    return real_run_task(session, task, place, index + 1)


def say_garbage(session: Any, task: Any, place: Any, index: int) -> bytes:
    os.write(int(sys.argv[1]), b"\xff" * 64)
    return real_run_task(session, task, place, index)


def fall_silent(*_: object) -> bytes:
    while True:
        pass


def forge_changes(self: Any, changes: Mapping[bytes, bytes | None]) -> None:
    forged = {**changes, b"\x02\x00contract/evil": b"evil"}
    self._pipe.send(Kind.CHANGES, wire.encode_changes(forged.items(), is_last=True))


def give_too_many_receipts(body: bytes) -> list[Any]:
    tasks = real_decode_tasks(body)
    return [*tasks, tasks[-1]]


def swap_turns(self: Any) -> None:
    self._pipe.send(Kind.READY, b"")


def read_for_ever(self: Any, key: bytes) -> bytes | None:
    while True:
        self._ask(Kind.READ, wire.encode_reads([key]), Kind.ANSWER)


def read_twice(self: Any, key: bytes) -> bytes | None:
    os.write(int(sys.argv[1]), 2 * wire.encode_frame(Kind.READ, wire.encode_reads([key])))
    body: bytes = self._pipe.receive()[1]
    return body


def list_all(self: Any, key: bytes) -> bytes | None:
    everything = wire.Range(start=b"", stop=b"\xff", limit=1 << 31)
    body: bytes = self._ask(Kind.LIST, wire.encode_range(everything), Kind.PAGE)
    return body


def die(*_: object) -> bytes:
    os._exit(7)


real_decode_tasks = wire.decode_tasks

FAULTS: dict[str, Callable[[], None]] = {
    "opens a file": lambda: setattr(serving, "run_task", open_a_file),
    "runs out of memory": lambda: setattr(serving, "run_task", run_out_of_memory),
    "recurses without end": lambda: setattr(serving, "run_task", recurse),
    "gives a receipt of another place": lambda: setattr(serving, "run_task", give_another_place),
    "says garbage": lambda: setattr(serving, "run_task", say_garbage),
    "falls silent": lambda: setattr(serving, "run_task", fall_silent),
    "ends": lambda: setattr(serving, "run_task", die),
    "changes what is no contract's": lambda: setattr(serving.Server, "_send_changes", forge_changes),
    "gives too many receipts": lambda: setattr(wire, "decode_tasks", give_too_many_receipts),
    "speaks out of turn": lambda: setattr(serving.Server, "_collect", swap_turns),
    "reads for ever": lambda: setattr(serving.NodeState, "get", read_for_ever),
    "asks again before it is answered": lambda: setattr(serving.NodeState, "get", read_twice),
    "lists everything": lambda: setattr(serving.NodeState, "get", list_all),
    "is never ready": lambda: os.kill(os.getpid(), signal.SIGKILL),
}

FAULTS[sys.argv.pop(1)]()

import tanpo.node.worker.__main__  # noqa: E402, F401 - this is how a worker begins
