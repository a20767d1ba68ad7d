"""Matches what a call is given with what it takes; what a refused call is given is checked all the same."""

from __future__ import annotations

import ast
from itertools import chain

from tanpo.vm import ir
from tanpo.vm.advice import SHAPES
from tanpo.vm.expressions import check_as, check_value
from tanpo.vm.faults import list_names
from tanpo.vm.interface import Parameter
from tanpo.vm.scope import RESERVED, FunctionScope
from tanpo.vm.types import UNKNOWN, Type


def check_values(scope: FunctionScope, node: ast.Call) -> None:
    """Check what is given to a call that is refused, so that it hides no faults inside."""
    for part in chain(node.args, *(_list_given(keyword) for keyword in node.keywords)):
        # A name that is no value belongs to what is refused, as in map(str, xs).
        if not isinstance(part, ast.Name) or not (part.id in RESERVED or scope.module.is_taken(part.id)):
            check_value(scope, part, UNKNOWN)


def has_stars(node: ast.Call) -> bool:
    """Tell whether a call has star forms, which the structure check has named."""
    starred = any(isinstance(part, ast.Starred) for part in node.args)
    return starred or any(keyword.arg is None for keyword in node.keywords)


def check_positional(
    scope: FunctionScope, node: ast.Call, kinds: tuple[Type, ...], name: str
) -> tuple[ir.Expr, ...] | None:
    """Return the arguments of what takes them by position alone; `None` if they are refused."""
    if has_stars(node):
        check_values(scope, node)
        return None
    if node.keywords or len(node.args) != len(kinds):
        check_values(scope, node)
        wanted = ", ".join(str(kind) for kind in kinds) or "nothing"
        owner, dot, last = name.rpartition(".")
        remedy = f"write {owner}{dot}{SHAPES[last]}"
        scope.fault("ARGUMENTS", node, f"{name} takes by position: {wanted}", name, remedy=remedy)
        return None
    return tuple(check_as(scope, part, kind) for part, kind in zip(node.args, kinds, strict=True))


def match_arguments(
    scope: FunctionScope, node: ast.Call, parameters: tuple[Parameter, ...], name: str
) -> tuple[ir.Expr, ...] | None:
    """Return one expression per parameter, in their order; positional arguments come first."""
    if has_stars(node):
        check_values(scope, node)
        return None
    arguments = _match(scope, node, parameters, name)
    if arguments is None:
        check_values(scope, node)
        return None
    return tuple(check_as(scope, arguments[parameter.name], parameter.type) for parameter in parameters)


def _match(
    scope: FunctionScope, node: ast.Call, parameters: tuple[Parameter, ...], name: str
) -> dict[str, ast.expr] | None:
    given: dict[str, ast.expr] = {}
    names = [parameter.name for parameter in parameters]
    shape = list_names(f"{parameter.name}: {parameter.type}" for parameter in parameters) or "nothing"
    if len(node.args) > len(names):
        scope.fault("ARGUMENTS", node, f"{name} takes {shape}; {len(node.args)} values are given", name)
        return None
    given.update(zip(names, node.args, strict=False))
    for keyword in node.keywords:
        if keyword.arg is None or keyword.arg not in names or keyword.arg in given:
            known = "given twice" if keyword.arg in given else "unknown"
            scope.fault("ARGUMENTS", keyword, f"{name} takes {shape}; {keyword.arg} is {known}", name)
            return None
        given[keyword.arg] = keyword.value
    missing = [item for item in names if item not in given]
    if missing:
        scope.fault("ARGUMENTS", node, f"{name} takes {shape}; missing: {list_names(missing)}", name)
        return None
    return given


def _list_given(keyword: ast.keyword) -> list[ast.expr]:
    """Return what an argument by name holds; of `**{"a": 1}` the values, which are given by name instead."""
    if keyword.arg is None and isinstance(keyword.value, ast.Dict):
        return keyword.value.values
    return [keyword.value]
