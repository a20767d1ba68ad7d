"""Values that are known when a contract is checked: literals, and arithmetic on constants."""

from __future__ import annotations

import ast
from typing import Final

from tanpo.vm import ir
from tanpo.vm.limits import INT_MAX, TEXT_SIZE_MAX
from tanpo.vm.scope import ModuleScope
from tanpo.vm.structure import REFUSED
from tanpo.vm.types import BOOL, BYTES, INT, STR, UNKNOWN, TupleOf


def fold(scope: ModuleScope, node: ast.expr) -> ir.Const:
    """Return the value of a constant expression, refused if it is none."""
    match node:
        case ast.Constant(value=bool() | int() | str() | bytes()):
            return literal(scope, node)
        case ast.Name(id=name) if name in scope.constants:
            return scope.constants[name]
        case ast.Tuple(elts=[_, *_]):
            parts = [fold(scope, part) for part in node.elts]
            kind = scope.bound(node, TupleOf(tuple(part.type for part in parts)))
            return ir.Const(kind, tuple(part.value for part in parts) if kind != UNKNOWN else 0)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = fold(scope, operand)
            if inner.type == INT and isinstance(inner.value, int):
                return ir.Const(INT, -inner.value)
        case ast.BinOp(left=left, op=operator, right=right):
            folded = _fold_binary(operator, fold(scope, left), fold(scope, right))
            if folded is not None:
                return folded
    if not isinstance(node, ast.Constant) and type(getattr(node, "op", None)).__name__ not in REFUSED:
        remedy = _EMPTY if isinstance(node, ast.List | ast.Dict) else ""
        scope.fault("CONSTANT", node, "this is not a constant expression", remedy=remedy)
    return ir.Const(UNKNOWN, 0)


_EMPTY: Final = (
    "declare state by its type alone, as in m: Map[str, int], and set values in @init or an entry point"
)


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
