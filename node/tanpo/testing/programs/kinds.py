"""The types a random program works with: few enough that values of the same type meet."""

from __future__ import annotations

from random import Random
from typing import Final

from tanpo.vm.limits import TYPE_DEPTH_MAX


class Kind:
    """One type of the dialect, one object for each spelling, so that it can be looked up by identity."""

    __slots__ = ("depth", "fields", "form", "is_ordered", "item", "key", "parts", "text")

    def __init__(
        self,
        text: str,
        form: str,
        *,
        parts: tuple[Kind, ...] = (),
        fields: tuple[tuple[str, Kind], ...] = (),
        is_ordered: bool = False,
    ) -> None:
        self.text = text
        self.form = form
        self.parts = parts
        self.fields = fields
        self.is_ordered = is_ordered
        self.key = parts[0] if form == "dict" else None
        self.item = parts[-1] if form in ("list", "dict") else None
        levels = (2 if form == "dict" else 1) if parts else 0
        self.depth: int = max([part.depth for part in parts], default=0) + levels

    def __repr__(self) -> str:
        return self.text


INT: Final = Kind("int", "int", is_ordered=True)
BOOL: Final = Kind("bool", "bool")
STR: Final = Kind("str", "str", is_ordered=True)
BYTES: Final = Kind("bytes", "bytes", is_ordered=True)
SCALARS: Final = (INT, STR, BOOL, BYTES)
NOTHING: Final = Kind("None", "none")


class Pool:
    """The types of one contract, each once; the containers among them by what they hold."""

    def __init__(self) -> None:
        self.kinds: dict[str, Kind] = {kind.text: kind for kind in SCALARS}
        self.records: list[Kind] = []

    def make_list(self, item: Kind) -> Kind:
        """Return `list[item]`."""
        return self._add(Kind(f"list[{item.text}]", "list", parts=(item,)))

    def make_dict(self, key: Kind, item: Kind) -> Kind:
        """Return `dict[key, item]`."""
        return self._add(Kind(f"dict[{key.text}, {item.text}]", "dict", parts=(key, item)))

    def make_tuple(self, *parts: Kind) -> Kind:
        """Return a tuple of `parts`."""
        text = ", ".join(part.text for part in parts)
        ordered = all(part.is_ordered for part in parts)
        return self._add(Kind(f"tuple[{text}]", "tuple", parts=parts, is_ordered=ordered))

    def add_record(self, name: str, fields: tuple[tuple[str, Kind], ...]) -> Kind:
        """Return the record `name`, declared with these fields."""
        kind = self._add(Kind(name, "record", parts=tuple(part for _, part in fields), fields=fields))
        self.records.append(kind)
        return kind

    def adopt(self, kind: Kind, handle: str) -> Kind:
        """Return a type of another contract as it is written here: its records carry the handle."""
        if kind.text in self.kinds and kind.form != "record":
            return self.kinds[kind.text]
        parts = [self.adopt(part, handle) for part in kind.parts]
        match kind.form:
            case "list":
                return self.make_list(*parts)
            case "dict":
                return self.make_dict(*parts)
            case "tuple":
                return self.make_tuple(*parts)
            case "record":
                fields = tuple((name, part) for (name, _), part in zip(kind.fields, parts, strict=True))
                return self._add(Kind(f"{handle}.{kind.text}", "record", parts=tuple(parts), fields=fields))
        return kind

    def _add(self, kind: Kind) -> Kind:
        return self.kinds.setdefault(kind.text, kind)


def draw_pool(random: Random) -> Pool:
    """Return the types of a new contract."""
    pool = Pool()
    pick = random.choice
    known: list[Kind] = [INT, INT, STR, STR, BOOL, BYTES]
    known.append(pool.make_list(INT))
    for place in range(random.randrange(4)):
        inner = pick(known)
        match pick(("list", "dict", "tuple", "record", "record")):
            case "list":
                known.append(pool.make_list(inner))
            case "dict":
                known.append(pool.make_dict(pick((INT, STR, STR, BOOL, BYTES)), inner))
            case "tuple":
                known.append(pool.make_tuple(inner, pick(known)))
            case _:
                count = random.randrange(1, 4)
                fields = tuple((f"k{number}", pick(known)) for number in range(count))
                known.append(pool.add_record(f"R{place}", fields))
    if random.random() < 0.3 and (inner := pick(known)).depth < TYPE_DEPTH_MAX:
        pool.make_list(inner)
    return pool
