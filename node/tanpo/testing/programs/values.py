"""Random arguments, as they come in from outside."""

from __future__ import annotations

from random import Random
from typing import Final

from tanpo.ledger.values import Value
from tanpo.testing.programs.kinds import Kind

_NUMBERS: Final = (0, 1, 2, 3, 5, -1, -2, 10, 99, 256, 2**61, 2**255 - 1, -(2**255 - 1))
_TEXTS: Final = ("", "a", "b", "ab", "12", "-7", "k1", "\u00e9", "\U0001f600", "long" * 9, "x" * 200)
_BYTES: Final = (b"", b"a", b"ab", b"\x00", b"\xff\x01", bytes(70))


def draw_value(random: Random, kind: Kind) -> Value:
    """Return a value of this type."""
    match kind.form:
        case "int":
            return random.choice(_NUMBERS)
        case "str":
            return random.choice(_TEXTS)
        case "bytes":
            return random.choice(_BYTES)
        case "bool":
            return random.random() < 0.5
        case "list":
            return tuple([draw_value(random, kind.parts[0]) for _ in range(random.randrange(4))])
        case "tuple":
            return tuple([draw_value(random, part) for part in kind.parts])
        case "record":
            return {name: draw_value(random, part) for name, part in sorted(kind.fields, key=_first)}
    return _draw_pairs(random, kind)


def _draw_pairs(random: Random, kind: Kind) -> Value:
    drawn = [draw_value(random, kind.parts[0]) for _ in range(random.randrange(3))]
    keys = sorted({key for key in drawn if isinstance(key, int | str | bytes) and not _is_huge(key)})
    return tuple([(key, draw_value(random, kind.parts[1])) for key in keys])


def _is_huge(key: object) -> bool:
    return isinstance(key, int) and abs(key) > 2**61 - 2


def _first(pair: tuple[str, Kind]) -> str:
    return pair[0]
