"""Writes whole random programs: a contract, and what is done with it. A seed always gives the same one."""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import Final

from tanpo.testing.programs.callees import CALLEE, CALLER, PING, Callee, build_ring, build_tower
from tanpo.testing.programs.kinds import BOOL, BYTES, INT, NOTHING, SCALARS, STR, Kind, draw_pool
from tanpo.testing.programs.model import Contract, Function, Program, Statement, Step
from tanpo.testing.programs.scope import Callable, Module
from tanpo.testing.programs.statements import StatementWriter
from tanpo.testing.programs.values import draw_value

CALLEES: Final = 24
"""How many callees there are; all but the last two are drawn from seeds of their own."""

_KEYS: Final = (INT, STR, STR, BYTES, BOOL)


def write_program(seed: int) -> Program:
    """Return the program that this seed stands for."""
    random = Random(f"program/{seed}")  # noqa: S311 - replayed, not secret
    callee = random.randrange(CALLEES) if random.random() < 0.3 else None
    writer = _ContractWriter(random, CALLER, None if callee is None else write_callee(callee))
    contract = writer.write()
    return Program(
        contract=contract,
        callee=callee,
        steps=_draw_steps(random, contract.functions),
        is_plain=writer.module.is_plain and (callee is None or write_callee(callee).is_plain),
    )


@lru_cache(maxsize=CALLEES)
def write_callee(number: int) -> Callee:
    """Return one of the callees."""
    if number == CALLEES - 1:
        return build_ring()
    if number == CALLEES - 2:
        return build_tower()
    random = Random(f"callee/{number}")  # noqa: S311 - replayed, not secret
    writer = _ContractWriter(random, CALLEE, None)
    return Callee(contracts=(writer.write(),), is_plain=writer.module.is_plain)


class _ContractWriter:
    """Writes one contract from top to bottom."""

    def __init__(self, random: Random, name: str, callee: Callee | None) -> None:
        self._random = random
        self._name = name
        self._callee = callee
        self.module = Module(random=random, pool=draw_pool(random))
        self._writer = StatementWriter(random, self.module)

    def write(self) -> Contract:
        """Return the contract."""
        module, random = self.module, self._random
        declarations = [line for record in module.pool.records for line in _write_record(record)]
        imported = self._import(declarations)
        module.settle()
        declarations += self._declare_constants()
        self._declare_state(declarations)
        module.settle_state()
        for function in imported:
            module.add_call(function)
        functions = [self._write_function(place, "helper") for place in range(random.choice((0, 0, 1, 1, 2)))]
        functions += [self._write_function(8, "view")] if random.random() < 0.15 else []
        functions += [
            self._write_function(10 + place, "entry") for place in range(random.choice((1, 1, 1, 2)))
        ]
        if random.random() < 0.9:
            functions.append(self._write_setup())
        if self._callee is not None and self._callee.calls_back:
            functions.append(PING)
        return Contract(name=self._name, declarations=declarations, functions=functions)

    def _import(self, declarations: list[str]) -> list[Callable]:
        """Declare the handle of the callee, and return what it offers."""
        if self._callee is None:
            return []
        declarations.append(f'h: Contract["{CALLEE}"]')
        pool, offered = self.module.pool, []
        for function in self._callee.offered:
            offered.append(
                Callable(
                    name=f"h.{function.name}",
                    parameters=tuple((name, pool.adopt(kind, "h")) for name, kind in function.parameters),
                    returns=pool.adopt(function.returns, "h"),
                    writes=function.kind == "entry",
                )
            )
        return offered

    def _declare_constants(self) -> list[str]:
        if self._random.random() < 0.6:
            return []
        number = self._random.randrange(-9, 300)
        self.module.constants = {INT: ["C1", "C2"], STR: ["C3"]}
        return [f"C1 = {number}", f"C2 = C1 * 3 - {number % 7}", "C3: str = 'c-3'"]

    def _declare_state(self, declarations: list[str]) -> None:
        module, random = self.module, self._random
        for place in range(random.randrange(3)):
            module.variables.append((f"g{place}", module.draw("any")))
        keys = [*_KEYS, *(kind for kind in module.pool.kinds.values() if kind.form == "tuple")]
        keys = [key for key in keys if all(part in SCALARS for part in key.parts)]
        for place in range(random.randrange(3)):
            module.maps.append((f"m{place}", random.choice(keys), module.draw("any")))
        if random.random() < 0.3:
            module.indexes.append(("x0", random.choice(_KEYS), random.choice(keys)))
        for place in range(1 + random.randrange(2)):
            fields = [(f"e{number}", module.draw("any")) for number in range(random.randrange(3))]
            module.events.append((f"Event{place}", tuple(fields)))
        declarations += [f"{name}: {kind.text}" for name, kind in module.variables]
        declarations += [f"{name}: Map[{key.text}, {value.text}]" for name, key, value in module.maps]
        declarations += [f"{name}: Index[{one.text}, {two.text}]" for name, one, two in module.indexes]

    def _write_function(self, place: int, kind: str) -> Function:
        module, random = self.module, self._random
        parameters = tuple((f"p{number}", module.draw("any")) for number in range(random.randrange(3)))
        returns = NOTHING if random.random() < 0.15 else module.draw("any")
        writes = kind == "entry" or (kind == "helper" and random.random() < 0.5)
        body = self._write_body(
            parameters, returns, random.randrange(1, 5 if kind == "entry" else 3), writes=writes
        )
        name = f"f{place}"
        module.add_call(Callable(name=name, parameters=parameters, returns=returns, writes=writes))
        return Function(
            name=name, kind=kind, parameters=parameters, returns=returns, body=body, writes=writes
        )

    def _write_body(
        self, parameters: tuple[tuple[str, Kind], ...], returns: Kind, size: int, *, writes: bool
    ) -> list[Statement]:
        writer = self._writer
        writer.restart(may_write=writes)
        for name, kind in parameters:
            writer.scope.add(kind, name)
        return writer.body(size, 2, returns)

    def _write_setup(self) -> Function:
        """Return an `@init` that gives the state values, most of the time."""
        module, writer = self.module, self._writer
        writer.restart(may_write=True)
        # Mostly plain values: what cannot fail leaves a state that the calls after it can read.
        depth = 1 if self._random.random() < 0.15 else 0
        body = [Statement(writer.fit(f"{name} = ", kind, depth=depth)) for name, kind in module.variables]
        for name, key, value in (*module.maps, *module.maps):
            body.append(Statement(writer.fit(f"{name}[{writer.key(key, 0)}] = ", value, depth=depth)))
        body += [
            Statement(f"{name}.add({writer.key(one, 0)}, {writer.key(two, 0)})")
            for name, one, two in module.indexes
        ]
        return Function(name="setup", kind="init", parameters=(), returns=NOTHING, body=body, writes=True)


def _write_record(record: Kind) -> list[str]:
    fields = [f"    {name}: {kind.text}" for name, kind in record.fields]
    return ["\n".join(["@record", f"class {record.text}:", *fields])]


def _draw_steps(random: Random, functions: list[Function]) -> tuple[Step, ...]:
    doors = [one for one in functions if one.kind in ("entry", "view")]
    steps = [Step(entry="", kind="init")]
    for number in range(random.randrange(2, 6)):
        if number and random.random() < 0.25:
            steps.append(Step(entry="", kind="commit"))
        door = doors[int(random.random() * len(doors))]
        steps.append(
            Step(
                entry=door.name,
                kind=door.kind,
                arguments=tuple((name, draw_value(random, kind)) for name, kind in door.parameters),
                sender=random.choice(("alice", "alice", "bob")),
                time_ms=random.randrange(1, 5_000),
                gas_limit=_draw_gas(random),
            )
        )
    return tuple(steps)


def _draw_gas(random: Random) -> int:
    chance = random.random()
    if chance < 0.7:
        return 20_000
    return random.randrange(1, 2_000 if chance < 0.95 else 60_000)
