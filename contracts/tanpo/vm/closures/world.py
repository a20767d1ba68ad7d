"""What the closures of one contract share in one session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tanpo.vm import ir
from tanpo.vm.engine import Host
from tanpo.vm.helpers import Meter, build_helpers
from tanpo.vm.outcome import Native
from tanpo.vm.typed_helpers import build_typed_helper
from tanpo.vm.types import Type

Frame = dict[str, Any]
"""The locals of one running function by name."""

Compute = Callable[[Frame], Any]
"""A prepared expression: evaluates itself in a frame."""


@dataclass(slots=True, kw_only=True)
class World:
    """Meter, state, events, other contracts, and where in the source the contract stands.

    `line` is one cell: every statement writes its line there before it does anything, and a call puts the
    caller's back. `context` is what `ctx` shows. `functions` are those of the contract, prepared when first
    called.
    """

    contract: str
    meter: Meter
    helpers: Mapping[str, Native]
    slots: Mapping[str, Mapping[str, Native]]
    events: Mapping[str, Native]
    imports: Mapping[object, Native]
    functions: Mapping[str, Callable[[list[Any]], object]]
    line: list[int] = field(default_factory=lambda: [0])
    context: dict[str, Any] = field(default_factory=dict)

    def build_helper(self, purpose: str, kind: Type) -> Native:
        """Return the helper that does `purpose` on values of type `kind`."""
        return build_typed_helper(purpose, kind)(self.meter)


def open_world(unit: ir.Unit, host: Host, functions: Mapping[str, Callable[[list[Any]], object]]) -> World:
    """Return the world of a contract over the state of one session."""
    return World(
        contract=unit.contract,
        meter=host.meter,
        helpers=build_helpers(host.meter),
        slots={slot.name: host.open_slot(slot) for slot in unit.slots},
        events={
            event.name: host.open_event(event.name, tuple(part.name for part in event.fields))
            for event in unit.interface.events
        },
        imports={
            (handle, function): host.open_import(contract, function)
            for handle, contract, function in unit.imports
        },
        functions=functions,
    )
