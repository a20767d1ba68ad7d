"""Type-checks `require`, `abort` and `emit`: literal names, and named values of known types."""

from __future__ import annotations

import ast
import re
from typing import Final

from tanpo.vm import ir
from tanpo.vm.arguments import check_values
from tanpo.vm.expressions import check_as, check_value
from tanpo.vm.faults import list_names
from tanpo.vm.limits import NAME_CHARACTERS_MAX
from tanpo.vm.scope import RUNTIME_CODES, FunctionScope
from tanpo.vm.types import BOOL, UNKNOWN, Scalar

_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]*\Z")
_EVENT: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
"""Names that Python's parser leaves as they are: escapes in a literal spell letters that it normalises."""


def check_fail(scope: FunctionScope, node: ast.Call, name: str, out: list[ir.Statement]) -> None:
    """Append a `require` or `abort`."""
    count = 2 if name == "require" else 1
    if len(node.args) != count:
        shape = '(condition, "CODE")' if count == 2 else '("CODE")'
        message = f"{name} takes {'a condition and ' * (count - 1)}a literal code"
        scope.fault("ARGUMENTS", node, message, name, remedy=f"write {name}{shape}; other values by name")
        check_values(scope, node)
        if name == "abort":
            scope.assigned = None
        return
    test = check_as(scope, node.args[0], BOOL) if name == "require" else None
    code = node.args[-1]
    text = code.value if isinstance(code, ast.Constant) else None
    if not isinstance(text, str) or not _CODE.match(text) or len(text) > NAME_CHARACTERS_MAX:
        scope.fault("CODE", code, "this is not a literal code", scope.text(code))
        text = ""
    elif text in RUNTIME_CODES:
        scope.fault("CODE_RESERVED", code, f"{text} is raised only by the machine", text)
    details = [
        (field, value) for field, value in _named_values(scope, node) if _check_detail(scope, node, value)
    ]
    out.append(ir.Fail(node.lineno, test, text, tuple(details)))
    if test is None:
        scope.assigned = None


def _check_detail(scope: FunctionScope, node: ast.Call, value: ir.Expr) -> bool:
    if isinstance(value.type, Scalar) or value.type == UNKNOWN:
        return True
    scope.fault("DETAIL", node, f"a detail is a scalar, not {value.type}", str(value.type))
    return False


def _named_values(scope: FunctionScope, node: ast.Call) -> list[tuple[str, ir.Expr]]:
    values: dict[str, ir.Expr] = {}
    for part in node.keywords:
        value = check_value(scope, part.value)
        if part.arg in values:
            scope.fault("ARGUMENTS", part, f"{part.arg} is given twice", part.arg)
        elif part.arg is not None:
            values[part.arg] = value
    return list(values.items())


def check_emit(scope: FunctionScope, node: ast.Call, out: list[ir.Statement]) -> None:
    """Append an `emit`; every place that emits an event must give it the same fields."""
    scope.note_write(node, "emits an event")
    name = node.args[0].value if len(node.args) == 1 and isinstance(node.args[0], ast.Constant) else None
    if not isinstance(name, str) or not _EVENT.match(name) or len(name) > NAME_CHARACTERS_MAX:
        message = "emit takes a literal name and named fields"
        remedy = 'write emit("Name", field=value): a name of letters, digits and underscores, fields by name'
        scope.fault("EVENT", node, message, scope.text(node), remedy=remedy)
        check_values(scope, node)
        return
    fields = _named_values(scope, node)
    shape = tuple(sorted((field, value.type) for field, value in fields))
    known = scope.module.events.setdefault(name, shape)
    if known != shape and not any(kind == UNKNOWN for _, kind in (*known, *shape)):
        listed = list_names(f"{field}: {kind}" for field, kind in known)
        scope.fault("EVENT", node, f"event {name} was emitted before with {listed}", name)
    out.append(ir.Emit(node.lineno, name, tuple(fields)))
