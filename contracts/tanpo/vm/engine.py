"""The seam between a checked contract and whatever runs it.

A `Program` is prepared once per contract, an `Instance` opened once per contract and session. An engine must
follow the evaluation order, prices and line attribution of `tanpo.vm.ir`, so that two engines give the same
result, code, gas and line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from tanpo.vm import ir
from tanpo.vm.outcome import Native


class Host(Protocol):
    """What a session gives an instance: its meter, state, events and the way to other contracts."""

    @property
    def meter(self) -> list[int]:
        """One cell that holds the gas left."""

    def open_slot(self, slot: ir.Slot) -> Mapping[str, Native]:
        """Return the accessors of a slot of the contract."""

    def open_event(self, name: str, fields: tuple[str, ...]) -> Native:
        """Return the function that emits an event from a tuple of its values in the order of `fields`."""

    def open_import(self, contract: str, function: str) -> Native:
        """Return the function that calls another contract."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One contract in one session.

    `bind` sets sender, signers, time, height and tx_id for later calls. When a call has failed, `find_line`
    returns the source line at which the failure left this contract, 0 if it never ran, and `find_code` the
    runtime code of an error of CPython's that the contract itself met, empty if another did.
    """

    bind: Callable[[str, list[str], int, int, bytes], None]
    functions: Mapping[str, Native]
    find_line: Callable[[Exception], int]
    find_code: Callable[[Exception], str]


class Program(Protocol):
    """A contract ready to be opened in any session."""

    def open(self, host: Host) -> Instance:
        """Return an instance that works on the state of one session."""


Engine = Callable[[ir.Unit], Program]
"""Turns a checked contract into a program."""
