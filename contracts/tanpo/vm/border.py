"""Values that enter and leave: checked against their declared type on the way in, copied both ways.

A record crosses as names to values, a list or tuple as a sequence, a dict as a sequence of (key, value) in
ascending order of key. Nothing is converted: `True` is not an integer, a subclass is not its base.
What enters is paid for by its weight before it is copied: a container pays for the values it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Final

from tanpo.ledger.errors import Reason
from tanpo.ledger.values import Value
from tanpo.vm import gas
from tanpo.vm.helpers import Meter, charge
from tanpo.vm.limits import DICT_KEY_MAX, INT_MAX, ITEM_COUNT_MAX, TEXT_SIZE_MAX
from tanpo.vm.types import DictOf, ListOf, Record, TupleOf, Type

Import = Callable[[object, Meter], Any]
"""Checks a value from outside and copies it, or raises `Mismatch`, or an `Abort` if the meter runs out."""

Export = Callable[[Any], Value]

_WEIGHED_FROM: Final = 8
"""A text or bytes with fewer characters weighs one unit, whatever they are."""


class Mismatch(Exception):
    """A value from outside does not fit. `path` grows while it travels out of the containers."""

    def __init__(self, reason: Reason, value: object, limit: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.value = value
        self.limit = limit
        self.path = ""


def build_importer(kind: Type) -> Import:
    """Return the function for the values of a type; whoever calls it has paid for the value itself."""
    match kind:
        case Record():
            return _import_record(kind)
        case TupleOf(items=items):
            return _import_tuple(items)
        case ListOf(item=item):
            return _import_list(build_importer(item))
        case DictOf(key=key, value=value):
            return _import_dict(key, build_importer(TupleOf((key, value))))
    return _IMPORTERS[str(kind)]


def build_exporter(kind: Type) -> Export | None:
    """Return a function that turns a native value into one for outside; `None` where they are the same."""
    match kind:
        case Record(fields=fields):
            return _export_record(fields)
        case TupleOf(items=items):
            parts = [build_exporter(item) for item in items]
            return _export_row(parts) if any(parts) else None
        case ListOf(item=item):
            return _export_list(build_exporter(item))
        case DictOf(key=key, value=value):
            each = build_exporter(TupleOf((key, value)))
            return _export_dict(each)
    return None


def export_value(export: Export | None, value: Any) -> Value:
    """Apply an exporter, or pass the value on."""
    return value if export is None else export(value)


def pay(meter: Meter, weight: int) -> None:
    """Take the price of so many units of weight of arguments."""
    if weight:
        charge(meter, gas.CALL_WEIGHT * weight)


def _type_name(value: object) -> str:
    if isinstance(value, Mapping):
        return "record"
    return "list" if isinstance(value, tuple | list) else type(value).__name__


def _wrong_type(value: object, wanted: str) -> Mismatch:
    return Mismatch(Reason.ARGUMENT_TYPE, _type_name(value), wanted)


def _import_int(value: object, _: Meter) -> object:
    if type(value) is not int:
        raise _wrong_type(value, "int")
    if not -INT_MAX <= value <= INT_MAX:
        raise Mismatch(Reason.ARGUMENT_RANGE, f"{value.bit_length()} bits", "at most 2**255 - 1 either sign")
    return value


def _import_bool(value: object, _: Meter) -> object:
    if type(value) is not bool:
        raise _wrong_type(value, "bool")
    return value


def _import_text(value: object, meter: Meter) -> object:
    if type(value) is not str:
        raise _wrong_type(value, "str")
    if len(value) > TEXT_SIZE_MAX or not value.isascii():
        try:
            size = len(value.encode("utf-8"))
        except UnicodeEncodeError:
            raise Mismatch(Reason.ARGUMENT_RANGE, "a lone surrogate", "valid Unicode") from None
        if size > TEXT_SIZE_MAX:
            raise Mismatch(Reason.ARGUMENT_RANGE, f"{size} bytes", f"at most {TEXT_SIZE_MAX} bytes of UTF-8")
    if len(value) >= _WEIGHED_FROM:
        pay(meter, gas.weigh_scalar(value) - 1)
    return value


def _import_bytes(value: object, meter: Meter) -> object:
    if type(value) is not bytes:
        raise _wrong_type(value, "bytes")
    if len(value) > TEXT_SIZE_MAX:
        raise Mismatch(Reason.ARGUMENT_RANGE, f"{len(value)} bytes", f"at most {TEXT_SIZE_MAX} bytes")
    if len(value) >= _WEIGHED_FROM:
        pay(meter, gas.weigh_scalar(value) - 1)
    return value


_IMPORTERS: Final[dict[str, Import]] = {
    "int": _import_int,
    "bool": _import_bool,
    "str": _import_text,
    "bytes": _import_bytes,
}


def _import_record(kind: Record) -> Import:
    parts = [(name, build_importer(part)) for name, part in kind.fields]
    names = frozenset(name for name, _ in parts)
    shape = ", ".join(name for name, _ in parts)

    def load(value: object, meter: Meter) -> object:
        if not isinstance(value, Mapping):
            raise _wrong_type(value, f"record {kind.name}")
        if value.keys() != names:
            found = ", ".join(str(name) for name in list(value)[:10])
            raise Mismatch(Reason.ARGUMENT_TYPE, f"fields {found}", f"exactly the fields {shape}")
        pay(meter, len(parts))
        row: list[object] = []
        for name, part in parts:
            try:
                row.append(part(value[name], meter))
            except Mismatch as mismatch:
                mismatch.path = f".{name}{mismatch.path}"
                raise
        return row

    return load


def _check_sequence(value: object, wanted: str) -> tuple[object, ...] | list[object]:
    if not isinstance(value, tuple | list):
        raise _wrong_type(value, wanted)
    if len(value) > ITEM_COUNT_MAX:
        raise Mismatch(Reason.ARGUMENT_RANGE, f"{len(value)} items", f"at most {ITEM_COUNT_MAX} items")
    return value


def _import_items(each: Import, items: tuple[object, ...] | list[object], meter: Meter) -> list[Any]:
    pay(meter, len(items))
    loaded: list[Any] = []
    for item in items:
        try:
            loaded.append(each(item, meter))
        except Mismatch as mismatch:
            mismatch.path = f"[{len(loaded)}]{mismatch.path}"
            raise
    return loaded


def _import_list(each: Import) -> Import:
    def load(value: object, meter: Meter) -> object:
        pay(meter, gas.CONTAINER_WEIGHT - 1)
        return _import_items(each, _check_sequence(value, "list"), meter)

    return load


def _import_tuple(kinds: tuple[Type, ...]) -> Import:
    parts = [build_importer(kind) for kind in kinds]
    wanted = f"tuple of {len(parts)}"

    def load(value: object, meter: Meter) -> object:
        items = _check_sequence(value, wanted)
        if len(items) != len(parts):
            raise Mismatch(Reason.ARGUMENT_TYPE, f"{len(items)} items", f"exactly {len(parts)} items")
        pay(meter, len(parts))
        loaded: list[Any] = []
        for part, item in zip(parts, items, strict=True):
            try:
                loaded.append(part(item, meter))
            except Mismatch as mismatch:
                mismatch.path = f"[{len(loaded)}]{mismatch.path}"
                raise
        return tuple(loaded)

    return load


def _import_dict(key: Type, each: Import) -> Import:
    bounded = str(key) == "int"

    def load(value: object, meter: Meter) -> object:
        pay(meter, gas.CONTAINER_WEIGHT - 1)
        given = _check_sequence(value, "list of (key, value)")
        if not given:
            return {}
        if bounded:
            charge(meter, gas.PASS_WEIGHT * gas.weigh_probes(len(given)))
        pairs = _import_items(each, given, meter)
        keys = [pair[0] for pair in pairs]
        if any(not first < second for first, second in pairwise(keys)):
            raise Mismatch(Reason.ARGUMENT_RANGE, "unordered keys", "keys strictly ascending")
        if bounded and any(abs(number) > DICT_KEY_MAX for number in keys):
            raise Mismatch(Reason.ARGUMENT_RANGE, "integer key", f"at most {DICT_KEY_MAX} either sign")
        return dict(pairs)

    return load


def _export_row(parts: list[Export | None]) -> Export:
    def export(row: Any) -> Value:
        return tuple([export_value(part, item) for part, item in zip(parts, row, strict=True)])

    return export


def _export_record(fields: tuple[tuple[str, Type], ...]) -> Export:
    parts = [(name, position, build_exporter(kind)) for position, (name, kind) in enumerate(fields)]
    parts.sort()

    def export(row: Any) -> Value:
        return {name: export_value(part, row[position]) for name, position, part in parts}

    return export


def _export_list(each: Export | None) -> Export:
    def export(items: list[Any]) -> Value:
        if each is None:
            return tuple(items)
        return tuple([each(item) for item in items])

    return export


def _export_dict(each: Export | None) -> Export:
    def export(entries: dict[Any, Any]) -> Value:
        pairs = sorted(entries.items(), key=_first)
        return tuple([export_value(each, pair) for pair in pairs])

    return export


def _first(pair: tuple[Any, object]) -> Any:
    return pair[0]
