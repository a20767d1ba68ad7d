"""Runs many programs: a range of seeds, chunk by chunk, with everything worth knowing counted."""

from __future__ import annotations

import gc
import time
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from tanpo.testing.programs.constructs import find_constructs, list_constructs
from tanpo.testing.programs.model import Program
from tanpo.testing.programs.shrinking import shrink
from tanpo.testing.programs.trial import Bench
from tanpo.testing.programs.writing import write_program
from tanpo.vm import ContractRefused

CHUNK: Final = 100
"""Programs with one digest together; where two runs differ, the chunk says where to look."""

PYTHON_EVERY: Final = 4
"""One program in so many runs on CPython as well, unless told otherwise: it doubles what a program costs."""

DIFFERENCES_MAX: Final = 5
"""Differences that are shrunk and shown for each chunk: one fault of an engine shows in many programs."""


@dataclass(slots=True, kw_only=True)
class Findings:
    """What came of some programs."""

    programs: int = 0
    calls: int = 0
    plain: int = 0
    differing: int = 0
    shown: list[dict[str, object]] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    constructs: Counter[str] = field(default_factory=Counter)
    digests: list[str] = field(default_factory=list)
    cpu_seconds: float = 0.0

    def add(self, other: Findings) -> None:
        """Take in what came of the programs after these."""
        self.programs += other.programs
        self.calls += other.calls
        self.plain += other.plain
        self.differing += other.differing
        self.shown += other.shown
        self.codes += other.codes
        self.constructs += other.constructs
        self.digests += other.digests
        self.cpu_seconds += other.cpu_seconds

    def describe(self) -> dict[str, object]:
        """Return all of it, ready for JSON."""
        rate = self.programs / self.cpu_seconds if self.cpu_seconds else 0.0
        return {
            "programs": self.programs,
            "calls": self.calls,
            "programs_also_on_cpython": self.plain,
            "programs_that_differ": self.differing,
            "differences": self.shown,
            "codes": dict(sorted(self.codes.items())),
            "constructs": dict(sorted(self.constructs.items())),
            "constructs_never_seen": [name for name in list_constructs() if not self.constructs[name]],
            "digest": sha256("".join(self.digests).encode("ascii")).hexdigest(),
            "cpu_seconds": round(self.cpu_seconds, 1),
            "programs_per_cpu_second": round(rate, 1),
        }


def run_chunk(first: int, count: int, python_every: int, bench: Bench | None = None) -> Findings:
    """Run the programs of `count` seeds from `first` on; with `python_every` 0, on the engines only."""
    found = Findings()
    bench = Bench() if bench is None else bench
    digest = sha256()
    started = time.process_time()
    is_collecting = gc.isenabled()
    gc.disable()
    for seed in range(first, first + count):
        program = write_program(seed)
        is_plain = python_every > 0 and seed % python_every == 0
        digest.update(_run_one(bench, seed, program, found, with_python=is_plain))
    gc.collect()
    if is_collecting:
        gc.enable()
    found.digests.append(digest.hexdigest())
    found.cpu_seconds = time.process_time() - started
    return found


def _run_one(bench: Bench, seed: int, program: Program, found: Findings, *, with_python: bool) -> bytes:
    found.programs += 1
    try:
        trial = bench.try_program(program, with_python=with_python)
    except ContractRefused as refused:
        # A fault of the writer of programs, or of the checker: either way to be looked at.
        found.differing += 1
        found.shown.append({"seed": seed, "difference": str(refused), "program": program.write()})
        return str(refused).encode("ascii", "backslashreplace")
    found.calls += len(trial.outcomes)
    found.plain += trial.is_plain
    for outcome in trial.outcomes:
        found.codes[outcome.code or "success"] += 1
    if seed % PYTHON_EVERY == 0:
        found.constructs.update(find_constructs(trial.compiled.unit))
    if trial.difference:
        found.differing += 1
        if len(found.shown) < DIFFERENCES_MAX:
            found.shown.append(_show(bench, seed, program))
    return trial.text.encode("ascii", "backslashreplace")


def _show(bench: Bench, seed: int, program: Program) -> dict[str, object]:
    smallest, trial = shrink(bench, program)
    return {
        "seed": seed,
        "difference": trial.difference,
        "program": smallest.write(),
        "steps": [repr(step) for step in smallest.steps],
    }
