"""The shapes of what contracts keep in the state, as the record of a contract spells them (docs/encoding.md).

    scalar   int, bool, str, bytes
    shape    scalar | list[shape] | dict[shape, shape] | tuple[shape, ...] | (name: shape, ...)
    variable shape | Map[shape, shape] | Index[shape, shape]

A row, `(name: shape, ...)`, is a record without its name, which is not stored. The text stands in the state
under the contract's name, so whoever has that entry proved knows how to spell keys and to read values, and
needs neither the source nor a compiler nor anybody's word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from tanpo.ledger.codec import malformed
from tanpo.ledger.errors import PeerFault

DEPTH_MAX: Final = 32
"""Deepest shape: the language allows far less; parsing recurses."""


class Scalar(StrEnum):
    """A value without parts."""

    INT = "int"
    BOOL = "bool"
    STR = "str"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class ListShape:
    """`list[item]`."""

    item: Shape

    def __str__(self) -> str:
        return f"list[{self.item}]"


@dataclass(frozen=True, slots=True)
class DictShape:
    """`dict[key, value]`."""

    key: Shape
    value: Shape

    def __str__(self) -> str:
        return f"dict[{self.key}, {self.value}]"


@dataclass(frozen=True, slots=True)
class TupleShape:
    """`tuple[items]`, of fixed length."""

    items: tuple[Shape, ...]

    def __str__(self) -> str:
        return f"tuple[{', '.join(str(item) for item in self.items)}]"


@dataclass(frozen=True, slots=True)
class RowShape:
    """`(name: shape, ...)`: the fields of a record in the order in which they are stored."""

    fields: tuple[tuple[str, Shape], ...]

    def __str__(self) -> str:
        return f"({', '.join(f'{name}: {kind}' for name, kind in self.fields)})"


Shape: TypeAlias = Scalar | ListShape | DictShape | TupleShape | RowShape


@dataclass(frozen=True, slots=True)
class MapShape:
    """`Map[key, value]`: one state entry for each key."""

    key: Shape
    value: Shape

    def __str__(self) -> str:
        return f"Map[{self.key}, {self.value}]"


@dataclass(frozen=True, slots=True)
class IndexShape:
    """`Index[group, member]`: one state entry without a value for each member of a group."""

    group: Shape
    member: Shape

    def __str__(self) -> str:
        return f"Index[{self.group}, {self.member}]"


VariableShape: TypeAlias = Shape | MapShape | IndexShape


def parse_variable(text: str) -> VariableShape:
    """Return the shape that `text` spells; `str` of it is the text again.

    Raises:
        PeerFault: it spells none (MALFORMED).
    """
    parser = _Parser(text)
    kind = parser.read_variable()
    parser.finish()
    return kind


_TOKEN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[\[\](),:]")


class _Parser:
    """Takes a text apart, one token after the other."""

    __slots__ = ("_at", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read_variable(self) -> VariableShape:
        for word in ("Map", "Index"):
            if self._text.startswith(f"{word}["):
                self._at = len(word)
                first, second = self._read_arguments(0, 2)
                return MapShape(first, second) if word == "Map" else IndexShape(first, second)
        return self._read(0)

    def finish(self) -> None:
        if self._at != len(self._text):
            raise self._fault()

    def _read(self, depth: int) -> Shape:
        if depth > DEPTH_MAX:
            raise malformed("a shape is nested too deep", value=depth, limit=DEPTH_MAX)
        word = self._take()
        match word:
            case "int" | "bool" | "str" | "bytes":
                return Scalar(word)
            case "list":
                return ListShape(*self._read_arguments(depth, 1))
            case "dict":
                return DictShape(*self._read_arguments(depth, 2))
            case "tuple":
                return TupleShape(self._read_arguments(depth, 0))
            case "(":
                return self._read_row(depth)
        raise self._fault()

    def _read_arguments(self, depth: int, count: int) -> tuple[Shape, ...]:
        """Read `[shape, ...]`: exactly `count` of them, or, for 0, one or more."""
        self._expect("[")
        items = [self._read(depth + 1)]
        while self._take() == ",":
            self._expect(" ")
            items.append(self._read(depth + 1))
        self._at -= 1
        self._expect("]")
        if count not in (0, len(items)):
            raise self._fault()
        return tuple(items)

    def _read_row(self, depth: int) -> Shape:
        fields: list[tuple[str, Shape]] = []
        if self._text.startswith(")", self._at):
            self._at += 1
            return RowShape(())
        while True:
            name = self._take()
            if not name.isidentifier():
                raise self._fault()
            self._expect(":")
            self._expect(" ")
            fields.append((name, self._read(depth + 1)))
            if self._take() != ",":
                self._at -= 1
                self._expect(")")
                return RowShape(tuple(fields))
            self._expect(" ")

    def _take(self) -> str:
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            raise self._fault()
        self._at = found.end()
        return found.group()

    def _expect(self, sign: str) -> None:
        if not self._text.startswith(sign, self._at):
            raise self._fault()
        self._at += len(sign)

    def _fault(self) -> PeerFault:
        return malformed("a text spells no shape", value=self._text, limit=f"character {self._at}")
