"""What a program needs to run on CPython itself: the dialect's builtins and its state, each in a few lines.

Written from `contracts/README.md`, with nothing of the machine's own code, so that it can contradict it.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from hashlib import sha3_256, sha256, sha512
from typing import Any, Final, NoReturn

_INT_MAX: Final = 2**255 - 1
_NUMBER: Final = re.compile(r"-?[0-9]{1,78}\Z", re.ASCII)


class Halt(Exception):
    """Ends a call with a code."""

    def __init__(self, code: str, details: tuple[tuple[str, object], ...] = ()) -> None:
        super().__init__(code)
        self.code = code
        self.details = details


class Record:
    """A record: its fields by name, equal if they are all equal."""

    fields: tuple[str, ...] = ()

    def __init__(self, *values: object, **named: object) -> None:
        for name, value in zip(self.fields, values, strict=False):
            setattr(self, name, value)
        for name, value in named.items():
            setattr(self, name, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and all(
            getattr(self, name) == getattr(other, name) for name in self.fields
        )

    __hash__ = None  # type: ignore[assignment]  # records are changed in place


def record(declared: type) -> type[Record]:
    """Return the record that a class of typed fields declares."""
    return type(declared.__name__, (Record,), {"fields": tuple(declared.__annotations__)})


def copy_value(value: Any) -> Any:
    """Return a copy so deep that no change to one is seen in the other."""
    if isinstance(value, list):
        return [copy_value(item) for item in value]
    if isinstance(value, tuple):
        return tuple(copy_value(item) for item in value)
    if isinstance(value, dict):
        return {key: copy_value(item) for key, item in value.items()}
    if isinstance(value, Record):
        return type(value)(*(copy_value(getattr(value, name)) for name in value.fields))
    return value


def export_value(value: Any) -> object:
    """Return a value as it leaves the ledger."""
    if value is None:
        return ()
    if isinstance(value, list | tuple):
        return tuple(export_value(item) for item in value)
    if isinstance(value, dict):
        return tuple((key, export_value(item)) for key, item in sorted(value.items()))
    if isinstance(value, Record):
        return {name: export_value(getattr(value, name)) for name in sorted(value.fields)}
    return value


def check_number(value: Any) -> Any:
    """Return the value, unless it is an integer that the dialect does not have."""
    if type(value) is int and abs(value) > _INT_MAX:
        raise Halt("INT_OVERFLOW")
    return value


def _shift(work: Callable[[int, int], int]) -> Callable[[int, int], int]:
    def shift(value: int, count: int) -> int:
        if not 0 <= count <= 255:
            raise Halt("SHIFT_RANGE")
        return work(value, count)

    return shift


_WORK: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mult": operator.mul,
    "FloorDiv": operator.floordiv,
    "Mod": operator.mod,
    "BitAnd": operator.and_,
    "BitOr": operator.or_,
    "BitXor": operator.xor,
    "LShift": _shift(operator.lshift),
    "RShift": _shift(operator.rshift),
}


def work(name: str, left: Any, right: Any) -> Any:
    """Return the result of an operator, by the name of its node."""
    return check_number(_WORK[name](left, right))


def change_item(holder: Any, key: Any, name: str, value: Callable[[], Any]) -> None:
    """Do what `holder[key] op= value` does."""
    old = holder[key]
    holder[key] = work(name, old, value())


def change_field(holder: Any, field: str, name: str, value: Callable[[], Any]) -> None:
    """Do what `holder.field op= value` does."""
    old = getattr(holder, field)
    setattr(holder, field, work(name, old, value()))


def loop(items: Any) -> Any:
    """Return what a loop runs over: the keys of a dict in ascending order, else the thing itself."""
    return sorted(items) if isinstance(items, dict) else items


def abort(code: str, **details: object) -> NoReturn:
    """End the call."""
    raise Halt(code, tuple(sorted(details.items())))


def parse(text: str) -> int:
    """Return the number that a text spells in the dialect."""
    if not _NUMBER.match(text) or abs(int(text)) > _INT_MAX:
        raise Halt("INT_PARSE")
    return int(text)


def div_round(a: int, b: int, mode: str) -> int:
    """Return a / b, rounded."""
    exact = Fraction(a, b)
    half = Fraction(1, 2)
    away = math.floor(exact + half) if exact > 0 else math.ceil(exact - half)
    rounded = {
        "DOWN": math.trunc(exact),
        "UP": math.ceil(exact) if exact > 0 else math.floor(exact),
        "FLOOR": math.floor(exact),
        "CEILING": math.ceil(exact),
        "HALF_UP": away,
        "HALF_EVEN": round(exact),
    }
    return int(check_number(rounded[mode]))


def mul_div(a: int, b: int, c: int, mode: str) -> int:
    """Return a * b / c, rounded once."""
    return div_round(a * b, c, mode)


NAMES: Final[dict[str, Any]] = {
    "record": record,
    "int": parse,
    "abort": abort,
    "mul_div": mul_div,
    "div_round": div_round,
    "sha256": lambda data: sha256(data).digest(),
    "sha512": lambda data: sha512(data).digest(),
    "sha3_256": lambda data: sha3_256(data).digest(),
    # No program comes upon a signature that is good.
    "verify_p256": lambda *_: False,
    "work_": work,
    "change_item_": change_item,
    "change_field_": change_field,
    "loop_": loop,
    "copy_": copy_value,
}
"""Names of the dialect, and those that the translation puts in; no program has names that end in `_`."""
