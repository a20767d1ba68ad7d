"""Type-checks calls: builtins, functions, records, methods of values and of state, other contracts."""

from __future__ import annotations

import ast
from itertools import chain
from typing import Final

from tanpo.vm import ir
from tanpo.vm.access import ACCESS_RULES
from tanpo.vm.advice import (
    TYPE_CALLS,
    advise_argument,
    advise_builtin,
    advise_map_method,
    advise_method,
    advise_whole,
)
from tanpo.vm.arguments import check_positional, check_values, has_stars, match_arguments
from tanpo.vm.comprehensions import check_comprehension
from tanpo.vm.expressions import EXPRESSION_RULES, advise_name, check, check_as, check_value
from tanpo.vm.faults import list_names
from tanpo.vm.interface import Parameter
from tanpo.vm.refused_expressions import REFUSED_RULES
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
    Record,
    Scalar,
    TupleOf,
    Type,
    is_ordered,
)

ROUNDING_MODES: Final = ("DOWN", "UP", "FLOOR", "CEILING", "HALF_UP", "HALF_EVEN")
STATEMENTS: Final = ("require", "abort", "emit")

_TEXT_METHODS: Final[dict[str, tuple[tuple[Type, ...], Type]]] = {
    "find": ((STR,), INT),
    "startswith": ((STR,), BOOL),
    "endswith": ((STR,), BOOL),
    "join": ((ListOf(STR),), STR),
    "encode": ((), BYTES),
}
_FIXED_BUILTINS: Final[dict[str, tuple[tuple[Type, ...], Type, str]]] = {
    "abs": ((INT,), INT, "int.abs"),
    "sha256": ((BYTES,), BYTES, "sha256"),
    "sha512": ((BYTES,), BYTES, "sha512"),
    "sha3_256": ((BYTES,), BYTES, "sha3_256"),
    "verify_p256": ((BYTES, BYTES, BYTES), BOOL, "verify_p256"),
}
_INDEX_METHODS: Final = ("add", "remove", "contains", "page", "first")


def check_call(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:  # noqa: ARG001 - one shape
    """Return a call in typed form."""
    if not isinstance(node, ast.Call):
        return NOTHING_KNOWN
    match node.func:
        case ast.Name(id=name):
            return _call_name(scope, node, name)
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name not in scope.types:
            if name in scope.module.handles:
                return _call_handle(scope, node, name, attribute)
            slot = scope.module.slots.get(name)
            if isinstance(slot, ir.MapSlot):
                return _call_map(scope, node, slot, attribute)
            if isinstance(slot, ir.IndexSlot):
                return _call_index(scope, node, slot, attribute)
            return _call_method(scope, node, node.func)
        case ast.Attribute():
            return _call_method(scope, node, node.func)
    called = check(scope, node.func)
    check_values(scope, node)
    if called.type == UNKNOWN:
        return NOTHING_KNOWN
    return scope.wrong("CALL", node, "only named functions and methods are called", scope.text(node.func))


def root_of(expression: ir.Expr) -> ir.Expr:
    """Return what a chain of fields and items starts from."""
    while isinstance(expression, ir.Op) and expression.op in ("field", "item.list", "item.dict"):
        expression = expression.args[0]
    return expression


def check_changeable(scope: FunctionScope, node: ast.AST, base: ir.Expr) -> bool:
    """Refuse to change a value in place unless a local holds it: changing a copy would be lost in silence."""
    root = root_of(base)
    if isinstance(root, ir.Local) or root.type == UNKNOWN:
        return True
    if isinstance(root, ir.Op) and root.op in ("state.get", "state.find"):
        name = str(root.detail)
        message = f"this changes a copy of {name}, not the state"
        remedy = "" if root.args else f"state is copied on reading: x = {name}, change x, then {name} = x"
        scope.fault("STATE_COPY", node, message, name, remedy=remedy)
    else:
        remedy = "give it to a name first: x = ..., then change x"
        scope.fault("ASSIGN_TARGET", node, "this changes a value that nothing holds", remedy=remedy)
    return False


def _call_name(scope: FunctionScope, node: ast.Call, name: str) -> ir.Expr:
    module = scope.module
    if name in module.functions:
        signature = module.functions[name]
        if signature.kind in ("init", "migrate"):
            check_values(scope, node)
            remedy = "move what both need into a plain function, and call that"
            message = f"@{signature.kind} {name} is not called by the contract"
            return scope.wrong("CALL", node, message, name, remedy=remedy)
        module.calls.setdefault(scope.signature.name, {}).setdefault(name, (node.lineno, node.col_offset))
        arguments = match_arguments(scope, node, signature.parameters, name)
        return (
            ir.Op(signature.returns, "call", arguments, name)
            if arguments is not None
            else _known(signature.returns)
        )
    if name in module.records:
        return _make_record(scope, node, module.records[name])
    if name in STATEMENTS:
        check_values(scope, node)
        return scope.wrong("STATEMENT_ONLY", node, f"{name} is a statement", name)
    if name not in RESERVED:
        return _refuse_call(scope, node, name)
    if node.keywords and not has_stars(node):
        check_values(scope, node)
        message, remedy = f"{name} takes its arguments by position", advise_builtin(name)
        return scope.wrong("ARGUMENTS", node, message, name, remedy=remedy)
    return _call_builtin(scope, node, name)


def _refuse_call(scope: FunctionScope, node: ast.Call, name: str) -> ir.Expr:
    check_values(scope, node)
    message = f"{name} is not a function of this contract or of the dialect"
    if name in scope.module.broken or scope.types.get(name) == UNKNOWN:
        return NOTHING_KNOWN
    if isinstance(scope.module.slots.get(name), ir.MapSlot):
        return scope.wrong("CALL", node, message, name, remedy=f"index it: {name}[key]")
    if name in scope.types or scope.module.is_taken(name):
        return scope.wrong("CALL", node, message, name)
    return scope.wrong("NAME_UNKNOWN", node, message, name, remedy=advise_name(scope, name))


def _known(kind: Type) -> ir.Expr:
    return ir.Const(kind, 0)


def _call_builtin(scope: FunctionScope, node: ast.Call, name: str) -> ir.Expr:
    if name in _FIXED_BUILTINS:
        kinds, result, op = _FIXED_BUILTINS[name]
        arguments = check_positional(scope, node, kinds, name)
        return ir.Op(result, op, arguments) if arguments is not None else _known(result)
    match name:
        case "min" | "max" if len(node.args) >= 2:
            return ir.Op(INT, f"int.{name}", tuple(check_as(scope, part, INT) for part in node.args))
        case "mul_div":
            return _call_ratio(scope, node, name, 3)
        case "div_round":
            return _call_ratio(scope, node, name, 2)
        case "len" | "str" | "int" | "sorted" if len(node.args) == 1:
            return _call_conversion(scope, node, name)
        case "range":
            check_values(scope, node)
            message, remedy = (
                "range stands only in a for loop or a list comprehension",
                "[i for i in range(n)]",
            )
            return scope.wrong("CALL", node, message, name, remedy=f"write a list comprehension: {remedy}")
        case "len" | "str" | "int" | "sorted" | "min" | "max":
            check_values(scope, node)
            message = f"{name} takes another number of arguments"
            return scope.wrong("ARGUMENTS", node, message, name, remedy=advise_builtin(name))
    check_values(scope, node)
    return scope.wrong("CALL", node, f"{name} is not called", name, remedy=TYPE_CALLS.get(name, ""))


def _call_conversion(scope: FunctionScope, node: ast.Call, name: str) -> ir.Expr:
    value = check_value(scope, node.args[0])
    if value.type == UNKNOWN:
        return NOTHING_KNOWN
    match name, value.type:
        case "str", Scalar(name="int"):
            return ir.Op(STR, "str.int", (value,))
        case "int", Scalar(name="str"):
            return ir.Op(INT, "int.parse", (value,))
        case "len", ListOf() | DictOf() | Scalar(name="str" | "bytes"):
            return ir.Op(INT, "len", (value,))
        case "sorted", ListOf(item=item) if is_ordered(item):
            return ir.Op(value.type, "sort.list", (value,))
        case "sorted", DictOf(key=key) if is_ordered(key):
            return ir.Op(ListOf(key), "sort.dict", (value,))
    message = f"{name} is not defined for {value.type}"
    remedy = advise_argument(name, value.type, scope.text(node.args[0]))
    scope.fault("TYPE_MISMATCH", node.args[0], message, scope.text(node.args[0]), remedy=remedy)
    return _known({"str": STR, "int": INT, "len": INT}.get(name, UNKNOWN))


def _call_ratio(scope: FunctionScope, node: ast.Call, name: str, count: int) -> ir.Expr:
    if has_stars(node):
        check_values(scope, node)
        return _known(INT)
    if len(node.args) != count + 1:
        check_values(scope, node)
        message = f"{name} takes {count} numbers and a rounding mode"
        shape = ", ".join(("a", "b", "c")[:count])
        return scope.wrong(
            "ARGUMENTS", node, message, name, remedy=f'write {name}({shape}, "DOWN"), for example'
        )
    numbers = tuple(check_as(scope, part, INT) for part in node.args[:-1])
    mode = node.args[-1]
    if not isinstance(mode, ast.Constant) or mode.value not in ROUNDING_MODES:
        return scope.wrong("MODE", mode, "this is not a rounding mode", scope.text(mode))
    return ir.Op(INT, name, numbers, str(mode.value))


def _make_record(scope: FunctionScope, node: ast.Call, record: Record) -> ir.Expr:
    parameters = tuple(Parameter(name=name, type=kind) for name, kind in record.fields)
    arguments = match_arguments(scope, node, parameters, record.name)
    return ir.Op(record, "make.record", arguments) if arguments is not None else _known(record)


def _call_handle(scope: FunctionScope, node: ast.Call, handle: str, name: str) -> ir.Expr:
    interface = scope.module.handles[handle]
    record = interface.find_record(name)
    if record is not None:
        scope.module.foreign.add(record)
        return _make_record(scope, node, record)
    function = interface.find_view(name)
    if function is None:
        function = interface.find_entry(name)
        if function is None:
            check_values(scope, node)
            known = list_names(item.name for item in chain(interface.entries, interface.views))
            message = f"contract {interface.contract} has no {name}; it has {known}"
            return scope.wrong("METHOD", node, message, name)
        scope.note_write(node, f"calls {interface.contract}.{name}, an entry point")
    scope.module.imports.add((handle, interface.contract, name))
    arguments = match_arguments(scope, node, function.parameters, f"{handle}.{name}")
    if arguments is None:
        return _known(function.returns)
    return ir.Op(function.returns, "call.cross", arguments, (handle, name))


def _call_map(scope: FunctionScope, node: ast.Call, slot: ir.MapSlot, name: str) -> ir.Expr:
    if name != "get":
        check_values(scope, node)
        message, remedy = f"a Map has no {name}; it has get(key, default)", advise_map_method(slot.name, name)
        return scope.wrong("METHOD", node, message, name, remedy=remedy)
    arguments = check_positional(scope, node, (slot.key, slot.value), f"{slot.name}.get")
    return (
        ir.Op(slot.value, "state.find", arguments, slot.name) if arguments is not None else _known(slot.value)
    )


def _call_index(scope: FunctionScope, node: ast.Call, slot: ir.IndexSlot, name: str) -> ir.Expr:
    shapes: dict[str, tuple[tuple[Type, ...], Type]] = {
        "add": ((slot.group, slot.member), NOTHING),
        "remove": ((slot.group, slot.member), NOTHING),
        "contains": ((slot.group, slot.member), BOOL),
        "page": ((slot.group, slot.member, INT), ListOf(slot.member)),
        "first": ((slot.group, INT), ListOf(slot.member)),
    }
    if name not in shapes:
        check_values(scope, node)
        message = f"an Index has no {name}; it has {', '.join(_INDEX_METHODS)}"
        return scope.wrong("METHOD", node, message, name, remedy=advise_whole(slot.name, slot))
    kinds, result = shapes[name]
    if name in ("add", "remove"):
        scope.note_write(node, f"writes {slot.name}")
    arguments = check_positional(scope, node, kinds, f"{slot.name}.{name}")
    return ir.Op(result, f"index.{name}", arguments, slot.name) if arguments is not None else _known(result)


def _call_method(scope: FunctionScope, node: ast.Call, target: ast.Attribute) -> ir.Expr:
    base = check_value(scope, target.value)
    name, kind = target.attr, base.type
    match kind:
        case ListOf(item=item) if name in ("append", "pop"):
            check_changeable(scope, node, base)
            arguments = check_positional(scope, node, (item,) if name == "append" else (), name)
            result = NOTHING if name == "append" else item
            return (
                ir.Op(result, f"list.{name}", (base, *arguments)) if arguments is not None else _known(result)
            )
        case DictOf(key=key, value=value) if name == "get":
            arguments = check_positional(scope, node, (key, value), name)
            return ir.Op(value, "dict.get", (base, *arguments)) if arguments is not None else _known(value)
        case Scalar(name="str") if name in _TEXT_METHODS:
            kinds, result = _TEXT_METHODS[name]
            arguments = check_positional(scope, node, kinds, name)
            return (
                ir.Op(result, f"str.{name}", (base, *arguments)) if arguments is not None else _known(result)
            )
        case Scalar(name="bytes") if name == "hex":
            arguments = check_positional(scope, node, (), name)
            return ir.Op(STR, "bytes.hex", (base,)) if arguments is not None else _known(STR)
        case _ if kind == UNKNOWN:
            check_values(scope, node)
            return NOTHING_KNOWN
    check_values(scope, node)
    remedy = advise_method(kind, scope.text(target.value), name)
    return scope.wrong("METHOD", node, f"{_describe(kind)} has no method {name}", name, remedy=remedy)


def _describe(kind: Type) -> str:
    match kind:
        case ListOf():
            return f"{kind} (methods: append, pop)"
        case DictOf():
            return f"{kind} (methods: get)"
        case Scalar(name="str"):
            return f"str (methods: {', '.join(_TEXT_METHODS)})"
        case Scalar(name="bytes"):
            return "bytes (methods: hex)"
        case TupleOf() | Record():
            return f"{kind} (no methods)"
    return str(kind)


RULES: Final[dict[type[ast.expr], Rule]] = {
    **EXPRESSION_RULES,
    **ACCESS_RULES,
    **REFUSED_RULES,
    ast.ListComp: check_comprehension,
    ast.Call: check_call,
}
"""How every kind of expression is checked."""
