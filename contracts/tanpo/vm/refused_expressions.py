"""Checks what refused expressions hold, so that they hide no faults: all that is wrong is said at once.

The structure check has named the expression itself. Here its parts are checked as if they stood alone, and
nothing is known of its value, unless mending it would leave that as it is.
"""

from __future__ import annotations

import ast
from typing import Final

from tanpo.vm import ir
from tanpo.vm.comprehensions import check_clauses
from tanpo.vm.expressions import check, check_value
from tanpo.vm.functions import list_parameters
from tanpo.vm.scope import NOTHING_KNOWN, FunctionScope, Rule
from tanpo.vm.types import UNKNOWN, Type


def _comprehension(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:  # noqa: ARG001 - one shape
    match node:
        case ast.DictComp():
            check_clauses(scope, node.generators, (node.key, node.value))
        case ast.SetComp() | ast.GeneratorExp():
            check_clauses(scope, node.generators, (node.elt,))
    return NOTHING_KNOWN


def _lambda(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:  # noqa: ARG001 - one shape
    if not isinstance(node, ast.Lambda):
        return NOTHING_KNOWN
    given = node.args
    for default in (*given.defaults, *(part for part in given.kw_defaults if part is not None)):
        check_value(scope, default)
    shadows = dict(scope.shadows)
    for part in list_parameters(given):
        scope.shadow(part.arg, UNKNOWN)
    check(scope, node.body)
    scope.shadows = shadows
    return NOTHING_KNOWN


def _walrus(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:
    if not isinstance(node, ast.NamedExpr):
        return NOTHING_KNOWN
    value = check_value(scope, node.value, wanted)
    scope.expect(node.target.id, value.type)
    return ir.Const(value.type, 0)


def _parts(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:
    match node:
        case ast.Await(value=value):
            return check(scope, value, wanted)
        case ast.YieldFrom(value=value) | ast.Starred(value=value):
            check_value(scope, value, UNKNOWN)
        case ast.Yield(value=value) if value is not None:
            check_value(scope, value, UNKNOWN)
        case ast.Set():
            for part in node.elts:
                check_value(scope, part, UNKNOWN)
    return NOTHING_KNOWN


REFUSED_RULES: Final[dict[type[ast.expr], Rule]] = {
    ast.DictComp: _comprehension,
    ast.SetComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.Lambda: _lambda,
    ast.NamedExpr: _walrus,
    ast.Await: _parts,
    ast.Yield: _parts,
    ast.YieldFrom: _parts,
    ast.Starred: _parts,
    ast.Set: _parts,
}
"""How the kinds of expression that are refused are checked."""
