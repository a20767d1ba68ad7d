"""An `Index` of one contract within one block: members of a group, listed page by page in their order."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nsmallest
from typing import Final

from tanpo.ledger.errors import CorruptState, Reason
from tanpo.ledger.statekey import index_key
from tanpo.vm import gas, ir
from tanpo.vm.helpers import Meter, charge
from tanpo.vm.keycodec import build_key_encoder, build_member_codec, slot_prefix
from tanpo.vm.limits import PAGE_MAX
from tanpo.vm.outcome import Abort, Native, StateReader
from tanpo.vm.slots import Entry, Journal

SCAN_MAX: Final = 256
"""How many entries a page takes from the state at once, if it has to step over deleted ones."""

_PRESENT: Entry = (True, 1)
_MISSING: Entry = (False, 1)


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

    __slots__ = ("_committed", "_journal", "_layout", "_meter", "_reader", "_touched", "groups")

    def __init__(self, layout: IndexLayout, meter: Meter, journal: Journal, reader: StateReader) -> None:
        self._layout = layout
        self._meter = meter
        self._journal = journal
        self._reader = reader
        self.groups: dict[bytes, dict[object, Entry]] = {}
        self._committed: dict[bytes, dict[object, Entry]] = {}
        self._touched: dict[bytes, dict[object, Entry]] = {}

    def clear(self) -> None:
        """Forget everything read and written."""
        self.groups.clear()
        self._committed.clear()
        self._touched.clear()

    def collect(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield every entry that differs from the committed one: an empty value where present, else None."""
        for group, touched in self._touched.items():
            members, committed = self.groups[group], self._committed[group]
            for member in touched:
                if members[member] is not committed[member] and isinstance(member, bytes):
                    yield index_key(group, member), b"" if members[member] is _PRESENT else None

    def build_accessors(self) -> dict[str, Native]:
        """Return add, remove, contains, page and first for generated code."""
        layout = self._layout

        def add(group: object, member: object) -> None:
            self._write(self._spell_group(group), layout.encode_member(member), _PRESENT)

        def remove(group: object, member: object) -> None:
            self._write(self._spell_group(group), layout.encode_member(member), _MISSING)

        def contains(group: object, member: object) -> bool:
            return self._is_present(self._spell_group(group), layout.encode_member(member))

        def page(group: object, after: object, limit: int) -> list[object]:
            return self._list(self._spell_group(group), layout.encode_member(after) + b"\x00", limit)

        def first(group: object, limit: int) -> list[object]:
            return self._list(self._spell_group(group), b"", limit)

        return {"add": add, "remove": remove, "contains": contains, "page": page, "first": first}

    def _spell_group(self, group: object) -> bytes:
        spelled = self._layout.encode_group(group)
        return self._layout.prefix + len(spelled).to_bytes(2, "big") + spelled

    def _is_present(self, group: bytes, member: bytes) -> bool:
        members = self.groups.setdefault(group, {})
        entry = members.get(member)
        if entry is None:
            entry = _MISSING if self._reader.get(index_key(group, member)) is None else _PRESENT
            members[member] = entry
            self._committed.setdefault(group, {})[member] = entry
        return entry is _PRESENT

    def _write(self, group: bytes, member: bytes, entry: Entry) -> None:
        if self._is_present(group, member) == (entry is _PRESENT):
            return
        members = self.groups[group]
        touched = self._touched.setdefault(group, {})
        if member not in touched:
            # Undone with the transaction: a page of another one is not dearer for what came to nothing.
            touched[member] = _PRESENT
            self._journal.append((touched, {}, member, None))
        self._journal.append((members, {}, member, members[member]))
        members[member] = entry

    def _list(self, group: bytes, start: bytes, limit: int) -> list[object]:
        if not 0 < limit <= PAGE_MAX:
            raise Abort("INDEX", (("limit", PAGE_MAX), ("value", limit)))
        charge(self._meter, limit * self._layout.item_price)
        # Priced by what this block wrote to the group, never by what happens to be cached.
        touched = self._touched.get(group, {})
        charge(self._meter, len(touched) * gas.PAGE_TOUCHED)
        members = self.groups.get(group, {})
        added = {
            member
            for member in touched
            if isinstance(member, bytes) and members[member] is _PRESENT and member >= start
        }
        listed = self._scan(group, start, limit, members)
        if added:
            added.update(listed)
            listed = nsmallest(limit, added)
        return [self._decode(member) for member in listed]

    def _scan(self, group: bytes, start: bytes, limit: int, members: dict[object, Entry]) -> list[bytes]:
        """Return the next committed members that were not removed in this block."""
        stop = _successor(index_key(group, b""))
        cursor = index_key(group, start)
        size = len(index_key(group, b""))
        found: list[bytes] = []
        most = limit
        while len(found) < limit:
            entries = self._reader.scan(cursor, stop, most)
            kept = [
                member for member in [key[size:] for key, _ in entries] if members.get(member) is not _MISSING
            ]
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


def _successor(prefix: bytes) -> bytes:
    """Return the least key that is above every key with this prefix."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,))
