"""Where values are copied: the one place that decides it, for every engine.

Values held by the state are never changed in place, and a contract never holds a value that the state or
another contract can see. Between checking and execution this pass writes every copy that this takes into the
typed program, as an operation of its own:

- `copy`: a copy so deep that no change to one is seen in the other; what it costs is part of reading;
- `pass`: the same for an argument of another contract, charged by its weight;
- `keep`: the same for what is stored, if it may hold one value many times: charged by its weight, and
  refused before it is copied if it is heavier than an entry of the state may be.

An engine copies there and nowhere else. One more operation is written here because the operands are the same:

- `probe`: charges for a dict with integer keys by its size before a key is sought in it.
"""

from __future__ import annotations

from dataclasses import replace
from operator import is_
from typing import Final

from tanpo.ledger.errors import invariant
from tanpo.vm import ir
from tanpo.vm.types import INT, DictOf, ListOf, TupleOf, is_mutable, parts_of

_INSIDE: Final = frozenset(("field", "item.list", "item.dict", "dict.get", "slice"))
"""Operations whose result lies inside, or shares parts with, their first operand."""

_FROM_STATE: Final = frozenset(("state.get", "state.find", "ctx.signers"))
_NEW_LISTS: Final = frozenset(("concat.list", "sort.list", "sort.dict", "index.page", "index.first"))

_READS_ONLY: Final = frozenset(
    [
        "field",
        "item.list",
        "item.dict",
        "item.str",
        "item.bytes",
        "contains.list",
        "contains.dict",
        "compare",
        "same",
        "order",
        "len",
        "sort.list",
        "sort.dict",
        "str.join",
        "slice",
        "state.find",
    ]
)
"""Operations that keep no reference to mutable operands, or whose result is copied instead."""


def place_copies(unit: ir.Unit) -> ir.Unit:
    """Return the same contract with every copy written out."""
    return replace(
        unit, functions=tuple(replace(function, body=_block(function.body)) for function in unit.functions)
    )


def is_borrowed(node: ir.Expr) -> bool:
    """Tell whether the value, as read, is shared with the state and must be copied before it is kept."""
    while isinstance(node, ir.Op) and node.op in _INSIDE:
        node = node.args[0]
    return isinstance(node, ir.Op) and node.op in _FROM_STATE


def is_isolated(node: ir.Expr) -> bool:
    """Tell whether the value can be stored as it is: immutable, from the state itself, or made just now."""
    if not is_mutable(node.type):
        return True
    if isinstance(node, ir.Comprehension):
        return is_isolated(node.element)
    if not isinstance(node, ir.Op):
        return False
    if node.op.startswith("make.") or node.op in _INSIDE or node.op == "state.find":
        return all(is_isolated(part) for part in node.args)
    if node.op in _NEW_LISTS:
        return isinstance(node.type, ListOf) and not is_mutable(node.type.item)
    return node.op in ("call.cross", "state.get", "ctx.signers")


def _read(node: ir.Expr) -> ir.Expr:
    """Return an expression whose value is looked at and forgotten, its operands in the care they need."""
    match node:
        case ir.Const() | ir.Local():
            return node
        case ir.Comprehension():
            test = None if node.test is None else _read(node.test)
            source = _source(node.source)
            return ir.Comprehension(node.type, _keep(node.element), node.variable, source, test, node.cost)
        case ir.Op(op="dict.get", args=(base, key, default)):
            return _with_args(node, (_sought(base), _read(key), _keep(default)))
        case ir.Op(op="item.dict", args=(base, key)):
            return _with_args(node, (_sought(base), _read(key)))
        case ir.Op(op="contains.dict", args=(key, base)):
            return _with_args(node, (_read(key), _sought(base)))
        case ir.Op(op="call.cross", args=args):
            return _with_args(node, tuple([_hand_over(part) for part in args]))
    care = _read if node.op in _READS_ONLY else _keep
    return _with_args(node, tuple([care(part) for part in node.args]))


def _with_args(node: ir.Op, args: tuple[ir.Expr, ...]) -> ir.Op:
    if all(map(is_, args, node.args)):
        return node  # most of a program is arithmetic, in which nothing is copied
    return ir.Op(node.type, node.op, args, node.detail)


def _keep(node: ir.Expr) -> ir.Expr:
    """Return an expression whose value the receiver may keep and change."""
    value = _read(node)
    return _copy(value) if is_mutable(node.type) and is_borrowed(node) else value


def _store(node: ir.Expr) -> ir.Expr:
    """Return an expression whose value nobody else can change."""
    value = _read(node)
    if is_isolated(node):
        return value
    holds_mutable = any(is_mutable(part) for part in parts_of(node.type))
    return ir.Op(node.type, "keep", (value,)) if holds_mutable else _copy(value)


def _hand_over(node: ir.Expr) -> ir.Expr:
    """Return an argument of another contract."""
    value = _read(node)
    return ir.Op(node.type, "pass", (value,)) if is_mutable(node.type) else value


def _sought(base: ir.Expr) -> ir.Expr:
    """Return a list, or a dict in which a key is sought."""
    value = _read(base)
    is_crafted = isinstance(base.type, DictOf) and base.type.key == INT
    return ir.Op(base.type, "probe", (value,)) if is_crafted else value


def _copy(value: ir.Expr) -> ir.Expr:
    return ir.Op(value.type, "copy", (value,))


def _source(node: ir.Expr) -> ir.Expr:
    """Return what a loop runs over: its items are kept, the list itself is not."""
    invariant(not isinstance(node.type, TupleOf), "a loop over a tuple")
    holds_mutable = isinstance(node.type, ListOf) and is_mutable(node.type.item)
    return _keep(node) if holds_mutable else _read(node)


def _block(block: ir.Block) -> ir.Block:
    return ir.Block(tuple([_statement(node) for node in block.statements]), block.cost)


def _statement(node: ir.Statement) -> ir.Statement:
    match node:
        case ir.Assign(line=line, name=name, value=value):
            return ir.Assign(line, name, _keep(value))
        case ir.Unpack(line=line, names=names, value=value):
            return ir.Unpack(line, names, _keep(value))
        case ir.Return(line=line, value=value):
            return node if value is None else ir.Return(line, _keep(value))
        case ir.Evaluate(line=line, value=value):
            return ir.Evaluate(line, _read(value))
        case ir.If(line=line, test=test, then=then, otherwise=otherwise):
            other = None if otherwise is None else _block(otherwise)
            return ir.If(line, _read(test), _block(then), other)
        case ir.While(line=line, test=test, body=body, cost=cost):
            return ir.While(line, _read(test), _block(body), cost)
        case ir.For(line=line, variable=variable, source=source, body=body):
            return ir.For(line, variable, _source(source), _block(body))
    return _effect(node)


def _effect(node: ir.Statement) -> ir.Statement:
    match node:
        case ir.SetField(line=line, base=base, position=position, value=value):
            return ir.SetField(line, _read(base), position, _keep(value))
        case ir.SetItem(line=line, base=base, key=key, value=value):
            return ir.SetItem(line, _sought(base), _read(key), _keep(value))
        case ir.DeleteItem(line=line, base=base, key=key):
            return ir.DeleteItem(line, _sought(base), _read(key))
        case ir.Store(line=line, slot=slot, key=key, value=value):
            return ir.Store(line, slot, None if key is None else _read(key), _store(value))
        case ir.Erase(line=line, slot=slot, key=key):
            return ir.Erase(line, slot, _read(key))
        case ir.Fail(line=line, test=test, code=code, details=details):
            return ir.Fail(line, None if test is None else _read(test), code, _named(details))
        case ir.Emit(line=line, name=name, fields=fields):
            return ir.Emit(line, name, _named(fields))
    return node  # a jump


def _named(values: tuple[tuple[str, ir.Expr], ...]) -> tuple[tuple[str, ir.Expr], ...]:
    return tuple([(name, _read(value)) for name, value in values])
