"""A contract prepared to run, and the doors through which it is entered from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tanpo.ledger.errors import Reason, TransactionRejected
from tanpo.ledger.values import Fields
from tanpo.vm import gas, ir
from tanpo.vm.border import Export, Import, Mismatch, build_exporter, build_importer, pay
from tanpo.vm.compiler import CompiledContract
from tanpo.vm.engine import Engine, Program
from tanpo.vm.gas import Weigh
from tanpo.vm.helpers import Meter
from tanpo.vm.indexes import IndexLayout
from tanpo.vm.slots import SlotLayout
from tanpo.vm.types import Type

_NAMES_SHOWN: Final = 12
_KINDS: Final = {"entry": "entry point", "view": "view"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """One function as it is entered from outside: how arguments come in and the result goes out."""

    name: str
    parameters: tuple[tuple[str, Import], ...]
    export: Export | None
    weigh_result: Weigh

    @property
    def shape(self) -> str:
        """The parameters by name, for messages."""
        return ", ".join(name for name, _ in self.parameters) or "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A contract prepared to run: its program, its doors by kind, and how its state is spelled.

    `handed_back` has what the functions it calls return, by contract and name; `events` has its events.
    """

    compiled: CompiledContract
    program: Program
    doors: Mapping[str, Mapping[str, Door]]
    layouts: Mapping[str, SlotLayout | IndexLayout]
    handed_back: Mapping[tuple[str, str], Type]
    events: Mapping[str, tuple[Type, ...]]


def install(compiled: CompiledContract, engine: Engine) -> Installed:
    """Prepare a checked contract with the given engine."""
    unit = compiled.unit
    doors: dict[str, dict[str, Door]] = {"entry": {}, "view": {}, "init": {}, "migrate": {}, "helper": {}}
    for function in unit.functions:
        doors[function.kind][function.name] = Door(
            name=function.name,
            parameters=tuple((name, build_importer(kind)) for name, kind in function.parameters),
            export=build_exporter(function.returns),
            weigh_result=gas.weigher(function.returns),
        )
    layouts: dict[str, SlotLayout | IndexLayout] = {}
    for slot in unit.slots:
        if isinstance(slot, ir.IndexSlot):
            layouts[slot.name] = IndexLayout(unit.contract, slot)
        else:
            layouts[slot.name] = SlotLayout(unit.contract, slot)
    called = zip(unit.imports, unit.signatures, strict=True)
    return Installed(
        compiled=compiled,
        program=engine(unit),
        doors=doors,
        layouts=layouts,
        handed_back={(contract, name): signature.returns for (_, contract, name), signature in called},
        events={event.name: tuple(part.type for part in event.fields) for event in compiled.interface.events},
    )


def load_arguments(door: Door, arguments: Fields, meter: Meter) -> list[object]:
    """Return native arguments in the order of the parameters; they are paid for by weight.

    Raises:
        Abort: there is not enough gas for them.
        TransactionRejected: an argument is unknown, missing, or of another type or size.
    """
    pay(meter, len(arguments))
    given = dict(arguments)
    loaded: list[object] = []
    for name, load in door.parameters:
        if name not in given:
            raise _rejected(Reason.ARGUMENT_MISSING, f"{door.name} needs argument {name}", name, door.shape)
        try:
            loaded.append(load(given[name], meter))
        except Mismatch as mismatch:
            path = f"{name}{mismatch.path}"
            what = f"argument {path} of {door.name} does not fit: {mismatch.value}, not {mismatch.limit}"
            raise _rejected(mismatch.reason, what, mismatch.value, mismatch.limit) from None
    if len(given) != len(loaded) or len(arguments) != len(given):
        known = {name for name, _ in door.parameters}
        extra = next((name for name, _ in arguments if name not in known), "a repeated name")
        raise _rejected(Reason.ARGUMENT_UNKNOWN, f"{door.name} takes no argument {extra}", extra, door.shape)
    return loaded


Contracts = Mapping[str, Installed]
"""The installed contracts by name."""


def find_installed(contracts: Contracts, contract: str) -> Installed:
    """Return a contract, or raise `TransactionRejected` with CONTRACT_UNKNOWN."""
    installed = contracts.get(contract)
    if installed is None:
        what = f"contract {contract} is not installed"
        raise _rejected(Reason.CONTRACT_UNKNOWN, what, contract, _listed(contracts))
    return installed


def find_door(installed: Installed, kind: str, name: str) -> Door:
    """Return a function that is entered from outside, or raise `TransactionRejected` with ENTRY_UNKNOWN."""
    doors = installed.doors[kind]
    door = doors.get(name)
    if door is None:
        message = f"contract {installed.compiled.name} has no {_KINDS[kind]} {name}"
        raise _rejected(Reason.ENTRY_UNKNOWN, message, name, _listed(doors))
    return door


def _rejected(reason: Reason, message: str, value: object, limit: object) -> TransactionRejected:
    remedies = {
        Reason.ARGUMENT_MISSING: "give every parameter by name",
        Reason.ARGUMENT_UNKNOWN: "give only the parameters of the entry point",
        Reason.ARGUMENT_TYPE: "send the type that the interface declares; nothing is converted",
        Reason.ARGUMENT_RANGE: "send a value inside the limit",
        Reason.CONTRACT_UNKNOWN: "call an installed contract, or install this one first",
        Reason.ENTRY_UNKNOWN: "call one of those listed; views are queried, entry points are submitted",
    }
    return TransactionRejected(reason, message, value=value, limit=limit, remedy=remedies[reason])


def _listed(names: Mapping[str, object]) -> str:
    shown = sorted(names)
    more = f" and {len(shown) - _NAMES_SHOWN} more" if len(shown) > _NAMES_SHOWN else ""
    return (", ".join(shown[:_NAMES_SHOWN]) or "none") + more
