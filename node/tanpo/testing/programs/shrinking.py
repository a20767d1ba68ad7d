"""Makes a program that shows a difference as small as leaving things out can make it."""

from __future__ import annotations

from typing import Final

from tanpo.testing.programs.model import Program
from tanpo.testing.programs.trial import Bench, Trial
from tanpo.vm import ContractRefused

TRIALS_MAX: Final = 3_000
"""How many smaller programs are tried: some seconds' worth."""


def shrink(bench: Bench, program: Program) -> tuple[Program, Trial]:
    """Return the smallest program found that still shows a difference, and what came of it."""
    trial = bench.try_program(program, with_python=True)
    remaining = TRIALS_MAX
    is_smaller = True
    while is_smaller and remaining > 0:
        is_smaller = False
        for candidate in program.reduced():
            remaining -= 1
            found = _try(bench, candidate)
            if found is not None and found.difference:
                program, trial, is_smaller = candidate, found, True
                break
            if remaining == 0:
                break
    return program, trial


def _try(bench: Bench, program: Program) -> Trial | None:
    try:
        return bench.try_program(program, with_python=True)
    except ContractRefused:
        return None
