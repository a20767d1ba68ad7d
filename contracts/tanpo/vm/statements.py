"""Type-checks statements: definite assignment, return on every path, and what may be changed."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Final, TypeGuard

from tanpo.vm import gas, ir
from tanpo.vm.assignments import (
    annotate,
    assign,
    augment,
    check_local,
    declare_local,
    delete,
)
from tanpo.vm.calls import RULES
from tanpo.vm.declare import check_fields
from tanpo.vm.effects import check_emit, check_fail
from tanpo.vm.expressions import check, check_as, check_source
from tanpo.vm.functions import declare_inner, list_parameters
from tanpo.vm.refused_statements import REFUSED_STATEMENTS
from tanpo.vm.scope import FunctionNode, FunctionScope, ModuleScope, Signature, join_assigned
from tanpo.vm.types import BOOL, NOTHING, UNKNOWN, Type

_Statements = list[ir.Statement]


def check_function(module: ModuleScope, signature: Signature) -> ir.FunctionBody:
    """Return a function in typed form; its faults are in the log of the module."""
    scope = FunctionScope(module=module, signature=signature, rules=RULES)
    block = _check_body(scope)
    for name in scope.types:
        module.local_names.setdefault(name, signature.node.name)
    return ir.FunctionBody(
        name=signature.name,
        kind=signature.kind,
        line=signature.node.lineno,
        parameters=tuple((parameter.name, parameter.type) for parameter in signature.parameters),
        returns=signature.returns,
        body=block,
    )


def _check_body(scope: FunctionScope) -> ir.Block:
    signature = scope.signature
    places = {part.arg: part for part in reversed(list_parameters(signature.node.args))}
    for parameter in signature.parameters:
        check_local(scope, parameter.name, places[parameter.name])
        scope.types[parameter.name] = parameter.type
        scope.mark(parameter.name)
    body = signature.node.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    block = _check_block(scope, body)
    if scope.assigned is not None and signature.returns != NOTHING:
        message = f"{signature.node.name} can end without returning {signature.returns}"
        scope.fault("RETURN", signature.node, message, signature.node.name)
    return block


def _check_block(scope: FunctionScope, body: list[ast.stmt]) -> ir.Block:
    statements: _Statements = []
    for position, node in enumerate(body):
        if scope.assigned is None and position > 0:
            scope.fault("UNREACHABLE", node, "this statement is never reached")
            break
        rule = _RULES.get(type(node))
        if rule is not None:
            rule(scope, node, statements)
    return ir.Block(tuple(statements), gas.price_block(statements))


def _if(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:
    if not isinstance(node, ast.If):
        return
    test = check_as(scope, node.test, BOOL)
    before = scope.assigned
    then = _check_block(scope, node.body)
    after_then, scope.assigned = scope.assigned, before
    otherwise = _check_block(scope, node.orelse) if node.orelse else None
    scope.assigned = join_assigned(after_then, scope.assigned)
    if otherwise is not None and isinstance(node.orelse[0], ast.If) and len(otherwise.statements) == 1:
        otherwise = ir.Block(otherwise.statements, 0)  # an elif: its test is part of the price of the first
    out.append(ir.If(node.lineno, test, then, otherwise))


def _while(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:
    if not isinstance(node, ast.While):
        return
    test = check_as(scope, node.test, BOOL)
    before = scope.assigned
    scope.loops.append([])
    body = _check_block(scope, node.body)
    breaks = scope.loops.pop()
    forever = isinstance(test, ir.Const) and test.value is True
    scope.assigned = None if forever else before
    for state in breaks:
        scope.assigned = join_assigned(scope.assigned, state)
    if node.orelse:
        _check_block(scope, node.orelse)
    cost = gas.LOOP + gas.price_expression(test) + body.cost
    out.append(ir.While(node.lineno, test, body, cost))


def _for(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:
    if not isinstance(node, ast.For | ast.AsyncFor):
        return
    source, item = check_source(scope, node.iter)
    before = scope.assigned
    if not isinstance(node.target, ast.Name):
        name = _refuse_target(scope, node, item)
    else:
        name = node.target.id
        declare_local(scope, node, name, item)
    scope.loops.append([])
    body = _check_block(scope, node.body)
    scope.loops.pop()
    scope.assigned = before
    _check_block(scope, node.orelse)
    out.append(ir.For(node.lineno, name, source, ir.Block(body.statements, body.cost + gas.LOOP)))


def _refuse_target(scope: FunctionScope, node: ast.For | ast.AsyncFor, item: Type) -> str:
    """Note a target that is no name, and return one that holds the items."""
    scope.expect_all(node.target)
    match node.iter:
        case ast.Call(func=ast.Name(id="enumerate" | "zip") | ast.Attribute(attr="items")):
            pass  # what is written instead of these runs over one name
        case _:
            message = "a loop runs over one name"
            remedy = "name the item, for item in ..., and unpack it inside: a, b = item"
            scope.fault("ASSIGN_TARGET", node.target, message, remedy=remedy)
    hidden = scope.next_hidden()
    scope.types[hidden] = item
    return hidden


def _jump(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:
    kind = "break" if isinstance(node, ast.Break) else "continue"
    if not scope.loops:
        scope.fault("LOOP_CONTROL", node, f"{kind} stands outside a loop", kind)
    elif kind == "break" and scope.assigned is not None:
        scope.loops[-1].append(scope.assigned)
    scope.assigned = None
    out.append(ir.Jump(node.lineno, kind))


def _return(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:
    if not isinstance(node, ast.Return):
        return
    returns = scope.signature.returns
    value = None
    if node.value is None:
        if returns != NOTHING:
            scope.fault("RETURN", node, f"a value of type {returns} is to be returned")
    elif returns == NOTHING:
        _refuse_result(scope, node, node.value)
    else:
        value = check_as(scope, node.value, returns)
    scope.assigned = None
    out.append(ir.Return(node.lineno, value))


def _refuse_result(scope: FunctionScope, node: ast.Return, value: ast.expr) -> None:
    found = check(scope, value)
    if isinstance(value, ast.Constant) and value.value is None:
        return  # that there is no None is said where it stands
    remedy = "declare the type of the result after the parameters, as in -> int, or write return alone"
    if found.type not in (UNKNOWN, NOTHING):
        remedy = f"declare the result after the parameters, -> {found.type}, or write return alone"
    message = f"{scope.signature.node.name} declares no result"
    scope.fault("RETURN", node, message, scope.text(value), remedy=remedy)


def _expression(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:
    if not isinstance(node, ast.Expr):
        return
    call = node.value
    while isinstance(call, ast.Await):
        call = call.value  # it goes when await does
    if isinstance(call, ast.Constant) and isinstance(call.value, str):
        scope.fault("DOCSTRING", node, "text stands where a statement should")
    elif (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in ("require", "abort")
    ):
        check_fail(scope, call, call.func.id, out)
    elif isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "emit":
        check_emit(scope, call, out)
    else:
        value = check(scope, call)
        if not isinstance(call, ast.Call) and value.type != UNKNOWN:
            remedy = f"a single = assigns: {scope.text(call.left)} = ..." if _is_equation(call) else ""
            message = "the value of this expression is not used"
            scope.fault("UNUSED_VALUE", node, message, scope.text(call), remedy=remedy)
        out.append(ir.Evaluate(node.lineno, value))


def _is_equation(node: ast.expr) -> TypeGuard[ast.Compare]:
    return isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq)


def _function(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:  # noqa: ARG001 - one shape
    if isinstance(node, FunctionNode):
        scope.expect(node.name)
        _check_inner(scope, node, is_method=False)


def _check_inner(scope: FunctionScope, node: FunctionNode, *, is_method: bool) -> None:
    """Check a function inside another, which is refused, as if it knew the names around it."""
    signature = declare_inner(scope, node, is_method=is_method)
    stored = [
        part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    ]
    own = dict.fromkeys([*stored, *(parameter.name for parameter in signature.parameters)])
    hidden = {name: scope.types.pop(name) for name in own if name in scope.types}
    around = scope.signature, scope.assigned, scope.loops
    scope.signature, scope.loops = signature, []
    if scope.assigned is not None:
        scope.assigned -= own.keys() & scope.assigned
    _check_body(scope)
    scope.signature, scope.assigned, scope.loops = around
    for name in own:
        scope.types.pop(name, None)
    scope.types.update(hidden)


def _class(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:
    """Check the fields and functions of a class inside a function, which is refused."""
    if not isinstance(node, ast.ClassDef):
        return
    scope.expect(node.name)
    check_fields(scope.module, node)
    for part in node.body:
        if isinstance(part, FunctionNode):
            _check_inner(scope, part, is_method=True)
        else:
            _class(scope, part, out)


def _refused(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:  # noqa: ARG001 - one shape
    REFUSED_STATEMENTS[type(node)](scope, node, _check_block)


def _pass(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:
    """`pass` does nothing, costs nothing and needs no check."""


_Rule = Callable[[FunctionScope, ast.stmt, _Statements], None]
_RULES: Final[dict[type[ast.stmt], _Rule]] = {
    ast.Assign: assign,
    ast.AnnAssign: annotate,
    ast.AugAssign: augment,
    ast.Delete: delete,
    ast.If: _if,
    ast.While: _while,
    ast.For: _for,
    ast.Break: _jump,
    ast.Continue: _jump,
    ast.Return: _return,
    ast.Expr: _expression,
    ast.Pass: _pass,
    ast.AsyncFor: _for,
    ast.FunctionDef: _function,
    ast.AsyncFunctionDef: _function,
    ast.ClassDef: _class,
    **dict.fromkeys(REFUSED_STATEMENTS, _refused),
}
