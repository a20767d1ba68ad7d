"""How many Python frames the closures of a contract may have open at once: a bound, known before it runs."""

from __future__ import annotations

from typing import Final

from tanpo.vm import ir
from tanpo.vm.limits import CALL_CHAIN_MAX

_PER_EXPRESSION: Final = 2
"""Frames of one level of an expression: the closure, and the list of operands it may be building."""

_PER_STATEMENT: Final = 4
"""Frames of one level of statements: block, sequence, statement and what it does."""

_PER_FUNCTION: Final = 4
"""Frames of a call beside its statements."""


def measure_frames(unit: ir.Unit) -> int:
    """Return a number that the open frames of this contract never exceed."""
    deepest = max((_measure_block(function.body) for function in unit.functions), default=0)
    return min(len(unit.functions), CALL_CHAIN_MAX) * (deepest + _PER_FUNCTION)


def _measure_block(block: ir.Block | None) -> int:
    if block is None:
        return 0
    return _PER_STATEMENT + max((_measure_statement(node) for node in block.statements), default=0)


def _measure_statement(node: ir.Statement) -> int:
    match node:
        case ir.If(test=test, then=then, otherwise=otherwise):
            return max(_measure(test), _measure_block(then), _measure_block(otherwise))
        case ir.While(test=test, body=body):
            return max(_measure(test), _measure_block(body))
        case ir.For(source=source, body=body):
            return max(_measure(source), _measure_block(body))
        case ir.Fail(test=test, details=details):
            return max(_measure(test), *(_measure(value) for _, value in details), 0)
        case ir.Emit(fields=fields):
            return max((_measure(value) for _, value in fields), default=0)
        case ir.Jump():
            return 0
    operands = (getattr(node, name, None) for name in ("value", "base", "key"))
    return max(_measure(operand) for operand in operands)


def _measure(node: ir.Expr | None) -> int:
    match node:
        case None:
            return 0
        case ir.Op(args=args):
            return _PER_EXPRESSION + max((_measure(part) for part in args), default=0)
        case ir.Comprehension(element=element, source=source, test=test):
            return _PER_EXPRESSION + max(_measure(element), _measure(source), _measure(test))
    return _PER_EXPRESSION
