"""What the writer of a program knows: the names of the contract, and those of the function at hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from tanpo.testing.programs.kinds import Kind, Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Callable:
    """A function that may be called, of this contract or of another."""

    name: str
    parameters: tuple[tuple[str, Kind], ...]
    returns: Kind
    writes: bool


Source = tuple[str, Kind, str]
"""One way to a value: how, out of what, and the text that is fixed in it."""


@dataclass(slots=True, kw_only=True)
class Module:
    """Everything declared at top level."""

    random: Random
    pool: Pool
    constants: dict[Kind, list[str]] = field(default_factory=dict)
    variables: list[tuple[str, Kind]] = field(default_factory=list)
    maps: list[tuple[str, Kind, Kind]] = field(default_factory=list)
    indexes: list[tuple[str, Kind, Kind]] = field(default_factory=list)
    events: list[tuple[str, tuple[tuple[str, Kind], ...]]] = field(default_factory=list)
    calls: dict[Kind, list[Callable]] = field(default_factory=dict)
    sources: dict[Kind, list[Source]] = field(default_factory=dict)
    groups: dict[str, list[Kind]] = field(default_factory=dict)
    is_plain: bool = True

    def draw(self, group: str) -> Kind:
        """Return one type of a group: `any`, `ordered`, `sized`, `holder`."""
        kinds = self.groups[group]
        return kinds[int(self.random.random() * len(kinds))]

    def add_call(self, function: Callable) -> None:
        """Offer a function to whatever is written after it."""
        self.calls.setdefault(function.returns, []).append(function)
        self.sources.setdefault(function.returns, []).append(("call", function.returns, ""))

    def settle(self) -> None:
        """Work out, once the types are known, how a value of each can be had from others."""
        kinds = list(self.pool.kinds.values())
        self.groups = {
            "any": kinds,
            "ordered": [kind for kind in kinds if kind.is_ordered],
            "sized": [kind for kind in kinds if kind.form in ("str", "bytes", "list", "dict")],
            "holder": [kind for kind in kinds if kind.form in ("str", "bytes", "list", "dict")],
            "sum": [kind for kind in kinds if kind.form in ("int", "str", "bytes")],
        }
        for kind in kinds:
            self._settle_kind(kind)

    def settle_state(self) -> None:
        """Offer what the state holds, once it is declared."""
        for name, kind in self.variables:
            self._offer(kind, ("variable", kind, name))
        for name, key, value in self.maps:
            self._offer(value, ("map", key, name))
            self._offer(value, ("find", key, name))
            self._offer(value, ("find", key, name))

    def _settle_kind(self, kind: Kind) -> None:
        if kind.form == "list":
            self._offer(kind.parts[0], ("item", kind, ""))
            self._offer(kind.parts[0], ("pop", kind, ""))
        elif kind.form == "dict":
            self._offer(kind.parts[1], ("value", kind, ""))
            self._offer(kind.parts[1], ("get", kind, ""))
        elif kind.form == "tuple":
            for place, part in enumerate(kind.parts):
                self._offer(part, ("part", kind, f"[{place}]"))
        for name, part in kind.fields:
            self._offer(part, ("part", kind, f".{name}"))

    def _offer(self, kind: Kind, source: Source) -> None:
        self.sources.setdefault(kind, []).append(source)


class Scope:
    """The locals of one function that have a value at the point being written."""

    def __init__(self) -> None:
        self.names: dict[Kind, list[str]] = {}
        self._trail: list[Kind] = []
        self._count = 0

    def fresh(self, letter: str) -> str:
        """Return a name that was not used in this function."""
        self._count += 1
        return f"{letter}{self._count}"

    def add(self, kind: Kind, name: str) -> None:
        """Note that `name` holds a value of this type from here on."""
        self.names.setdefault(kind, []).append(name)
        self._trail.append(kind)

    def drop(self, kind: Kind) -> None:
        """Forget the name that was added last; it is of this type."""
        self.names[kind].pop()
        self._trail.pop()

    def enter(self) -> int:
        """Return a mark to leave by."""
        return len(self._trail)

    def leave(self, mark: int) -> None:
        """Forget the names that were added after the mark."""
        while len(self._trail) > mark:
            self.names[self._trail.pop()].pop()
