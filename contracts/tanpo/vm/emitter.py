"""Writes the functions of a contract as Python text, statement by statement, each on a line of its own."""

from __future__ import annotations

from typing import Final

from tanpo.ledger.errors import InvariantViolation
from tanpo.vm import ir
from tanpo.vm.texts import ExpressionText, literal_text
from tanpo.vm.types import NOTHING, ListOf

_INDENT: Final = "    "


class Emitter:
    """Collects generated lines, and for each the line of the source it stands for."""

    def __init__(self, texts: ExpressionText) -> None:
        self.text: list[str] = []
        self.lines: list[int] = []
        self._texts = texts
        self._depth = 0

    def write(self, text: str, line: int = 0) -> None:
        """Append one line at the current depth."""
        self.text.append(_INDENT * self._depth + text)
        self.lines.append(line)

    def write_function(self, function: ir.FunctionBody) -> None:
        """Append one function."""
        # As defaults, which no caller gives, these are locals: CPython reads them faster than what is around.
        parameters = ", ".join([*(f"v_{name}" for name, _ in function.parameters), "m=m", "LO=LO", "HI=HI"])
        self.write(f"def f_{function.name}({parameters}):")
        self._write_block(function.body, function.line)
        if function.returns == NOTHING:
            self._depth += 1
            self.write("return ()")
            self._depth -= 1

    def _write_block(self, block: ir.Block, line: int, *, charged: bool = False) -> None:
        self._depth += 1
        before = len(self.text)
        if block.cost and not charged:
            self._write_charge(block.cost, block.statements[0].line if block.statements else line)
        for statement in block.statements:
            self._write_statement(statement)
        if len(self.text) == before:
            self.write("pass")
        self._depth -= 1

    def _write_charge(self, cost: int, line: int) -> None:
        self.write(f"m[0] = g = m[0] - {cost}", line)
        self.write("if g < 0: h_oog()", line)

    def _write_statement(self, node: ir.Statement) -> None:
        match node:
            case ir.If():
                self._write_if(node, "if")
            case ir.While():
                self._write_while(node)
            case ir.For():
                self._write_for(node)
            case ir.Fail():
                self._write_fail(node)
            case ir.Emit():
                self._write_emit(node)
            case _:
                self.write(self._simple_text(node), node.line)

    def _simple_text(self, node: ir.Statement) -> str:
        """Return the text of a statement that takes one line and changes locals only, or jumps."""
        text = self._texts.text
        match node:
            case ir.Assign():
                return f"v_{node.name} = {text(node.value)}"
            case ir.Unpack():
                return f"{''.join(f'v_{name}, ' for name in node.names)}= {text(node.value)}"
            case ir.SetField():
                return f"{text(node.base)}[{node.position}] = {text(node.value)}"
            case ir.SetItem() if isinstance(node.base.type, ListOf):
                return f"{text(node.base)}[{text(node.key)}] = {text(node.value)}"
            case ir.Evaluate():
                return text(node.value)
            case ir.Jump():
                return node.kind
            case ir.Return():
                return "return ()" if node.value is None else f"return {text(node.value)}"
        return self._keyed_text(node)

    def _keyed_text(self, node: ir.Statement) -> str:
        """Return the text of a write to a dict or to the state: the value comes first, the key last."""
        text = self._texts.text
        match node:
            case ir.SetItem():
                return f"h_set_key({text(node.value)}, {text(node.base)}, {self._texts.dict_key(node.key)})"
            case ir.DeleteItem():
                return f"h_del_key({text(node.base)}, {text(node.key)})"
            case ir.Store():
                key = "" if node.key is None else f", {text(node.key)}"
                return f"s_put_{node.slot}({text(node.value)}{key})"
            case ir.Erase():
                return f"s_erase_{node.slot}({text(node.key)})"
        raise InvariantViolation(f"no text for {type(node).__name__}")

    def _write_if(self, node: ir.If, keyword: str) -> None:
        self.write(f"{keyword} {self._texts.text(node.test)}:", node.line)
        self._write_block(node.then, node.line)
        if node.otherwise is None:
            return
        following = node.otherwise.statements[0] if node.otherwise.statements else None
        if node.otherwise.cost == 0 and isinstance(following, ir.If):
            self._write_if(following, "elif")
            return
        self.write("else:")
        self._write_block(node.otherwise, node.line)

    def _write_while(self, node: ir.While) -> None:
        self.write("while True:", node.line)
        self._depth += 1
        self._write_charge(node.cost, node.line)
        self.write(f"if not {self._texts.text(node.test)}: break", node.line)
        self._depth -= 1
        self._write_block(node.body, node.line, charged=True)

    def _write_for(self, node: ir.For) -> None:
        self.write(f"for v_{node.variable} in {self._texts.source(node.source, None)}:", node.line)
        self._write_block(node.body, node.line)

    def _write_fail(self, node: ir.Fail) -> None:
        details = ", ".join(
            f"{literal_text(name)}: {self._texts.text(value)}" for name, value in node.details
        )
        call = f"h_fail({literal_text(node.code)}, {{{details}}})"
        self.write(call if node.test is None else f"if not {self._texts.text(node.test)}: {call}", node.line)

    def _write_emit(self, node: ir.Emit) -> None:
        """Emit with the values in ascending order of field; they are evaluated in the order written."""
        names = [name for name, _ in node.fields]
        values = [self._texts.text(value) for _, value in node.fields]
        if names != sorted(names) and not all(
            isinstance(value, ir.Const | ir.Local) for _, value in node.fields
        ):
            holders = [f"e_{place}" for place in range(len(values))]
            self.write(f"{''.join(holder + ', ' for holder in holders)}= {', '.join(values)},", node.line)
            values = holders
        ordered = [value for _, value in sorted(zip(names, values, strict=True))]
        self.write(f"e_{node.name}(({''.join(value + ', ' for value in ordered)}))", node.line)
