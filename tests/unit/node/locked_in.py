"""Does what it is told, each in a process that was locked in before; prints how each of them ended, as JSON.

A program of the tests of the sandbox; nothing like it is shipped.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import mmap
import os
import platform
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tanpo.node.worker import sandbox

LIBC = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"


def call(x86_64: int, aarch64: int, *arguments: int) -> None:
    """Make a system call by its number."""
    number = x86_64 if X86 else aarch64
    LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(argument) for argument in arguments))


def compute() -> None:
    assert sum(number * number for number in range(10_000)) == 333283335000


def use_memory() -> None:
    for _ in range(3):
        rows = [bytearray(1 << 20) for _ in range(64)]
        rows.extend(bytearray(100) for _ in range(100_000))
        rows[0] *= 8
        del rows
        gc.collect()


def use_too_much_memory() -> None:
    try:
        bytearray(8 << 30)
    except MemoryError:
        return
    raise SystemExit(3)


def use_pipe(pipe: int) -> None:
    os.write(pipe, b"ping")
    assert os.read(pipe, 4) == b"pong"


def run_machine_code() -> None:
    """Make a 32-bit system call on x86-64: `int 0x80` names getpid by 20. Mapped before the lock."""
    if MACHINE_CODE is None:
        os.kill(os.getpid(), signal.SIGSYS)
    else:
        MACHINE_CODE()


def prepare_machine_code() -> Callable[[], int] | None:
    if not X86:
        return None
    area = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    area.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20; int 0x80; ret
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    KEPT.append(area)
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)


KEPT: list[object] = []
MACHINE_CODE = prepare_machine_code()
BUFFER = ctypes.create_string_buffer(64)
AT = ctypes.addressof(BUFFER)

ACTIONS: dict[str, Callable[[int], object]] = {
    "open a file": lambda _: os.open("/dev/null", os.O_RDONLY),
    "remove a file": lambda _: Path("/nowhere/at/all").unlink(),
    "list a folder": lambda _: list(Path("/").iterdir()),
    "open a socket": lambda _: socket.socket(),
    "make a pipe": lambda _: os.pipe(),
    "fork": lambda _: os.fork(),
    "start a thread": lambda _: call(56, 220, 0x10F00, 0, 0, 0, 0),
    "execute a program": lambda _: os.execv("/bin/true", ["true"]),
    "trace a process": lambda _: call(101, 117, 0, 0, 0, 0),
    "send a signal": lambda _: os.kill(os.getppid(), 0),
    "map executable memory": lambda _: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
    "make memory executable": lambda _: call(10, 226, AT & ~4095, 4096, 7),
    "change a limit": lambda _: resource.getrlimit(resource.RLIMIT_AS),
    "change a filter": lambda _: LIBC.prctl(22, 2, 0, 0, 0),
    "sleep": lambda _: time.sleep(0.001),
    "write by another call": lambda pipe: os.writev(pipe, [b"ping"]),
    "call with the numbers of another architecture": lambda _: run_machine_code(),
    "compute": lambda _: compute(),
    "use and free memory": lambda _: use_memory(),
    "use too much memory": lambda _: use_too_much_memory(),
    "read and write the pipe": use_pipe,
    "read the clock": lambda _: (time.monotonic(), time.thread_time(), time.process_time()),
    "collect garbage": lambda _: gc.collect(),
    "see what is left": lambda pipe: os.read(pipe, 1),
}


def look(pid: int) -> None:
    """Check a locked-in process from outside."""
    process = Path("/proc", str(pid))
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    assert status["Seccomp"].strip() == "2"
    assert status["NoNewPrivs"].strip() == "1"
    rows = (process / "limits").read_text().splitlines()
    limits = {row[:25].strip(): row[25:].split()[:2] for row in rows}
    for limit in ("Max core file size", "Max file size", "Max processes", "Max open files"):
        assert limits[limit] == ["0", "0"], (limit, limits[limit])
    assert limits["Max address space"] == [str(sandbox.ADDRESS_SPACE_BYTES)] * 2
    if os.getuid() == 0:
        assert len(list((process / "fd").iterdir())) == 1
    else:
        # Not even its owner may look into a process that cannot be dumped.
        try:
            list((process / "fd").iterdir())
        except PermissionError:
            return
        raise SystemExit("a locked-in process can be looked into")


def play(name: str) -> int:
    own, other = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            sandbox.lock_in(other.fileno(), parent)
            os.write(other.fileno(), b"!")
            ACTIONS[name](other.fileno())
            code = 0
        except BaseException as error:
            code = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 2
        finally:
            os._exit(code)
    other.close()
    assert own.recv(1) == b"!", f"{name}: not locked in"
    if name == "see what is left":
        look(pid)
    with contextlib.suppress(ConnectionError):  # It may be dead already.
        own.send(b"pong")
    _, status = os.waitpid(pid, 0)
    own.close()
    return os.waitstatus_to_exitcode(status)


def outlive() -> int:
    """Lock a process in, end the one it was started by, and return 0 if that was its end."""
    own, other = socket.socketpair()
    if os.fork() == 0:
        parent = os.getpid()
        if os.fork() == 0:
            own.close()
            sandbox.lock_in(other.fileno(), parent)
            os.write(other.fileno(), b"!")
            while True:
                os.read(other.fileno(), 1)
        other.close()
        own.recv(1)
        os._exit(0)
    other.close()
    os.wait()
    own.settimeout(60)
    try:
        return len(own.recv(1))  # Nothing: whoever held the other end is gone.
    except TimeoutError:
        return 1


def main() -> None:
    ends = {name: outlive() if name == "outlive the node" else play(name) for name in sys.argv[1:]}
    sys.stdout.write(json.dumps(ends))


main()
