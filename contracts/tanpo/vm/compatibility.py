"""What an upgrade must leave as it is: the state of the contract, and all that other contracts use of it.

A variable is stored by its name and its type. So a name that was ever in use keeps its type for ever, even if
versions in between did without it: what is stored under it would be read as something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tanpo.vm import ir
from tanpo.vm.compiler import CompiledContract
from tanpo.vm.dependencies import find_ways_back
from tanpo.vm.interface import Interface
from tanpo.vm.types import DictOf, ListOf, Record, TupleOf, Type

STATE_CHANGED: Final = "STATE_CHANGED"
INTERFACE_BROKEN: Final = "INTERFACE_BROKEN"
IMPORT_CYCLE: Final = "IMPORT_CYCLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """One thing that an upgrade may not change: a code, and what changes in words."""

    code: str
    message: str


def find_upgrade_breaks(
    old: CompiledContract,
    new: CompiledContract,
    *,
    stored: Mapping[str, str],
    contracts: Mapping[str, CompiledContract],
    needed: Iterable[str] = (),
) -> tuple[Break, ...]:
    """Return everything for which `new` may not take the place of `old` among the contracts in force.

    `stored` is the layout that its state was ever written with, `needed` what nodes themselves call of it.
    With handles that lead back to the contract, nothing else is looked at.
    """
    cycle = find_ways_back(old.name, new.handles, {name: one.handles for name, one in contracts.items()})
    if cycle:
        return tuple(Break(code=IMPORT_CYCLE, message=f"{one} needs {old.name} already") for one in cycle)
    dependants = [one for one in contracts.values() if old.name in one.handles]
    return (
        *find_layout_breaks(stored, describe_layout(new)),
        *find_interface_breaks(old.interface, new.interface, dependants),
        *find_function_breaks("every node", old.interface, new.interface, needed),
    )


def describe_layout(compiled: CompiledContract) -> dict[str, str]:
    """Return the type of every state variable by name, spelled to the last field of its records.

    The names of records are left out: they are not stored, and may change.
    """
    return {slot.name: _spell_slot(slot) for slot in compiled.unit.slots}


def find_layout_breaks(stored: Mapping[str, str], layout: Mapping[str, str]) -> tuple[Break, ...]:
    """Return every variable whose type is not the one that its name was ever stored with."""
    return tuple(
        Break(
            code=STATE_CHANGED,
            message=f"{name} is stored as {stored[name]}, and would be {kind}; give it another name",
        )
        for name, kind in sorted(layout.items())
        if stored.get(name, kind) != kind
    )


def find_interface_breaks(
    old: Interface, new: Interface, dependants: Iterable[CompiledContract]
) -> tuple[Break, ...]:
    """Return everything that other contracts use of `old` and would not find the same in `new`."""
    breaks: list[Break] = []
    for user in sorted(dependants, key=lambda one: one.name):
        named = {function for _, contract, function in user.unit.imports if contract == old.contract}
        breaks += find_function_breaks(user.name, old, new, sorted(named))
        for record in user.foreign:
            found = new.find_record(record.name)
            if record.contract == old.contract and found != record:
                breaks.append(_broken(user.name, _describe_record(record), _describe_record(found)))
    return tuple(breaks)


def find_function_breaks(
    user: str, old: Interface, new: Interface, functions: Iterable[str]
) -> tuple[Break, ...]:
    """Return which of these functions, of those that `old` has, `user` would not find the same in `new`."""
    pairs = [(_describe_function(old, name), _describe_function(new, name)) for name in functions]
    return tuple(_broken(user, had, has) for had, has in pairs if had and had != has)


def describe_changes(old: Interface, new: Interface) -> tuple[str, ...]:
    """Return what callers from outside would notice: a line for each thing that differs."""
    before, after = _describe_all(old), _describe_all(new)
    lines: list[str] = []
    for key in sorted(before.keys() | after.keys()):
        had, has = before.get(key, ""), after.get(key, "")
        if had != has:
            lines += [f"- {had}"] * bool(had) + [f"+ {has}"] * bool(has)
    return tuple(lines)


def _broken(user: str, had: str, has: str) -> Break:
    then = f"would be {has}" if has else "would be gone"
    return Break(code=INTERFACE_BROKEN, message=f"{user} uses {had}; it {then}")


def _describe_all(interface: Interface) -> dict[tuple[str, str], str]:
    described = {
        ("function", function.name): _describe_function(interface, function.name)
        for function in (*interface.entries, *interface.views)
    }
    described |= {("record", record.name): _describe_record(record) for record in interface.records}
    for event in interface.events:
        fields = ", ".join(f"{item.name}: {_spell_named(item.type)}" for item in event.fields)
        described["event", event.name] = f"event {event.name}({fields})"
    return described


def _describe_function(interface: Interface, name: str) -> str:
    """Return a function in words, to the last field of the records that it takes or returns."""
    kind, found = "view", interface.find_view(name)
    if found is None:
        kind, found = "entry", interface.find_entry(name)
    if found is None:
        return ""
    parameters = ", ".join(f"{item.name}: {_spell_named(item.type)}" for item in found.parameters)
    return f"{kind} {interface.contract}.{name}({parameters}) -> {_spell_named(found.returns)}"


def _describe_record(record: Record | None) -> str:
    return f"record {_spell_named(record)}" if record else ""


def _spell_slot(slot: ir.Slot) -> str:
    match slot:
        case ir.MapSlot(key=key, value=value):
            return f"Map[{_spell(key, _spell_fields)}, {_spell(value, _spell_fields)}]"
        case ir.IndexSlot(group=group, member=member):
            return f"Index[{_spell(group, _spell_fields)}, {_spell(member, _spell_fields)}]"
        case ir.Variable(type=kind):
            return _spell(kind, _spell_fields)


def _spell(kind: Type, spell_record: Callable[[Record], str]) -> str:
    match kind:
        case Record():
            return spell_record(kind)
        case ListOf(item=item):
            return f"list[{_spell(item, spell_record)}]"
        case DictOf(key=key, value=value):
            return f"dict[{_spell(key, spell_record)}, {_spell(value, spell_record)}]"
        case TupleOf(items=items):
            return f"tuple[{', '.join(_spell(item, spell_record) for item in items)}]"
    return str(kind)


def _spell_fields(record: Record) -> str:
    return f"({', '.join(f'{name}: {_spell(kind, _spell_fields)}' for name, kind in record.fields)})"


def _spell_named(kind: Type) -> str:
    """Return a type with the names of its records, which are what callers call them by."""
    return _spell(kind, _spell_record)


def _spell_record(record: Record) -> str:
    fields = ", ".join(f"{name}: {_spell_named(kind)}" for name, kind in record.fields)
    return f"{record.contract}.{record.name}({fields})"
