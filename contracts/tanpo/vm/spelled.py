"""The least that a stored value can weigh, told from its spelling before it is decoded.

A read is paid for by weight, which is known once the value is decoded; a transaction that has not enough gas
left for the heaviest value is not to have one decoded that it cannot pay for. Text counts as one unit here,
however long it is: the bytes of the spelling bound it. `tanpo.ledger.valuecodec` says how values are spelled.
"""

from __future__ import annotations

from collections.abc import Callable

from tanpo.vm.gas import CONTAINER_WEIGHT
from tanpo.vm.types import BOOL, INT, DictOf, ListOf, Record, TupleOf, Type

Least = Callable[[bytes, int], int]
"""Takes a spelling, and a weight above which it may stop; returns what the value weighs at least."""

_Walk = Callable[[bytes, int, int], tuple[int, int]]
"""Takes a spelling, a place in it and a weight above which it may stop; returns a weight and what is next."""


def build_least(kind: Type) -> Least:
    """Return the function for the values of a type. It never tells more than the weigher of that type."""
    match kind:
        case ListOf(item=item) if _is_flat(item):
            return _count_items(_weigh_flat(item))
        case DictOf(key=key, value=value) if _is_flat(value):
            return _count_items(_weigh_flat(TupleOf((key, value))))
    if _is_flat(kind):
        constant = _weigh_flat(kind)
        return lambda _, __: constant
    walk = _build_walk(kind)

    def least(data: bytes, most: int) -> int:
        try:
            return walk(data, 0, most)[0]
        except IndexError:
            return 0  # no spelling: whoever decodes it says so

    return least


def _is_flat(kind: Type) -> bool:
    match kind:
        case ListOf() | DictOf():
            return False
        case Record(fields=fields):
            return all(_is_flat(part) for _, part in fields)
        case TupleOf(items=items):
            return all(_is_flat(part) for part in items)
    return True


def _weigh_flat(kind: Type) -> int:
    match kind:
        case Record(fields=fields):
            return 1 + sum(_weigh_flat(part) for _, part in fields)
        case TupleOf(items=items):
            return 1 + sum(_weigh_flat(part) for part in items)
    return 1


def _read_count(data: bytes, position: int) -> int:
    return data[position] << 8 | data[position + 1]


def _count_items(weight: int) -> Least:
    return lambda data, _: CONTAINER_WEIGHT + weight * _read_count(data, 0) if len(data) > 1 else 0


def _build_walk(kind: Type) -> _Walk:
    match kind:
        case Record(fields=fields):
            return _walk_row([_build_walk(part) for _, part in fields])
        case TupleOf(items=items):
            return _walk_row([_build_walk(part) for part in items])
        case ListOf(item=item):
            return _walk_items(_build_walk(item))
        case DictOf(key=key, value=value):
            return _walk_items(_build_walk(TupleOf((key, value))))
    if kind == INT:
        return lambda data, position, _: (1, position + 1 + data[position])
    if kind == BOOL:
        return lambda _, position, __: (1, position + 1)
    return lambda data, position, _: (1, position + 2 + _read_count(data, position))


def _walk_row(parts: list[_Walk]) -> _Walk:
    def walk(data: bytes, position: int, most: int) -> tuple[int, int]:
        total = 1
        for part in parts:
            weight, position = part(data, position, most - total)
            total += weight
            if total > most:
                break
        return total, position

    return walk


def _walk_items(each: _Walk) -> _Walk:
    def walk(data: bytes, position: int, most: int) -> tuple[int, int]:
        total = CONTAINER_WEIGHT
        count = _read_count(data, position)
        position += 2
        for _ in range(count):
            weight, position = each(data, position, most - total)
            total += weight
            if total > most:
                break
        return total, position

    return walk
