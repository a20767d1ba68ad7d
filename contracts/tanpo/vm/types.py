"""The static types of the contract dialect and what each may be used for.

Values at run time are plain Python: a record is a list of its fields in order of declaration, so that a
field is read by position and a flat copy is one slice. Nothing but the static type tells them apart.

Every type knows its depth and size from the moment it is made: a few nested records or tuples spell types of
millions of parts, which nothing may walk through before they are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, TypeAlias


@dataclass(frozen=True, slots=True)
class Scalar:
    """`int`, `bool`, `str` or `bytes`."""

    name: str
    depth: ClassVar[int] = 0
    size: ClassVar[int] = 1

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Nothing:
    """The result of a function that returns no value, written `None`."""

    depth: ClassVar[int] = 0
    size: ClassVar[int] = 1

    def __str__(self) -> str:
        return "None"


@dataclass(frozen=True, slots=True)
class Unknown:
    """The type of an expression that already has a fault; it agrees with every other."""

    depth: ClassVar[int] = 0
    size: ClassVar[int] = 1

    def __str__(self) -> str:
        return "unknown"


@dataclass(frozen=True, slots=True)
class ListOf:
    """`list[T]`."""

    item: Type
    depth: int = field(init=False, repr=False, compare=False)
    size: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _measure(self, (self.item,))

    def __str__(self) -> str:
        return f"list[{self.item}]"


@dataclass(frozen=True, slots=True)
class DictOf:
    """`dict[K, V]`."""

    key: Type
    value: Type
    depth: int = field(init=False, repr=False, compare=False)
    size: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _measure(self, (self.key, self.value), levels=2)

    def __str__(self) -> str:
        return f"dict[{self.key}, {self.value}]"


@dataclass(frozen=True, slots=True)
class TupleOf:
    """`tuple[A, B, ...]` of fixed length."""

    items: tuple[Type, ...]
    depth: int = field(init=False, repr=False, compare=False)
    size: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _measure(self, self.items)

    def __str__(self) -> str:
        return f"tuple[{', '.join(str(item) for item in self.items)}]"


@dataclass(frozen=True, slots=True)
class Record:
    """A `@record` class. `contract` is the one that declares it; two records are one type if all agrees."""

    contract: str
    name: str
    fields: tuple[tuple[str, Type], ...]
    depth: int = field(init=False, repr=False, compare=False)
    size: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _measure(self, [part for _, part in self.fields])

    def __str__(self) -> str:
        return self.name

    def position(self, field: str) -> int:
        """Return where `field` stands, or -1."""
        for position, (name, _) in enumerate(self.fields):
            if name == field:
                return position
        return -1


Type: TypeAlias = Scalar | Nothing | Unknown | ListOf | DictOf | TupleOf | Record


def _measure(kind: Type, parts: Sequence[Type], *, levels: int = 1) -> None:
    # A dict leaves a contract as a sequence of pairs, and so counts as two levels.
    object.__setattr__(kind, "depth", max([part.depth for part in parts], default=0) + levels)
    object.__setattr__(kind, "size", sum([part.size for part in parts]) + 1)


INT: Final = Scalar("int")
BOOL: Final = Scalar("bool")
STR: Final = Scalar("str")
BYTES: Final = Scalar("bytes")
NOTHING: Final = Nothing()
UNKNOWN: Final = Unknown()
SCALARS: Final = {"int": INT, "bool": BOOL, "str": STR, "bytes": BYTES}


def agrees(actual: Type, wanted: Type) -> bool:
    """Tell whether a value of type `actual` may stand where `wanted` is called for."""
    if actual == wanted or UNKNOWN in (actual, wanted):
        return True
    match actual, wanted:
        case ListOf(item=a), ListOf(item=b):
            return agrees(a, b)
        case DictOf(key=a, value=c), DictOf(key=b, value=d):
            return agrees(a, b) and agrees(c, d)
        case TupleOf(items=left), TupleOf(items=right):
            return len(left) == len(right) and all(agrees(a, b) for a, b in zip(left, right, strict=True))
    return False


def is_mutable(kind: Type) -> bool:
    """Tell whether a value of this type, or one inside it, can be changed in place."""
    if isinstance(kind, TupleOf):
        return any(is_mutable(item) for item in kind.items)
    return isinstance(kind, ListOf | DictOf | Record)


def is_key(kind: Type) -> bool:
    """Tell whether the type may key a `Map` or stand in an `Index`: a scalar or a tuple of scalars."""
    if isinstance(kind, TupleOf):
        return bool(kind.items) and all(isinstance(item, Scalar) for item in kind.items)
    return isinstance(kind, Scalar | Unknown)


def is_ordered(kind: Type) -> bool:
    """Tell whether `<` is defined: int, str, bytes, and tuples of these."""
    if isinstance(kind, TupleOf):
        return all(is_ordered(item) for item in kind.items)
    return kind in (INT, STR, BYTES, UNKNOWN)


def parts_of(kind: Type) -> Iterator[Type]:
    """Yield the types directly inside `kind`."""
    match kind:
        case ListOf(item=item):
            yield item
        case DictOf(key=key, value=value):
            yield key
            yield value
        case TupleOf(items=items):
            yield from items
        case Record(fields=fields):
            for _, part in fields:
                yield part


def records_in(kind: Type) -> Iterator[Record]:
    """Yield every record that `kind` mentions, inner ones first."""
    for part in parts_of(kind):
        yield from records_in(part)
    if isinstance(kind, Record):
        yield kind


def spell(kind: Type, home: str) -> str:
    """Return the type as contract `home` writes it: records of other contracts carry their contract."""
    match kind:
        case Record(contract=contract, name=name) if contract != home:
            return f"{contract}.{name}"
        case ListOf(item=item):
            return f"list[{spell(item, home)}]"
        case DictOf(key=key, value=value):
            return f"dict[{spell(key, home)}, {spell(value, home)}]"
        case TupleOf(items=items):
            return f"tuple[{', '.join(spell(item, home) for item in items)}]"
    return str(kind)
