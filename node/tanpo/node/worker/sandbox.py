"""What a worker gives up for good before it sees a contract: files, sockets, processes, memory without end.

The system calls left are those that CPython needs to compute and to talk over the pipe it was given. The
kernel kills the process at any other. This is the second wall: the first is that contracts are written anew
from a checked tree and never run as they were written.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
from dataclasses import dataclass
from typing import Final

from tanpo.ledger.errors import Reason, UsageError

ADDRESS_SPACE_BYTES: Final = 4 << 30
"""Backstop, never reached by blocks in the limits of a network: gas bounds what a block can hold."""

REMEDY: Final = 'set execution = "in-process", or run the node on Linux, x86-64 or aarch64, with seccomp'

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_SET: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_ALLOW: Final = 0x7FFF_0000
_KILL_PROCESS: Final = 0x8000_0000

_OFFSET_NUMBER: Final = 0
_OFFSET_ARCHITECTURE: Final = 4
_OFFSET_THIRD_ARGUMENT: Final = 32  # the low half: both architectures are little-endian
_PROT_EXEC: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """How one architecture names itself to seccomp, and the numbers of the calls that a worker keeps."""

    audit: int
    numbers: dict[str, int]


ARCHITECTURES: Final = {
    "x86_64": Architecture(
        audit=0xC000_003E,
        numbers={
            "read": 0,
            "write": 1,
            "mmap": 9,
            "munmap": 11,
            "brk": 12,
            "rt_sigreturn": 15,
            "mremap": 25,
            "madvise": 28,
            "exit": 60,
            "futex": 202,
            "clock_gettime": 228,
            "exit_group": 231,
        },
    ),
    "aarch64": Architecture(
        audit=0xC000_00B7,
        numbers={
            "read": 63,
            "write": 64,
            "exit": 93,
            "exit_group": 94,
            "futex": 98,
            "clock_gettime": 113,
            "rt_sigreturn": 139,
            "brk": 214,
            "munmap": 215,
            "mremap": 216,
            "mmap": 222,
            "madvise": 233,
        },
    ),
}
"""By `platform.machine()`. mmap is kept for memory that is not executable."""


def verify_supported(system: str | None = None, machine: str | None = None) -> None:
    """Raise `UsageError` where workers cannot be locked in; without arguments, for this machine."""
    system, machine = system or platform.system(), machine or platform.machine()
    if system != "Linux" or machine not in ARCHITECTURES:
        raise UsageError(
            Reason.CONFIGURATION,
            f'execution = "worker" does not work on {system} {machine}',
            value=f"{system} {machine}",
            limit="Linux x86_64, Linux aarch64",
            remedy=REMEDY,
        )


def lock_in(pipe: int, parent_pid: int) -> None:
    """Give up everything but computing and the open file `pipe`. There is no way back.

    Raises:
        OSError: the kernel refuses; nothing may be run then.
    """
    architecture = ARCHITECTURES[platform.machine()]
    libc = ctypes.CDLL(None, use_errno=True)
    # Ctrl-C and a stop of the whole group are for the node to hear; it ends the worker when it is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _control(libc, _PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        raise OSError("the node ended before its worker began")
    _control(libc, _PR_SET_DUMPABLE, 0)
    _close_others(pipe)
    _limit()
    _control(libc, _PR_SET_NO_NEW_PRIVS, 1)
    program = build_filter(architecture)
    buffer = ctypes.create_string_buffer(program, len(program))
    pointer = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    _control(libc, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(pointer, len(pointer)))


def build_filter(architecture: Architecture) -> bytes:
    """Return the BPF program that lets the kept calls pass and kills the process at any other."""
    plain = sorted(number for name, number in architecture.numbers.items() if name != "mmap")
    program = [
        (_LOAD, 0, 0, _OFFSET_ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, architecture.audit),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _OFFSET_NUMBER),
        (_JUMP_EQUAL, 0, 4, architecture.numbers["mmap"]),
        (_LOAD, 0, 0, _OFFSET_THIRD_ARGUMENT),
        (_JUMP_SET, 0, 1, _PROT_EXEC),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_RETURN, 0, 0, _ALLOW),
        # Each equal number jumps over those after it and over the kill.
        *((_JUMP_EQUAL, len(plain) - place, 0, number) for place, number in enumerate(plain)),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def _control(libc: ctypes.CDLL, option: int, first: int, second: object = 0) -> None:
    zero = ctypes.c_ulong(0)
    given = ctypes.c_ulong(second) if isinstance(second, int) else second
    if libc.prctl(option, ctypes.c_ulong(first), given, zero, zero) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option}: {os.strerror(number)}")


def _close_others(pipe: int) -> None:
    os.closerange(0, pipe)
    os.closerange(pipe + 1, os.sysconf("SC_OPEN_MAX"))


def _limit() -> None:
    for limit, most in (
        (resource.RLIMIT_AS, ADDRESS_SPACE_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (value, value))
