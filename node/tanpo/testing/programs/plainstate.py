"""State, events and calls between contracts for programs on CPython: dicts that are copied in and out."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any, Final

from tanpo.testing.programs.prelude import Halt, copy_value, export_value

Event = tuple[str, str, tuple[tuple[str, object], ...]]

_PAGE_MAX: Final = 100


class Chain:
    """What the contracts of one program share: state, events, and who is calling."""

    def __init__(self) -> None:
        self.state: dict[tuple[str, str], Any] = {}
        self.events: list[Event] = []
        self.senders: list[tuple[str, str]] = []
        self.signer = ""
        self.time_ms = 0
        self._before: dict[tuple[str, str], Any] = {}

    def begin(self, sender: str, time_ms: int) -> None:
        """Begin a call from outside."""
        self._before = {place: copy_value(value) for place, value in self.state.items()}
        self.signer, self.time_ms = sender, time_ms
        self.senders.clear()
        self.events.clear()

    def end(self, *, is_kept: bool) -> tuple[Event, ...]:
        """End a call: keep what it did and return its events, or undo everything."""
        if is_kept:
            return tuple(self.events)
        self.state = self._before
        return ()

    def enter(self, contract: str, sender: str, call: Callable[[], Any]) -> Any:
        """Run `call` as `contract`, called by `sender`."""
        self.senders.append((contract, sender))
        result = call()
        self.senders.pop()
        return result


class Map:
    """A `Map` in the state."""

    def __init__(self, chain: Chain, place: tuple[str, str]) -> None:
        self._chain = chain
        self._place = place

    @property
    def _entries(self) -> dict[Any, Any]:
        entries: dict[Any, Any] = self._chain.state.setdefault(self._place, {})
        return entries

    def __getitem__(self, key: Any) -> Any:
        if key not in self._entries:
            raise Halt("STATE_MISSING")
        return copy_value(self._entries[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._entries[key] = copy_value(value)

    def __delitem__(self, key: Any) -> None:
        if key not in self._entries:
            raise Halt("STATE_MISSING")
        del self._entries[key]

    def __contains__(self, key: Any) -> bool:
        return key in self._entries

    def get(self, key: Any, default: Any) -> Any:
        """Return a copy of the entry, or of the default."""
        return copy_value(self._entries.get(key, default))


class Index:
    """An `Index` in the state."""

    def __init__(self, chain: Chain, place: tuple[str, str]) -> None:
        self._chain = chain
        self._place = place

    def _members(self, group: Any) -> list[Any]:
        groups: dict[Any, list[Any]] = self._chain.state.setdefault(self._place, {})
        return groups.setdefault(group, [])

    def add(self, group: Any, member: Any) -> None:
        """Add a member."""
        members = self._members(group)
        if member not in members:
            members.append(member)
            members.sort()

    def remove(self, group: Any, member: Any) -> None:
        """Remove a member."""
        members = self._members(group)
        if member in members:
            members.remove(member)

    def contains(self, group: Any, member: Any) -> bool:
        """Tell whether the group has this member."""
        return member in self._members(group)

    def first(self, group: Any, limit: int) -> list[Any]:
        """Return the first members."""
        if not 0 < limit <= _PAGE_MAX:
            raise IndexError
        return self._members(group)[:limit]

    def page(self, group: Any, after: Any, limit: int) -> list[Any]:
        """Return the next members after one."""
        if not 0 < limit <= _PAGE_MAX:
            raise IndexError
        members = self._members(group)
        start = bisect_right(members, after)
        return members[start : start + limit]


class Context:
    """What a contract sees as `ctx`."""

    height = 7
    tx_id = bytes(32)

    def __init__(self, chain: Chain, contract: str) -> None:
        self._chain = chain
        self.contract = contract

    @property
    def sender(self) -> str:
        """The immediate caller."""
        return self._chain.senders[-1][1]

    @property
    def signers(self) -> list[str]:
        """Who signed, as a list of the caller's own."""
        return [self._chain.signer]

    @property
    def time(self) -> int:
        """The time of the block."""
        return self._chain.time_ms


class Handle:
    """Another contract: its records and functions by name."""

    def __init__(self, chain: Chain, caller: str, contract: str, names: Mapping[str, Any]) -> None:
        self._chain = chain
        self._caller = caller
        self._contract = contract
        self._names = names

    def __getattr__(self, name: str) -> Any:
        target = self._names[name]
        if isinstance(target, type):
            return target

        def call(*values: Any, **named: Any) -> Any:
            given = [copy_value(value) for value in values]
            given_named = {key: copy_value(value) for key, value in named.items()}
            return copy_value(
                self._chain.enter(
                    self._contract, f"contract:{self._caller}", lambda: target(*given, **given_named)
                )
            )

        return call


def build_names(chain: Chain, contract: str, slots: Mapping[str, str]) -> dict[str, Any]:
    """Return what the translation of one contract finds under its own names and those it was given."""

    def read(name: str) -> Any:
        if (contract, name) not in chain.state:
            raise Halt("STATE_MISSING")
        return copy_value(chain.state[contract, name])

    def write(name: str, value: Any) -> None:
        chain.state[contract, name] = copy_value(value)

    def emit(event: str, **fields: Any) -> None:
        shown = tuple(sorted((name, export_value(value)) for name, value in fields.items()))
        chain.events.append((contract, event, shown))

    kinds: dict[str, Callable[[Chain, tuple[str, str]], Any]] = {"Map": Map, "Index": Index}
    holders = {name: kinds[kind](chain, (contract, name)) for name, kind in slots.items() if kind in kinds}
    return {"read_": read, "write_": write, "emit": emit, "ctx": Context(chain, contract), **holders}
