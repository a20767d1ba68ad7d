"""Which keys a block's calls will read, guessed from what such calls read before.

Most keys are made of what a call is given: its sender, its signers, its arguments. From each key that had to
be asked for in the middle of a call, a pattern is learned: which parts stand for which of these. The patterns
of an entry point, filled in with the next call's values, are the keys to ask for before it runs. A wrong
guess costs a read and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import Final

from tanpo.ledger.statekey import index_key
from tanpo.ledger.values import Value
from tanpo.node.tasks import Task
from tanpo.vm.keycodec import build_key_encoder
from tanpo.vm.types import INT

PATTERNS_MAX: Final = 24
"""Patterns kept for one entry point; the oldest goes."""

ENTRIES_MAX: Final = 256
CHOICES_MAX: Final = 64
KEYS_PER_CALL_MAX: Final = 64
ITEMS_MAX: Final = 256
SIZED_BYTES_MIN: Final = 2
"""Shorter values occur by chance inside many a key, and say nothing."""

BLOCKS_ATTENTIVE: Final = 8
"""For how many blocks calls are looked at after the last key that was not known."""

Name = tuple[str, ...]
"""Where a value stands in a call: names of fields; every item of a list is at "*"."""

Values = Mapping[Name, Sequence[bytes]]

_HEADER: Final = 2
_INDEX: Final = b"\x01\x01"
_encode_int: Final = build_key_encoder(INT)


@dataclass(frozen=True, slots=True)
class _Sized:
    """A value with its length in front."""

    name: Name


@dataclass(frozen=True, slots=True)
class _Bare:
    """A value as it is."""

    name: Name


_Part = bytes | _Sized | _Bare
_Parts = tuple[_Part, ...]


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A key as parts that are bytes or stand for values; of an index key, the group and the member."""

    kind: bytes
    slot: bytes
    group: _Parts
    member: _Parts

    def fill(self, values: Values) -> Iterator[bytes]:
        """Yield the keys that a call's values give."""
        named = [
            values.get(part.name, ()) for part in self.group + self.member if not isinstance(part, bytes)
        ]
        count = max(map(len, named))
        if any(len(found) not in (1, count) for found in named):
            return
        for turn in range(min(count, KEYS_PER_CALL_MAX)):
            group = _join(self.group, values, turn)
            if self.kind == _INDEX:
                inner = self.slot + len(group).to_bytes(2, "big") + group
                yield index_key(inner, _join(self.member, values, turn))
            else:
                yield self.kind + self.slot + group


class Forecast:
    """What entry points have read, learned from what was missed."""

    def __init__(self) -> None:
        self._patterns: dict[tuple[str, str], dict[_Pattern, None]] = {}
        self._attention = 0

    def note_miss(self, task: Task, key: bytes, later: Iterable[Task]) -> list[bytes]:
        """Learn from a key that a task asked for and that was not known.

        Returns the keys that later tasks will read for the same reason, if it is a new one.
        """
        self._attention = BLOCKS_ATTENTIVE
        pattern = _find_pattern(key, _list_values(task))
        if pattern is None or not self._learn(_place(task), pattern):
            return []
        alike = (other for other in later if _place(other) == _place(task))
        return list(dict.fromkeys(found for other in alike for found in pattern.fill(_list_values(other))))

    def list_keys(self, tasks: Iterable[Task]) -> list[bytes]:
        """Return the keys that tasks are expected to read; none while nothing was missed for long."""
        if not self._attention:
            return []
        self._attention -= 1
        keys: dict[bytes, None] = {}
        for task in tasks:
            patterns = self._patterns.get(_place(task))
            if patterns:
                values = _list_values(task)
                for pattern in patterns:
                    keys.update(dict.fromkeys(pattern.fill(values)))
        return list(keys)

    def note_use(self) -> None:
        """Hear that a forecast key was not known before: forecasts are worth their price."""
        self._attention = BLOCKS_ATTENTIVE

    def _learn(self, place: tuple[str, str], pattern: _Pattern) -> bool:
        """Add a pattern; return whether it is new."""
        if place not in self._patterns and len(self._patterns) >= ENTRIES_MAX:
            del self._patterns[next(iter(self._patterns))]
        known = self._patterns.setdefault(place, {})
        if pattern in known:
            return False
        known[pattern] = None
        if len(known) > PATTERNS_MAX:
            del known[next(iter(known))]
        return True


def _place(task: Task) -> tuple[str, str]:
    return task.call.contract, task.call.entry


def _list_values(task: Task) -> dict[Name, list[bytes]]:
    values: dict[Name, list[bytes]] = {("sender",): [task.sender.encode()], ("tx_id",): [task.tx_id]}
    values[("signers", "*")] = [signer.encode() for signer in task.signers]
    _walk(task.call.arguments, ("arguments",), values)
    return values


def _walk(fields: Iterable[tuple[str, Value]], name: Name, values: dict[Name, list[bytes]]) -> None:
    for field, value in fields:
        place = (*name, field)
        if isinstance(value, str):
            values.setdefault(place, []).append(value.encode())
        elif isinstance(value, bytes):
            values.setdefault(place, []).append(value)
        elif type(value) is int:
            values.setdefault(place, []).append(_encode_int(value))
        elif isinstance(value, Mapping):
            _walk(value.items(), place, values)
        elif isinstance(value, tuple) and len(value) <= ITEMS_MAX:
            _walk((("*", item) for item in value), place, values)


def _join(parts: _Parts, values: Values, turn: int) -> bytes:
    spelled: list[bytes] = []
    for part in parts:
        if isinstance(part, bytes):
            spelled.append(part)
            continue
        found = values[part.name]
        value = found[turn if len(found) > 1 else 0]
        spelled.append(_size(value) + value if isinstance(part, _Sized) else value)
    return b"".join(spelled)


def _size(value: bytes) -> bytes:
    return min(len(value), 0xFFFF).to_bytes(2, "big")


def _find_pattern(key: bytes, values: Values) -> _Pattern | None:
    """Return what a key is made of, None if it has nothing of the call: then it is known from now on."""
    kind, rest = key[:_HEADER], key[_HEADER:]
    member = b""
    if kind == _INDEX:
        size = int.from_bytes(rest[:2], "big")
        rest, member = rest[2 : 2 + size], rest[2 + size :]
    slot, group = _split_slot(rest)
    if kind == _INDEX:
        group = group[2:]
    halves = [_split(half, values) for half in (group, member)]
    # One text may stand at several places of a call, and only some of them go together.
    choices = product(*(_list_choices(part, values) for half in halves for part in half))
    for parts in islice(choices, CHOICES_MAX):
        if all(isinstance(part, bytes) for part in parts):
            return None
        count = len(halves[0])
        pattern = _Pattern(kind=kind, slot=slot, group=parts[:count], member=parts[count:])
        if key in pattern.fill(values):
            return pattern
    return None


def _list_choices(part: _Part, values: Values) -> list[_Part]:
    """Return a part, and those that stand for the same value."""
    if isinstance(part, bytes):
        return [part]
    wanted = values[part.name]
    return [replace(part, name=name) for name, found in values.items() if not set(wanted).isdisjoint(found)]


def _split_slot(rest: bytes) -> tuple[bytes, bytes]:
    """Return contract and slot, each with its length in front, and what follows."""
    end = 0
    for _ in range(2):
        end += 1 + int.from_bytes(rest[end : end + 1], "big")
    return rest[:end], rest[end:]


def _split(text: bytes, values: Values) -> _Parts:
    """Return the text with every value that stands in it replaced, longest values first."""
    found = sorted(
        ((value, name) for name, several in values.items() for value in several),
        key=lambda pair: (-len(pair[0]), pair[1]),
    )
    parts: list[_Part] = [text] if text else []
    for value, name in found:
        parts = [piece for part in parts for piece in _replace(part, value, name)]
    return tuple(parts)


def _replace(part: _Part, value: bytes, name: Name) -> list[_Part]:
    """Return the part with a value taken out, as a whole or with its length in front."""
    if not isinstance(part, bytes) or not value:
        return [part]
    if part == value:
        return [_Bare(name)]
    before, spelled, after = part.partition(_size(value) + value)
    if not spelled or len(value) < SIZED_BYTES_MIN:
        return [part]
    return [*([before] if before else []), _Sized(name), *([after] if after else [])]
