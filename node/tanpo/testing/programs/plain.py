"""The same program on CPython itself: the author's text, with the borders of the dialect put in.

An independent reading of the language: none of the machine's own code takes part. What gas, weights and the
limits on sizes do is left to the machine; calls that it ended by them are not repeated here.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tanpo.ledger.values import Value
from tanpo.testing.programs.kinds import Kind
from tanpo.testing.programs.model import Contract, Step
from tanpo.testing.programs.plainstate import Chain, Event, Handle, build_names
from tanpo.testing.programs.prelude import NAMES, Halt, export_value
from tanpo.testing.programs.translation import translate

LEFT_TO_THE_MACHINE: Final = frozenset(("OUT_OF_GAS", "VALUE_SIZE", "KEY_RANGE", "REENTRANT", "CALL_DEPTH"))
"""Codes that CPython has no notion of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainOutcome:
    """What CPython made of a call."""

    code: str
    details: tuple[tuple[str, object], ...]
    value: object
    events: tuple[Event, ...]


class PlainRun:
    """Contracts opened on CPython; each may call those before it."""

    def __init__(self, contracts: tuple[Contract, ...]) -> None:
        self._chain = Chain()
        self._names: dict[str, dict[str, Any]] = {}
        self._shapes: dict[tuple[str, str], tuple[tuple[str, Kind], ...]] = {}
        for contract in contracts:
            self._names[contract.name] = self._open(contract)
            for function in contract.functions:
                self._shapes[contract.name, function.name] = function.parameters

    def run(self, contract: str, name: str, step: Step) -> PlainOutcome:
        """Make one call: all of its writes and events, or none."""
        names = self._names[contract]
        if name not in names:
            return PlainOutcome(code="", details=(), value=(), events=())
        kinds = dict(self._shapes[contract, name])
        given = {key: _import_value(value, kinds[key], names) for key, value in step.arguments}
        self._chain.begin(step.sender, step.time_ms)
        code, details, value = "", (), None  # type: tuple[str, tuple[tuple[str, object], ...], object]
        try:
            value = export_value(self._chain.enter(contract, step.sender, lambda: names[name](**given)))
        except Halt as halt:
            code, details = halt.code, halt.details
        except ZeroDivisionError:
            code = "DIV_ZERO"
        except IndexError:
            code = "INDEX"
        except KeyError:
            code = "KEY"
        events = self._chain.end(is_kept=not code)
        return PlainOutcome(code=code, details=details, value=value, events=events)

    def _open(self, contract: Contract) -> dict[str, Any]:
        tree, slots, handles = translate(ast.parse(contract.write()))
        names: dict[str, Any] = {**NAMES, **build_names(self._chain, contract.name, slots)}
        for handle, other in handles.items():
            names[handle] = Handle(self._chain, contract.name, other, self._names[other])
        code = compile(tree, f"<plain {contract.name}>", "exec", annotations.compiler_flag)
        exec(code, names)  # noqa: S102 - random programs of our own
        return names


def _import_value(value: Value, kind: Kind, names: Mapping[str, Any]) -> Any:
    """Return an argument from outside as the program holds it."""
    match kind.form:
        case "list":
            return [_import_value(item, kind.parts[0], names) for item in _items(value)]
        case "tuple":
            return tuple(
                _import_value(item, part, names) for item, part in zip(_items(value), kind.parts, strict=True)
            )
        case "dict":
            return {
                _items(pair)[0]: _import_value(_items(pair)[1], kind.parts[1], names)
                for pair in _items(value)
            }
        case "record":
            handle, _, name = kind.text.rpartition(".")
            declared = getattr(names[handle], name) if handle else names[name]
            given = value if isinstance(value, Mapping) else {}
            return declared(
                **{field: _import_value(given[field], part, names) for field, part in kind.fields}
            )
    return value


def _items(value: Value) -> tuple[Value, ...]:
    return value if isinstance(value, tuple) else ()
