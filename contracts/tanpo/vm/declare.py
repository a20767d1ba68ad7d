"""Reads the top level of a contract: constants, records, state, handles and the signatures of functions."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Final

from tanpo.vm import ir
from tanpo.vm.faults import list_names
from tanpo.vm.interface import Parameter
from tanpo.vm.limits import INT_MAX, RECORD_FIELDS_MAX, TEXT_SIZE_MAX, VARIABLES_MAX
from tanpo.vm.scope import RESERVED, ModuleScope, Signature
from tanpo.vm.structure import REFUSED
from tanpo.vm.types import (
    BOOL,
    BYTES,
    INT,
    NOTHING,
    SCALARS,
    STR,
    UNKNOWN,
    DictOf,
    ListOf,
    Record,
    Scalar,
    TupleOf,
    Type,
    is_key,
)

_KINDS: Final = ("entry", "view", "init", "migrate")


def declare_module(scope: ModuleScope, tree: ast.Module) -> None:
    """Fill `scope` from the top-level statements, in the order written."""
    functions: list[ast.FunctionDef] = []
    for position, node in enumerate(tree.body):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and position == 0:
            continue
        if isinstance(node, ast.FunctionDef):
            functions.append(node)
        elif isinstance(node, ast.ClassDef):
            _declare_record(scope, node)
        elif isinstance(node, ast.AnnAssign):
            _declare_annotated(scope, node)
        elif isinstance(node, ast.Assign):
            _declare_constant(scope, node)
        elif type(node).__name__ not in REFUSED:
            scope.fault("DECLARATION", node, f"{type(node).__name__} may not stand at top level")
    for function in functions:
        _declare_function(scope, function)
    _check_kinds(scope, tree)


def check_name(scope: ModuleScope, name: str, node: ast.AST) -> bool:
    """Refuse a name that is reserved or already declared at top level."""
    if name in RESERVED:
        scope.fault("RESERVED", node, f"{name} belongs to the dialect", name)
        return False
    if scope.is_taken(name):
        scope.fault("DUPLICATE", node, f"{name} is already declared", name)
        return False
    return True


def resolve_type(scope: ModuleScope, node: ast.expr) -> Type:
    """Return the type that an annotation names."""
    return scope.bound(node, _resolve(scope, node))


def _resolve(scope: ModuleScope, node: ast.expr) -> Type:
    match node:
        case ast.Name(id=name) if name in SCALARS:
            return SCALARS[name]
        case ast.Name(id=name) if name in scope.records:
            return scope.records[name]
        case ast.Attribute(value=ast.Name(id=handle), attr=name) if handle in scope.handles:
            record = scope.handles[handle].find_record(name)
            if record is not None:
                scope.foreign.add(record)
                return record
        case ast.Attribute(value=ast.Name(id=handle)) if handle in scope.broken:
            return UNKNOWN
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return ListOf(_resolve(scope, item))
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[key, value])):
            return _resolve_dict(scope, key, value)
        case ast.Subscript(value=ast.Name(id="tuple"), slice=items):
            parts = items.elts if isinstance(items, ast.Tuple) else [items]
            if parts:
                return TupleOf(tuple(_resolve(scope, part) for part in parts))
    text = scope.text(node)
    scope.fault("TYPE", node, f"{text} is not a type known here", text)
    return UNKNOWN


def _resolve_dict(scope: ModuleScope, key: ast.expr, value: ast.expr) -> Type:
    kind = _resolve(scope, key)
    if not isinstance(kind, Scalar) and kind != UNKNOWN:
        scope.fault("KEY_TYPE", key, f"a dict cannot be keyed by {kind}", str(kind))
        kind = UNKNOWN
    return DictOf(kind, _resolve(scope, value))


def _declare_record(scope: ModuleScope, node: ast.ClassDef) -> None:
    if [part.id if isinstance(part, ast.Name) else "" for part in node.decorator_list] != ["record"]:
        scope.fault("DECORATOR", node, f"class {node.name} needs exactly the decorator @record", node.name)
    if node.bases or node.keywords:
        scope.fault("INHERITANCE", node, f"record {node.name} inherits", node.name)
    fields: dict[str, Type] = {}
    body = node.body[1:] if _is_text(node.body[0]) else node.body
    for part in body:
        match part:
            case ast.AnnAssign(target=ast.Name(id=name), value=None) if (
                name not in fields and len(fields) < RECORD_FIELDS_MAX
            ):
                fields[name] = resolve_type(scope, part.annotation)
            case _:
                message = f"record {node.name}: this is no new typed field, or one beyond {RECORD_FIELDS_MAX}"
                scope.fault("RECORD_FIELD", part, message)
    if not fields:
        scope.fault("RECORD_FIELD", node, f"record {node.name} has no fields", node.name)
    if check_name(scope, node.name, node):
        record = Record(scope.contract, node.name, tuple(fields.items()))
        if scope.bound(node, record) == UNKNOWN:
            record = Record(scope.contract, node.name, tuple((name, UNKNOWN) for name in fields))
        scope.records[node.name] = record


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
        constant = _fold(scope, node.value)
        if constant.type != kind and UNKNOWN not in (constant.type, kind):
            scope.fault(
                "TYPE_MISMATCH", node, f"constant {name} is {kind} but its value is {constant.type}", name
            )
        scope.constants[name] = replace(constant, name=name)
    elif isinstance(node.annotation, ast.Subscript) and isinstance(node.annotation.value, ast.Name):
        _declare_container(scope, name, node.annotation, node.annotation.value.id)
    else:
        _declare_slot(scope, node, ir.Variable(name, resolve_type(scope, node.annotation)))


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
            _declare_slot(scope, node, ir.MapSlot(name, _resolve_key(scope, key), resolve_type(scope, value)))
        case "Index", ast.Tuple(elts=[group, member]):
            _declare_slot(
                scope, node, ir.IndexSlot(name, _resolve_key(scope, group), _resolve_key(scope, member))
            )
        case (("Contract" | "Map" | "Index"), _):
            scope.fault("STATE_TYPE", node, f"{scope.text(node)} is not a declaration of the dialect")
            scope.broken[name] = None
        case _:
            _declare_slot(scope, node, ir.Variable(name, resolve_type(scope, node)))


def _declare_slot(scope: ModuleScope, node: ast.AST, slot: ir.Slot) -> None:
    scope.slots[slot.name] = slot
    if len(scope.slots) == VARIABLES_MAX + 1:
        scope.fault("STATE_COUNT", node, f"more than {VARIABLES_MAX} variables, Maps and Indexes", slot.name)


def _resolve_key(scope: ModuleScope, node: ast.expr) -> Type:
    kind = resolve_type(scope, node)
    if not is_key(kind):
        scope.fault("KEY_TYPE", node, f"state cannot be keyed by {kind}", str(kind))
        return UNKNOWN
    return kind


def _declare_constant(scope: ModuleScope, node: ast.Assign) -> None:
    target = node.targets[0]
    if not isinstance(target, ast.Name):
        scope.fault("DECLARATION", node, "only a plain name is declared at top level")
    elif check_name(scope, target.id, node):
        scope.constants[target.id] = replace(_fold(scope, node.value), name=target.id)


def _fold(scope: ModuleScope, node: ast.expr) -> ir.Const:
    """Return the value of a constant expression."""
    match node:
        case ast.Constant(value=bool() | int() | str() | bytes()):
            return literal(scope, node)
        case ast.Name(id=name) if name in scope.constants:
            return scope.constants[name]
        case ast.Tuple(elts=[_, *_]):
            parts = [_fold(scope, part) for part in node.elts]
            kind = scope.bound(node, TupleOf(tuple(part.type for part in parts)))
            return ir.Const(kind, tuple(part.value for part in parts) if kind != UNKNOWN else 0)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _fold(scope, operand)
            if inner.type == INT and isinstance(inner.value, int):
                return ir.Const(INT, -inner.value)
        case ast.BinOp(left=left, op=operator, right=right):
            folded = _fold_binary(operator, _fold(scope, left), _fold(scope, right))
            if folded is not None:
                return folded
    scope.fault("CONSTANT", node, "this is not a constant expression")
    return ir.Const(UNKNOWN, 0)


def _fold_binary(operator: ast.operator, left: ir.Const, right: ir.Const) -> ir.Const | None:
    if UNKNOWN in (left.type, right.type):
        return ir.Const(UNKNOWN, 0)
    if left.type != INT or right.type != INT:
        return None
    a, b = left.value, right.value
    if not isinstance(a, int) or not isinstance(b, int):
        return None
    match operator:
        case ast.Add():
            value = a + b
        case ast.Sub():
            value = a - b
        case ast.Mult():
            value = a * b
        case ast.FloorDiv() if b != 0:
            value = a // b
        case _:
            return None
    return ir.Const(INT, value) if abs(value) <= INT_MAX else None


def literal(scope: ModuleScope, node: ast.Constant) -> ir.Const:
    """Return a literal, refused if it is outside the limits of its type."""
    value = node.value
    match value:
        case bool():
            return ir.Const(BOOL, value)
        case int():
            if value > INT_MAX:
                scope.fault("LITERAL_RANGE", node, "number is above 2**255 - 1", str(value))
            return ir.Const(INT, value)
        case str():
            size, kind = len(value.encode("utf-8")), STR
        case bytes():
            size, kind = len(value), BYTES
        case _:
            return ir.Const(UNKNOWN, 0)
    if size > TEXT_SIZE_MAX:
        scope.fault("LITERAL_RANGE", node, f"literal of {size} bytes is longer than {TEXT_SIZE_MAX}")
    return ir.Const(kind, value)


def _declare_function(scope: ModuleScope, node: ast.FunctionDef) -> None:
    kind = _kind_of(scope, node)
    parameters: dict[str, Type] = {}
    for argument in node.args.args:
        if argument.arg in parameters:
            scope.fault("DUPLICATE", argument, f"parameter {argument.arg} is declared twice", argument.arg)
        if argument.annotation is None:
            scope.fault("ANNOTATION", argument, f"parameter {argument.arg} has no type", argument.arg)
            parameters[argument.arg] = UNKNOWN
        else:
            parameters[argument.arg] = resolve_type(scope, argument.annotation)
    returns: Type = NOTHING
    if node.returns is not None and not (
        isinstance(node.returns, ast.Constant) and node.returns.value is None
    ):
        returns = resolve_type(scope, node.returns)
    if kind in ("init", "migrate") and (returns != NOTHING or (kind == "migrate" and parameters)):
        scope.fault(
            "INIT", node, f"@{kind} {node.name} has a result, or parameters that it must not have", node.name
        )
    if check_name(scope, node.name, node):
        scope.functions[node.name] = Signature(
            name=node.name,
            kind=kind,
            parameters=tuple(Parameter(name=name, type=part) for name, part in parameters.items()),
            returns=returns,
            node=node,
        )


def _kind_of(scope: ModuleScope, node: ast.FunctionDef) -> str:
    if not node.decorator_list:
        return "helper"
    decorator = node.decorator_list[0]
    if len(node.decorator_list) == 1 and isinstance(decorator, ast.Name) and decorator.id in _KINDS:
        return decorator.id
    scope.fault(
        "DECORATOR", node, f"function {node.name} has a decorator that is not known", scope.text(decorator)
    )
    return "helper"


def _check_kinds(scope: ModuleScope, tree: ast.Module) -> None:
    kinds = [signature.kind for signature in scope.functions.values()]
    for kind in ("init", "migrate"):
        if kinds.count(kind) > 1:
            _, *others = [name for name, signature in scope.functions.items() if signature.kind == kind]
            for node in tree.body:
                if isinstance(node, ast.FunctionDef) and node.name in others:
                    scope.fault("INIT", node, f"another function has @{kind} too", kind)
    if "entry" not in kinds and "view" not in kinds:
        scope.fault("NO_ENTRY", tree, "the contract has neither an entry point nor a view", scope.contract)
