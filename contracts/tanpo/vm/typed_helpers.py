"""Operations that depend on a static type: prepared once per contract, opened once per session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tanpo.ledger.errors import invariant
from tanpo.vm import gas
from tanpo.vm.gas import can_afford
from tanpo.vm.helpers import Meter, charge
from tanpo.vm.limits import VALUE_WEIGHT_MAX
from tanpo.vm.outcome import Abort, Native
from tanpo.vm.types import DictOf, ListOf, Record, TupleOf, Type, is_mutable

Factory = Callable[[Meter], Native]
"""Makes a helper that was prepared for a type, for one session."""


def build_typed_helper(purpose: str, kind: Type) -> Factory:
    """Return a maker of the helper that does `purpose` on values of type `kind`."""
    if purpose == "copy":
        copy = build_copier(kind)
        return lambda _: copy
    invariant(purpose in _TYPED, f"no helper for {purpose}")
    return _TYPED[purpose](kind)


def _make_pass(kind: Type) -> Factory:
    copy, weigh = build_copier(kind), gas.weigher(kind)

    def make(meter: Meter) -> Native:
        def hand_over(value: object) -> object:
            charge(meter, gas.PASS_WEIGHT * weigh(value, can_afford(meter, gas.PASS_WEIGHT)))
            return copy(value)

        return hand_over

    return make


def _make_keep(kind: Type) -> Factory:
    copy, weigh = build_copier(kind), gas.weigher(kind)

    def make(meter: Meter) -> Native:
        def keep(value: object) -> object:
            weight = weigh(value, VALUE_WEIGHT_MAX)
            # How far a value that is too heavy was weighed depends on the order of a dict.
            charge(meter, gas.PASS_WEIGHT * min(weight, VALUE_WEIGHT_MAX))
            if weight > VALUE_WEIGHT_MAX:
                raise Abort("VALUE_SIZE")
            return copy(value)

        return keep

    return make


def _charge_both(meter: Meter, weigh: gas.Weigh, a: object, b: object) -> None:
    for value in (a, b):
        charge(meter, weigh(value, can_afford(meter)))


def _make_same(kind: Type) -> Factory:
    weigh = gas.weigher(kind)

    def make(meter: Meter) -> Native:
        def same(a: object, b: object) -> bool:
            _charge_both(meter, weigh, a, b)
            return a == b

        return same

    return make


def _make_order(operator: str) -> Callable[[Type], Factory]:
    def prepare(kind: Type) -> Factory:
        weigh = gas.weigher(kind)

        def make(meter: Meter) -> Native:
            def less(a: Any, b: Any) -> bool:
                _charge_both(meter, weigh, a, b)
                return bool(a < b)

            def less_or_same(a: Any, b: Any) -> bool:
                _charge_both(meter, weigh, a, b)
                return bool(a <= b)

            return less if operator == "<" else less_or_same

        return make

    return prepare


def _make_sort(kind: Type) -> Factory:
    weigh = gas.weigher(kind)

    def make(meter: Meter) -> Native:
        def sort(items: list[Any]) -> list[Any]:
            charge(meter, weigh(items, can_afford(meter)) * len(items).bit_length())
            return sorted(items)

        return sort

    return make


def _make_sort_keys(kind: Type) -> Factory:
    weigh = gas.weigher(ListOf(kind))

    def make(meter: Meter) -> Native:
        def sort_keys(entries: dict[Any, object]) -> list[Any]:
            keys = list(entries)
            charge(meter, weigh(keys, can_afford(meter)) * len(keys).bit_length())
            return sorted(keys)

        return sort_keys

    return make


def _make_contains(kind: Type) -> Factory:
    weigh = gas.weigher(kind)

    def make(meter: Meter) -> Native:
        def contains(item: object, items: list[object]) -> bool:
            weight = weigh(item, can_afford(meter))
            charge(meter, weight + len(items) * weight // gas.COMPARISONS_PER_GAS)
            return item in items

        return contains

    return make


_TYPED: Final[dict[str, Callable[[Type], Factory]]] = {
    "pass": _make_pass,
    "keep": _make_keep,
    "same": _make_same,
    "less": _make_order("<"),
    "less_or_same": _make_order("<="),
    "sort": _make_sort,
    "sort_keys": _make_sort_keys,
    "contains": _make_contains,
}


def build_copier(kind: Type) -> Native:
    """Return a function that copies a value so deep that no change to one is seen in the other."""
    if not is_mutable(kind):
        return lambda value: value
    match kind:
        case Record(fields=fields):
            return _copy_row(tuple(part for _, part in fields), list)
        case TupleOf(items=items):
            return _copy_row(items, tuple)
        case ListOf(item=item) if is_mutable(item):
            each = build_copier(item)
            return lambda items: [each(item) for item in items]
        case DictOf(value=value) if is_mutable(value):
            each = build_copier(value)
            return lambda entries: {key: each(item) for key, item in entries.items()}
    return lambda value: value.copy()


def _copy_row(kinds: tuple[Type, ...], shape: type[list[object]] | type[tuple[object, ...]]) -> Native:
    if not any(is_mutable(kind) for kind in kinds):
        return lambda row: row[:]
    parts = [build_copier(kind) for kind in kinds]
    if len(parts) == 1:
        one = parts[0]
        return (lambda row: (one(row[0]),)) if shape is tuple else (lambda row: [one(row[0])])
    return lambda row: shape([part(item) for part, item in zip(parts, row, strict=True)])
