"""The gas table, version 1: what each operation costs, and how sizes are weighed.

One gas stands for at most about 100 ns. Static prices are summed per block and charged on entry; prices that
depend on sizes are charged by the helpers of `tanpo.vm.helpers` and the slots of `tanpo.vm.slots` before the
work is done. Sizes are measured in *weight*: one unit for a value, four for a list or dict, one more for each
32 bytes of text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from tanpo.vm import ir
from tanpo.vm.types import BYTES, INT, STR, DictOf, ListOf, Record, TupleOf, Type

CALL_BASE: Final = 150
"""Charged for every call from outside, before its arguments are weighed."""

CALL_WEIGHT: Final = 12
"""Charged for each unit of weight of the arguments, which are decoded, checked and copied."""

PRICES: Final[dict[str, int]] = {
    "int.mul": 3,
    "int.div": 5,
    "int.mod": 5,
    "int.shl": 5,
    "int.shr": 5,
    "concat.str": 4,
    "concat.bytes": 4,
    "concat.list": 4,
    "format": 4,
    "contains.str": 4,
    "contains.bytes": 4,
    "contains.list": 4,
    "contains.dict": 3,
    "item.dict": 3,
    "slice": 4,
    "order": 3,
    "same": 3,
    "make.record": 2,
    "make.list": 2,
    "make.dict": 4,
    "call": 6,
    "call.cross": 60,
    "sort.list": 8,
    "sort.dict": 8,
    "str.int": 20,
    "int.parse": 20,
    "str.find": 4,
    "str.startswith": 4,
    "str.endswith": 4,
    "str.join": 12,
    "mul_div": 30,
    "div_round": 20,
    "str.encode": 4,
    "bytes.hex": 4,
    "sha256": 20,
    "sha512": 20,
    "sha3_256": 20,
    "verify_p256": 1500,
    "list.append": 2,
    "list.pop": 2,
    "dict.get": 3,
    "ctx.signers": 6,
    "state.get": 40,
    "state.find": 40,
    "state.has": 40,
    "index.add": 120,
    "index.remove": 120,
    "index.contains": 40,
    "index.page": 100,
    "index.first": 100,
}
"""Operations that cost more than 1."""

TOUCH: Final = 1_000
"""Charged for each key of the state that a transaction reads or writes, the first time it does: the state may
have to be asked through a pipe or from a disk, and its tree is hashed again for every key written."""

SCAN: Final = 1_400
"""Charged for each time a page asks the state: once, and again where it steps over what was deleted."""

STORE: Final = 100
ERASE: Final = 100
STORE_WEIGHT: Final = 4
READ_WEIGHT: Final = 6
"""A value of the state is decoded whole, whatever is asked of it: to read, to look for and to delete it."""

EMIT: Final = 40
EMIT_WEIGHT: Final = 24
RESULT_WEIGHT: Final = 24
"""Events and results enter a receipt that every node stores: 1,000,000 gas buys some 1.3 MB of it."""

FAIL: Final = 2
LOOP: Final = 5
DICT_STORE: Final = 4
PAGE_ITEM: Final = 40
"""Charged for each entry a page may return, and for each deleted entry it steps over."""

KEY_PART: Final = 6
"""Charged for each part of a key, group or member beyond the fourth: they are spelled and read one by one."""

COMPARE_TEXT: Final = 3
"""Charged for each comparison of texts or bytes for equality: 4 KB of UTF-8 may take 16 KB of memory."""

PAGE_TOUCHED: Final = 3
"""Charged by a page for each member of its group that this block added or removed: they are sorted in."""

PASS_WEIGHT: Final = 4
"""Charged for each unit of what is copied that may hold one list many times, between contracts and into
the state: an empty list weighs one and takes 64 bytes."""

COMPARISONS_PER_GAS: Final = 2
"""How many units of weight a membership test compares for one gas."""

CONTAINER_WEIGHT: Final = 4
"""What a list or dict weighs beside what it holds: an empty one too is weighed, compared and copied."""

PROBES_PER_GAS: Final = 20
"""Integer keys can be crafted so that seeking one steps over all others; texts and bytes are salted."""

PROBED_WEIGHT: Final = 4
"""What each integer key of a dict weighs more for every 1,024 keys that are in it."""

ITEMS_PER_GAS: Final = 4
"""How many references are copied for one gas: 1,000,000 gas buys 32 MB of them."""

CHARACTERS_PER_GAS: Final = 32
SEARCH_PER_GAS: Final = 64
"""Character comparisons of a substring search for one gas; the worst search compares every pair."""

HASH_BYTES_PER_GAS: Final = 16


def price_key(kind: Type) -> int:
    """Return what a key of this type costs beyond the price of the access that it is given to."""
    return KEY_PART * max(len(kind.items) - 4, 0) if isinstance(kind, TupleOf) else 0


def price_expression(node: ir.Expr | None) -> int:
    """Return the static price of an expression, every branch of it included."""
    total = 0
    pending = [node]
    while pending:
        part = pending.pop()
        if part is None:
            continue
        if isinstance(part, ir.Op):
            total += PRICES.get(part.op, 1)
            if part.op == "compare" and part.args[0].type in (STR, BYTES):
                total += COMPARE_TEXT * (len(part.args) - 1)
            if part.op.startswith(("state.", "index.")):
                total += sum([price_key(one.type) for one in part.args[: _KEYS.get(part.op, 1)]])
            pending.extend(part.args)
        elif isinstance(part, ir.Comprehension):
            total += PRICES["make.list"]
            pending.append(part.source)
        else:
            total += 1
    return total


def price_block(statements: Iterable[ir.Statement]) -> int:
    """Return what a block charges on entry: its own statements, not the blocks inside them."""
    return sum(_price_statement(statement) for statement in statements)


def price_turn(element: ir.Expr, test: ir.Expr | None) -> int:
    """Return the price of one turn of a comprehension."""
    return LOOP + price_expression(element) + price_expression(test)


_KEYS: Final = {"index.add": 2, "index.remove": 2, "index.contains": 2, "index.page": 2}
"""How many operands are keys, where there is more than one."""

_KIND_PRICES: Final[dict[type[ir.Statement], int]] = {
    ir.Store: STORE,
    ir.Erase: ERASE,
    ir.SetItem: DICT_STORE,
    ir.DeleteItem: DICT_STORE,
    ir.For: LOOP,
    ir.Fail: FAIL,
    ir.Emit: EMIT,
}
"""What a statement costs beside its expressions; 1 if it is not listed."""

_OPERANDS: Final[dict[type[ir.Statement], tuple[str, ...]]] = {
    ir.Assign: ("value",),
    ir.Unpack: ("value",),
    ir.Evaluate: ("value",),
    ir.Return: ("value",),
    ir.SetField: ("value", "base"),
    ir.SetItem: ("value", "base", "key"),
    ir.Store: ("value", "key"),
    ir.DeleteItem: ("base", "key"),
    ir.Erase: ("key",),
    ir.If: ("test",),
    ir.For: ("source",),
    ir.Fail: ("test",),
}
"""The expressions a statement evaluates itself; named values of failures and events come on top."""


def _price_statement(node: ir.Statement) -> int:
    price = _KIND_PRICES.get(type(node), 1)
    for name in _OPERANDS.get(type(node), ()):
        price += price_expression(getattr(node, name))
    match node:
        case ir.Store(key=key) | ir.Erase(key=key) if key is not None:
            price += price_key(key.type)
        case ir.If(otherwise=ir.Block(statements=(ir.If() as following,), cost=0)):
            price += _price_statement(following)
        case ir.Fail(details=named) | ir.Emit(fields=named):
            price += sum(price_expression(value) for _, value in named)
    return price


Weigh = Callable[[Any, int], int]
"""Weighs a value, no further than needed to know that it is heavier than the second operand: a list that
holds another one many times takes years to count."""


def can_afford(meter: list[int], price: int = 1) -> int:
    """Return a weight that the gas left cannot pay for at `price` a unit."""
    return meter[0] // price + 1


def build_weigher(kind: Type) -> tuple[int, Weigh | None]:
    """Return the weight of a value of this type, and a function for it where it depends on the value."""
    if kind == STR:
        return 1, _weigh_text
    if kind == BYTES:
        return 1, _weigh_bytes
    match kind:
        case Record(fields=fields):
            return _weigher_of_row(tuple(part for _, part in fields))
        case TupleOf(items=items):
            return _weigher_of_row(items)
        case ListOf(item=item):
            return CONTAINER_WEIGHT, _weigher_of_list(*build_weigher(item))
        case DictOf(key=key, value=value):
            return CONTAINER_WEIGHT, _weigher_of_dict(
                build_weigher(TupleOf((key, value))), is_crafted=key == INT
            )
    return 1, None


def weigher(kind: Type) -> Weigh:
    """Return a function that weighs any value of this type."""
    constant, function = build_weigher(kind)
    return function if function is not None else lambda _, __: constant


def measure_text(text: str) -> int:
    """Return how many bytes a text takes at most: one wide character makes CPython store four for each."""
    return len(text) if text.isascii() else 4 * len(text)


def weigh_scalar(value: bool | int | str | bytes) -> int:
    """Return the weight of a value that is no container."""
    if isinstance(value, str):
        return _weigh_text(value, 0)
    return _weigh_bytes(value, 0) if isinstance(value, bytes) else 1


def _weigh_text(value: str, _: int) -> int:
    return 1 + (measure_text(value) >> 5)


def _weigh_bytes(value: bytes, _: int) -> int:
    return 1 + (len(value) >> 5)


def _weigher_of_row(parts: tuple[Type, ...]) -> tuple[int, Weigh | None]:
    constant = 1
    texts: list[int] = []
    others: list[tuple[int, Weigh]] = []
    for position, part in enumerate(parts):
        base, function = build_weigher(part)
        if function is None:
            constant += base
        elif function is _weigh_text:
            constant += 1
            texts.append(position)
        else:
            others.append((position, function))
    if not texts and not others:
        return constant, None
    if not texts and len(others) == 1:
        return 1, _single_function(constant, *others[0])
    return 1, _row_function(constant, tuple(texts), tuple(others))


def _single_function(constant: int, position: int, function: Weigh) -> Weigh:
    # Rows of one part nest, and then weigh little for the calls that it takes.
    return lambda row, most: constant + function(row[position], most)


def _row_function(constant: int, texts: tuple[int, ...], others: tuple[tuple[int, Weigh], ...]) -> Weigh:
    def weigh_texts(row: Any, _: int) -> int:
        total = constant
        for position in texts:
            text = row[position]
            total += len(text) >> (5 if text.isascii() else 3)
        return total

    def weigh_all(row: Any, most: int) -> int:
        total = weigh_texts(row, most)
        for position, function in others:
            total += function(row[position], most)
            if total > most:
                break
        return total

    return weigh_all if others else weigh_texts


def _weigher_of_list(constant: int, function: Weigh | None) -> Weigh:
    if function is None:
        return lambda items, _: CONTAINER_WEIGHT + constant * len(items)
    each = function

    def weigh_each(items: Any, most: int) -> int:
        total = CONTAINER_WEIGHT
        for item in items:
            total += each(item, most)
            if total > most:
                break
        return total

    return _FLAT_WEIGHERS.get(function, weigh_each)


def _weigh_texts(items: Any, _: int) -> int:
    total = CONTAINER_WEIGHT + len(items)
    for text in items:
        total += len(text) >> (5 if text.isascii() else 3)
    return total


def _weigh_raws(items: Any, _: int) -> int:
    total = CONTAINER_WEIGHT + len(items)
    for raw in items:
        total += len(raw) >> 5
    return total


_FLAT_WEIGHERS: Final[dict[Weigh, Weigh]] = {_weigh_text: _weigh_texts, _weigh_bytes: _weigh_raws}
"""Lists of the commonest items, weighed without a call for each of them."""


def _weigher_of_dict(pair: tuple[int, Weigh | None], *, is_crafted: bool) -> Weigh:
    each = _weigher_of_list(*pair)
    if not is_crafted:
        return lambda entries, most: each(entries.items(), most)

    def weigh(entries: Any, most: int) -> int:
        # To compare or to copy it seeks every key, and crafted ones step over all others.
        return each(entries.items(), most) + weigh_probes(len(entries))

    return weigh


def weigh_probes(count: int) -> int:
    """Return what so many integer keys of one dict weigh more, because they may have been crafted."""
    return PROBED_WEIGHT * count * (count >> 10)
