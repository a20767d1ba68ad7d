"""The closures of one contract: prepared function by function, when each is first called in a session."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from tanpo.vm import ir
from tanpo.vm.closures.depth import measure_frames
from tanpo.vm.closures.statements import build_function
from tanpo.vm.closures.world import World, open_world
from tanpo.vm.engine import Host, Instance
from tanpo.vm.limits import CALL_DEPTH_MAX
from tanpo.vm.outcome import Native

FRAMES_SPARE: Final = 1_000
"""What Python grants before anybody asks: left to whoever calls the machine."""


class ClosureProgram:
    """A contract ready to be opened. Nothing of it is executed as text, not even as generated text."""

    __slots__ = ("_bodies", "_frames", "_unit")

    def __init__(self, unit: ir.Unit) -> None:
        self._unit = unit
        self._bodies = {function.name: function for function in unit.functions}
        self._frames = measure_frames(unit)

    def open(self, host: Host) -> Instance:
        """Return an instance that works on the state of one session."""
        functions = _Functions(self._bodies)
        world = open_world(self._unit, host, functions)
        functions.world = world
        return Instance(
            bind=_build_bind(world),
            functions={name: self._build_door(world, name) for name in self._bodies},
            find_line=lambda _: world.line[0],
            find_code=lambda _: "",
        )

    def _build_door(self, world: World, name: str) -> Native:
        """Return the function through which a session calls `name`.

        While it runs, Python's limit of nested calls is as high as this contract may need: closures nest
        where generated code does not, and must not fail where it succeeds.
        """
        needed = FRAMES_SPARE + CALL_DEPTH_MAX * self._frames

        def enter(*arguments: object) -> object:
            world.line[0] = 0
            limit = sys.getrecursionlimit()
            sys.setrecursionlimit(max(limit, needed))
            try:
                return world.functions[name](list(arguments))
            finally:
                sys.setrecursionlimit(limit)

        return enter


def build_closures(unit: ir.Unit) -> ClosureProgram:
    """Return the program of a contract."""
    return ClosureProgram(unit)


class _Functions(dict[str, Callable[[list[Any]], object]]):
    """The functions of a contract by name, each built when it is first asked for."""

    def __init__(self, bodies: dict[str, ir.FunctionBody]) -> None:
        super().__init__()
        self._bodies = bodies
        self.world: World | None = None

    def __missing__(self, name: str) -> Callable[[list[Any]], object]:
        if self.world is None:
            raise KeyError(name)
        self[name] = function = build_function(self.world, self._bodies[name])
        return function


def _build_bind(world: World) -> Callable[[str, list[str], int, int, bytes], None]:
    def bind(sender: str, signers: list[str], time: int, height: int, tx_id: bytes) -> None:
        world.context.update(sender=sender, signers=signers, time=time, height=height, tx_id=tx_id)

    return bind
