"""What a random program consists of, as a tree whose parts can be left out one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from tanpo.ledger.values import Value
from tanpo.testing.programs.kinds import Kind

_INDENT: Final = "    "
T = TypeVar("T")


@dataclass(slots=True)
class Statement:
    """One statement: a line, or several heads with a block each, as `if`, `elif` and `else` have."""

    line: str
    blocks: list[tuple[str, list[Statement]]] = field(default_factory=list)

    def write(self, indent: str, lines: list[str]) -> None:
        """Append the text of the statement."""
        if self.line:
            lines.append(indent + self.line)
        for head, body in self.blocks:
            lines.append(indent + head)
            for statement in body:
                statement.write(indent + _INDENT, lines)
            if not body:
                lines.append(f"{indent}{_INDENT}pass")


@dataclass(slots=True, kw_only=True)
class Function:
    """One function: what it is decorated with, its parameters, result and body."""

    name: str
    kind: str
    parameters: tuple[tuple[str, Kind], ...]
    returns: Kind
    body: list[Statement]
    writes: bool = False

    def write(self, lines: list[str]) -> None:
        """Append the text of the function."""
        if self.kind != "helper":
            lines.append(f"@{self.kind}")
        shape = ", ".join(f"{name}: {kind.text}" for name, kind in self.parameters)
        Statement("", [(f"def {self.name}({shape}) -> {self.returns.text}:", self.body)]).write("", lines)


@dataclass(slots=True, kw_only=True)
class Contract:
    """One contract: its declarations, line by line, and its functions."""

    name: str
    declarations: list[str]
    functions: list[Function]

    def write(self) -> str:
        """Return the source."""
        lines = list(self.declarations)
        for function in self.functions:
            function.write(lines)
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing done with a program: a call, or with an empty `entry` the end of a block."""

    entry: str
    kind: str = "entry"
    arguments: tuple[tuple[str, Value], ...] = ()
    sender: str = "alice"
    time_ms: int = 1_000
    gas_limit: int = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A contract, the number of the contract it may call, and what is done with it.

    `is_plain` says that CPython means the same by it.
    """

    contract: Contract
    callee: int | None
    steps: tuple[Step, ...]
    is_plain: bool

    def write(self) -> str:
        """Return the source of the contract."""
        return self.contract.write()

    def reduced(self) -> Iterator[Program]:
        """Yield programs that lack one part of this one: a step, a function, a statement, a declaration."""
        for place in range(len(self.steps)):
            yield replace(self, steps=self.steps[:place] + self.steps[place + 1 :])
        contract = self.contract
        for functions in _without_one(contract.functions):
            yield replace(self, contract=_rebuild(contract, functions=functions))
        for place, function in enumerate(contract.functions):
            for body in _shorten(function.body):
                functions = list(contract.functions)
                functions[place] = _with_body(function, body)
                yield replace(self, contract=_rebuild(contract, functions=functions))
        for declarations in _without_one(contract.declarations):
            yield replace(self, contract=_rebuild(contract, declarations=declarations))


def _rebuild(
    contract: Contract, *, functions: list[Function] | None = None, declarations: list[str] | None = None
) -> Contract:
    return Contract(
        name=contract.name,
        declarations=contract.declarations if declarations is None else declarations,
        functions=contract.functions if functions is None else functions,
    )


def _with_body(function: Function, body: list[Statement]) -> Function:
    return replace(function, body=body)


def _without_one(items: list[T]) -> Iterator[list[T]]:
    for place in range(len(items)):
        yield items[:place] + items[place + 1 :]


def _shorten(body: list[Statement]) -> Iterator[list[Statement]]:
    """Yield bodies that lack one statement, or have the inner block of one in its place."""
    yield from _without_one(body)
    for place, statement in enumerate(body):
        before, after = body[:place], body[place + 1 :]
        for number, (head, inner) in enumerate(statement.blocks):
            yield before + inner + after
            if number:
                yield [*before, Statement(statement.line, statement.blocks[:number]), *after]
            for shorter in _shorten(inner):
                blocks = list(statement.blocks)
                blocks[number] = (head, shorter)
                yield [*before, Statement(statement.line, blocks), *after]
