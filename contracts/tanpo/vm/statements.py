"""Type-checks statements: definite assignment, return on every path, and what may be changed."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Final

from tanpo.vm import gas, ir
from tanpo.vm.calls import RULES, check_changeable
from tanpo.vm.declare import resolve_type
from tanpo.vm.effects import check_emit, check_fail
from tanpo.vm.expressions import check, check_as, check_source, check_value, combine
from tanpo.vm.scope import RESERVED, FunctionScope, ModuleScope, Signature
from tanpo.vm.types import (
    BOOL,
    NOTHING,
    UNKNOWN,
    DictOf,
    ListOf,
    TupleOf,
    Type,
    agrees,
)

_Statements = list[ir.Statement]


def check_function(module: ModuleScope, signature: Signature) -> ir.FunctionBody:
    """Return a function in typed form; its faults are in the log of the module."""
    scope = FunctionScope(module=module, signature=signature, rules=RULES)
    for parameter in signature.parameters:
        if _check_local(scope, parameter.name, signature.node):
            scope.types[parameter.name] = parameter.type
            scope.mark(parameter.name)
    body = signature.node.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    block = _check_block(scope, body)
    if scope.assigned is not None and signature.returns != NOTHING:
        message = f"{signature.name} can end without returning {signature.returns}"
        scope.fault("RETURN", signature.node, message, signature.name)
    return ir.FunctionBody(
        name=signature.name,
        kind=signature.kind,
        line=signature.node.lineno,
        parameters=tuple((parameter.name, parameter.type) for parameter in signature.parameters),
        returns=signature.returns,
        body=block,
    )


def _check_local(scope: FunctionScope, name: str, node: ast.AST) -> bool:
    if name in RESERVED:
        scope.fault("RESERVED", node, f"{name} belongs to the dialect", name)
        return False
    if scope.module.is_taken(name):
        scope.fault("DUPLICATE", node, f"{name} already has a meaning in this contract", name)
        return False
    return True


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


def _assign(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:
    if not isinstance(node, ast.Assign):
        return
    target = node.targets[0]
    match target:
        case ast.Name(id=name):
            slot = scope.module.slots.get(name)
            if isinstance(slot, ir.Variable):
                scope.note_write(node, f"writes {name}")
                out.append(ir.Store(node.lineno, name, None, check_as(scope, node.value, slot.type)))
            elif name in scope.types:
                out.append(ir.Assign(node.lineno, name, check_as(scope, node.value, scope.types[name])))
                scope.mark(name)
            else:
                _assign_new(scope, node, name, check_value(scope, node.value), out)
        case ast.Tuple():
            _unpack(scope, node, target, out)
        case _:
            _assign_place(scope, node, target, out)


def _assign_new(scope: FunctionScope, node: ast.stmt, name: str, value: ir.Expr, out: _Statements) -> None:
    if name in scope.module.broken:
        return
    if name in scope.module.constants or name in scope.module.handles:
        scope.fault("CONSTANT_ASSIGN", node, f"{name} cannot be assigned", name)
    elif _check_local(scope, name, node):
        scope.types[name] = value.type
        scope.mark(name)
        out.append(ir.Assign(node.lineno, name, value))


def _unpack(scope: FunctionScope, node: ast.Assign, target: ast.Tuple, out: _Statements) -> None:
    names = [part.id for part in target.elts if isinstance(part, ast.Name)]
    value = check_value(scope, node.value)
    if len(names) != len(target.elts) or len(set(names)) != len(names):
        scope.fault(
            "ASSIGN_TARGET", node, "a tuple is unpacked into different plain names", scope.text(target)
        )
        return
    kinds = value.type.items if isinstance(value.type, TupleOf) else (UNKNOWN,) * len(names)
    if len(kinds) != len(names) or (value.type != UNKNOWN and not isinstance(value.type, TupleOf)):
        scope.fault("TYPE_MISMATCH", node, f"{value.type} is not unpacked into {len(names)} names")
        kinds = (UNKNOWN,) * len(names)
    for name, kind in zip(names, kinds, strict=True):
        if not _declare_local(scope, node, name, kind):
            return
    out.append(ir.Unpack(node.lineno, tuple(names), value))


def _declare_local(scope: FunctionScope, node: ast.stmt, name: str, kind: Type) -> bool:
    """Give `name` the type, or check that it has it already; state cannot be a target here."""
    if name not in scope.types:
        if not _check_local(scope, name, node):
            return False
        scope.types[name] = kind
    elif not agrees(kind, scope.types[name]):
        scope.fault("TYPE_MISMATCH", node, f"{name} is {scope.types[name]}, this is {kind}", name)
        return False
    scope.mark(name)
    return True


def _assign_place(scope: FunctionScope, node: ast.Assign, target: ast.expr, out: _Statements) -> None:
    slot = _find_map(scope, target)
    if slot is not None and isinstance(target, ast.Subscript):
        scope.note_write(node, f"writes {slot.name}")
        value = check_as(scope, node.value, slot.value)
        out.append(ir.Store(node.lineno, slot.name, check_as(scope, target.slice, slot.key), value))
        return
    place = _check_place(scope, target)
    if place is None:
        check(scope, node.value)
        return
    base, key, kind = place
    out.append(_set(node.lineno, base, key, check_as(scope, node.value, kind)))


def _find_map(scope: FunctionScope, target: ast.expr) -> ir.MapSlot | None:
    if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
        slot = scope.module.slots.get(target.value.id)
        if isinstance(slot, ir.MapSlot):
            return slot
    return None


_Place = tuple[ir.Expr, "ir.Expr | int", Type]


def _check_place(scope: FunctionScope, target: ast.expr) -> _Place | None:
    """Return base, key or field position, and type of a place inside a local value."""
    if isinstance(target, ast.Attribute) and not (
        isinstance(target.value, ast.Name) and target.value.id == "ctx"
    ):
        place = check(scope, target)
        if isinstance(place, ir.Op) and place.op == "field" and isinstance(place.detail, int):
            return (
                (place.args[0], place.detail, place.type) if check_changeable(scope, target, place) else None
            )
        return None
    if isinstance(target, ast.Subscript):
        item = check(scope, target)
        if isinstance(item, ir.Op) and item.op in ("item.list", "item.dict"):
            return (item.args[0], item.args[1], item.type) if check_changeable(scope, target, item) else None
        if item.type == UNKNOWN:
            return None
    scope.fault("ASSIGN_TARGET", target, "this cannot be assigned to", scope.text(target))
    return None


def _set(line: int, base: ir.Expr, key: ir.Expr | int, value: ir.Expr) -> ir.Statement:
    if isinstance(key, int):
        return ir.SetField(line, base, key, value)
    return ir.SetItem(line, base, key, value)


def _annotated(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:
    if not isinstance(node, ast.AnnAssign):
        return
    if not isinstance(node.target, ast.Name) or not _check_local(scope, node.target.id, node):
        scope.fault("ASSIGN_TARGET", node, "only a new local name is annotated", scope.text(node.target))
        return
    name, kind = node.target.id, resolve_type(scope.module, node.annotation)
    if name in scope.types:
        scope.fault("DUPLICATE", node, f"{name} already has a type", name)
        return
    if node.value is not None:
        out.append(ir.Assign(node.lineno, name, check_as(scope, node.value, kind)))
        scope.types[name] = kind
        scope.mark(name)
    else:
        scope.types[name] = kind


def _augmented(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:
    if not isinstance(node, ast.AugAssign):
        return
    target, line = node.target, node.lineno
    slot = _find_map(scope, target)
    if slot is not None and isinstance(target, ast.Subscript):
        scope.note_write(node, f"writes {slot.name}")
        key = _hold(scope, line, check_as(scope, target.slice, slot.key), out)
        old: ir.Expr = ir.Op(slot.value, "state.get", (key,), slot.name)
        out.append(ir.Store(line, slot.name, key, _combine(scope, node, old)))
    elif isinstance(target, ast.Name):
        old = check_value(scope, target)
        value = _combine(scope, node, old)
        if isinstance(old, ir.Local):
            out.append(ir.Assign(line, old.name, value))
        elif isinstance(old, ir.Op):
            scope.note_write(node, f"writes {target.id}")
            out.append(ir.Store(line, target.id, None, value))
        elif old.type != UNKNOWN:
            scope.fault("CONSTANT_ASSIGN", node, f"{target.id} cannot be assigned", target.id)
    else:
        _augment_place(scope, node, out)


def _augment_place(scope: FunctionScope, node: ast.AugAssign, out: _Statements) -> None:
    place = _check_place(scope, node.target)
    if place is None:
        return
    base = _hold(scope, node.lineno, place[0], out)
    key, kind = place[1], place[2]
    if isinstance(key, int):
        old = ir.Op(kind, "field", (base,), key)
    else:
        key = _hold(scope, node.lineno, key, out)
        old = ir.Op(kind, "item.list" if isinstance(base.type, ListOf) else "item.dict", (base, key))
    out.append(_set(node.lineno, base, key, _combine(scope, node, old)))


def _combine(scope: FunctionScope, node: ast.AugAssign, old: ir.Expr) -> ir.Expr:
    value = combine(scope, node, node.op, old, check_value(scope, node.value, old.type))
    if isinstance(old.type, ListOf):
        # Python would change the list in place for every name that holds it; ours would make a new one.
        return scope.wrong("OPERATOR", node, "+= is not defined for lists: append, or xs = xs + ys", "+=")
    return value


def _hold(scope: FunctionScope, line: int, value: ir.Expr, out: _Statements) -> ir.Expr:
    """Keep `value` in a hidden local, so that it is evaluated once."""
    if isinstance(value, ir.Const | ir.Local):
        return value
    name = scope.next_hidden()
    out.append(ir.Assign(line, name, value))
    return ir.Local(value.type, name)


def _delete(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:
    if not isinstance(node, ast.Delete):
        return
    for target in node.targets:
        slot = _find_map(scope, target)
        if slot is not None and isinstance(target, ast.Subscript):
            scope.note_write(node, f"writes {slot.name}")
            out.append(ir.Erase(node.lineno, slot.name, check_as(scope, target.slice, slot.key)))
            continue
        place = _check_place(scope, target) if isinstance(target, ast.Subscript) else None
        if place is not None and isinstance(place[0].type, DictOf) and not isinstance(place[1], int):
            out.append(ir.DeleteItem(node.lineno, place[0], place[1]))
        else:
            scope.fault("ASSIGN_TARGET", node, "only keys of a Map or dict are deleted", scope.text(target))


def _if(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:
    if not isinstance(node, ast.If):
        return
    test = check_as(scope, node.test, BOOL)
    before = scope.assigned
    then = _check_block(scope, node.body)
    after_then, scope.assigned = scope.assigned, before
    otherwise = _check_block(scope, node.orelse) if node.orelse else None
    scope.assigned = _join(after_then, scope.assigned)
    if otherwise is not None and isinstance(node.orelse[0], ast.If) and len(otherwise.statements) == 1:
        otherwise = ir.Block(otherwise.statements, 0)  # an elif: its test is part of the price of the first
    out.append(ir.If(node.lineno, test, then, otherwise))


def _join(left: frozenset[str] | None, right: frozenset[str] | None) -> frozenset[str] | None:
    if left is None:
        return right
    return left if right is None else left & right


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
        scope.assigned = _join(scope.assigned, state)
    cost = gas.LOOP + gas.price_expression(test) + body.cost
    out.append(ir.While(node.lineno, test, body, cost))


def _for(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:
    if not isinstance(node, ast.For):
        return
    source, item = check_source(scope, node.iter)
    before = scope.assigned
    if not isinstance(node.target, ast.Name):
        scope.fault(
            "ASSIGN_TARGET", node, "a loop runs over one name; unpack it inside", scope.text(node.target)
        )
        name = scope.next_hidden()
        scope.types[name] = item
    else:
        name = node.target.id
        _declare_local(scope, node, name, item)
    scope.loops.append([])
    body = _check_block(scope, node.body)
    scope.loops.pop()
    scope.assigned = before
    out.append(ir.For(node.lineno, name, source, ir.Block(body.statements, body.cost + gas.LOOP)))


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
        scope.fault("RETURN", node, f"{scope.signature.name} declares no result", scope.text(node.value))
    else:
        value = check_as(scope, node.value, returns)
    scope.assigned = None
    out.append(ir.Return(node.lineno, value))


def _expression(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:
    if not isinstance(node, ast.Expr):
        return
    call = node.value
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
            scope.fault("UNUSED_VALUE", node, "the value of this expression is not used", scope.text(call))
        out.append(ir.Evaluate(node.lineno, value))


def _pass(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:
    """`pass` does nothing, costs nothing and needs no check."""


_Rule = Callable[[FunctionScope, ast.stmt, _Statements], None]
_RULES: Final[dict[type[ast.stmt], _Rule]] = {
    ast.Assign: _assign,
    ast.AnnAssign: _annotated,
    ast.AugAssign: _augmented,
    ast.Delete: _delete,
    ast.If: _if,
    ast.While: _while,
    ast.For: _for,
    ast.Break: _jump,
    ast.Continue: _jump,
    ast.Return: _return,
    ast.Expr: _expression,
    ast.Pass: _pass,
}
