"""What a locked-in process can still do, tried by processes that do it."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tanpo.ledger.errors import UsageError
from tanpo.node.worker.sandbox import ADDRESS_SPACE_BYTES, ARCHITECTURES, build_filter, verify_supported

PROGRAM = Path(__file__).with_name("locked_in.py")

FORBIDDEN = (
    "open a file",
    "remove a file",
    "list a folder",
    "open a socket",
    "make a pipe",
    "fork",
    "start a thread",
    "execute a program",
    "trace a process",
    "send a signal",
    "map executable memory",
    "make memory executable",
    "change a limit",
    "change a filter",
    "sleep",
    "write by another call",
    "call with the numbers of another architecture",
)
ALLOWED = ("compute", "use and free memory", "read and write the pipe", "read the clock", "collect garbage")


@pytest.fixture(scope="module")
def ends() -> dict[str, int]:
    """Return how a locked-in process ended for each thing tried: 0, or the signal that killed it, below 0."""
    return play(*FORBIDDEN, *ALLOWED, "see what is left")


def play(*actions: str) -> dict[str, int]:
    done = subprocess.run(
        (sys.executable, "-I", str(PROGRAM), *actions),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ends: dict[str, int] = json.loads(done.stdout)
    return ends


@pytest.mark.parametrize("action", FORBIDDEN)
def test_the_kernel_kills_a_worker_that_would(ends: dict[str, int], action: str) -> None:
    assert ends[action] == -signal.SIGSYS


@pytest.mark.parametrize("action", ALLOWED)
def test_a_worker_can_still(ends: dict[str, int], action: str) -> None:
    assert ends[action] == 0


def test_nothing_is_left_open_but_the_pipe_and_every_limit_is_set(ends: dict[str, int]) -> None:
    assert ends["see what is left"] == 0


def test_a_worker_does_not_outlive_its_node() -> None:
    assert play("outlive the node") == {"outlive the node": 0}


def test_memory_beyond_the_limit_is_refused() -> None:
    assert ADDRESS_SPACE_BYTES == 4 << 30
    assert play("use too much memory") == {"use too much memory": 0}


def run_filter(program: bytes, architecture: int, number: int, third_argument: int = 0) -> str:
    """Return what a filter decides for a call, as the kernel would run it."""
    data = struct.pack("<iIQ6Q", number, architecture, 0, 0, 0, third_argument, 0, 0, 0)
    instructions = list(struct.iter_unpack("HBBI", program))
    accumulator = place = 0
    for _ in range(len(instructions)):
        code, jump_true, jump_false, value = instructions[place]
        place += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x15:
                place += jump_true if accumulator == value else jump_false
            case 0x45:
                place += jump_true if accumulator & value else jump_false
            case 0x06:
                return {0x7FFF0000: "allow", 0x80000000: "kill"}[value]
            case _:
                pytest.fail(f"unknown instruction {code:#x}")
    pytest.fail("the filter has no end")


@pytest.mark.parametrize("machine", sorted(ARCHITECTURES))
def test_the_filter_of_each_architecture_lets_the_kept_calls_pass_and_no_others(machine: str) -> None:
    architecture = ARCHITECTURES[machine]
    program = build_filter(architecture)
    numbers = range(1024)
    allowed = {number for number in numbers if run_filter(program, architecture.audit, number) == "allow"}
    assert allowed == set(architecture.numbers.values())
    assert len(allowed) == 12


@pytest.mark.parametrize("machine", sorted(ARCHITECTURES))
def test_the_filter_kills_calls_of_other_architectures_and_of_the_x32_numbers(machine: str) -> None:
    architecture = ARCHITECTURES[machine]
    program = build_filter(architecture)
    for number in architecture.numbers.values():
        assert run_filter(program, 0x4000_0003, number) == "kill"
        assert run_filter(program, architecture.audit, number | 0x4000_0000) == "kill"


@pytest.mark.parametrize("machine", sorted(ARCHITECTURES))
@pytest.mark.parametrize(("protection", "verdict"), [(0, "allow"), (3, "allow"), (4, "kill"), (7, "kill")])
def test_memory_is_mapped_and_never_to_be_executed(machine: str, protection: int, verdict: str) -> None:
    architecture = ARCHITECTURES[machine]
    program = build_filter(architecture)
    number = architecture.numbers["mmap"]
    assert run_filter(program, architecture.audit, number, protection) == verdict


@pytest.mark.parametrize(
    ("system", "machine"),
    [("Darwin", "arm64"), ("Linux", "riscv64"), ("Windows", "AMD64"), ("Linux", "i686")],
)
def test_elsewhere_the_refusal_names_the_platform_and_the_remedy(system: str, machine: str) -> None:
    with pytest.raises(
        UsageError, match=f'execution = "worker" does not work on {system} {machine}'
    ) as error:
        verify_supported(system, machine)
    assert error.value.value == f"{system} {machine}"
    assert error.value.limit == "Linux x86_64, Linux aarch64"
    assert 'set execution = "in-process"' in error.value.remedy


def test_this_machine_is_one_that_the_tests_run_on() -> None:
    uname = os.uname()
    assert uname.machine in ARCHITECTURES
    verify_supported()
