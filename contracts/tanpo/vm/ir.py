"""Typed intermediate representation: what the checker hands to an engine.

Nothing of the author's text survives here but checked names and literals. Evaluation order, cost and
meaning of every node are fixed by this module and `tanpo.vm.gas`, so that any engine gives the same result,
code, gas and line:

- arguments are evaluated left to right; in a store the value comes first, then the base, then the key;
- `bool.and`, `bool.or`, `choose`, the rest of a chain in `compare` and the details of an abort are evaluated
  only when needed;
- a block charges `cost` when it is entered, a `While` before each test, a `For` before each turn of its
  body, a `Comprehension` for all its turns before the first one;
- operations whose work depends on the size of their operands charge for it before they run;
- values are copied where `copy`, `keep` and `pass` say so (`tanpo.vm.isolation`), and nowhere else;
- a failure has the line of its statement; one that a block cannot be paid for, of its first statement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from tanpo.vm.interface import Function, Interface
from tanpo.vm.types import Type

Literal: TypeAlias = "bool | int | str | bytes | tuple[Literal, ...]"


@dataclass(frozen=True, slots=True)
class Const:
    """A literal, or the value of the constant `name`."""

    type: Type
    value: Literal
    name: str = ""


@dataclass(frozen=True, slots=True)
class Local:
    """A parameter or local variable; `name` is unique within its function."""

    type: Type
    name: str


@dataclass(frozen=True, slots=True)
class Op:
    """An operation on evaluated operands. `detail` is its static part: a field position, a slot, a name."""

    type: Type
    op: str
    args: tuple[Expr, ...]
    detail: object = None


@dataclass(frozen=True, slots=True)
class Comprehension:
    """A list of `element` for each turn over `source` that passes `test`."""

    type: Type
    element: Expr
    variable: str
    source: Expr
    test: Expr | None
    cost: int


Expr: TypeAlias = Const | Local | Op | Comprehension


@dataclass(frozen=True, slots=True)
class Block:
    """Statements run in order; `cost` is charged on entry."""

    statements: tuple[Statement, ...]
    cost: int


@dataclass(frozen=True, slots=True)
class Assign:
    """Give local `name` a value."""

    line: int
    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Unpack:
    """Give each of `names` one item of a tuple."""

    line: int
    names: tuple[str, ...]
    value: Expr


@dataclass(frozen=True, slots=True)
class SetField:
    """Change one field of a record held by a local."""

    line: int
    base: Expr
    position: int
    value: Expr


@dataclass(frozen=True, slots=True)
class SetItem:
    """Change one item of a list or dict held by a local."""

    line: int
    base: Expr
    key: Expr
    value: Expr


@dataclass(frozen=True, slots=True)
class DeleteItem:
    """Remove one key of a dict held by a local."""

    line: int
    base: Expr
    key: Expr


@dataclass(frozen=True, slots=True)
class Store:
    """Write a copy of a value to the state; `key` is absent for a plain variable."""

    line: int
    slot: str
    key: Expr | None
    value: Expr


@dataclass(frozen=True, slots=True)
class Erase:
    """Delete an entry of a `Map`; aborts if there is none."""

    line: int
    slot: str
    key: Expr


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Run an expression for its effect."""

    line: int
    value: Expr


@dataclass(frozen=True, slots=True)
class If:
    """Run one of two blocks."""

    line: int
    test: Expr
    then: Block
    otherwise: Block | None


@dataclass(frozen=True, slots=True)
class While:
    """Charge `cost`, test, run `body` (whose own cost is part of `cost`), again."""

    line: int
    test: Expr
    body: Block
    cost: int


@dataclass(frozen=True, slots=True)
class For:
    """Run `body` for each item of a list, text, bytes, range, or key of a dict in ascending order."""

    line: int
    variable: str
    source: Expr
    body: Block


@dataclass(frozen=True, slots=True)
class Jump:
    """`break` or `continue`."""

    line: int
    kind: str


@dataclass(frozen=True, slots=True)
class Return:
    """Leave the function."""

    line: int
    value: Expr | None


@dataclass(frozen=True, slots=True)
class Fail:
    """Abort the transaction if `test` is false, or always."""

    line: int
    test: Expr | None
    code: str
    details: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True)
class Emit:
    """Emit an event; `fields` are in the order written."""

    line: int
    name: str
    fields: tuple[tuple[str, Expr], ...]


Statement: TypeAlias = (
    Assign
    | Unpack
    | SetField
    | SetItem
    | DeleteItem
    | Store
    | Erase
    | Evaluate
    | If
    | While
    | For
    | Jump
    | Return
    | Fail
    | Emit
)


@dataclass(frozen=True, slots=True)
class Variable:
    """A plain state variable."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class MapSlot:
    """A `Map[K, V]` in the state."""

    name: str
    key: Type
    value: Type


@dataclass(frozen=True, slots=True)
class IndexSlot:
    """An `Index[G, M]` in the state."""

    name: str
    group: Type
    member: Type


Slot: TypeAlias = Variable | MapSlot | IndexSlot


@dataclass(frozen=True, slots=True)
class FunctionBody:
    """One function, ready to run."""

    name: str
    kind: str
    line: int
    parameters: tuple[tuple[str, Type], ...]
    returns: Type
    body: Block


@dataclass(frozen=True, slots=True)
class Unit:
    """One checked contract: everything an engine needs.

    `imports` are (handle, contract, function) for each function of another contract that is called, and
    `signatures` what those functions looked like when this contract was checked.
    """

    contract: str
    interface: Interface
    slots: tuple[Slot, ...]
    imports: tuple[tuple[str, str, str], ...]
    signatures: tuple[Function, ...]
    functions: tuple[FunctionBody, ...]
