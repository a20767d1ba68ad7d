"""Type-checks list comprehensions; of forms that are refused, what they hold."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from tanpo.vm import gas, ir
from tanpo.vm.expressions import check_as, check_source, check_value
from tanpo.vm.scope import NOTHING_KNOWN, RESERVED, FunctionScope
from tanpo.vm.types import BOOL, UNKNOWN, ListOf, Type


def check_comprehension(scope: FunctionScope, node: ast.expr, wanted: Type | None) -> ir.Expr:
    """Return a list comprehension in typed form."""
    if not isinstance(node, ast.ListComp):
        return NOTHING_KNOWN
    clause, target = node.generators[0], node.generators[0].target
    if not isinstance(target, ast.Name) or len(node.generators) > 1 or len(clause.ifs) > 1:
        return check_clauses(scope, node.generators, (node.elt,))  # the structure check has named it
    if target.id in RESERVED or scope.module.is_taken(target.id):
        message = f"{target.id} already has a meaning in this contract"
        scope.fault("DUPLICATE", target, message, target.id)
        return check_clauses(scope, node.generators, (node.elt,))
    source, item = check_source(scope, clause.iter)
    shadows = dict(scope.shadows)
    hidden = scope.shadow(target.id, item)
    element = check_value(scope, node.elt, wanted.item if isinstance(wanted, ListOf) else None)
    test = check_as(scope, clause.ifs[0], BOOL) if clause.ifs else None
    scope.shadows = shadows
    cost = gas.price_turn(element, test)
    kind = scope.module.bound(node, ListOf(element.type))
    return ir.Comprehension(kind, element, hidden, source, test, cost)


def check_clauses(
    scope: FunctionScope, clauses: list[ast.comprehension], parts: Iterable[ast.expr]
) -> ir.Expr:
    """Check the clauses of a comprehension that is refused, and its parts where their names are known."""
    shadows = dict(scope.shadows)
    for clause in clauses:
        _, item = check_source(scope, clause.iter)
        kind = item if isinstance(clause.target, ast.Name) else UNKNOWN
        for part in ast.walk(clause.target):
            if isinstance(part, ast.Name):
                scope.shadow(part.id, kind)
        for test in clause.ifs:
            check_as(scope, test, BOOL)
    for part in parts:
        check_value(scope, part, UNKNOWN)
    scope.shadows = shadows
    return NOTHING_KNOWN
