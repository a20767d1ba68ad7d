"""Reads the types that annotations name, and checks that a name is free at top level."""

from __future__ import annotations

import ast

from tanpo.vm.advice import advise_type
from tanpo.vm.scope import RESERVED, ModuleScope
from tanpo.vm.types import SCALARS, UNKNOWN, DictOf, ListOf, Scalar, TupleOf, Type, is_key


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


def resolve_key(scope: ModuleScope, node: ast.expr) -> Type:
    """Return the type of a key of the state that an annotation names."""
    kind = resolve_type(scope, node)
    if not is_key(kind):
        scope.fault("KEY_TYPE", node, f"state cannot be keyed by {kind}", str(kind))
        return UNKNOWN
    return kind


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
