"""Type-checks expressions and turns them into the intermediate representation."""

from __future__ import annotations

import ast
from typing import Final

from tanpo.vm import ir
from tanpo.vm.advice import NAMES, TYPE_CALLS, advise_conversion, advise_operator, advise_whole
from tanpo.vm.constants import literal
from tanpo.vm.scope import NOTHING_KNOWN, RESERVED, FunctionScope, Rule
from tanpo.vm.types import (
    BOOL,
    BYTES,
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


_FILL: Final = "fill the dict key by key, in a loop"


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
        text, message = scope.text(node), f"{kind} is called for, this is {expression.type}"
        if kind == BOOL:
            return scope.wrong("CONDITION", node, message, text)
        remedy = advise_conversion(expression.type, kind, text)
        return scope.wrong("TYPE_MISMATCH", node, message, text, remedy=remedy)
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
    remedy = ""
    if source.type == INT:
        remedy = f"count with range({scope.text(node)})"
    elif isinstance(source.type, TupleOf):
        remedy = "write a list, [a, b], or take the items one by one"
    message = f"a loop cannot run over {source.type}"
    scope.fault("TYPE_MISMATCH", node, message, scope.text(node), remedy=remedy)
    return NOTHING_KNOWN, UNKNOWN


def _check_range(scope: FunctionScope, node: ast.Call) -> ir.Expr:
    if node.keywords or len(node.args) not in (1, 2):
        remedy = "write range(stop) or range(start, stop), and multiply inside the loop for a step"
        for part in (*node.args, *(keyword.value for keyword in node.keywords)):
            check_value(scope, part, UNKNOWN)
        return scope.wrong("ARGUMENTS", node, "range takes one or two numbers", "range", remedy=remedy)
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
    if slot is not None:
        kind = "an Index" if isinstance(slot, ir.IndexSlot) else "a Map"
        message = f"{name} is {kind} in the state, not a value"
        return scope.wrong("CALL", node, message, name, remedy=advise_whole(name, slot))
    if name in module.handles or name in module.functions or name in module.records or name in RESERVED:
        return scope.wrong("CALL", node, f"{name} is not a value", name, remedy=_advise_use(scope, name))
    return scope.wrong(
        "NAME_UNKNOWN", node, f"name {name} is not known", name, remedy=advise_name(scope, name)
    )


def _advise_use(scope: FunctionScope, name: str) -> str:
    """Return how something is used that is declared, but is no value."""
    if name in scope.module.handles:
        return f"call its entry points and views: {name}.entry(...)"
    if name in scope.module.records:
        return f"make a record from its fields: {name}(...)"
    if name == "ctx":
        return "take a part of it, as in ctx.sender or ctx.time"
    return TYPE_CALLS.get(name, f"call it: {name}(...)")


def advise_name(scope: FunctionScope, name: str) -> str:
    """Return what to write instead of a name that is not known."""
    elsewhere = scope.module.local_names.get(name)
    if elsewhere is not None:
        return f"{name} is a local of {elsewhere}: to keep it, declare it at top level, as in {name}: int"
    near = scope.module.find_near(name, scope.types)
    return NAMES.get(name, f"did you mean {near}? Else declare or assign the name first" if near else "")


def _arithmetic(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:
    if not isinstance(node, ast.BinOp):
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
    message = f"{sign} is not defined for {left.type} and {right.type}"
    return scope.wrong("OPERATOR", node, message, sign, remedy=advise_operator(sign, left.type, right.type))


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
    check_value(scope, node.operand)
    return NOTHING_KNOWN


def _logic(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:  # noqa: ARG001 - one shape
    if not isinstance(node, ast.BoolOp):
        return NOTHING_KNOWN
    written = "and" if isinstance(node.op, ast.And) else "or"
    parts = tuple(check_value(scope, part, BOOL) for part in node.values)
    wrong = [place for place, part in enumerate(parts) if not agrees(part.type, BOOL)]
    if len(wrong) == len(parts) and written == "or":
        # A default, as Python has it: one mistake, not one for each side.
        kinds = " and ".join(dict.fromkeys(str(part.type) for part in parts))
        remedy = "or gives no default: choose with a condition, as in a if len(a) > 0 else b"
        return scope.wrong("CONDITION", node, f"or takes and gives bool, not {kinds}", remedy=remedy)
    for place in wrong:
        part = node.values[place]
        message = f"{BOOL} is called for, this is {parts[place].type}"
        scope.fault("CONDITION", part, message, scope.text(part))
    return NOTHING_KNOWN if wrong else ir.Op(BOOL, f"bool.{written}", parts)


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
        remedy = "annotate the name: d: dict[str, int] = {}"
        return scope.wrong("EMPTY_TYPE", node, "an empty dict needs a declared type", "{}", remedy=remedy)
    kind = wanted if isinstance(wanted, DictOf) else None
    parts: list[ir.Expr] = []
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            check_value(scope, value, UNKNOWN)
            scope.fault("STAR", node, "** is not part of the dialect", "**", remedy=_FILL)
        elif kind is None:
            first, item = check_value(scope, key), check_value(scope, value)
            kind = DictOf(first.type, item.type)
            if not isinstance(first.type, Scalar) and first.type != UNKNOWN:
                scope.fault("KEY_TYPE", key, f"a dict cannot be keyed by {first.type}", str(first.type))
                kind = DictOf(UNKNOWN, item.type)
            parts += (first, item)
        else:
            parts += (check_as(scope, key, kind.key), check_as(scope, value, kind.value))
    return ir.Op(scope.module.bound(node, kind or UNKNOWN), "make.dict", tuple(parts))


def _tuple(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:
    if not isinstance(node, ast.Tuple):
        return NOTHING_KNOWN
    if not node.elts:
        remedy = "give it an item, or use an empty list"
        return scope.wrong("EMPTY_TYPE", node, "a tuple has at least one item", "()", remedy=remedy)
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
                message = f"only str and int stand in braces, not {part.type}"
                shown = value.value.id if isinstance(value.value, ast.Name) else ""
                remedy = "use b.hex()" if part.type == BYTES else "compose the text of its parts"
                scope.fault("FORMAT", value, message, shown, remedy=f"{remedy}, in a name of its own")
            parts.append(part if part.type == STR else ir.Op(STR, "str.int", (part,)))
        else:
            parts.append(check_as(scope, value, STR))
    return ir.Op(STR, "format", tuple(parts))


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
}
"""How most kinds of expression are checked; `tanpo.vm.calls` adds the others."""
