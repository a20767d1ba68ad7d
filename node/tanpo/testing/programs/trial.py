"""Runs one program on every engine, and on CPython where it means the same there, and compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from tanpo.ledger.errors import InvariantViolation
from tanpo.ledger.values import Fields
from tanpo.testing.programs.callees import CALLER, STUB
from tanpo.testing.programs.model import Program
from tanpo.testing.programs.plain import LEFT_TO_THE_MACHINE, PlainOutcome, PlainRun
from tanpo.testing.programs.writing import CALLEES, write_callee
from tanpo.testing.state import MemoryState
from tanpo.vm import (
    ENGINES,
    CallContext,
    CompiledContract,
    Engine,
    Interface,
    Machine,
    Outcome,
    compile_contract,
)
from tanpo.vm.engine import Program as Prepared
from tanpo.vm.ir import Unit

_TX_ID: Final = bytes(32)
_HEIGHT: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    contract: str
    entry: str
    arguments: Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of one program: outcomes as text, the same from all engines unless `difference` says what."""

    compiled: CompiledContract
    outcomes: tuple[Outcome, ...]
    text: str
    difference: str
    is_plain: bool


class Bench:
    """The engines under test, with the contracts that programs call prepared once for each."""

    def __init__(self, engines: Mapping[str, Engine] = ENGINES) -> None:
        self._engines = {name: _remember_callees(engine) for name, engine in engines.items()}

    def try_program(self, program: Program, *, with_python: bool) -> Trial:
        """Run a program and compare.

        Raises:
            ContractRefused: the program is not one; a fault of whoever wrote it.
        """
        contracts = _compile(program)
        runs: dict[str, list[str]] = {}
        outcomes: list[Outcome] = []
        for name, engine in self._engines.items():
            outcomes, runs[name] = _run(program, Machine(contracts, engine=engine))
        difference = _find_difference(runs)
        is_plain = with_python and program.is_plain
        if not difference and is_plain:
            difference = _compare_with_python(program, outcomes)
        return Trial(
            compiled=contracts[CALLER],
            outcomes=tuple(outcomes),
            text="\n".join(next(iter(runs.values()))),
            difference=difference,
            is_plain=is_plain,
        )


def _compile(program: Program) -> dict[str, CompiledContract]:
    contracts = {} if program.callee is None else dict(_compile_callee(program.callee))
    interfaces = {name: one.interface for name, one in contracts.items()}
    contracts[CALLER] = compile_contract(program.write(), name=CALLER, interfaces=interfaces)
    return contracts


@lru_cache(maxsize=CALLEES)
def _compile_callee(number: int) -> Mapping[str, CompiledContract]:
    callee = write_callee(number)
    contracts: dict[str, CompiledContract] = {}
    interfaces: dict[str, Interface] = {}
    if callee.calls_back:
        interfaces[CALLER] = compile_contract(STUB.write(), name=CALLER, interfaces={}).interface
    for contract in callee.contracts:
        name = contract.name
        contracts[name] = compile_contract(contract.write(), name=name, interfaces=interfaces)
        interfaces[name] = contracts[name].interface
    return contracts


def _remember_callees(engine: Engine) -> Engine:
    """Return the engine, keeping its programs of callees: there are few, and many programs call them."""
    known: dict[int, tuple[Unit, Prepared]] = {}

    def build(unit: Unit) -> Prepared:
        if unit.contract == CALLER:
            return engine(unit)
        if id(unit) not in known:
            known[id(unit)] = (unit, engine(unit))
        return known[id(unit)][1]

    return build


def _run(program: Program, machine: Machine) -> tuple[list[Outcome], list[str]]:
    """Return what each step of a program gave, also as text, and last what it wrote."""
    state = MemoryState()
    session = machine.open_session(state)
    outcomes: list[Outcome] = []
    seen: list[str] = []
    installed = [*_names_of_callees(program), CALLER]
    for step in program.steps:
        context = CallContext(
            sender=step.sender,
            signers=(step.sender,),
            time_ms=step.time_ms,
            height=_HEIGHT,
            tx_id=_TX_ID,
        )
        call = _Call(contract=CALLER, entry=step.entry, arguments=step.arguments)
        try:
            match step.kind:
                case "init":
                    done = [session.initialise(name, (), context, step.gas_limit) for name in installed]
                case "commit":
                    state.apply(session.collect_changes().items())
                    session.restart(state)
                    done = []
                case "view":
                    done = [session.view(call, context, step.gas_limit)]
                case _:
                    done = [session.run(call, context, step.gas_limit)]
        except InvariantViolation as violation:
            seen.append(f"the machine broke: {violation}")
            return outcomes, seen
        outcomes += done
        seen += [repr(outcome) for outcome in done]
    seen.append(repr(sorted(session.collect_changes().items())))
    return outcomes, seen


def _find_difference(runs: Mapping[str, list[str]]) -> str:
    first, *others = runs.values()
    if all(other == first for other in others):
        broken = [text for text in first if text.startswith("the machine broke")]
        return broken[0] if broken else ""
    longest = max(len(run) for run in runs.values())
    for place in range(longest):
        seen = {name: run[place] if place < len(run) else "nothing" for name, run in runs.items()}
        if len(set(seen.values())) > 1:
            return f"outcome {place}:\n" + "\n".join(f"  {name}: {text}" for name, text in seen.items())
    return ""


def _names_of_callees(program: Program) -> list[str]:
    return [] if program.callee is None else [one.name for one in write_callee(program.callee).contracts]


def _compare_with_python(program: Program, outcomes: list[Outcome]) -> str:
    callees = () if program.callee is None else write_callee(program.callee).contracts
    plain = PlainRun((*callees, program.contract))
    remaining = iter(outcomes)
    for step in program.steps:
        if step.kind == "commit":
            continue
        is_init = step.kind == "init"
        for name in [*_names_of_callees(program), CALLER] if is_init else [CALLER]:
            outcome = next(remaining)
            if outcome.code in LEFT_TO_THE_MACHINE:
                continue
            entry = "setup" if is_init else step.entry
            found = repr(plain.run(name, entry, step))
            if _describe(outcome) != found:
                return f"{name}.{entry}:\n  machine: {_describe(outcome)}\n  CPython: {found}"
    return ""


def _describe(outcome: Outcome) -> str:
    """Return an outcome in the form that CPython's has."""
    code = outcome.code
    own = PlainOutcome(
        code=code,
        details=() if code == "INDEX" else outcome.details,
        value=outcome.value,
        events=tuple((event.contract, event.name, event.fields) for event in outcome.events),
    )
    return repr(own)
