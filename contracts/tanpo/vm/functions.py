"""Reads the heads of functions: what they are, what they take and return."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Final

from tanpo.vm.annotations import check_name, resolve_type
from tanpo.vm.interface import Parameter
from tanpo.vm.scope import FunctionNode, FunctionScope, ModuleScope, Signature
from tanpo.vm.types import NOTHING, UNKNOWN, Type

_KINDS: Final = ("entry", "view", "init", "migrate")
_DECORATORS: Final[dict[str, str]] = {
    "external": "@entry",
    "public": "@entry",
    "payable": "@entry",
    "call": "@entry",
    "pure": "@view",
    "readonly": "@view",
    "constructor": "@init",
    "upgrade": "@migrate",
}
"""What other contract languages call the decorators of this one."""


def declare_function(scope: ModuleScope, node: FunctionNode) -> None:
    """Declare a function of the top level."""
    signature = _read_head(scope, node, _kind_of(scope, node))
    if signature.kind in ("init", "migrate") and (
        signature.returns != NOTHING or (signature.kind == "migrate" and signature.parameters)
    ):
        message = f"@{signature.kind} {node.name} has a result, or parameters that it must not have"
        scope.fault("INIT", node, message, node.name)
    if not check_name(scope, node.name, node):
        signature = replace(signature, name=_hide(scope, node))
    scope.functions[signature.name] = signature


def declare_method(scope: ModuleScope, node: FunctionNode) -> None:
    """Declare a function of a record, which is refused, so that its body is checked."""
    name = _hide(scope, node)
    scope.functions[name] = replace(_read_head(scope, node, "helper", is_method=True), name=name)


def declare_inner(scope: FunctionScope, node: FunctionNode, *, is_method: bool) -> Signature:
    """Return a function inside another, which is refused: what it calls and writes, the outer one does."""
    head = _read_head(scope.module, node, scope.signature.kind, is_method=is_method)
    return replace(head, name=scope.signature.name)


def _hide(scope: ModuleScope, node: FunctionNode) -> str:
    """Return a name that no author can write, under which a body is checked all the same."""
    return f"{len(scope.functions)} {node.name}"


def _read_head(scope: ModuleScope, node: FunctionNode, kind: str, *, is_method: bool = False) -> Signature:
    parameters = _declare_parameters(scope, node.args, is_method=is_method)
    returns: Type = NOTHING
    if node.returns is not None and not (
        isinstance(node.returns, ast.Constant) and node.returns.value is None
    ):
        returns = resolve_type(scope, node.returns)
    return Signature(
        name=node.name,
        kind=kind,
        parameters=tuple(Parameter(name=name, type=part) for name, part in parameters.items()),
        returns=returns,
        node=node,
    )


def _declare_parameters(scope: ModuleScope, node: ast.arguments, *, is_method: bool) -> dict[str, Type]:
    """Return the type of each parameter, of refused forms too: using them is no further fault."""
    parameters: dict[str, Type] = {}
    for position, argument in enumerate(list_parameters(node)):
        if argument.arg in parameters:
            scope.fault("DUPLICATE", argument, f"parameter {argument.arg} is declared twice", argument.arg)
        elif argument.annotation is None and is_method and position == 0:
            parameters[argument.arg] = UNKNOWN  # self, which goes when the function moves to the top level
        elif argument.annotation is None:
            message = f"parameter {argument.arg} has no type"
            scope.fault(
                "ANNOTATION",
                argument,
                message,
                argument.arg,
                remedy=f"write its type, as in {argument.arg}: int",
            )
            parameters[argument.arg] = UNKNOWN
        else:
            kind = resolve_type(scope, argument.annotation)
            parameters[argument.arg] = kind if argument in node.args else UNKNOWN
    return parameters


def list_parameters(node: ast.arguments) -> list[ast.arg]:
    """Return every parameter in the order written, those of refused forms too."""
    starred = [part for part in (node.vararg, node.kwarg) if part is not None]
    return sorted(
        [*node.posonlyargs, *node.args, *node.kwonlyargs, *starred],
        key=lambda part: (part.lineno, part.col_offset),
    )


def _kind_of(scope: ModuleScope, node: FunctionNode) -> str:
    if not node.decorator_list:
        return "helper"
    first, *others = node.decorator_list
    known = isinstance(first, ast.Name) and first.id in _KINDS
    if others and known:
        message = f"function {node.name} has more than one decorator"
        scope.fault("DECORATOR", others[0], message, remedy="keep one of them")
    elif not known:
        message = f"function {node.name} has a decorator that is not known"
        scope.fault("DECORATOR", first, message, remedy=_advise_decorator(first))
    return first.id if isinstance(first, ast.Name) and known else "helper"


def _advise_decorator(node: ast.expr) -> str:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _KINDS:
        return f"write @{node.func.id} without brackets"
    if isinstance(node, ast.Name) and node.id.lower() in _KINDS:
        return f"write @{node.id.lower()}"
    if isinstance(node, ast.Name) and node.id in _DECORATORS:
        return f"write {_DECORATORS[node.id]}"
    return ""


def check_kinds(scope: ModuleScope, tree: ast.Module) -> None:
    """Note a second `@init` or `@migrate`, and a contract that nobody can call."""
    signatures = scope.functions.values()
    kinds = [signature.kind for signature in signatures]
    for kind in ("init", "migrate"):
        for signature in [one for one in signatures if one.kind == kind][1:]:
            scope.fault("INIT", signature.node, f"another function has @{kind} too", kind)
    meant = sum(1 for signature in signatures if signature.node.decorator_list)
    # A function whose decorator is refused was meant to be one; that has been said.
    if "entry" not in kinds and "view" not in kinds and meant == kinds.count("init") + kinds.count("migrate"):
        scope.fault("NO_ENTRY", tree, "the contract has neither an entry point nor a view", scope.contract)
