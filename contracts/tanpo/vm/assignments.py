"""Type-checks what assigns and deletes: names, state, entries of a Map, items and fields of local values."""

from __future__ import annotations

import ast

from tanpo.vm import ir
from tanpo.vm.advice import advise_whole
from tanpo.vm.annotations import resolve_type
from tanpo.vm.calls import check_changeable
from tanpo.vm.expressions import check, check_as, check_value, combine
from tanpo.vm.scope import RESERVED, FunctionScope
from tanpo.vm.types import UNKNOWN, ListOf, TupleOf, Type, agrees

_Statements = list[ir.Statement]


def assign(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:
    """Check `target = value`, of every kind of target."""
    if not isinstance(node, ast.Assign):
        return
    target = node.targets[0]
    match target:
        case ast.Name(id=name):
            slot = scope.module.slots.get(name)
            if isinstance(slot, ir.Variable):
                scope.note_write(node, f"writes {name}")
                out.append(ir.Store(node.lineno, name, None, check_as(scope, node.value, slot.type)))
            elif slot is not None:
                check_value(scope, node.value, UNKNOWN)
                message = f"{name} is not assigned as a whole"
                scope.fault("ASSIGN_TARGET", node, message, name, remedy=advise_whole(name, slot))
            elif name in scope.types:
                out.append(ir.Assign(node.lineno, name, check_as(scope, node.value, scope.types[name])))
                scope.mark(name)
            else:
                _assign_new(scope, node, name, check_value(scope, node.value), out)
        case ast.Tuple():
            _unpack(scope, node, target, out)
        case _:
            _assign_place(scope, node, target, out)
    for other in node.targets[1:]:
        scope.expect_all(other)


def annotate(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:
    """Check a local that is given a type."""
    if not isinstance(node, ast.AnnAssign):
        return
    if not isinstance(node.target, ast.Name):
        scope.fault("ASSIGN_TARGET", node, "only a new local name is annotated", scope.text(node.target))
        if node.value is not None:
            check_value(scope, node.value, UNKNOWN)
        return
    name, kind = node.target.id, resolve_type(scope.module, node.annotation)
    if isinstance(scope.module.slots.get(name), ir.Variable):
        message = f"{name} is a variable in the state, and has its type"
        scope.fault("DUPLICATE", node, message, name, remedy=f"assign it without a type: {name} = ...")
    elif name in scope.types:
        scope.fault("DUPLICATE", node, f"{name} already has a type", name, remedy=f"write {name} = ...")
    if name in scope.types or not _is_new(scope, name, node):
        if node.value is not None:
            check_value(scope, node.value, kind)
        return
    if node.value is not None:
        out.append(ir.Assign(node.lineno, name, check_as(scope, node.value, kind)))
        scope.types[name] = kind
        scope.mark(name)
    else:
        scope.types[name] = kind


def augment(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:
    """Check `target += value` and its like; the target is evaluated once."""
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
            _refuse_constant(scope, node, target.id)
    else:
        _augment_place(scope, node, out)


def delete(scope: FunctionScope, node: ast.stmt, out: _Statements) -> None:
    """Check `del`, which is for keys of a Map or a dict."""
    if not isinstance(node, ast.Delete):
        return
    for target in node.targets:
        slot = _find_map(scope, target)
        if slot is not None and isinstance(target, ast.Subscript):
            scope.note_write(node, f"writes {slot.name}")
            out.append(ir.Erase(node.lineno, slot.name, check_as(scope, target.slice, slot.key)))
            continue
        item = check(scope, target) if isinstance(target, ast.Subscript) else None
        if isinstance(item, ir.Op) and item.op == "item.dict":
            if check_changeable(scope, target, item):
                out.append(ir.DeleteItem(node.lineno, item.args[0], item.args[1]))
        elif item is None or item.type != UNKNOWN:
            message, remedy = "only keys of a Map or dict are deleted", _advise_delete(item)
            scope.fault("ASSIGN_TARGET", node, message, scope.text(target), remedy=remedy)


def check_local(scope: FunctionScope, name: str, node: ast.AST) -> bool:
    """Refuse a name for a local that is reserved or has a meaning at top level."""
    if name in RESERVED:
        scope.fault("RESERVED", node, f"{name} belongs to the dialect", name)
        return False
    if scope.module.is_taken(name):
        scope.fault("DUPLICATE", node, f"{name} already has a meaning in this contract", name)
        return False
    return True


def declare_local(scope: FunctionScope, node: ast.stmt, name: str, kind: Type) -> bool:
    """Give `name` the type, or check that it has it already; state cannot be a target here."""
    if name not in scope.types:
        if not check_local(scope, name, node):
            return False
        scope.types[name] = kind
    elif not agrees(kind, scope.types[name]):
        scope.fault("TYPE_MISMATCH", node, f"{name} is {scope.types[name]}, this is {kind}", name)
        return False
    scope.mark(name)
    return True


def _is_new(scope: FunctionScope, name: str, node: ast.AST) -> bool:
    """Tell whether a local may have this name; that a variable in the state has it has been said."""
    return not isinstance(scope.module.slots.get(name), ir.Variable) and check_local(scope, name, node)


def _assign_new(scope: FunctionScope, node: ast.stmt, name: str, value: ir.Expr, out: _Statements) -> None:
    if name in scope.module.broken:
        return
    if name in scope.module.constants or name in scope.module.handles:
        _refuse_constant(scope, node, name)
    elif check_local(scope, name, node):
        scope.types[name] = value.type
        scope.mark(name)
        out.append(ir.Assign(node.lineno, name, value))


def _refuse_constant(scope: FunctionScope, node: ast.stmt, name: str) -> None:
    remedy = ""
    if name in scope.module.constants:
        kind = scope.module.constants[name].type
        remedy = f"for state, declare {name}: {kind} without a value, and set it in @init"
    scope.fault("CONSTANT_ASSIGN", node, f"{name} cannot be assigned", name, remedy=remedy)


def _unpack(scope: FunctionScope, node: ast.Assign, target: ast.Tuple, out: _Statements) -> None:
    names = [part.id for part in target.elts if isinstance(part, ast.Name)]
    value = check_value(scope, node.value)
    if len(names) != len(target.elts) or len(set(names)) != len(names):
        starred = [part.value for part in target.elts if isinstance(part, ast.Starred)]
        if not starred:
            scope.fault(
                "ASSIGN_TARGET", node, "a tuple is unpacked into different plain names", scope.text(target)
            )
        scope.expect_all(target)
        return
    kinds = value.type.items if isinstance(value.type, TupleOf) else (UNKNOWN,) * len(names)
    if len(kinds) != len(names) or (value.type != UNKNOWN and not isinstance(value.type, TupleOf)):
        message = f"{value.type} is not unpacked into {len(names)} names"
        remedy = f"unpack a tuple of {len(names)}, or take items one by one: x = xs[0]"
        scope.fault("TYPE_MISMATCH", node, message, remedy=remedy)
        kinds = (UNKNOWN,) * len(names)
    for name, kind in zip(names, kinds, strict=True):
        declare_local(scope, node, name, kind)
    out.append(ir.Unpack(node.lineno, tuple(names), value))


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
    if not isinstance(target, ast.Starred):
        message = "this cannot be assigned to"
        scope.fault(
            "ASSIGN_TARGET", target, message, scope.text(target), remedy=_advise_target(scope, target)
        )
    return None


def _advise_target(scope: FunctionScope, target: ast.expr) -> str:
    match target:
        case ast.Attribute(value=ast.Name(id="ctx")):
            return "ctx is only read: it tells who calls, and when"
        case ast.Subscript():
            return f"{scope.text(target.value)} does not change in place: assign a new value to the whole"
        case ast.List():
            return "unpack a tuple into names without square brackets"
    return ""


def _set(line: int, base: ir.Expr, key: ir.Expr | int, value: ir.Expr) -> ir.Statement:
    if isinstance(key, int):
        return ir.SetField(line, base, key, value)
    return ir.SetItem(line, base, key, value)


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


def _advise_delete(item: ir.Expr | None) -> str:
    if isinstance(item, ir.Op) and item.op == "item.list":
        return "use xs.pop() for the last item, or build the list without it: xs = xs[:i] + xs[i + 1:]"
    return "assign an empty value instead, or build a new one without it"
