"""What a key of the state is made of, in terms of the call that read it.

A key that a call reads most often spells values of that call: its sender, its signers, its arguments. A
pattern says which, so that the next call's values give the key that this one will read. Whoever wrote the
contract and the arguments may want this to be slow, so nothing here takes longer for being given more: of a
call the first values are looked at, and keys of many bytes or parts are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Final

from tanpo.ledger.statekey import index_key
from tanpo.ledger.values import Value
from tanpo.node.tasks import Task
from tanpo.vm.keycodec import build_key_encoder
from tanpo.vm.types import INT

VALUES_MAX: Final = 128
"""Values of a call that are looked at, lists and records counted: a settlement of twenty legs has so many."""

TURNS_MAX: Final = 64
"""Keys that one pattern gives for one call."""

KEY_BYTES_MAX: Final = 256
"""Longer keys are neither taken apart nor guessed, and longer values not looked for."""

PARTS_MAX: Final = 8
CHOICES_MAX: Final = 16
SIZED_BYTES_MIN: Final = 2
"""Shorter values occur by chance inside many a key, and say nothing."""

Name = tuple[str, ...]
"""Where a value stands in a call: names of fields; every item of a list is at "*"."""

Values = Mapping[Name, Sequence[bytes]]

_HEADER: Final = 2
_INDEX: Final = b"\x01\x01"
_encode_int: Final = build_key_encoder(INT)


@dataclass(frozen=True, slots=True)
class _Value:
    """A part of a key that stands for a value, alone or with its length in front."""

    name: Name
    is_sized: bool


@dataclass(frozen=True, slots=True)
class _Found:
    """Bytes of a key that are a value of the call."""

    value: bytes
    is_sized: bool


_Parts = tuple[bytes | _Value, ...]

_Places = dict[bytes, list[tuple[Name, int, int]]]
"""Where each value stands: at a name, as which item of how many."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A key as parts that are bytes or stand for values; of an index key, the group and the member."""

    kind: bytes
    slot: bytes
    group: _Parts
    member: _Parts

    def fill(self, values: Values) -> Iterator[bytes]:
        """Yield the keys that a call's values give, `TURNS_MAX` at most, none of them too long."""
        named = [values.get(part.name, ()) for part in self.group + self.member if isinstance(part, _Value)]
        count = max(map(len, named))
        if any(len(found) not in (1, count) for found in named):
            return
        for turn in range(min(count, TURNS_MAX)):
            group = _join(self.group, values, turn)
            if self.kind == _INDEX:
                inner = self.slot + len(group).to_bytes(2, "big") + group
                key = index_key(inner, _join(self.member, values, turn))
            else:
                key = self.kind + self.slot + group
            if len(key) <= KEY_BYTES_MAX:
                yield key


def list_values(task: Task) -> tuple[Values, int]:
    """Return the values of a call as keys spell them, and how many were looked at.

    Of its arguments those are the first `VALUES_MAX`.
    """
    values: dict[Name, list[bytes]] = {("sender",): [task.sender.encode()], ("tx_id",): [task.tx_id]}
    values[("signers", "*")] = [signer.encode() for signer in task.signers]
    count = 0
    for name, spelled in islice(_walk(task.call.arguments, ("arguments",)), VALUES_MAX):
        count += 1
        if spelled:
            values.setdefault(name, []).append(spelled)
    return values, count


def find_pattern(key: bytes, values: Values) -> Pattern | None:
    """Return what a key is made of, None if it has nothing of the call: then it is known from now on."""
    if len(key) > KEY_BYTES_MAX:
        return None
    kind, rest = key[:_HEADER], key[_HEADER:]
    member = b""
    if kind == _INDEX:
        size = int.from_bytes(rest[:2], "big")
        rest, member = rest[2 : 2 + size], rest[2 + size :]
    slot, group = _split_slot(rest)
    if kind == _INDEX:
        group = group[2:]
    places = _find_places(values)
    halves = [_split(half, places) for half in (group, member)]
    pieces = halves[0] + halves[1]
    if len(pieces) > PARTS_MAX or all(isinstance(piece, bytes) for piece in pieces):
        return None
    # One text may stand at several places of a call, and only those of one item go together.
    for chosen in islice(product(*(_list_options(piece, places) for piece in pieces)), CHOICES_MAX):
        if len({(turn, count) for _, turn, count in chosen if count > 1}) <= 1:
            parts = tuple(part for part, _, _ in chosen)
            count = len(halves[0])
            return Pattern(kind=kind, slot=slot, group=parts[:count], member=parts[count:])
    return None


def _walk(fields: Iterable[tuple[str, Value]], name: Name) -> Iterator[tuple[Name, bytes]]:
    """Yield everything there is, so that whoever stops has seen no more than he counted."""
    for field, value in fields:
        place = (*name, field)
        if isinstance(value, Mapping):
            yield place, b""
            yield from _walk(value.items(), place)
        elif isinstance(value, tuple):
            yield place, b""
            yield from _walk((("*", item) for item in value), place)
        else:
            yield place, _spell(value)


def _spell(value: object) -> bytes:
    """Return a value as a key spells it, nothing if no key would."""
    if isinstance(value, str):
        return value.encode() if len(value) <= KEY_BYTES_MAX else b""
    if isinstance(value, bytes):
        return value if len(value) <= KEY_BYTES_MAX else b""
    return _encode_int(value) if type(value) is int else b""


def _find_places(values: Values) -> _Places:
    places: _Places = {}
    for name, several in values.items():
        for turn, value in enumerate(several):
            places.setdefault(value, []).append((name, turn, len(several)))
    return places


def _list_options(piece: bytes | _Found, places: _Places) -> list[tuple[bytes | _Value, int, int]]:
    """Return what a piece may stand for, and as which item of how many."""
    if isinstance(piece, bytes):
        return [(piece, 0, 1)]
    found = places[piece.value][:CHOICES_MAX]
    return [(_Value(name, piece.is_sized), turn, count) for name, turn, count in found]


def _split(text: bytes, places: _Places) -> list[bytes | _Found]:
    """Return the text in pieces, those that are values of the call found in it."""
    if text in places:
        return [_Found(text, is_sized=False)]
    pieces: list[bytes | _Found] = []
    start = position = 0
    while position < len(text):
        size = int.from_bytes(text[position : position + 2], "big")
        stop = position + 2 + size
        value = text[position + 2 : stop]
        if size < SIZED_BYTES_MIN or value not in places or len(value) < size:
            position += 1
            continue
        pieces += [*_name_rest(text[start:position], places), _Found(value, is_sized=True)]
        start = position = stop
    return [*pieces, *_name_rest(text[start:], places)]


def _name_rest(text: bytes, places: _Places) -> list[bytes | _Found]:
    if not text:
        return []
    return [_Found(text, is_sized=False) if text in places else text]


def _split_slot(rest: bytes) -> tuple[bytes, bytes]:
    """Return contract and slot, each with its length in front, and what follows."""
    end = 0
    for _ in range(2):
        end += 1 + int.from_bytes(rest[end : end + 1], "big")
    return rest[:end], rest[end:]


def _join(parts: _Parts, values: Values, turn: int) -> bytes:
    spelled: list[bytes] = []
    for part in parts:
        if isinstance(part, bytes):
            spelled.append(part)
            continue
        found = values[part.name]
        value = found[turn if len(found) > 1 else 0]
        spelled.append(len(value).to_bytes(2, "big") + value if part.is_sized else value)
    return b"".join(spelled)
