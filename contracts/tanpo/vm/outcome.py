"""What goes into a call besides its arguments, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from tanpo.ledger.receipt import Event
from tanpo.ledger.values import Fields, Value


class CallLike(Protocol):
    """What the machine needs of a call: `tanpo.ledger.transaction.Call` has it."""

    @property
    def contract(self) -> str:
        """The contract called."""

    @property
    def entry(self) -> str:
        """The entry point or view called."""

    @property
    def arguments(self) -> Fields:
        """The arguments in ascending order of name."""


class StateReader(Protocol):
    """The committed state beneath a block."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value stored under `key`, if any."""

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return up to `limit` entries with `start <= key < stop`, keys ascending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """What a contract sees as `ctx`: who calls, who signed, and where in the chain."""

    sender: str
    signers: tuple[str, ...]
    time_ms: int
    height: int
    tx_id: bytes


class Outcome(NamedTuple):
    """The result of one call, the same on every node; a tuple, because it takes half as long to make.

    On success `code` is empty and `value` is the result, `()` for none. On failure nothing was changed,
    `code` says why, `details` holds the values given to `require` or `abort`, and `contract` and `line` say
    where; line 0 means that the call failed before the first line ran.
    """

    ok: bool
    code: str
    details: Fields
    contract: str
    line: int
    gas_used: int
    value: Value | None
    events: tuple[Event, ...]


class Abort(Exception):
    """Ends a transaction with a code. Raised by contracts and by the helpers that run for them."""

    def __init__(self, code: str, details: Fields = ()) -> None:
        super().__init__(code)
        self.code = code
        self.details = details


Native = Callable[..., object]
"""A generated function: takes and returns native values."""
