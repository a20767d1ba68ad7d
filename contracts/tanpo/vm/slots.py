"""The state of one contract within one block: decoded values, written back once at the end.

Values held here are never changed in place: engines copy on reading and on writing. A block-long cache keeps
decoded values beside their weight, so that reading costs the same gas whether or not it was cached. Every
write is journalled until its transaction ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from tanpo.vm import gas, ir
from tanpo.vm.gas import build_weigher
from tanpo.vm.helpers import Meter, charge
from tanpo.vm.keycodec import build_key_encoder, slot_prefix
from tanpo.vm.limits import VALUE_WEIGHT_MAX
from tanpo.vm.outcome import Abort, Native, StateReader
from tanpo.vm.types import BYTES, STR, Scalar, TupleOf, Type
from tanpo.vm.valuecodec import build_decoder, build_encoder

Entry = tuple[object, int]
"""A decoded value and its weight; the value of `ABSENT` is None, which the dialect does not have."""

ABSENT: Final[Entry] = (None, 0)

Journal = list[tuple[dict[object, Entry], dict[object, None], object, "Entry | None"]]
"""What each write of the current transaction replaced: entries, changed keys, key, previous entry."""


class SlotLayout:
    """How one plain variable or `Map` is spelled and weighed: the same for every session."""

    __slots__ = ("decode", "encode", "encode_key", "is_plain", "prefix", "weigh")

    def __init__(self, contract: str, slot: ir.Variable | ir.MapSlot) -> None:
        value = slot.type if isinstance(slot, ir.Variable) else slot.value
        self.prefix = b"\x01\x00" + slot_prefix(contract, slot.name)
        self.encode = build_encoder(value)
        self.decode = build_decoder(value)
        self.weigh = gas.weigher(value) if build_weigher(value)[1] else build_weigher(value)[0]
        self.encode_key = build_key_encoder(slot.key) if isinstance(slot, ir.MapSlot) else _no_key
        self.is_plain = isinstance(slot, ir.Variable) or _hashes_safely(slot.key)


def _no_key(key: object) -> bytes:  # noqa: ARG001 - a plain variable has one place
    return b""


def _hashes_safely(kind: Type) -> bool:
    """Tell whether nobody can craft colliding keys: hashes of text are salted, those of integers are not."""
    parts = kind.items if isinstance(kind, TupleOf) else (kind,)
    return all(isinstance(part, Scalar) and part in (STR, BYTES) for part in parts)


class SlotState:
    """One plain variable or `Map` in one session. Keys are native if their hashes are safe, else encoded."""

    __slots__ = ("_journal", "_layout", "_meter", "_reader", "changed", "entries")

    def __init__(self, layout: SlotLayout, meter: Meter, journal: Journal, reader: StateReader) -> None:
        self._layout = layout
        self._meter = meter
        self._journal = journal
        self._reader = reader
        self.entries: dict[object, Entry] = {}
        self.changed: dict[object, None] = {}

    def clear(self) -> None:
        """Forget everything read and written."""
        self.entries.clear()
        self.changed.clear()

    def collect(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield every key written in this session with its encoded value, None where it is deleted."""
        layout = self._layout
        for key in self.changed:
            value = self.entries[key][0]
            spelled = layout.encode_key(key) if layout.is_plain or not isinstance(key, bytes) else key
            yield layout.prefix + spelled, None if value is None else layout.encode(value)

    def build_accessors(self) -> dict[str, Native]:
        """Return get, find, has, put and erase for generated code; a plain variable leaves the key out."""
        find_entry = self._build_loader()
        put = self._build_put()
        meter, weigh = self._meter, self._layout.weigh

        def get(key: object = ()) -> object:
            value, weight = find_entry(key)
            left = meter[0] - gas.READ_WEIGHT * weight
            meter[0] = left
            if left < 0:
                raise Abort("OUT_OF_GAS")
            if value is None:
                raise Abort("STATE_MISSING")
            return value

        def find(key: object, default: object) -> object:
            value, weight = find_entry(key)
            if value is None:
                # The default is copied as what is stored is, and may hold one list many times.
                value = default
                weight = (
                    weigh
                    if isinstance(weigh, int)
                    else weigh(default, gas.can_afford(meter, gas.READ_WEIGHT))
                )
            charge(meter, gas.READ_WEIGHT * weight)
            return value

        def has(key: object) -> bool:
            value, weight = find_entry(key)
            charge(meter, gas.READ_WEIGHT * weight)
            return value is not None

        def erase(key: object) -> None:
            old = find_entry(key)
            charge(meter, gas.READ_WEIGHT * old[1])
            if old[0] is None:
                raise Abort("STATE_MISSING")
            key = key if self._layout.is_plain else self._layout.encode_key(key)
            self._journal.append((self.entries, self.changed, key, old))
            self.entries[key] = ABSENT

        return {"get": get, "find": find, "has": has, "put": put, "erase": erase}

    def _build_loader(self) -> Callable[[object], Entry]:
        layout, entries, read = self._layout, self.entries, self._reader.get
        prefix, encode_key, decode, weigh = layout.prefix, layout.encode_key, layout.decode, layout.weigh

        def load(key: object, spelled: bytes) -> Entry:
            data = read(prefix + spelled)
            if data is None:
                entry = ABSENT
            else:
                value = decode(data)
                entry = (value, weigh if isinstance(weigh, int) else weigh(value, VALUE_WEIGHT_MAX))
            entries[key] = entry
            return entry

        def find_plain(key: object) -> Entry:
            entry = entries.get(key)
            return load(key, encode_key(key)) if entry is None else entry

        def find_spelled(key: object) -> Entry:
            spelled = encode_key(key)
            entry = entries.get(spelled)
            return load(spelled, spelled) if entry is None else entry

        return find_plain if layout.is_plain else find_spelled

    def _build_put(self) -> Native:
        layout, entries, changed, meter = self._layout, self.entries, self.changed, self._meter
        encode_key, weigh, note = layout.encode_key, layout.weigh, self._journal.append

        def put(value: object, key: object = ()) -> None:
            weight = weigh if isinstance(weigh, int) else weigh(value, VALUE_WEIGHT_MAX)
            left = meter[0] - gas.STORE_WEIGHT * weight
            meter[0] = left
            if left < 0:
                raise Abort("OUT_OF_GAS")
            if weight > VALUE_WEIGHT_MAX:
                raise Abort("VALUE_SIZE")
            if not layout.is_plain:
                key = encode_key(key)
            old = entries.get(key)
            if old is None and layout.is_plain:
                encode_key(key)  # refuses a key that is too long; known keys have passed
            note((entries, changed, key, old))
            entries[key] = (value, weight)

        return put
