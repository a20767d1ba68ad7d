"""Closures for expressions: each operation evaluates its operands from left to right, then does its work."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any, Final

from tanpo.ledger.errors import invariant
from tanpo.vm import ir
from tanpo.vm.closures.world import Compute, Frame, World
from tanpo.vm.outcome import Abort
from tanpo.vm.types import INT, DictOf

_Build = Callable[[World, ir.Op], Compute]


def build_expression(world: World, node: ir.Expr) -> Compute:
    """Return the closure of an expression."""
    match node:
        case ir.Const(value=value):
            return lambda _: value
        case ir.Local(name=name):
            return lambda frame: frame[name]
        case ir.Comprehension():
            return _build_comprehension(world, node)
    invariant(node.op in OPERATIONS, f"no closure for {node.op}")
    return OPERATIONS[node.op](world, node)


def build_source(world: World, node: ir.Expr, prepaid: int | None) -> Callable[[Frame], Iterable[Any]]:
    """Return the closure of what a loop runs over; a comprehension pays `prepaid` for each turn here."""
    if isinstance(node, ir.Op) and node.op == "range":
        bounds = _build_all(world, node.args)
        if prepaid is None:
            return apply(range, bounds)
        return apply(world.helpers["prepay_range"], [lambda _: prepaid, *bounds])
    items = build_expression(world, node)
    return items if prepaid is None else apply(world.helpers["prepay"], [lambda _: prepaid, items])


def build_dict_key(world: World, node: ir.Expr) -> Compute:
    """Return the closure of a key that enters a dict; integers are checked against crafted collisions."""
    key = build_expression(world, node)
    return apply(world.helpers["key_int"], [key]) if node.type == INT else key


def apply(function: Callable[..., Any], operands: list[Compute]) -> Compute:
    """Return a closure that evaluates the operands from left to right and calls `function` with them."""
    match operands:
        case [one]:
            return lambda frame: function(one(frame))
        case [one, two]:
            return lambda frame: function(one(frame), two(frame))
    return lambda frame: function(*[operand(frame) for operand in operands])


def _build_all(world: World, nodes: Iterable[ir.Expr]) -> list[Compute]:
    return [build_expression(world, node) for node in nodes]


def _build_comprehension(world: World, node: ir.Comprehension) -> Compute:
    source = build_source(world, node.source, node.cost)
    test = None if node.test is None else build_expression(world, node.test)
    element = build_expression(world, node.element)
    variable, bounded = node.variable, world.helpers["bounded"]

    def comprehend(frame: Frame) -> object:
        items = []
        for item in source(frame):
            frame[variable] = item
            if test is None or test(frame):
                items.append(element(frame))
        return bounded(items)

    return comprehend


def _checked(work: Callable[[Any, Any], int]) -> _Build:
    """Return the builder of integer arithmetic whose result is checked."""

    def build(world: World, node: ir.Op) -> Compute:
        left, right = _build_all(world, node.args)
        check = world.helpers["checked"]
        return lambda frame: check(work(left(frame), right(frame)))

    return build


def _division(work: Callable[[Any, Any], int]) -> _Build:
    def build(world: World, node: ir.Op) -> Compute:
        def divide(dividend: int, divisor: int) -> int:
            if divisor == 0:
                raise Abort("DIV_ZERO")
            return work(dividend, divisor)

        return apply(divide, _build_all(world, node.args))

    return build


def _plain(function: Callable[..., Any]) -> _Build:
    """Return the builder of an operation that one function does on evaluated operands."""
    return lambda world, node: apply(function, _build_all(world, node.args))


def _helper(name: str) -> _Build:
    """Return the builder of an operation that one of the session's helpers does."""
    return lambda world, node: apply(world.helpers[name], _build_all(world, node.args))


def _typed(purpose: str, place: int = 0) -> _Build:
    """Return the builder of an operation that goes by the type of the operand at `place`."""
    return lambda world, node: apply(
        world.build_helper(purpose, node.args[place].type), _build_all(world, node.args)
    )


def _state(accessor: str) -> _Build:
    """Return the builder of an access to the slot that `detail` names."""
    return lambda world, node: apply(world.slots[str(node.detail)][accessor], _build_all(world, node.args))


def _logic(*, deciding: bool) -> _Build:
    """Return the builder of `and`, which a false operand decides, or of `or`, which a true one does."""

    def build(world: World, node: ir.Op) -> Compute:
        operands = _build_all(world, node.args)

        def holds(frame: Frame) -> bool:
            # No generator here: it would nest calls on the stack of C, which is not as deep as Python's.
            for operand in operands:
                if bool(operand(frame)) is deciding:
                    return deciding
            return not deciding

        return holds

    return build


def _build_choose(world: World, node: ir.Op) -> Compute:
    test, first, second = _build_all(world, node.args)
    return lambda frame: first(frame) if test(frame) else second(frame)


_COMPARISONS: Final[dict[object, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _build_compare(world: World, node: ir.Op) -> Compute:
    """Return a chain of comparisons: it stops at the first that does not hold."""
    first, *rest = _build_all(world, node.args)
    operators = node.detail if isinstance(node.detail, tuple) else ()
    steps = [(_COMPARISONS[name], operand) for name, operand in zip(operators, rest, strict=True)]

    def holds(frame: Frame) -> bool:
        left = first(frame)
        for compare, operand in steps:
            right = operand(frame)
            if not compare(left, right):
                return False
            left = right
        return True

    return holds


def _build_same(world: World, node: ir.Op) -> Compute:
    same = _typed("same")(world, node)
    return same if node.detail == "==" else lambda frame: not same(frame)


def _build_order(world: World, node: ir.Op) -> Compute:
    """Return an ordering of text or tuples: `a > b` is `not a <= b`, and `a >= b` is `not a < b`."""
    if node.detail in ("<", "<="):
        return _typed("less" if node.detail == "<" else "less_or_same")(world, node)
    reverse = _typed("less_or_same" if node.detail == ">" else "less")(world, node)
    return lambda frame: not reverse(frame)


def _build_field(world: World, node: ir.Op) -> Compute:
    base, position = build_expression(world, node.args[0]), node.detail
    return lambda frame: base(frame)[position]


def get_item(items: Any, place: int) -> Any:
    """Return one item of a list, text or bytes; negative places count from the end."""
    if not -len(items) <= place < len(items):
        raise Abort("INDEX")
    return items[place]


def _build_slice(world: World, node: ir.Op) -> Compute:
    base, *bounds = _build_all(world, node.args)
    has_start, has_stop = node.detail if isinstance(node.detail, tuple) else (False, False)
    start = bounds[0] if has_start else lambda _: None
    stop = bounds[-1] if has_stop else lambda _: None
    return apply(world.helpers["cut"], [base, start, stop])


def _build_format(world: World, node: ir.Op) -> Compute:
    parts, join = _build_all(world, node.args), world.helpers["join_parts"]
    return lambda frame: join(tuple([part(frame) for part in parts]))


def _with_mode(name: str) -> _Build:
    """Return the builder of a division that rounds by the mode in `detail`."""

    def build(world: World, node: ir.Op) -> Compute:
        mode = node.detail
        return apply(world.helpers[name], [*_build_all(world, node.args), lambda _: mode])

    return build


def _build_row(world: World, node: ir.Op) -> Compute:
    parts = _build_all(world, node.args)
    return lambda frame: [part(frame) for part in parts]


def _build_tuple(world: World, node: ir.Op) -> Compute:
    parts = _build_all(world, node.args)
    return lambda frame: tuple([part(frame) for part in parts])


def _build_dict(world: World, node: ir.Op) -> Compute:
    keys = [build_dict_key(world, key) for key in node.args[::2]]
    pairs = list(zip(keys, _build_all(world, node.args[1::2]), strict=True))
    return lambda frame: {key(frame): value(frame) for key, value in pairs}


def _build_context(world: World, node: ir.Op) -> Compute:
    name, context, contract = str(node.detail), world.context, world.contract
    return (lambda _: contract) if name == "contract" else (lambda _: context[name])


def _build_call(world: World, node: ir.Op) -> Compute:
    """Return a call of a function of the contract; back from it, the line is the caller's again."""
    arguments, functions, name, at = (
        _build_all(world, node.args),
        world.functions,
        str(node.detail),
        world.line,
    )

    def call(frame: Frame) -> object:
        values = [argument(frame) for argument in arguments]
        line = at[0]
        result = functions[name](values)
        at[0] = line
        return result

    return call


def _build_cross(world: World, node: ir.Op) -> Compute:
    return apply(world.imports[node.detail], _build_all(world, node.args))


def _build_sort_keys(world: World, node: ir.Op) -> Compute:
    kind = node.args[0].type
    invariant(isinstance(kind, DictOf), f"keys of {kind}")
    return apply(world.build_helper("sort_keys", kind.key), _build_all(world, node.args))  # type: ignore[union-attr]  # the line above


def _contains_key(key: object, entries: dict[object, object]) -> bool:
    return key in entries


def _get_or(entries: dict[object, object], key: object, default: object) -> object:
    return entries.get(key, default)


OPERATIONS: Final[dict[str, _Build]] = {
    "int.add": _checked(operator.add),
    "int.sub": _checked(operator.sub),
    "int.mul": _checked(operator.mul),
    "int.and": _checked(operator.and_),
    "int.or": _checked(operator.or_),
    "int.xor": _checked(operator.xor),
    "int.div": _division(operator.floordiv),
    "int.mod": _division(operator.mod),
    "int.shl": _helper("shl"),
    "int.shr": _helper("shr"),
    "int.neg": _plain(operator.neg),
    "int.abs": _plain(abs),
    "int.min": _plain(min),
    "int.max": _plain(max),
    "int.parse": _helper("parse"),
    "mul_div": _with_mode("mul_div"),
    "div_round": _with_mode("div_round"),
    "bool.not": _plain(operator.not_),
    "bool.and": _logic(deciding=False),
    "bool.or": _logic(deciding=True),
    "choose": _build_choose,
    "compare": _build_compare,
    "same": _build_same,
    "order": _build_order,
    "field": _build_field,
    "item.str": _plain(get_item),
    "item.bytes": _plain(get_item),
    "item.list": _plain(get_item),
    "item.dict": _helper("item_key"),
    "slice": _build_slice,
    "contains.str": _helper("has_str"),
    "contains.bytes": _helper("has_bytes"),
    "contains.list": _typed("contains"),
    "contains.dict": _plain(_contains_key),
    "concat.str": _helper("cat_str"),
    "concat.bytes": _helper("cat_bytes"),
    "concat.list": _helper("cat_list"),
    "len": _plain(len),
    "str.int": _plain(str),
    "str.find": _helper("find"),
    "str.startswith": _helper("starts"),
    "str.endswith": _helper("ends"),
    "str.join": _helper("join"),
    "format": _build_format,
    "str.encode": _helper("encode"),
    "bytes.hex": _helper("hex"),
    "sha256": _helper("sha256"),
    "sha512": _helper("sha512"),
    "sha3_256": _helper("sha3_256"),
    "verify_p256": _helper("verify_p256"),
    "sort.list": _typed("sort"),
    "sort.dict": _build_sort_keys,
    "list.append": _helper("append"),
    "list.pop": _helper("pop"),
    "dict.get": _plain(_get_or),
    "make.record": _build_row,
    "make.list": _build_row,
    "make.tuple": _build_tuple,
    "make.dict": _build_dict,
    "copy": _typed("copy"),
    "pass": _typed("pass"),
    "keep": _typed("keep"),
    "probe": _helper("probe"),
    "call": _build_call,
    "call.cross": _build_cross,
    "ctx": _build_context,
    "ctx.signers": _build_context,
    "state.get": _state("get"),
    "state.find": _state("find"),
    "state.has": _state("has"),
    "index.add": _state("add"),
    "index.remove": _state("remove"),
    "index.contains": _state("contains"),
    "index.page": _state("page"),
    "index.first": _state("first"),
}
"""How each operation of the typed program is done."""
