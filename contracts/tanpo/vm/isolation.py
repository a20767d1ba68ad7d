"""Which values are shared with the state, and which nobody else can change: where copies are needed."""

from __future__ import annotations

from typing import Final

from tanpo.vm import ir
from tanpo.vm.types import ListOf, is_mutable

_INSIDE: Final = frozenset(("field", "item.list", "item.dict", "dict.get", "slice"))
"""Operations whose result lies inside, or shares parts with, their first operand."""

_FROM_STATE: Final = frozenset(("state.get", "state.find", "ctx.signers"))
_NEW_LISTS: Final = frozenset(("concat.list", "sort.list", "sort.dict", "index.page", "index.first"))


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
