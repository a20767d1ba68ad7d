"""A worker as its node sees it: a process, and frames both ways that nobody waits for by blocking."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

from tanpo.ledger.errors import Reason, Unavailable
from tanpo.node.running import PAUSE_MAX_S, Pause, Steps
from tanpo.node.worker import wire
from tanpo.node.worker.wire import Kind

SILENCE_MAX_S: Final = 30.0
"""How long a worker may say nothing. It sends receipts after every 64 transactions, of 100 ms each at the
worst, and starts and compiles within a few seconds."""

PROGRAM: Final = ("-m", "tanpo.node.worker")
"""What the interpreter runs."""

ENVIRONMENT: Final = ("LD_LIBRARY_PATH",)
"""All that a worker gets of its node's environment: where the interpreter finds its libraries."""

RECEIVE_BYTES: Final = 1 << 16
"""Room made for what comes; more would be asked of the system, and given back, for each short frame."""


class WorkerLost(Unavailable):
    """The worker is of no use any more: it ended, broke the protocol, met a fault or fell silent."""

    def __init__(self, why: str) -> None:
        super().__init__(Reason.WORKER_LOST, why, remedy="ask again in a moment, or ask another node")


class WorkerProcess:
    """One process. Whoever meets `WorkerLost` calls `kill` and starts another."""

    def __init__(self, process: subprocess.Popen[bytes], pipe: socket.socket, silence_max_s: float) -> None:
        self._process = process
        self._pipe = pipe
        self._readable = Pause(fd=pipe.fileno(), seconds=PAUSE_MAX_S)
        self._writable = Pause(fd=pipe.fileno(), is_write=True, seconds=PAUSE_MAX_S)
        self._silence_max_s = silence_max_s
        self._received = bytearray()
        self._unsent = bytearray()
        self._heard = time.monotonic()
        self.known_sources: set[tuple[str, bytes, int]] = set()

    @classmethod
    def start(cls, silence_max_s: float = SILENCE_MAX_S, program: Sequence[str] = PROGRAM) -> WorkerProcess:
        """Start a fresh interpreter; `wait_ready` before anything is sent.

        Call it on a thread that goes on: the kernel ends the worker with the thread that started it.
        """
        own, other = socket.socketpair()
        with other:
            # A fresh interpreter and never a fork of this one, which may hold gRPC's threads and our keys.
            process = subprocess.Popen(  # noqa: S603 - fixed arguments, no shell
                (sys.executable, "-I", *program, str(other.fileno()), str(os.getpid())),
                pass_fds=(other.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
                cwd="/",
            )
        own.setblocking(False)
        return cls(process, own, silence_max_s)

    @property
    def pid(self) -> int:
        """The process' number."""
        return self._process.pid

    def wait_ready(self) -> Steps[None]:
        """Wait until the worker is locked in."""
        self._heard = time.monotonic()
        kind, _ = yield from self.receive()
        if kind is not Kind.READY:
            raise WorkerLost(f"a worker began with {kind.name}")

    def send(self, kind: Kind, body: bytes) -> None:
        """Queue a frame; it leaves while the answer is waited for.

        Raises:
            WorkerLost: the worker has already said more, and it is not its turn.
        """
        if self._received:
            raise WorkerLost("a worker spoke out of turn")
        self._unsent += wire.encode_frame(kind, body)
        self._heard = time.monotonic()

    def receive(self) -> Steps[tuple[Kind, bytes]]:
        """Return the next frame.

        Raises:
            WorkerLost: there will be none.
            PeerFault: it is none.
        """
        while (frame := self._take_frame()) is None:
            self._send_some()
            # Before it is looked for, so that whatever a worker says, votes pass in between.
            yield self._writable if self._unsent else self._readable
            if not self._receive_some() and time.monotonic() - self._heard > self._silence_max_s:
                raise WorkerLost(f"silent for {self._silence_max_s:g} s")
        self._heard = time.monotonic()
        if frame[0] is Kind.FAULT:
            raise WorkerLost(frame[1].decode("utf-8", "replace"))
        return frame

    def kill(self) -> None:
        """End the process and everything that belongs to it."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()

    def _send_some(self) -> None:
        while self._unsent:
            try:
                sent = self._pipe.send(self._unsent)
            except BlockingIOError:
                return
            except OSError:
                raise self._explain_end() from None
            del self._unsent[:sent]

    def _receive_some(self) -> bool:
        try:
            received = self._pipe.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            raise self._explain_end() from None
        if not received:
            raise self._explain_end()
        self._received += received
        return True

    def _take_frame(self) -> tuple[Kind, bytes] | None:
        if len(self._received) < wire.HEADER_BYTES:
            return None
        kind, size = wire.decode_header(self._received)
        end = wire.HEADER_BYTES + size
        if len(self._received) < end:
            return None
        with memoryview(self._received) as received:
            body = bytes(received[wire.HEADER_BYTES : end])
        del self._received[:end]
        return kind, body

    def _explain_end(self) -> WorkerLost:
        # Its pipe is closed: it has ended, or is about to.
        self._process.kill()
        code = self._process.wait()
        if code >= 0:
            return WorkerLost(f"ended with exit code {code}")
        if -code == signal.SIGSYS:
            return WorkerLost("killed by the kernel for a forbidden system call (SIGSYS)")
        return WorkerLost(f"killed by {signal.Signals(-code).name}")
