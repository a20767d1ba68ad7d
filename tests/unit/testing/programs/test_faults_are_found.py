"""Engines that are broken in one place: the random programs must notice each of them, and soon."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
from tanpo.testing.programs import Bench, write_program
from tanpo.vm import emitter, texts
from tanpo.vm.closures import expressions, statements
from tanpo.vm.closures.world import World
from tanpo.vm.emitter import Emitter
from tanpo.vm.helpers import charge
from tanpo.vm.ir import Jump
from tanpo.vm.texts import ExpressionText

PROGRAMS_MAX = 1_500
Break = Callable[[pytest.MonkeyPatch], None]


def change_template(op: str, text: str) -> Break:
    return lambda patch: patch.setitem(texts._TEMPLATES, op, text)


def change_operation(op: str, build: Any) -> Break:
    return lambda patch: patch.setitem(expressions.OPERATIONS, op, build)


def charge_one_more(patch: pytest.MonkeyPatch) -> None:
    right = Emitter._write_charge
    patch.setattr(Emitter, "_write_charge", lambda self, cost, line: right(self, cost + (cost == 9), line))


def charge_less(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        "tanpo.vm.closures.statements.charge", lambda meter, amount: charge(meter, amount - (amount == 7))
    )


def copy_no_records(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ExpressionText, "_copy_text", lambda self, kind, text: text)


def put_values_last(patch: pytest.MonkeyPatch) -> None:
    right = Emitter._keyed_text

    def write(self: Emitter, node: Any) -> str:
        text = right(self, node)
        if type(node).__name__ == "Store" and node.key is not None:
            value, key = self._texts.text(node.value), self._texts.text(node.key)
            return f"(lambda k, v: s_put_{node.slot}(v, k))({key}, {value})"
        return text

    patch.setattr(Emitter, "_keyed_text", write)


def move_for_lines(patch: pytest.MonkeyPatch) -> None:
    right = Emitter.write

    def write(self: Emitter, text: str, line: int = 0) -> None:
        right(self, text, line + 1 if text.startswith("for ") and line else line)

    patch.setattr(Emitter, "write", write)


def leave_line_in_callee(patch: pytest.MonkeyPatch) -> None:
    def build(world: World, node: Any) -> Any:
        arguments = [expressions.build_expression(world, part) for part in node.args]
        functions, name = world.functions, node.detail
        return lambda frame: functions[name]([argument(frame) for argument in arguments])

    patch.setitem(expressions.OPERATIONS, "call", build)


def go_on_after_break(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(statements.STATEMENTS, Jump, lambda world, node: lambda frame: statements.CONTINUE)


def sort_by_reverse(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(emitter.__dict__, "sorted", lambda values: list(values))


FAULTS: dict[str, Break] = {
    "generated: a wrong charge": charge_one_more,
    "generated: a missing copy": copy_no_records,
    "generated: swapped operands": change_template("concat.bytes", "h_cat_bytes({1}, {0})"),
    "generated: operands in the other order": put_values_last,
    "generated: a wrong line": move_for_lines,
    "generated: a bound left out": change_template("list.append", "{}.append({})"),
    "generated: a code of CPython's let out": change_template("item.dict", "{}[{}]"),
    "generated: fields of an event unsorted": sort_by_reverse,
    "closures: a wrong charge": charge_less,
    "closures: a missing copy": change_operation(
        "copy", lambda world, node: expressions.build_expression(world, node.args[0])
    ),
    "closures: swapped operands": change_operation(
        "int.sub", expressions._checked(lambda left, right: right - left)
    ),
    "closures: a wrong line": leave_line_in_callee,
    "closures: a wrong rounding": change_operation("int.div", expressions._division(lambda a, b: int(a / b))),
    "closures: no short cut": change_operation("bool.and", expressions._plain(lambda *given: all(given))),
    "closures: no overflow": change_operation("int.add", expressions._plain(operator.add)),
    "closures: break is not": go_on_after_break,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_fault_of_an_engine_is_found(fault: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch)
    bench = Bench()
    assert any(
        bench.try_program(write_program(seed), with_python=False).difference for seed in range(PROGRAMS_MAX)
    )
