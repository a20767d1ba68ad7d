"""The machine: the contracts of one state, ready to check calls and to open sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tanpo.ledger.errors import Reason, UsageError
from tanpo.vm.codegen import build_program
from tanpo.vm.compiler import CompiledContract
from tanpo.vm.engine import Engine
from tanpo.vm.installed import find_door, find_installed, install, load_arguments
from tanpo.vm.outcome import CallLike, StateReader
from tanpo.vm.session import Session

_UNMETERED: Final = 1 << 62
"""Gas for checking: whether a call can pay for its arguments is told when it runs."""


class Machine:
    """The installed contracts. Immutable: an upgrade makes a new machine."""

    __slots__ = ("_contracts", "_engine")

    def __init__(self, contracts: Mapping[str, CompiledContract], *, engine: Engine = build_program) -> None:
        for name, compiled in contracts.items():
            _check_imports(name, compiled, contracts)
        self._contracts = {name: install(compiled, engine) for name, compiled in contracts.items()}
        self._engine = engine

    def replace(self, compiled: CompiledContract) -> Machine:
        """Return a machine with one contract added or replaced; the others are not prepared again.

        Raises:
            UsageError: it does not fit the others, or they do not fit it.
        """
        contracts = {name: installed.compiled for name, installed in self._contracts.items()}
        contracts[compiled.name] = compiled
        for name, one in contracts.items():
            _check_imports(name, one, contracts)
        machine = Machine({}, engine=self._engine)
        machine._contracts = {**self._contracts, compiled.name: install(compiled, self._engine)}
        return machine

    def open_session(self, reader: StateReader) -> Session:
        """Return a session for one block, over the state committed before it."""
        return Session(self._contracts, reader)

    def check_call(self, call: CallLike) -> None:
        """Check contract, entry point and arguments without running anything.

        Raises:
            TransactionRejected: with the offending value, what is allowed, and the remedy.
        """
        self._check(call, "entry")

    def check_view(self, call: CallLike) -> None:
        """Check a query of a view, as `check_call` checks a call of an entry point."""
        self._check(call, "view")

    def _check(self, call: CallLike, kind: str) -> None:
        door = find_door(find_installed(self._contracts, call.contract), kind, call.entry)
        load_arguments(door, call.arguments, [_UNMETERED])


def _check_imports(name: str, compiled: CompiledContract, contracts: Mapping[str, CompiledContract]) -> None:
    if name != compiled.name:
        raise UsageError(
            Reason.MISUSE, f"contract {compiled.name} is listed as {name}", value=name, limit=compiled.name
        )
    unit = compiled.unit
    for (_, contract, function), signature in zip(unit.imports, unit.signatures, strict=True):
        callee = contracts.get(contract)
        if callee is None or callee.interface.find(function) != signature:
            raise UsageError(
                Reason.CONTRACT_UNKNOWN,
                f"contract {name} was checked against another {contract}.{function}",
                value=f"{contract}.{function}",
                remedy="compile it against the interfaces of the contracts it runs with",
            )
