"""Reads the top level of a contract: constants, records, state, handles and the signatures of functions."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Final

from tanpo.vm import ir
from tanpo.vm.advice import advise_type
from tanpo.vm.constants import fold
from tanpo.vm.faults import list_names
from tanpo.vm.interface import Parameter
from tanpo.vm.limits import RECORD_FIELDS_MAX, VARIABLES_MAX
from tanpo.vm.scope import RESERVED, ModuleScope, Signature
from tanpo.vm.structure import REFUSED
from tanpo.vm.types import (
    NOTHING,
    SCALARS,
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
_DECORATORS: Final[dict[str, str]] = {
    "external": "@entry",
    "public": "@entry",
    "payable": "@entry",
    "call": "@entry",
    "pure": "@view",
    "readonly": "@view",
    "constructor": "@init",
    "upgrade": "@migrate",
}
"""What other contract languages call the decorators of this one."""


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
        elif isinstance(node, ast.Import | ast.ImportFrom):
            # Named once, where it stands, and not again at every use.
            scope.broken.update(dict.fromkeys(list_imported(node)))
        elif type(node).__name__ not in REFUSED:
            written = _STATEMENTS.get(type(node), "this statement")
            scope.fault("DECLARATION", node, f"{written} may not stand at top level")
    for function in functions:
        _declare_function(scope, function)
    _check_kinds(scope, tree)


def list_imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Return the names that an import would bind, without those of the dialect."""
    names = [part.asname or part.name.partition(".")[0] for part in node.names]
    return [name for name in names if name not in RESERVED]


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
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return ListOf(_resolve(scope, item))
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[key, value])):
            return _resolve_dict(scope, key, value)
        case ast.Subscript(value=ast.Name(id="tuple"), slice=items):
            parts = items.elts if isinstance(items, ast.Tuple) else [items]
            if parts:
                return TupleOf(tuple(_resolve(scope, part) for part in parts))
    if _is_named_elsewhere(scope, node):
        return UNKNOWN
    text = scope.text(node)
    scope.fault("TYPE", node, f"{text} is not a type known here", text, remedy=advise_type(node))
    return UNKNOWN


def _is_named_elsewhere(scope: ModuleScope, node: ast.expr) -> bool:
    """Tell whether the fault of an annotation is noted where it comes from: an import, a handle, a None."""
    match node:
        case (
            ast.Name(id=name)
            | ast.Attribute(value=ast.Name(id=name))
            | ast.Subscript(value=ast.Name(id=name))
        ):
            return name in scope.broken
        case ast.Constant(value=None) | ast.BinOp(right=ast.Constant(value=None)):
            return True
    return False


def _resolve_dict(scope: ModuleScope, key: ast.expr, value: ast.expr) -> Type:
    kind = _resolve(scope, key)
    if not isinstance(kind, Scalar) and kind != UNKNOWN:
        scope.fault("KEY_TYPE", key, f"a dict cannot be keyed by {kind}", str(kind))
        kind = UNKNOWN
    return DictOf(kind, _resolve(scope, value))


def _declare_record(scope: ModuleScope, node: ast.ClassDef) -> None:
    if [part.id if isinstance(part, ast.Name) else "" for part in node.decorator_list] != ["record"]:
        message, remedy = (
            f"class {node.name} needs exactly the decorator @record",
            "write @record, and no other",
        )
        scope.fault("DECORATOR", node, message, node.name, remedy=remedy)
    if node.bases or node.keywords:
        scope.fault("INHERITANCE", node, f"record {node.name} inherits", node.name)
    fields: dict[str, Type] = {}
    body = node.body[1:] if _is_text(node.body[0]) else node.body
    methods = [part for part in body if isinstance(part, ast.FunctionDef | ast.ClassDef)]
    for part in body:
        if part not in methods:
            _declare_field(scope, node.name, part, fields)
    if not fields and not methods:
        scope.fault("RECORD_FIELD", node, f"record {node.name} has no fields", node.name)
    if check_name(scope, node.name, node):
        record = Record(scope.contract, node.name, tuple(fields.items()))
        if scope.bound(node, record) == UNKNOWN:
            record = Record(scope.contract, node.name, tuple((name, UNKNOWN) for name in fields))
        scope.records[node.name] = record


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
            _declare_slot(scope, node, ir.MapSlot(name, _resolve_key(scope, key), resolve_type(scope, value)))
        case "Index", ast.Tuple(elts=[group, member]):
            _declare_slot(
                scope, node, ir.IndexSlot(name, _resolve_key(scope, group), _resolve_key(scope, member))
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
        scope.constants[target.id] = replace(fold(scope, node.value), name=target.id)


def _declare_function(scope: ModuleScope, node: ast.FunctionDef) -> None:
    kind = _kind_of(scope, node)
    parameters = _declare_parameters(scope, node.args)
    returns: Type = NOTHING
    if node.returns is not None and not (
        isinstance(node.returns, ast.Constant) and node.returns.value is None
    ):
        returns = resolve_type(scope, node.returns)
    if kind in ("init", "migrate") and (returns != NOTHING or (kind == "migrate" and parameters)):
        scope.fault(
            "INIT", node, f"@{kind} {node.name} has a result, or parameters that it must not have", node.name
        )
    name = node.name
    if not check_name(scope, name, node):
        # Its body is checked all the same, under a name that no author can write.
        name = f"{len(scope.functions)} {name}"
    scope.functions[name] = Signature(
        name=name,
        kind=kind,
        parameters=tuple(Parameter(name=name, type=part) for name, part in parameters.items()),
        returns=returns,
        node=node,
    )


def _declare_parameters(scope: ModuleScope, node: ast.arguments) -> dict[str, Type]:
    """Return the type of each parameter, of refused forms too: using them is no further fault."""
    parameters: dict[str, Type] = {}
    for argument in list_parameters(node):
        if argument.arg in parameters:
            scope.fault("DUPLICATE", argument, f"parameter {argument.arg} is declared twice", argument.arg)
        elif argument.annotation is None:
            message = f"parameter {argument.arg} has no type"
            scope.fault(
                "ANNOTATION",
                argument,
                message,
                argument.arg,
                remedy=f"write its type, as in {argument.arg}: int",
            )
            parameters[argument.arg] = UNKNOWN
        else:
            kind = resolve_type(scope, argument.annotation)
            parameters[argument.arg] = kind if argument in node.args else UNKNOWN
    return parameters


def list_parameters(node: ast.arguments) -> list[ast.arg]:
    """Return every parameter in the order written, those of refused forms too."""
    starred = [part for part in (node.vararg, node.kwarg) if part is not None]
    return sorted(
        [*node.posonlyargs, *node.args, *node.kwonlyargs, *starred],
        key=lambda part: (part.lineno, part.col_offset),
    )


def _kind_of(scope: ModuleScope, node: ast.FunctionDef) -> str:
    if not node.decorator_list:
        return "helper"
    first, *others = node.decorator_list
    known = isinstance(first, ast.Name) and first.id in _KINDS
    if others and known:
        message = f"function {node.name} has more than one decorator"
        scope.fault("DECORATOR", others[0], message, remedy="keep one of them")
    elif not known:
        message = f"function {node.name} has a decorator that is not known"
        scope.fault("DECORATOR", first, message, remedy=_advise_decorator(first))
    return first.id if isinstance(first, ast.Name) and known else "helper"


def _advise_decorator(node: ast.expr) -> str:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _KINDS:
        return f"write @{node.func.id} without brackets"
    if isinstance(node, ast.Name) and node.id.lower() in _KINDS:
        return f"write @{node.id.lower()}"
    if isinstance(node, ast.Name) and node.id in _DECORATORS:
        return f"write {_DECORATORS[node.id]}"
    return ""


def _check_kinds(scope: ModuleScope, tree: ast.Module) -> None:
    kinds = [signature.kind for signature in scope.functions.values()]
    for kind in ("init", "migrate"):
        if kinds.count(kind) > 1:
            _, *others = [name for name, signature in scope.functions.items() if signature.kind == kind]
            for node in tree.body:
                if isinstance(node, ast.FunctionDef) and node.name in others:
                    scope.fault("INIT", node, f"another function has @{kind} too", kind)
    decorated = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    meant = sum(1 for node in decorated if node.decorator_list)
    # A function whose decorator is refused was meant to be one; that has been said.
    if "entry" not in kinds and "view" not in kinds and meant == kinds.count("init") + kinds.count("migrate"):
        scope.fault("NO_ENTRY", tree, "the contract has neither an entry point nor a view", scope.contract)
