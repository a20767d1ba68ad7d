"""The loop: take a source, change it, check it, and keep it if the checker went where it never went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from time import process_time
from typing import Final

from tanpo.testing.front.coverage import Coverage
from tanpo.testing.front.mutating import Mutator
from tanpo.vm import ContractRefused, Fault, Machine, compile_contract
from tanpo.vm.faults import REMEDIES
from tanpo.vm.interface import Interface

FRONT: Final = tuple(
    f"tanpo/vm/{name}.py"
    for name in (
        "access",
        "calls",
        "codegen",
        "compiler",
        "declare",
        "effects",
        "emitter",
        "expressions",
        "graph",
        "isolation",
        "lexer",
        "scope",
        "statements",
        "structure",
        "syntax",
        "texts",
        "types",
    )
)
"""The modules whose branches guide the fuzzer: from bytes to generated text."""

SECONDS_MAX: Final = 2.0
"""How long one source may take; a source of 64 KiB takes less than one."""

FINDINGS_MAX: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A source that was answered wrongly."""

    what: str
    source: bytes

    @property
    def digest(self) -> str:
        """A short name for the source."""
        return sha256(self.source).hexdigest()[:12]


def check_one(source: bytes, interfaces: Mapping[str, Interface]) -> tuple[Fault, ...]:
    """Check one source, and generate its program if it is a contract. Returns its faults.

    Raises:
        Exception: whatever leaves the checker although it is no refusal.
    """
    text = source.decode("utf-8", "surrogateescape")
    try:
        compiled = compile_contract(text, name="t", interfaces=interfaces)
    except ContractRefused as refusal:
        return refusal.faults
    if not compiled.unit.imports:
        Machine({"t": compiled})
    return ()


def find_flaw(faults: tuple[Fault, ...], source: bytes) -> str:
    """Return what is wrong with a list of faults, empty if nothing is."""
    lines = source.count(b"\n") + 1
    for fault in faults:
        if fault.code not in REMEDIES or not (fault.remedy and fault.message and fault.construct):
            return f"{fault.code} is not in the catalogue, or has no message, construct or remedy"
        if not (1 <= fault.line <= lines and fault.column >= 1):
            return f"{fault.code} at {fault.place}, outside of {lines} lines"
        if not (fault.message + fault.construct + fault.remedy).replace("…", "").isascii():
            return f"{fault.code} has a message that is not ASCII"
    return "" if list(faults) == sorted(set(faults)) else "faults are out of order"


class Campaign:
    """One run of the fuzzer: the same seed and corpus give the same executions on one version of Python."""

    def __init__(self, seed: int, corpus: list[bytes], interfaces: Mapping[str, Interface]) -> None:
        self._random = Random(seed)  # noqa: S311 - replays, not secrets
        self._mutator = Mutator(self._random)
        self._interfaces = interfaces
        self._coverage = Coverage(FRONT)
        self.corpus = list(corpus)
        self.seeds = len(corpus)
        self.executions = 0
        self.accepted = 0
        self.slowest_ms = 0.0
        self.findings: list[Finding] = []

    @property
    def branches(self) -> int:
        """How many edges were taken so far."""
        return len(self._coverage.edges)

    def close(self) -> None:
        """End the campaign: its numbers stay."""
        self._coverage.close()

    def run_seeds(self) -> None:
        """Check every seed once, to know where they lead."""
        for source in self.corpus[: self.seeds]:
            self._execute(source)

    def step(self) -> None:
        """Change one source and check it."""
        size = len(self.corpus)
        # What was found last is changed most: it leads to where nothing led before.
        recent = self._random.randrange(max(size - 200, 0), size)
        parent = self.corpus[self._random.choice((recent, self._random.randrange(size)))]
        source = self._mutator.mutate(parent, self._random.choice(self.corpus))
        if self._execute(source):
            self.corpus.append(source)

    def _execute(self, source: bytes) -> bool:
        self.executions += 1
        faults: tuple[Fault, ...] = ()

        def work() -> None:
            nonlocal faults
            faults = check_one(source, self._interfaces)

        started = process_time()
        try:
            is_new = self._coverage.run(work)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it is the finding
            self._note(f"{type(error).__name__}: {error}"[:200], source)
            return False
        elapsed = process_time() - started
        self.slowest_ms = max(self.slowest_ms, elapsed * 1_000)
        self.accepted += not faults
        flaw = find_flaw(faults, source)
        if flaw:
            self._note(flaw, source)
        if elapsed > SECONDS_MAX:
            self._note(f"took {elapsed:.1f} s", source)
        return is_new

    def _note(self, what: str, source: bytes) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(what=what, source=source))
