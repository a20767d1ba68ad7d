"""The state of one contract within one block: decoded values, written back once at the end.

Values held here are never changed in place: engines copy on reading and on writing. A block-long cache keeps
decoded values beside their weight, so that reading costs the same gas whether or not it was cached. Above it
lies what the current transaction has touched: it pays once for each key, whoever touched it before, and what
it wrote comes down when it ends well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from tanpo.ledger.errors import InvariantViolation
from tanpo.vm import gas, ir
from tanpo.vm.gas import build_weigher
from tanpo.vm.helpers import Meter, charge
from tanpo.vm.keycodec import build_key_encoder, slot_prefix
from tanpo.vm.limits import VALUE_WEIGHT_MAX
from tanpo.vm.outcome import Abort, Native, StateReader
from tanpo.vm.spelled import build_least
from tanpo.vm.types import BYTES, STR, Scalar, TupleOf, Type
from tanpo.vm.valuecodec import build_decoder, build_encoder

Entry = tuple[object, int]
"""A decoded value and its weight; the value of `ABSENT` is None, which the dialect does not have."""

BYTES_PER_WEIGHT_MAX: Final = 34
"""No value is spelled with more bytes a unit of its weight: an integer takes 33, a text of 31 letters too."""

_READ_MAX: Final = gas.READ_WEIGHT * VALUE_WEIGHT_MAX
"""What the heaviest value costs to read: with so much gas left, any can be paid for."""

ABSENT: Final[Entry] = (None, 0)


class Undoable(Protocol):
    """What keeps or forgets, when a transaction ends, what that has done."""

    def keep(self) -> None:
        """Let what the transaction wrote be the block's."""

    def undo(self) -> None:
        """Forget what the transaction did."""


class SlotLayout:
    """How one plain variable or `Map` is spelled and weighed: the same for every session."""

    __slots__ = ("decode", "encode", "encode_key", "is_plain", "least", "prefix", "spell_known", "weigh")

    def __init__(self, contract: str, slot: ir.Variable | ir.MapSlot) -> None:
        value = slot.type if isinstance(slot, ir.Variable) else slot.value
        self.prefix = b"\x01\x00" + slot_prefix(contract, slot.name)
        self.encode = build_encoder(value)
        self.decode = build_decoder(value)
        self.least = build_least(value)
        self.weigh = gas.weigher(value) if build_weigher(value)[1] else build_weigher(value)[0]
        self.encode_key = build_key_encoder(slot.key) if isinstance(slot, ir.MapSlot) else _no_key
        self.is_plain = isinstance(slot, ir.Variable) or _hashes_safely(slot.key)
        self.spell_known = self.encode_key if self.is_plain else _as_spelled

    def charge_least(self, data: bytes, meter: Meter) -> None:
        """End a transaction that cannot pay for a value, as it would end once that is decoded and weighed."""
        payable = meter[0] // gas.READ_WEIGHT
        least = max(len(data) // BYTES_PER_WEIGHT_MAX, self.least(data, payable))
        if least > payable:
            charge(meter, gas.READ_WEIGHT * least)


def _no_key(key: object) -> bytes:  # noqa: ARG001 - a plain variable has one place
    return b""


def _as_spelled(key: object) -> bytes:
    if not isinstance(key, bytes):
        raise InvariantViolation("a key that is held encoded is not bytes")
    return key


def _hashes_safely(kind: Type) -> bool:
    """Tell whether nobody can craft colliding keys: hashes of text are salted, those of integers are not."""
    parts = kind.items if isinstance(kind, TupleOf) else (kind,)
    return all(isinstance(part, Scalar) and part in (STR, BYTES) for part in parts)


class SlotState:
    """One plain variable or `Map` in one session. Keys are native if their hashes are safe, else encoded."""

    __slots__ = ("_changed", "_entries", "_layout", "_meter", "_reader", "_started", "_touched", "_written")

    def __init__(
        self, layout: SlotLayout, meter: Meter, started: list[Undoable], reader: StateReader
    ) -> None:
        self._layout = layout
        self._meter = meter
        self._started = started
        self._reader = reader
        self._entries: dict[object, Entry] = {}
        self._changed: dict[object, Entry] = {}
        self._touched: dict[object, Entry] = {}
        self._written: dict[object, Entry] = {}

    def clear(self) -> None:
        """Forget everything read and written."""
        self._entries.clear()
        self._changed.clear()

    def keep(self) -> None:
        """Let the writes of the transaction that ends be those of the block."""
        self._entries.update(self._written)
        self._changed.update(self._written)
        self.undo()

    def undo(self) -> None:
        """Forget what the transaction that ends has touched and written."""
        self._touched.clear()
        self._written.clear()

    def collect(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield every key written in this session with its encoded value, None where it is deleted."""
        layout = self._layout
        for key, (value, _) in self._changed.items():
            yield layout.prefix + layout.spell_known(key), None if value is None else layout.encode(value)

    def build_accessors(self) -> dict[str, Native]:
        """Return get, find, has, put and erase for generated code; a plain variable leaves the key out."""
        find_entry = self._build_finder(self._build_toucher())
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
            left = meter[0]
            if value is None:
                # The default is copied as what is stored is, and may hold one list many times.
                value = default
                weight = weigh if isinstance(weigh, int) else weigh(default, left // gas.READ_WEIGHT + 1)
            left -= gas.READ_WEIGHT * weight
            meter[0] = left
            if left < 0:
                raise Abort("OUT_OF_GAS")
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
            self._touched[key] = self._written[key] = ABSENT

        return {"get": get, "find": find, "has": has, "put": put, "erase": erase}

    def _build_finder(self, touch: Callable[[object], Entry]) -> Callable[[object], Entry]:
        touched, encode_key = self._touched, self._layout.encode_key

        def find_plain(key: object) -> Entry:
            entry = touched.get(key)
            return touch(key) if entry is None else entry

        def find_spelled(key: object) -> Entry:
            spelled = encode_key(key)
            entry = touched.get(spelled)
            return touch(spelled) if entry is None else entry

        return find_plain if self._layout.is_plain else find_spelled

    def _build_toucher(self) -> Callable[[object], Entry]:
        layout, entries, touched, read = self._layout, self._entries, self._touched, self._reader.get
        meter, started = self._meter, self._started
        prefix, spell, decode, weigh = layout.prefix, layout.spell_known, layout.decode, layout.weigh

        def touch(key: object) -> Entry:
            left = meter[0] - gas.TOUCH
            meter[0] = left
            if left < 0:
                raise Abort("OUT_OF_GAS")
            if not touched:
                started.append(self)
            entry = entries.get(key)
            if entry is None:
                data = read(prefix + spell(key))
                if data is None:
                    entry = ABSENT
                else:
                    if left < _READ_MAX:
                        layout.charge_least(data, meter)
                    value = decode(data)
                    entry = (value, weigh if isinstance(weigh, int) else weigh(value, VALUE_WEIGHT_MAX))
                entries[key] = entry
            touched[key] = entry
            return entry

        return touch

    def _build_put(self) -> Native:
        layout, meter, touched, written = self._layout, self._meter, self._touched, self._written
        encode_key, spell, weigh = layout.encode_key, layout.spell_known, layout.weigh
        entries, started = self._entries, self._started

        def put(value: object, key: object = ()) -> None:
            weight = weigh if isinstance(weigh, int) else weigh(value, VALUE_WEIGHT_MAX)
            is_heavy = weight > VALUE_WEIGHT_MAX
            if is_heavy:
                weight = VALUE_WEIGHT_MAX  # how far it was weighed depends on the order of a dict
            left = meter[0] - gas.STORE_WEIGHT * weight
            meter[0] = left
            if left < 0:
                raise Abort("OUT_OF_GAS")
            if is_heavy:
                raise Abort("VALUE_SIZE")
            if not layout.is_plain:
                key = encode_key(key)
            if key not in touched:
                if key not in entries:
                    spell(key)  # refuses a key that is too long; known ones have passed
                charge(meter, gas.TOUCH)
                if not touched:
                    started.append(self)
            touched[key] = written[key] = (value, weight)

        return put
