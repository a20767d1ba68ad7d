"""Checks what refused statements hold, so that they hide no faults: all that is wrong is said at once.

The structure check has named the statement itself. Here its parts are checked as if they stood alone, and the
names that it binds are known after it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import Final

from tanpo.vm.arguments import check_values
from tanpo.vm.declare import list_imported
from tanpo.vm.expressions import check, check_as, check_value
from tanpo.vm.scope import FunctionScope, join_assigned
from tanpo.vm.types import BOOL

CheckBlock = Callable[[FunctionScope, list[ast.stmt]], object]

Check = Callable[[FunctionScope, ast.stmt, CheckBlock], None]
"""Checks what one kind of statement holds; the last argument checks a block of statements."""


def _check_try(scope: FunctionScope, node: ast.stmt, check_block: CheckBlock) -> None:
    if not isinstance(node, ast.Try | ast.TryStar):
        return
    before = scope.assigned
    check_block(scope, [*node.body, *node.orelse])
    after = scope.assigned
    for handler in node.handlers:
        scope.assigned = before
        if handler.name is not None:
            scope.expect(handler.name)
        check_block(scope, handler.body)
        after = join_assigned(after, scope.assigned)
    scope.assigned = after
    check_block(scope, node.finalbody)


def _check_match(scope: FunctionScope, node: ast.stmt, check_block: CheckBlock) -> None:
    if not isinstance(node, ast.Match):
        return
    check_value(scope, node.subject)
    before = scope.assigned
    after: frozenset[str] | None = None
    for case in node.cases:
        scope.assigned = before
        for name in _list_captures(case.pattern):
            scope.expect(name)
        if case.guard is not None:
            check_as(scope, case.guard, BOOL)
        check_block(scope, case.body)
        after = join_assigned(after, scope.assigned)
    # One of the cases is taken to hold, so that names they all assign are known; but if each of them
    # returns, what follows is reached unless the last one takes everything.
    is_total = any(_takes_everything(case) for case in node.cases)
    scope.assigned = after if after is not None or is_total else before


def _takes_everything(case: ast.match_case) -> bool:
    return case.guard is None and isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None


def _list_captures(pattern: ast.pattern) -> Iterable[str]:
    for part in ast.walk(pattern):
        match part:
            case (
                ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name))
            ):
                yield name


def _check_with(scope: FunctionScope, node: ast.stmt, check_block: CheckBlock) -> None:
    if not isinstance(node, ast.With | ast.AsyncWith):
        return
    for item in node.items:
        check(scope, item.context_expr)
        if item.optional_vars is not None:
            scope.expect_all(item.optional_vars)
    check_block(scope, node.body)


def _check_assert(scope: FunctionScope, node: ast.stmt, _: CheckBlock) -> None:
    if not isinstance(node, ast.Assert):
        return
    check_as(scope, node.test, BOOL)
    if node.msg is not None:
        check(scope, node.msg)


def _check_raise(scope: FunctionScope, node: ast.stmt, _: CheckBlock) -> None:
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        check_values(scope, node.exc)
    scope.assigned = None  # a path that ends here needs no result


def _check_import(scope: FunctionScope, node: ast.stmt, _: CheckBlock) -> None:
    if isinstance(node, ast.Import | ast.ImportFrom):
        for name in list_imported(node):
            scope.expect(name)


REFUSED_STATEMENTS: Final[dict[type[ast.stmt], Check]] = {
    ast.Try: _check_try,
    ast.TryStar: _check_try,
    ast.With: _check_with,
    ast.AsyncWith: _check_with,
    ast.Match: _check_match,
    ast.Assert: _check_assert,
    ast.Raise: _check_raise,
    ast.Import: _check_import,
    ast.ImportFrom: _check_import,
}
"""How the statements inside a function that are refused are checked, but functions and classes."""
