"""Type-checks expressions and turns them into the intermediate representation."""

from __future__ import annotations

import ast
from typing import Final

from tanpo.vm import gas, ir
from tanpo.vm.declare import literal
from tanpo.vm.scope import NOTHING_KNOWN, RESERVED, FunctionScope, Rule
from tanpo.vm.types import (
    BOOL,
    INT,
    NOTHING,
    STR,
    UNKNOWN,
    DictOf,
    ListOf,
    Nothing,
    Scalar,
    TupleOf,
    Type,
    agrees,
)

_ARITHMETIC: Final[dict[type[ast.operator], str]] = {
    ast.Add: "int.add",
    ast.Sub: "int.sub",
    ast.Mult: "int.mul",
    ast.FloorDiv: "int.div",
    ast.Mod: "int.mod",
    ast.BitAnd: "int.and",
    ast.BitOr: "int.or",
    ast.BitXor: "int.xor",
    ast.LShift: "int.shl",
    ast.RShift: "int.shr",
}
_SIGNS: Final = {
    "int.add": "+",
    "int.sub": "-",
    "int.mul": "*",
    "int.div": "//",
    "int.mod": "%",
    "int.and": "&",
    "int.or": "|",
    "int.xor": "^",
    "int.shl": "<<",
    "int.shr": ">>",
}


def check(scope: FunctionScope, node: ast.expr, wanted: Type | None = None) -> ir.Expr:
    """Return the expression in typed form. `wanted` gives empty lists and dicts their type."""
    rule = scope.rules.get(type(node))
    if rule is None:
        return NOTHING_KNOWN  # the structure check has named it
    return rule(scope, node, wanted)


def check_as(scope: FunctionScope, node: ast.expr, kind: Type) -> ir.Expr:
    """Return the expression, refused unless it is of type `kind`."""
    expression = check(scope, node, kind)
    if isinstance(expression.type, Nothing) and kind != NOTHING:
        return scope.wrong("NO_VALUE", node, "this call returns nothing", scope.text(node))
    if not agrees(expression.type, kind):
        code = "CONDITION" if kind == BOOL else "TYPE_MISMATCH"
        return scope.wrong(code, node, f"{kind} is called for, this is {expression.type}", scope.text(node))
    return expression


def check_value(scope: FunctionScope, node: ast.expr, wanted: Type | None = None) -> ir.Expr:
    """Return the expression, refused if it is a call that returns nothing."""
    expression = check(scope, node, wanted)
    if isinstance(expression.type, Nothing):
        return scope.wrong("NO_VALUE", node, "this call returns nothing", scope.text(node))
    return expression


def check_source(scope: FunctionScope, node: ast.expr) -> tuple[ir.Expr, Type]:
    """Return what a loop runs over, and the type of its items."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        return _check_range(scope, node), INT
    source = check_value(scope, node)
    match source.type:
        case ListOf(item=item):
            return source, item
        case DictOf(key=key):
            return ir.Op(ListOf(key), "sort.dict", (source,)), key
        case Scalar(name="str"):
            return source, STR
        case Scalar(name="bytes"):
            return source, INT
        case kind if kind == UNKNOWN:
            return source, UNKNOWN
    scope.fault("TYPE_MISMATCH", node, f"a loop cannot run over {source.type}", scope.text(node))
    return NOTHING_KNOWN, UNKNOWN


def _check_range(scope: FunctionScope, node: ast.Call) -> ir.Expr:
    if node.keywords or len(node.args) not in (1, 2):
        return scope.wrong("ARGUMENTS", node, "range takes one or two numbers", "range")
    bounds = tuple(check_as(scope, part, INT) for part in node.args)
    if len(bounds) == 1:
        bounds = (ir.Const(INT, 0), *bounds)
    return ir.Op(ListOf(INT), "range", bounds)


def _constant(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:  # noqa: ARG001 - one shape
    return literal(scope.module, node) if isinstance(node, ast.Constant) else NOTHING_KNOWN


def _name(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:  # noqa: ARG001 - one shape
    if not isinstance(node, ast.Name):
        return NOTHING_KNOWN
    module = scope.module
    name = scope.shadows.get(node.id, node.id)
    if name in scope.types:
        if scope.assigned is not None and name not in scope.assigned:
            return scope.wrong("UNASSIGNED", node, f"{name} may have no value here", name)
        return ir.Local(scope.types[name], name)
    if name in module.constants:
        return module.constants[name]
    if name in module.broken:
        return NOTHING_KNOWN
    slot = module.slots.get(name)
    if isinstance(slot, ir.Variable):
        return ir.Op(slot.type, "state.get", (), name)
    if slot is not None or name in module.handles or name in module.functions or name in module.records:
        return scope.wrong("CALL", node, f"{name} is not a value: index it, or call it", name)
    if name in RESERVED:
        return scope.wrong("CALL", node, f"{name} is not a value", name)
    return scope.wrong("NAME_UNKNOWN", node, f"name {name} is not known", name)


def _arithmetic(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:
    if not isinstance(node, ast.BinOp) or type(node.op) not in _ARITHMETIC:
        return NOTHING_KNOWN
    left = check_value(scope, node.left, wanted)
    right = check_value(scope, node.right, left.type)
    return combine(scope, node, node.op, left, right)


def combine(
    scope: FunctionScope, node: ast.AST, operator: ast.operator, left: ir.Expr, right: ir.Expr
) -> ir.Expr:
    """Return `left operator right` for two checked operands."""
    op = _ARITHMETIC.get(type(operator))
    if op is None:
        return NOTHING_KNOWN
    if left.type == INT and right.type == INT:
        return ir.Op(INT, op, (left, right))
    if UNKNOWN in (left.type, right.type):
        return NOTHING_KNOWN
    if op == "int.mul" and INT in (left.type, right.type):
        return scope.wrong("REPETITION", node, f"{left.type} is not repeated with *", "*")
    if op == "int.add" and agrees(left.type, right.type):
        match left.type:
            case Scalar(name=("str" | "bytes") as name):
                return ir.Op(left.type, f"concat.{name}", (left, right))
            case ListOf():
                return ir.Op(left.type, "concat.list", (left, right))
    sign = _SIGNS[op]
    return scope.wrong("OPERATOR", node, f"{sign} is not defined for {left.type} and {right.type}", sign)


def _unary(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:  # noqa: ARG001 - one shape
    if not isinstance(node, ast.UnaryOp):
        return NOTHING_KNOWN
    if isinstance(node.op, ast.Not):
        return ir.Op(BOOL, "bool.not", (check_as(scope, node.operand, BOOL),))
    if isinstance(node.op, ast.USub):
        operand = check_as(scope, node.operand, INT)
        if isinstance(operand, ir.Const) and isinstance(operand.value, int) and operand.type == INT:
            return ir.Const(INT, -operand.value)
        return ir.Op(INT, "int.neg", (operand,))
    return NOTHING_KNOWN


def _logic(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:  # noqa: ARG001 - one shape
    if not isinstance(node, ast.BoolOp):
        return NOTHING_KNOWN
    parts = tuple(check_as(scope, part, BOOL) for part in node.values)
    return ir.Op(BOOL, "bool.and" if isinstance(node.op, ast.And) else "bool.or", parts)


def _choose(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:
    if not isinstance(node, ast.IfExp):
        return NOTHING_KNOWN
    test = check_as(scope, node.test, BOOL)
    first = check_value(scope, node.body, wanted)
    second = check_as(scope, node.orelse, first.type)
    return ir.Op(first.type, "choose", (test, first, second))


def _list(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:
    if not isinstance(node, ast.List):
        return NOTHING_KNOWN
    if not node.elts:
        if isinstance(wanted, ListOf):
            return ir.Op(wanted, "make.list", ())
        if wanted == UNKNOWN:
            return NOTHING_KNOWN
        return scope.wrong("EMPTY_TYPE", node, "an empty list needs a declared type", "[]")
    first = check_value(scope, node.elts[0], wanted.item if isinstance(wanted, ListOf) else None)
    rest = tuple(check_as(scope, part, first.type) for part in node.elts[1:])
    return ir.Op(scope.module.bound(node, ListOf(first.type)), "make.list", (first, *rest))


def _dict(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:
    if not isinstance(node, ast.Dict):
        return NOTHING_KNOWN
    if not node.keys:
        if isinstance(wanted, DictOf):
            return ir.Op(wanted, "make.dict", ())
        if wanted == UNKNOWN:
            return NOTHING_KNOWN
        return scope.wrong("EMPTY_TYPE", node, "an empty dict needs a declared type", "{}")
    kind = wanted if isinstance(wanted, DictOf) else None
    parts: list[ir.Expr] = []
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            return scope.wrong("STAR", node, "** is not part of the dialect", "**")
        if kind is None:
            first, item = check_value(scope, key), check_value(scope, value)
            kind = DictOf(first.type, item.type)
            if not isinstance(first.type, Scalar) and first.type != UNKNOWN:
                return scope.wrong(
                    "KEY_TYPE", key, f"a dict cannot be keyed by {first.type}", str(first.type)
                )
            parts += (first, item)
        else:
            parts += (check_as(scope, key, kind.key), check_as(scope, value, kind.value))
    return ir.Op(scope.module.bound(node, kind or UNKNOWN), "make.dict", tuple(parts))


def _tuple(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:
    if not isinstance(node, ast.Tuple):
        return NOTHING_KNOWN
    if not node.elts:
        return scope.wrong("EMPTY_TYPE", node, "a tuple has at least one item", "()")
    kinds: tuple[Type | None, ...] = (None,) * len(node.elts)
    if isinstance(wanted, TupleOf) and len(wanted.items) == len(node.elts):
        kinds = wanted.items
    parts = tuple(check_value(scope, part, kind) for part, kind in zip(node.elts, kinds, strict=True))
    kind = scope.module.bound(node, TupleOf(tuple(part.type for part in parts)))
    return ir.Op(kind, "make.tuple", parts)


def _format(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:  # noqa: ARG001 - one shape
    if not isinstance(node, ast.JoinedStr):
        return NOTHING_KNOWN
    parts: list[ir.Expr] = []
    for value in node.values:
        if isinstance(value, ast.FormattedValue):
            part = check_value(scope, value.value)
            if part.type not in (STR, INT, UNKNOWN):
                return scope.wrong("FORMAT", value, f"only str and int stand in braces, not {part.type}")
            parts.append(part if part.type == STR else ir.Op(STR, "str.int", (part,)))
        else:
            parts.append(check_as(scope, value, STR))
    return ir.Op(STR, "format", tuple(parts))


def _comprehension(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:
    if not isinstance(node, ast.ListComp):
        return NOTHING_KNOWN
    clause = node.generators[0]
    if not isinstance(clause.target, ast.Name):
        return NOTHING_KNOWN
    source, item = check_source(scope, clause.iter)
    name, hidden = clause.target.id, scope.next_hidden()
    if name in RESERVED or scope.module.is_taken(name):
        return scope.wrong("DUPLICATE", clause.target, f"{name} already has a meaning in this contract", name)
    outer = scope.shadows.get(name)
    scope.shadows[name], scope.types[hidden] = hidden, item
    scope.mark(hidden)
    element = check_value(scope, node.elt, wanted.item if isinstance(wanted, ListOf) else None)
    test = check_as(scope, clause.ifs[0], BOOL) if clause.ifs else None
    if outer is None:
        del scope.shadows[name]
    else:
        scope.shadows[name] = outer
    cost = gas.price_turn(element, test)
    kind = scope.module.bound(node, ListOf(element.type))
    return ir.Comprehension(kind, element, hidden, source, test, cost)


EXPRESSION_RULES: Final[dict[type[ast.expr], Rule]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.BinOp: _arithmetic,
    ast.UnaryOp: _unary,
    ast.BoolOp: _logic,
    ast.IfExp: _choose,
    ast.List: _list,
    ast.Dict: _dict,
    ast.Tuple: _tuple,
    ast.JoinedStr: _format,
    ast.ListComp: _comprehension,
}
"""How most kinds of expression are checked; `tanpo.vm.access` and `tanpo.vm.calls` add the others."""
