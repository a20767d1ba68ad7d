"""Which constructs of the dialect programs contain, and which never turned up."""

from __future__ import annotations

from collections.abc import Iterator

from tanpo.vm import ir
from tanpo.vm.closures.expressions import OPERATIONS
from tanpo.vm.closures.statements import STATEMENTS


def find_constructs(unit: ir.Unit) -> set[str]:
    """Return the operations and statements in a contract."""
    found: set[str] = set()
    for function in unit.functions:
        found.add(f"@{function.kind}")
        _collect_block(function.body, found)
    return found


def list_constructs() -> list[str]:
    """Return everything there is to be found."""
    kinds = [f"@{kind}" for kind in ("entry", "view", "init", "helper")]
    return sorted([*OPERATIONS, *(kind.__name__ for kind in STATEMENTS), "Comprehension", "range", *kinds])


def _collect_block(block: ir.Block | None, found: set[str]) -> None:
    for statement in block.statements if block is not None else ():
        found.add(type(statement).__name__)
        for expression in _expressions_of(statement):
            _collect(expression, found)
        match statement:
            case ir.If(then=then, otherwise=otherwise):
                _collect_block(then, found)
                _collect_block(otherwise, found)
            case ir.While(body=body) | ir.For(body=body):
                _collect_block(body, found)


def _expressions_of(statement: ir.Statement) -> Iterator[ir.Expr]:
    for name in ("value", "base", "key", "test", "source"):
        part = getattr(statement, name, None)
        if isinstance(part, ir.Const | ir.Local | ir.Op | ir.Comprehension):
            yield part
    match statement:
        case ir.Fail(details=named) | ir.Emit(fields=named):
            yield from (value for _, value in named)


def _collect(node: ir.Expr | None, found: set[str]) -> None:
    match node:
        case ir.Op(op=op, args=args):
            found.add(op)
            for part in args:
                _collect(part, found)
        case ir.Comprehension(element=element, source=source, test=test):
            found.add("Comprehension")
            for inner in (element, source, test):
                _collect(inner, found)
