"""Contracts as sets of sources, and the programs made of them: what a block runs with.

A set follows from the state before a block, so two blocks may run with different ones. Sources alone are
stored and sent; whoever runs them compiles them, and keeps what it compiled under their hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from tanpo.ledger.codec import Writer
from tanpo.ledger.errors import Reason, UsageError
from tanpo.vm import (
    LANGUAGE_VERSION,
    CompiledContract,
    Interface,
    Machine,
    Session,
    StateReader,
    compile_contract,
)

CONTRACTS_MAX: Final = 1_000
"""How many contracts may be in force at once."""

SETS_CACHED_MAX: Final = 4
"""Sets kept compiled: blocks before and after an upgrade are executed in turns while neither is final."""

SOURCES_KEPT_MAX: Final = 16
"""Compiled sources kept for when they are agreed: more than are ordinarily proposed at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractSource:
    """A contract's name, text, the hash of the text, and the version of the language it is written in."""

    name: str
    source: str
    source_hash: bytes
    language_version: int

    @classmethod
    def create(cls, name: str, source: str, language_version: int = LANGUAGE_VERSION) -> ContractSource:
        """Return a contract with the hash of its source."""
        source_hash = sha256(source.encode("utf-8")).digest()
        return cls(name=name, source=source, source_hash=source_hash, language_version=language_version)

    def without_source(self) -> ContractSource:
        """Return the same for a reader who has the source."""
        return replace(self, source="")

    @property
    def key(self) -> tuple[str, bytes, int]:
        """What tells contracts apart without their source."""
        return self.name, self.source_hash, self.language_version


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractSet:
    """Contracts in an order in which each may call those before it; `set_hash` tells sets apart."""

    sources: tuple[ContractSource, ...]
    set_hash: bytes

    @classmethod
    def create(cls, sources: Iterable[ContractSource]) -> ContractSet:
        """Return the set of these contracts."""
        ordered = tuple(sources)
        writer = Writer()
        for source in ordered:
            writer.text(source.name).raw(source.source_hash).u32(source.language_version)
        return cls(sources=ordered, set_hash=sha256(writer.finish()).digest())


class Programs:
    """Compiles sets of contracts and keeps the latest few, and sources that are not in any set yet."""

    def __init__(self) -> None:
        self._machines: dict[bytes, Machine] = {}
        self._compiled: dict[bytes, dict[str, CompiledContract]] = {}
        self._kept: dict[tuple[str, bytes], tuple[dict[str, Interface], CompiledContract]] = {}

    def compile(self, contracts: ContractSet) -> dict[str, CompiledContract]:
        """Return the contracts of a set by name.

        Raises:
            ContractRefused: one is no contract.
            UsageError: one is in a version of the language that this software does not run.
        """
        known = self._compiled.get(contracts.set_hash)
        if known is not None:
            return known
        compiled: dict[str, CompiledContract] = {}
        interfaces: dict[str, Interface] = {}
        for source in contracts.sources:
            compiled[source.name] = self._find(source, interfaces) or _compile(source, interfaces)
            interfaces[source.name] = compiled[source.name].interface
        self._keep(contracts.set_hash, compiled)
        return compiled

    def compile_source(
        self, source: str, *, name: str, interfaces: Mapping[str, Interface]
    ) -> CompiledContract:
        """Return the contract that one source spells. Threads may call this at once.

        Raises:
            ContractRefused: it spells none, with every fault.
        """
        key = (name, sha256(source.encode("utf-8")).digest())
        called, kept = self._kept.get(key, ({}, None))
        # What it has no handle of is nothing to it: a genesis and a state list contracts in other orders.
        if kept is not None and all(interfaces.get(one) == known for one, known in called.items()):
            return kept
        compiled = compile_contract(source, name=name, interfaces=interfaces)
        while len(self._kept) >= SOURCES_KEPT_MAX:
            self._kept.pop(next(iter(self._kept)), None)
        self._kept[key] = ({one: interfaces[one] for one in compiled.handles}, compiled)
        return compiled

    def adopt(
        self, contracts: ContractSet, compiled: Mapping[str, CompiledContract], machine: Machine
    ) -> None:
        """Take over a set that was compiled and put together elsewhere."""
        if contracts.set_hash not in self._compiled:
            self._keep(contracts.set_hash, dict(compiled))
        self._machines.setdefault(contracts.set_hash, machine)

    def _keep(self, set_hash: bytes, compiled: dict[str, CompiledContract]) -> None:
        while len(self._compiled) >= SETS_CACHED_MAX:
            oldest = next(iter(self._compiled))
            del self._compiled[oldest]
            self._machines.pop(oldest, None)
        self._compiled[set_hash] = compiled

    def get_machine(self, contracts: ContractSet) -> Machine:
        """Return the machine that runs a set. Raises as `compile` does."""
        compiled = self.compile(contracts)
        machine = self._machines.get(contracts.set_hash)
        if machine is None:
            machine = Machine(compiled)
            self._machines[contracts.set_hash] = machine
        return machine

    def _find(self, source: ContractSource, interfaces: dict[str, Interface]) -> CompiledContract | None:
        """Return the contract as another set has it, if what it calls is the same in this set."""
        for compiled in self._compiled.values():
            found = compiled.get(source.name)
            if (
                found is not None
                and (found.source_hash, found.language_version)
                == (source.source_hash, source.language_version)
                and _fits(found, interfaces)
            ):
                return found
        return None


class Sessions:
    """Open sessions, one for each of the latest few sets, for whoever runs one block or view at a time.

    Opening a contract of many variables takes milliseconds that nobody pays for. So it happens once a set and
    not once a turn, also where sets take turns: blocks around an upgrade, and views of heights before one.
    """

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._open: dict[bytes, Session] = {}

    def begin(self, contracts: ContractSet, state: StateReader) -> Session:
        """Return the session of a set, over this state, without anything that was read or written before.

        Raises as `Programs.get_machine` does, where the set is not open.
        """
        last = next(reversed(self._open), None)
        if last is not None and last != contracts.set_hash:
            self._open[last].restart(state)  # What it read is not to be kept until its turn comes again.
        session = self._open.pop(contracts.set_hash, None)
        while len(self._open) >= SETS_CACHED_MAX:
            del self._open[next(iter(self._open))]
        if session is None:
            session = self._programs.get_machine(contracts).open_session(state)
        self._open[contracts.set_hash] = session
        session.restart(state)
        return session


def _compile(source: ContractSource, interfaces: dict[str, Interface]) -> CompiledContract:
    if source.language_version != LANGUAGE_VERSION:
        raise UsageError(
            Reason.VERSION_UNKNOWN,
            f"contract {source.name} is in another version of the language",
            value=source.language_version,
            limit=LANGUAGE_VERSION,
            remedy="run the software version the network runs",
        )
    return compile_contract(source.source, name=source.name, interfaces=interfaces)


def _fits(compiled: CompiledContract, interfaces: dict[str, Interface]) -> bool:
    unit = compiled.unit
    for (_, contract, function), signature in zip(unit.imports, unit.signatures, strict=True):
        callee = interfaces.get(contract)
        if callee is None or callee.find(function) != signature:
            return False
    return True
