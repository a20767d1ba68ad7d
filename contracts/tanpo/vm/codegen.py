"""The engine that writes Python: typed representation in, one freshly generated module out.

The text consists of our own templates, mangled names and the `repr` of checked literals. It runs with empty
builtins and reaches nothing but the helpers handed to its one outer function. Every statement stands on a
line of its own, so that a traceback names the source line on every version of Python.
"""

from __future__ import annotations

from types import CodeType
from typing import Final

from tanpo.ledger.errors import invariant
from tanpo.vm import ir
from tanpo.vm.emitter import Emitter
from tanpo.vm.engine import Host, Instance
from tanpo.vm.helpers import build_helpers
from tanpo.vm.limits import INT_MAX, INT_MIN
from tanpo.vm.texts import ExpressionText, literal_text
from tanpo.vm.typed_helpers import Factory, build_typed_helper
from tanpo.vm.types import Type

_INDENT: Final = "    "


MAP_ACCESSORS: Final = ("get", "find", "has", "put", "erase")
INDEX_ACCESSORS: Final = ("add", "remove", "contains", "page", "first")
"""What a slot offers, by kind; a session must provide exactly these."""


class GeneratedProgram:
    """The generated module of one contract, compiled."""

    __slots__ = ("_code", "_factories", "_filename", "_lines", "_names", "_unit")

    def __init__(
        self, unit: ir.Unit, code: CodeType, lines: list[int], factories: dict[str, Factory]
    ) -> None:
        self._unit = unit
        self._code = code
        self._filename = code.co_filename
        self._lines = lines
        self._factories = factories
        self._names = _environment_names(unit, list(factories))

    def open(self, host: Host) -> Instance:
        """Return an instance that works on the state of one session."""
        environment: dict[str, object] = {"m": host.meter, "LO": INT_MIN, "HI": INT_MAX}
        environment.update({f"h_{name}": helper for name, helper in build_helpers(host.meter).items()})
        environment.update({name: factory(host.meter) for name, factory in self._factories.items()})
        for slot in self._unit.slots:
            for name, accessor in host.open_slot(slot).items():
                environment[f"s_{name}_{slot.name}"] = accessor
        for event in self._unit.interface.events:
            # Values travel in ascending order of field, see Emitter.
            environment[f"e_{event.name}"] = host.open_event(
                event.name, tuple(item.name for item in event.fields)
            )
        for position, (_, contract, function) in enumerate(self._unit.imports):
            environment[f"x_{position}"] = host.open_import(contract, function)
        module: dict[str, object] = {"__builtins__": {}}
        # Our own text, compiled from checked input: the one place where generated code is entered.
        exec(self._code, module)  # noqa: S102 - see above
        make = module["make"]
        invariant(callable(make), "generated module has no make")
        # By place: CPython seeks each name among all, and a source may have thousands of accessors.
        given = [environment[name] for name in self._names]
        bind, functions = make(*given)  # type: ignore[operator]  # checked above
        return Instance(bind=bind, functions=functions, find_line=self._find_line, find_code=self._find_code)

    def _find_line(self, error: Exception) -> int:
        line, traceback = 0, error.__traceback__
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename == self._filename:
                line = self._lines[traceback.tb_lineno - 1] or line
            traceback = traceback.tb_next
        return line

    def _find_code(self, error: Exception) -> str:
        traceback = error.__traceback__
        while traceback is not None and traceback.tb_next is not None:
            traceback = traceback.tb_next
        is_own = traceback is not None and traceback.tb_frame.f_code.co_filename == self._filename
        return _CODES.get(type(error), "") if is_own else ""


_CODES: Final[dict[type[Exception], str]] = {ZeroDivisionError: "DIV_ZERO", IndexError: "INDEX"}
"""What generated code lets CPython detect; nothing else of CPython's may come out of it."""


def build_program(unit: ir.Unit) -> GeneratedProgram:
    """Generate, compile and return the program of a contract."""
    text, lines, needs = generate(unit)
    factories = {name: build_typed_helper(purpose, kind) for (purpose, kind), name in needs.items()}
    code = compile(text, f"<contract {unit.contract}>", "exec", dont_inherit=True, optimize=0)
    return GeneratedProgram(unit, code, lines, factories)


def generate(unit: ir.Unit) -> tuple[str, list[int], dict[tuple[str, Type], str]]:
    """Return the generated text, the source line of each of its lines, and the typed helpers it needs."""
    texts = ExpressionText(unit)
    emitter = Emitter(texts)
    emitter.write("c_sender = ''")
    emitter.write("c_signers = []")
    emitter.write("c_time = c_height = 0")
    emitter.write("c_tx_id = b''")
    emitter.write("def bind(ctx_sender, ctx_signers, ctx_time, ctx_height, ctx_tx_id):")
    emitter.write(f"{_INDENT}nonlocal c_sender, c_signers, c_time, c_height, c_tx_id")
    for name in ("sender", "signers", "time", "height", "tx_id"):
        emitter.write(f"{_INDENT}c_{name} = ctx_{name}")
    for function in unit.functions:
        emitter.write_function(function)
    table = ", ".join(f"{literal_text(function.name)}: f_{function.name}" for function in unit.functions)
    emitter.write(f"return bind, {{{table}}}")
    names = ", ".join(_environment_names(unit, list(texts.needs.values())))
    header = f"def make({names}):"
    shared = [f"{name} = {text}" for text, name in texts.shared.items()]
    lines = [0] * (1 + len(shared)) + emitter.lines
    body = "".join(f"{_INDENT}{line}\n" for line in (*shared, *emitter.text))
    return f"{header}\n{body}", lines, texts.needs


def _environment_names(unit: ir.Unit, needs: list[str]) -> list[str]:
    names = ["m", "LO", "HI", *(f"h_{name}" for name in build_helpers([0])), *needs]
    for slot in unit.slots:
        accessors = INDEX_ACCESSORS if isinstance(slot, ir.IndexSlot) else MAP_ACCESSORS
        names += [f"s_{accessor}_{slot.name}" for accessor in accessors]
    names += [f"e_{event.name}" for event in unit.interface.events]
    names += [f"x_{position}" for position in range(len(unit.imports))]
    return names
