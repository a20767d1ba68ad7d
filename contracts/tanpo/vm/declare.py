"""Reads the top level of a contract: constants, records, state and handles; functions by their heads."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from tanpo.vm import ir
from tanpo.vm.annotations import check_name, resolve_key, resolve_type
from tanpo.vm.constants import fold
from tanpo.vm.faults import list_names
from tanpo.vm.functions import check_kinds, declare_function, declare_method
from tanpo.vm.limits import RECORD_FIELDS_MAX, VARIABLES_MAX
from tanpo.vm.scope import RESERVED, FunctionNode, ModuleScope
from tanpo.vm.structure import REFUSED
from tanpo.vm.types import UNKNOWN, Record, Type

_STATEMENTS: Final[dict[type[ast.stmt], str]] = {
    ast.If: "if",
    ast.For: "for",
    ast.While: "while",
    ast.Expr: "a call or a value",
    ast.AugAssign: "a change of a value",
    ast.Delete: "del",
    ast.Pass: "pass",
    ast.Return: "return",
    ast.Break: "break",
    ast.Continue: "continue",
}


def declare_module(scope: ModuleScope, tree: ast.Module) -> None:
    """Fill `scope` from the top-level statements, in the order written."""
    found = _Found([], [], [])
    for position, node in enumerate(tree.body):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and position == 0:
            continue
        _declare_statement(scope, node, found)
    for function in found.functions:
        declare_function(scope, function)
    for method in found.methods:
        declare_method(scope, method)
    for name in found.names:
        if name not in RESERVED and not scope.is_taken(name):
            scope.broken[name] = None
    check_kinds(scope, tree)


class _Found(NamedTuple):
    """What is declared after records, constants and state: functions, those of records, refused names."""

    functions: list[FunctionNode]
    methods: list[FunctionNode]
    names: list[str]


def _declare_statement(scope: ModuleScope, node: ast.stmt, found: _Found) -> None:
    match node:
        case ast.AnnAssign():
            _declare_annotated(scope, node)
        case ast.Assign():
            _declare_constant(scope, node)
        case ast.Import() | ast.ImportFrom():
            # Named once, where it stands, and not again at every use.
            scope.broken.update(dict.fromkeys(list_imported(node)))
        case _:
            if not isinstance(node, FunctionNode | ast.ClassDef) and type(node).__name__ not in REFUSED:
                written = _STATEMENTS.get(type(node), "this statement")
                scope.fault("DECLARATION", node, f"{written} may not stand at top level")
            _declare_inside(scope, node, found)


def _declare_inside(scope: ModuleScope, node: ast.stmt, found: _Found) -> None:
    """Declare a function or record, or those inside a statement that may not stand here."""
    pending: list[ast.AST] = [node]
    while pending:
        part = pending.pop()
        match part:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                found.functions.append(part)
            case ast.ClassDef():
                _declare_record(scope, part)
                found.methods.extend(_list_methods(part))
            case ast.Name(id=name, ctx=ast.Store()):
                found.names.append(name)
            case _:
                pending.extend(reversed(list(ast.iter_child_nodes(part))))


def list_imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Return the names that an import would bind, without those of the dialect."""
    names = [part.asname or part.name.partition(".")[0] for part in node.names]
    return [name for name in names if name not in RESERVED]


def _declare_record(scope: ModuleScope, node: ast.ClassDef) -> None:
    if [part.id if isinstance(part, ast.Name) else "" for part in node.decorator_list] != ["record"]:
        message, remedy = (
            f"class {node.name} needs exactly the decorator @record",
            "write @record, and no other",
        )
        scope.fault("DECORATOR", node, message, node.name, remedy=remedy)
    if node.bases or node.keywords:
        scope.fault("INHERITANCE", node, f"record {node.name} inherits", node.name)
    fields = check_fields(scope, node)
    if check_name(scope, node.name, node):
        record = Record(scope.contract, node.name, tuple(fields.items()))
        if scope.bound(node, record) == UNKNOWN:
            record = Record(scope.contract, node.name, tuple((name, UNKNOWN) for name in fields))
        scope.records[node.name] = record


def check_fields(scope: ModuleScope, node: ast.ClassDef) -> dict[str, Type]:
    """Return the types of the fields of a record; that functions and classes stand in it has been said."""
    fields: dict[str, Type] = {}
    body = node.body[1:] if _is_text(node.body[0]) else node.body
    methods = [part for part in body if isinstance(part, FunctionNode | ast.ClassDef)]
    for part in body:
        if part not in methods:
            _declare_field(scope, node.name, part, fields)
    if not fields and not methods:
        scope.fault("RECORD_FIELD", node, f"record {node.name} has no fields", node.name)
    return fields


def _list_methods(node: ast.ClassDef) -> Iterator[FunctionNode]:
    for part in node.body:
        if isinstance(part, FunctionNode):
            yield part
        elif isinstance(part, ast.ClassDef):
            yield from _list_methods(part)


def _declare_field(scope: ModuleScope, record: str, part: ast.stmt, fields: dict[str, Type]) -> None:
    message, remedy = f"record {record}: this is no typed field", ""
    match part:
        case ast.AnnAssign(target=ast.Name(id=name)) if name in fields:
            message, remedy = (
                f"record {record}: {name} is declared twice",
                "give each field a name of its own",
            )
        case ast.AnnAssign(target=ast.Name(id=name)) if len(fields) < RECORD_FIELDS_MAX:
            fields[name] = resolve_type(scope, part.annotation)
            if part.value is None:
                return
            message = f"record {record}: field {name} has a value"
            remedy = "leave the value out, and give it where a record is made"
        case ast.AnnAssign(target=ast.Name()):
            message = f"record {record} has more than {RECORD_FIELDS_MAX} fields"
        case ast.Assign(targets=[ast.Name(id=name)]):
            remedy = f"write {name} and its type, as in {name}: int, without a value"
            if len(fields) < RECORD_FIELDS_MAX:
                fields.setdefault(name, UNKNOWN)
    scope.fault("RECORD_FIELD", part, message, remedy=remedy)


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _declare_annotated(scope: ModuleScope, node: ast.AnnAssign) -> None:
    if not isinstance(node.target, ast.Name):
        scope.fault("DECLARATION", node, "only a plain name is declared at top level")
        return
    name = node.target.id
    if not check_name(scope, name, node):
        return
    if node.value is not None:
        kind = resolve_type(scope, node.annotation)
        constant = fold(scope, node.value)
        if constant.type != kind and UNKNOWN not in (constant.type, kind):
            scope.fault(
                "TYPE_MISMATCH", node, f"constant {name} is {kind} but its value is {constant.type}", name
            )
        scope.constants[name] = replace(constant, name=name)
    elif isinstance(node.annotation, ast.Subscript) and isinstance(node.annotation.value, ast.Name):
        _declare_container(scope, name, node.annotation, node.annotation.value.id)
    else:
        _declare_slot(scope, node, ir.Variable(name, resolve_type(scope, node.annotation)))


_CONTAINERS: Final[dict[str, str]] = {
    "Contract": 'write Contract["name"], the name of an installed contract in quotes',
    "Map": "write Map[K, V], the types of key and value",
    "Index": "write Index[G, M], the types of group and member",
}


def _declare_container(scope: ModuleScope, name: str, node: ast.Subscript, container: str) -> None:
    match container, node.slice:
        case "Contract", ast.Constant(value=str(contract)):
            interface = scope.interfaces.get(contract)
            if interface is None or contract == scope.contract:
                known = list_names(sorted(scope.interfaces)) or "none"
                scope.fault(
                    "HANDLE", node, f"contract {contract!r} is not installed (installed: {known})", contract
                )
                scope.broken[name] = None
                return
            scope.handles[name] = interface
        case "Map", ast.Tuple(elts=[key, value]):
            _declare_slot(scope, node, ir.MapSlot(name, resolve_key(scope, key), resolve_type(scope, value)))
        case "Index", ast.Tuple(elts=[group, member]):
            _declare_slot(
                scope, node, ir.IndexSlot(name, resolve_key(scope, group), resolve_key(scope, member))
            )
        case (("Contract" | "Map" | "Index"), _):
            message = f"{scope.text(node)} is not a declaration of the dialect"
            scope.fault("STATE_TYPE", node, message, remedy=_CONTAINERS[container])
            scope.broken[name] = None
        case _:
            _declare_slot(scope, node, ir.Variable(name, resolve_type(scope, node)))


def _declare_slot(scope: ModuleScope, node: ast.AST, slot: ir.Slot) -> None:
    scope.slots[slot.name] = slot
    if len(scope.slots) == VARIABLES_MAX + 1:
        scope.fault("STATE_COUNT", node, f"more than {VARIABLES_MAX} variables, Maps and Indexes", slot.name)


def _declare_constant(scope: ModuleScope, node: ast.Assign) -> None:
    target = node.targets[0]
    if not isinstance(target, ast.Name):
        scope.fault("DECLARATION", node, "only a plain name is declared at top level")
    elif check_name(scope, target.id, node):
        scope.constants[target.id] = replace(fold(scope, node.value), name=target.id)
