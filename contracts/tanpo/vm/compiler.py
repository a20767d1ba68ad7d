"""From source text to a checked contract, or to the list of everything that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from tanpo.vm import ir
from tanpo.vm.declare import declare_module
from tanpo.vm.faults import ContractRefused, Fault, FaultLog
from tanpo.vm.graph import check_graph
from tanpo.vm.interface import EventShape, Function, Interface, Parameter
from tanpo.vm.isolation import place_copies
from tanpo.vm.lexer import scan
from tanpo.vm.limits import GAS_TABLE_VERSION, LANGUAGE_VERSION
from tanpo.vm.scope import ModuleScope
from tanpo.vm.statements import check_function
from tanpo.vm.structure import check_structure
from tanpo.vm.syntax import find_syntax_faults, parse
from tanpo.vm.types import Record

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,47}\Z")
"""Contract names: never with a colon, which marks contracts among senders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledContract:
    """A checked contract. Only its source is ever stored; each node compiles it for itself.

    `handles` are the contracts it has handles of, `foreign` the records of theirs that it names.
    """

    name: str
    source: str
    source_hash: bytes
    language_version: int
    gas_table_version: int
    interface: Interface
    unit: ir.Unit
    handles: tuple[str, ...]
    foreign: tuple[Record, ...]


def compile_contract(source: str, *, name: str, interfaces: Mapping[str, Interface]) -> CompiledContract:
    """Return the contract that `source` spells.

    Raises:
        ContractRefused: with every fault found, in order of place.
    """
    faults = FaultLog(source)
    checked = _check(source, name, interfaces, faults)
    if checked is None or faults:
        raise ContractRefused(name, faults.finish())
    unit, scope = checked
    return CompiledContract(
        name=name,
        source=source,
        source_hash=sha256(source.encode("ascii")).digest(),
        language_version=LANGUAGE_VERSION,
        gas_table_version=GAS_TABLE_VERSION,
        interface=unit.interface,
        unit=place_copies(unit),
        handles=tuple(sorted({interface.contract for interface in scope.handles.values()})),
        foreign=tuple(sorted(scope.foreign, key=lambda record: (record.contract, record.name))),
    )


def check_contract(source: str, *, name: str, interfaces: Mapping[str, Interface]) -> tuple[Fault, ...]:
    """Return everything wrong with `source`, in order of place; empty if it may be installed."""
    faults = FaultLog(source)
    _check(source, name, interfaces, faults)
    return faults.finish()


def _check(
    source: str, name: str, interfaces: Mapping[str, Interface], faults: FaultLog
) -> tuple[ir.Unit, ModuleScope] | None:
    if not _NAME.match(name):
        faults.add("NAME", 1, 0, "a contract name is 1 to 48 of a-z, 0-9, - and _, a letter first", name)
    scan(source, faults)
    if faults:
        return None
    tree = parse(source)
    if tree is None:
        for wrong in find_syntax_faults(source):
            faults.add("SYNTAX", wrong.line, wrong.column, wrong.message, wrong.text, wrong.remedy)
        return None
    if not check_structure(tree, faults):
        return None
    scope = ModuleScope(contract=name, interfaces=interfaces, faults=faults, lines=source.split("\n"))
    declare_module(scope, tree)
    functions = tuple(check_function(scope, signature) for signature in scope.functions.values())
    check_graph(scope)
    imports = tuple(sorted(scope.imports))
    found = [scope.interfaces[contract].find(function) for _, contract, function in imports]
    unit = ir.Unit(
        contract=name,
        interface=_build_interface(scope),
        slots=tuple(scope.slots.values()),
        imports=imports,
        signatures=tuple(function for function in found if function is not None),
        functions=functions,
    )
    return unit, scope


def _build_interface(scope: ModuleScope) -> Interface:
    by_kind: dict[str, list[Function]] = {"entry": [], "view": []}
    init: tuple[Parameter, ...] = ()
    for signature in scope.functions.values():
        if signature.kind in by_kind:
            by_kind[signature.kind].append(
                Function(name=signature.name, parameters=signature.parameters, returns=signature.returns)
            )
        elif signature.kind == "init":
            init = signature.parameters
    events = (
        EventShape(name=name, fields=tuple(Parameter(name=field, type=kind) for field, kind in fields))
        for name, fields in sorted(scope.events.items())
    )
    return Interface(
        contract=scope.contract,
        entries=tuple(by_kind["entry"]),
        views=tuple(by_kind["view"]),
        records=tuple(scope.records.values()),
        events=tuple(events),
        init=init,
    )
