"""Closures for statements: each writes its line, does its work, and says how it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tanpo.vm import ir
from tanpo.vm.closures.expressions import build_dict_key, build_expression, build_source, get_item
from tanpo.vm.closures.world import Compute, Frame, World
from tanpo.vm.helpers import charge
from tanpo.vm.types import ListOf


class Returned:
    """A statement ended with `return`; `value` is what the function gives."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


BREAK: Final = "break"
CONTINUE: Final = "continue"

Ending = Returned | str | None
"""How a statement ended: `None` goes on with the next one."""

Run = Callable[[Frame], Ending]
"""A prepared statement or block."""


def build_block(world: World, block: ir.Block, line: int) -> Run:
    """Return the closure of a block, which pays for itself on entry; an empty one does so at `line`."""
    at, meter, cost = world.line, world.meter, block.cost
    first_line = block.statements[0].line if block.statements else line
    run_all = _build_sequence(world, block)

    def run(frame: Frame) -> Ending:
        at[0] = first_line
        charge(meter, cost)
        return run_all(frame)

    return run


def _build_sequence(world: World, block: ir.Block) -> Run:
    """Return the closure of a block that is already paid for."""
    statements = [_build_statement(world, node) for node in block.statements]

    def run(frame: Frame) -> Ending:
        for statement in statements:
            ending = statement(frame)
            if ending is not None:
                return ending
        return None

    return run


def _build_statement(world: World, node: ir.Statement) -> Run:
    work, at, line = STATEMENTS[type(node)](world, node), world.line, node.line

    def run(frame: Frame) -> Ending:
        at[0] = line
        return work(frame)

    return run


def _build_assign(world: World, node: ir.Assign) -> Run:
    name, value = node.name, build_expression(world, node.value)

    def run(frame: Frame) -> None:
        frame[name] = value(frame)

    return run


def _build_unpack(world: World, node: ir.Unpack) -> Run:
    names, value = node.names, build_expression(world, node.value)

    def run(frame: Frame) -> None:
        frame.update(zip(names, value(frame), strict=True))

    return run


def _build_set_field(world: World, node: ir.SetField) -> Run:
    value, base = build_expression(world, node.value), build_expression(world, node.base)
    position = node.position

    def run(frame: Frame) -> None:
        new = value(frame)
        base(frame)[position] = new

    return run


def _build_set_item(world: World, node: ir.SetItem) -> Run:
    value, base = build_expression(world, node.value), build_expression(world, node.base)
    if isinstance(node.base.type, ListOf):
        place = build_expression(world, node.key)
        return _do(_set_place, value, base, place)
    return _do(world.helpers["set_key"], value, base, build_dict_key(world, node.key))


def _set_place(value: object, items: list[Any], place: int) -> None:
    get_item(items, place)
    items[place] = value


def _build_delete_item(world: World, node: ir.DeleteItem) -> Run:
    base, key = build_expression(world, node.base), build_expression(world, node.key)
    return _do(world.helpers["del_key"], base, key)


def _build_store(world: World, node: ir.Store) -> Run:
    put, value = world.slots[node.slot]["put"], build_expression(world, node.value)
    return _do(put, value) if node.key is None else _do(put, value, build_expression(world, node.key))


def _build_erase(world: World, node: ir.Erase) -> Run:
    return _do(world.slots[node.slot]["erase"], build_expression(world, node.key))


def _build_evaluate(world: World, node: ir.Evaluate) -> Run:
    return _do(lambda _: None, build_expression(world, node.value))


def _do(effect: Callable[..., object], *operands: Compute) -> Run:
    """Return a statement that evaluates the operands from left to right and hands them to `effect`."""

    def run(frame: Frame) -> None:
        effect(*[operand(frame) for operand in operands])

    return run


def _build_if(world: World, node: ir.If) -> Run:
    test, then = build_expression(world, node.test), build_block(world, node.then, node.line)
    otherwise = None if node.otherwise is None else build_block(world, node.otherwise, node.line)

    def run(frame: Frame) -> Ending:
        if test(frame):
            return then(frame)
        return None if otherwise is None else otherwise(frame)

    return run


def _build_while(world: World, node: ir.While) -> Run:
    at, meter, line, cost = world.line, world.meter, node.line, node.cost
    test, body = build_expression(world, node.test), _build_sequence(world, node.body)

    def run(frame: Frame) -> Ending:
        while True:
            at[0] = line
            charge(meter, cost)
            if not test(frame):
                return None
            ending = body(frame)
            if ending == BREAK:
                return None
            if isinstance(ending, Returned):
                return ending

    return run


def _build_for(world: World, node: ir.For) -> Run:
    source, variable = build_source(world, node.source, None), node.variable
    body = build_block(world, node.body, node.line)

    def run(frame: Frame) -> Ending:
        for item in source(frame):
            frame[variable] = item
            ending = body(frame)
            if ending == BREAK:
                return None
            if isinstance(ending, Returned):
                return ending
        return None

    return run


def _build_jump(_: World, node: ir.Jump) -> Run:
    ending = BREAK if node.kind == "break" else CONTINUE
    return lambda _: ending


def _build_return(world: World, node: ir.Return) -> Run:
    if node.value is None:
        nothing = Returned(())
        return lambda _: nothing
    value = build_expression(world, node.value)
    return lambda frame: Returned(value(frame))


def _build_fail(world: World, node: ir.Fail) -> Run:
    test = None if node.test is None else build_expression(world, node.test)
    details = [(name, build_expression(world, value)) for name, value in node.details]
    code, fail = node.code, world.helpers["fail"]

    def run(frame: Frame) -> None:
        if test is None or not test(frame):
            fail(code, {name: value(frame) for name, value in details})

    return run


def _build_emit(world: World, node: ir.Emit) -> Run:
    """Return an event's statement: its values are evaluated as written, and leave in order of field."""
    fields = [(name, build_expression(world, value)) for name, value in node.fields]
    emit = world.events[node.name]

    def run(frame: Frame) -> None:
        values = {name: value(frame) for name, value in fields}
        emit(tuple([values[name] for name in sorted(values)]))

    return run


_Build = Callable[[World, Any], Run]
STATEMENTS: Final[dict[type[ir.Statement], _Build]] = {
    ir.Assign: _build_assign,
    ir.Unpack: _build_unpack,
    ir.SetField: _build_set_field,
    ir.SetItem: _build_set_item,
    ir.DeleteItem: _build_delete_item,
    ir.Store: _build_store,
    ir.Erase: _build_erase,
    ir.Evaluate: _build_evaluate,
    ir.If: _build_if,
    ir.While: _build_while,
    ir.For: _build_for,
    ir.Jump: _build_jump,
    ir.Return: _build_return,
    ir.Fail: _build_fail,
    ir.Emit: _build_emit,
}
"""How each kind of statement is done."""


def build_function(world: World, function: ir.FunctionBody) -> Callable[[list[Any]], object]:
    """Return a function of the contract: it takes its arguments in order and returns its result."""
    names = [name for name, _ in function.parameters]
    body = build_block(world, function.body, function.line)

    def run(arguments: list[Any]) -> object:
        ending = body(dict(zip(names, arguments, strict=True)))
        return ending.value if isinstance(ending, Returned) else ()

    return run
