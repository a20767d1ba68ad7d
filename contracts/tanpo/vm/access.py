"""Type-checks comparisons, membership, fields, items and slices."""

from __future__ import annotations

import ast
from typing import Final

from tanpo.vm import ir
from tanpo.vm.advice import advise_field
from tanpo.vm.expressions import check, check_as, check_value
from tanpo.vm.faults import list_names
from tanpo.vm.scope import NOTHING_KNOWN, FunctionScope, Rule
from tanpo.vm.types import (
    BOOL,
    BYTES,
    INT,
    STR,
    UNKNOWN,
    DictOf,
    ListOf,
    Record,
    Scalar,
    TupleOf,
    Type,
    is_ordered,
)

_COMPARISONS: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_CONTEXT: Final[dict[str, Type]] = {
    "sender": STR,
    "signers": ListOf(STR),
    "time": INT,
    "height": INT,
    "tx_id": BYTES,
    "contract": STR,
}


def _compare(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:  # noqa: ARG001 - one shape
    if not isinstance(node, ast.Compare):
        return NOTHING_KNOWN
    if any(isinstance(op, ast.In | ast.NotIn) for op in node.ops):
        if len(node.ops) > 1:
            for part in (node.left, *node.comparators):
                check(scope, part)
            message, remedy = "in is not chained with other comparisons", "join two comparisons with and"
            return scope.wrong("OPERATOR", node, message, "in", remedy=remedy)
        return _contains(scope, node)
    operators = tuple(_COMPARISONS.get(type(op), "") for op in node.ops)
    operands = [check_value(scope, node.left)]
    for part in node.comparators:
        operands.append(check_as(scope, part, operands[0].type))
    kind = operands[0].type
    if UNKNOWN in [part.type for part in operands] or "" in operators:
        return ir.Op(BOOL, "compare", tuple(operands), operators)
    if any(op not in ("==", "!=") for op in operators) and not is_ordered(kind):
        remedy = "compare int, str, bytes or tuples of these"
        return scope.wrong("OPERATOR", node, f"{kind} has no order", str(kind), remedy=remedy)
    if kind in (INT, BOOL) or (kind in (STR, BYTES) and all(op in ("==", "!=") for op in operators)):
        return ir.Op(BOOL, "compare", tuple(operands), operators)
    if len(operators) > 1:
        return scope.wrong("OPERATOR", node, f"compare {kind} two at a time, joined with and", str(kind))
    return ir.Op(BOOL, "same" if operators[0] in ("==", "!=") else "order", tuple(operands), operators[0])


def _contains(scope: FunctionScope, node: ast.Compare) -> ir.Expr:
    result = _find_membership(scope, node)
    return ir.Op(BOOL, "bool.not", (result,)) if isinstance(node.ops[0], ast.NotIn) else result


def _find_membership(scope: FunctionScope, node: ast.Compare) -> ir.Expr:
    right = node.comparators[0]
    if isinstance(right, ast.Name) and right.id not in scope.types:
        slot = scope.module.slots.get(right.id)
        if isinstance(slot, ir.MapSlot):
            return ir.Op(BOOL, "state.has", (check_as(scope, node.left, slot.key),), slot.name)
        if isinstance(slot, ir.IndexSlot):
            check_value(scope, node.left, UNKNOWN)
            remedy = f"use {right.id}.contains(group, member)"
            return scope.wrong("OPERATOR", node, "in is not defined for an Index", right.id, remedy=remedy)
    container = check_value(scope, right)
    match container.type:
        case ListOf(item=kind):
            name = "list"
        case DictOf(key=kind):
            name = "dict"
        case Scalar(name=("str" | "bytes") as name):
            kind = container.type
        case _:
            check_value(scope, node.left, UNKNOWN)
            if container.type == UNKNOWN:
                return NOTHING_KNOWN
            message, shown = f"in is not defined for {container.type}", str(container.type)
            remedy = "write a list: x in [a, b]" if isinstance(container.type, TupleOf) else ""
            return scope.wrong("OPERATOR", node, message, shown, remedy=remedy)
    return ir.Op(BOOL, f"contains.{name}", (check_as(scope, node.left, kind), container))


def _attribute(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:  # noqa: ARG001 - one shape
    if not isinstance(node, ast.Attribute):
        return NOTHING_KNOWN
    if isinstance(node.value, ast.Name) and node.value.id == "ctx":
        kind = _CONTEXT.get(node.attr)
        if kind is None:
            message = f"ctx has no {node.attr}; it has {', '.join(_CONTEXT)}"
            near = next((name for name in _CONTEXT if name == node.attr.lower()), "")
            remedy = f"write ctx.{near}" if near else "use one of these"
            if node.attr in ("now", "timestamp", "date"):
                remedy = "use ctx.time, in milliseconds"
            return scope.wrong("FIELD", node, message, node.attr, remedy=remedy)
        return ir.Op(kind, "ctx.signers" if node.attr == "signers" else "ctx", (), node.attr)
    base = check_value(scope, node.value)
    if isinstance(base.type, Record):
        position = base.type.position(node.attr)
        if position >= 0:
            return ir.Op(base.type.fields[position][1], "field", (base,), position)
        known = list_names(name for name, _ in base.type.fields)
        return scope.wrong("FIELD", node, f"{base.type} has no field {node.attr}; it has {known}", node.attr)
    if base.type == UNKNOWN:
        return NOTHING_KNOWN
    remedy = advise_field(base.type, scope.text(node.value), node.attr)
    return scope.wrong("FIELD", node, f"{base.type} has no fields", node.attr, remedy=remedy)


def _subscript(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:  # noqa: ARG001 - one shape
    if not isinstance(node, ast.Subscript):
        return NOTHING_KNOWN
    if isinstance(node.value, ast.Name) and node.value.id not in scope.types:
        slot = scope.module.slots.get(node.value.id)
        if isinstance(slot, ir.MapSlot):
            return ir.Op(slot.value, "state.get", (check_as(scope, node.slice, slot.key),), slot.name)
    base = check_value(scope, node.value)
    if isinstance(node.slice, ast.Slice):
        return _slice(scope, node, base, node.slice)
    return _item(scope, node, base)


def _item(scope: FunctionScope, node: ast.Subscript, base: ir.Expr) -> ir.Expr:
    match base.type:
        case ListOf(item=item):
            return ir.Op(item, "item.list", (base, check_as(scope, node.slice, INT)))
        case DictOf(key=key, value=value):
            return ir.Op(value, "item.dict", (base, check_as(scope, node.slice, key)))
        case Scalar(name="str"):
            return ir.Op(STR, "item.str", (base, check_as(scope, node.slice, INT)))
        case Scalar(name="bytes"):
            return ir.Op(INT, "item.bytes", (base, check_as(scope, node.slice, INT)))
        case TupleOf(items=items):
            position = check_as(scope, node.slice, INT)
            if (
                isinstance(position, ir.Const)
                and isinstance(position.value, int)
                and 0 <= position.value < len(items)
            ):
                return ir.Op(items[position.value], "field", (base,), position.value)
            return scope.wrong("TUPLE_INDEX", node, f"index is not a literal from 0 to {len(items) - 1}")
    check_value(scope, node.slice, UNKNOWN)
    if base.type == UNKNOWN:
        return NOTHING_KNOWN
    remedy = "index a list, dict, str, bytes, tuple or Map"
    if isinstance(base.type, Record):
        remedy = "use a field of the record, as in x.name"
    return scope.wrong("OPERATOR", node, f"{base.type} is not indexed", scope.text(node), remedy=remedy)


def _slice(scope: FunctionScope, node: ast.Subscript, base: ir.Expr, bounds: ast.Slice) -> ir.Expr:
    if bounds.step is not None:
        check_as(scope, bounds.step, INT)  # the structure check has refused it
    parts = tuple(check_as(scope, part, INT) for part in (bounds.lower, bounds.upper) if part is not None)
    if not isinstance(base.type, ListOf) and base.type not in (STR, BYTES, UNKNOWN):
        remedy = "slice a list, str or bytes; take the items of others one by one"
        return scope.wrong("OPERATOR", node, f"{base.type} is not sliced", scope.text(node), remedy=remedy)
    return ir.Op(base.type, "slice", (base, *parts), (bounds.lower is not None, bounds.upper is not None))


ACCESS_RULES: Final[dict[type[ast.expr], Rule]] = {
    ast.Compare: _compare,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
}
"""How the expressions of this module are checked."""
