"""An `Index` of one contract within one block: members of a group, listed page by page in their order."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nsmallest
from typing import Final

from tanpo.ledger.errors import CorruptState, Reason
from tanpo.ledger.statekey import KEY_BYTES_MAX, compute_stop, index_key
from tanpo.vm import gas, ir
from tanpo.vm.helpers import Meter, charge
from tanpo.vm.keycodec import build_key_encoder, build_member_codec, slot_prefix
from tanpo.vm.limits import PAGE_MAX
from tanpo.vm.outcome import Abort, Native, StateReader
from tanpo.vm.slots import Undoable

SCAN_MAX: Final = 256
"""How many entries a page takes from the state at once, if it has to step over deleted ones."""


class IndexLayout:
    """How one `Index` is spelled: the same for every session."""

    __slots__ = ("decode_member", "encode_group", "encode_member", "item_price", "prefix")

    def __init__(self, contract: str, slot: ir.IndexSlot) -> None:
        self.prefix = slot_prefix(contract, slot.name)
        self.encode_group = build_key_encoder(slot.group)
        self.encode_member, self.decode_member = build_member_codec(slot.member)
        self.item_price = gas.PAGE_ITEM + gas.price_key(slot.member)


class IndexState:
    """One `Index` in one session: what was added and removed, above what is committed."""

    __slots__ = (
        "_changed",
        "_committed",
        "_layout",
        "_meter",
        "_reader",
        "_started",
        "_touched",
        "_written",
    )

    def __init__(
        self, layout: IndexLayout, meter: Meter, started: list[Undoable], reader: StateReader
    ) -> None:
        self._layout = layout
        self._meter = meter
        self._started = started
        self._reader = reader
        self._committed: dict[bytes, bool] = {}
        self._changed: dict[bytes, dict[bytes, bool]] = {}
        self._touched: dict[bytes, bool] = {}
        self._written: dict[bytes, dict[bytes, bool]] = {}

    def clear(self) -> None:
        """Forget everything read and written."""
        self._committed.clear()
        self._changed.clear()

    def keep(self) -> None:
        """Let the writes of the transaction that ends be those of the block."""
        for group, members in self._written.items():
            self._changed.setdefault(group, {}).update(members)
        self.undo()

    def undo(self) -> None:
        """Forget what the transaction that ends has touched and written."""
        self._touched.clear()
        self._written.clear()

    def collect(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield every entry that differs from the committed one: an empty value where present, else None."""
        for group, members in self._changed.items():
            for member, is_present in members.items():
                key = index_key(group, member)
                if is_present != self._committed[key]:
                    yield key, b"" if is_present else None

    def build_accessors(self) -> dict[str, Native]:
        """Return add, remove, contains, page and first for generated code."""
        layout = self._layout

        def add(group: object, member: object) -> None:
            self._write(self._spell_group(group), layout.encode_member(member), is_present=True)

        def remove(group: object, member: object) -> None:
            self._write(self._spell_group(group), layout.encode_member(member), is_present=False)

        def contains(group: object, member: object) -> bool:
            return self._find(self._spell_group(group), layout.encode_member(member))

        def page(group: object, after: object, limit: int) -> list[object]:
            return self._list(self._spell_group(group), layout.encode_member(after) + b"\x00", limit)

        def first(group: object, limit: int) -> list[object]:
            return self._list(self._spell_group(group), b"", limit)

        return {"add": add, "remove": remove, "contains": contains, "page": page, "first": first}

    def _spell_group(self, group: object) -> bytes:
        spelled = self._layout.encode_group(group)
        return self._layout.prefix + len(spelled).to_bytes(2, "big") + spelled

    def _find(self, group: bytes, member: bytes) -> bool:
        """Tell whether a member is in its group; what is touched for the first time is paid for."""
        key = index_key(group, member)
        known = self._touched.get(key)
        if known is None:
            if len(key) > KEY_BYTES_MAX:
                raise Abort("KEY_RANGE", (("limit", KEY_BYTES_MAX), ("size", len(key))))
            charge(self._meter, gas.TOUCH)
            if not self._touched:
                self._started.append(self)
            known = self._changed.get(group, {}).get(member)
            if known is None:
                known = self._committed.get(key)
            if known is None:
                known = self._committed[key] = self._reader.get(key) is not None
            self._touched[key] = known
        return known

    def _write(self, group: bytes, member: bytes, *, is_present: bool) -> None:
        if self._find(group, member) != is_present:
            self._touched[index_key(group, member)] = is_present
            self._written.setdefault(group, {})[member] = is_present

    def _list(self, group: bytes, start: bytes, limit: int) -> list[object]:
        if not 0 < limit <= PAGE_MAX:
            raise Abort("INDEX", (("limit", PAGE_MAX), ("value", limit)))
        charge(self._meter, limit * self._layout.item_price)
        # Priced by what this block wrote to the group, never by what happens to be cached.
        before, own = self._changed.get(group, {}), self._written.get(group, {})
        charge(self._meter, (len(before) + len(own)) * gas.PAGE_TOUCHED)
        written = before | own
        added = {member for member, is_present in written.items() if is_present and member >= start}
        listed = self._scan(group, start, limit, written)
        if added:
            added.update(listed)
            listed = nsmallest(limit, added)
        return [self._decode(member) for member in listed]

    def _scan(self, group: bytes, start: bytes, limit: int, written: dict[bytes, bool]) -> list[bytes]:
        """Return the next committed members that were not removed in this block."""
        stop = compute_stop(index_key(group, b""))
        cursor = index_key(group, start)
        size = len(index_key(group, b""))
        found: list[bytes] = []
        most = limit
        while len(found) < limit:
            charge(self._meter, gas.SCAN)
            entries = self._reader.scan(cursor, stop, most)
            kept = [member for member in [key[size:] for key, _ in entries] if written.get(member, True)]
            charge(self._meter, (len(entries) - len(kept)) * gas.PAGE_ITEM)
            found += kept
            if len(entries) < most:
                break
            cursor = entries[-1][0] + b"\x00"
            # A scan takes longer than to step over an entry, and a page may step over thousands.
            most = min(2 * most, SCAN_MAX)
        return found[:limit]

    def _decode(self, member: bytes) -> object:
        try:
            return self._layout.decode_member(member)
        except (IndexError, UnicodeDecodeError):
            raise CorruptState(Reason.DATA_CORRUPT, "index entry is no member", value=member.hex()) from None
