"""What the checker knows while it reads: the names of the contract, and of the function at hand."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from tanpo.vm import ir
from tanpo.vm.advice import find_near
from tanpo.vm.faults import FaultLog
from tanpo.vm.interface import Interface, Parameter
from tanpo.vm.limits import TYPE_DEPTH_MAX, TYPE_SIZE_FREE, TYPE_SIZE_MAX, TYPE_SIZES_MAX
from tanpo.vm.types import UNKNOWN, Record, Type

RESERVED: Final = frozenset(
    [
        "int",
        "bool",
        "str",
        "bytes",
        "list",
        "dict",
        "tuple",
        "Map",
        "Index",
        "Contract",
        "record",
        "entry",
        "view",
        "init",
        "migrate",
        "require",
        "abort",
        "emit",
        "ctx",
        "len",
        "range",
        "min",
        "max",
        "abs",
        "sorted",
        "mul_div",
        "div_round",
        "sha256",
        "sha512",
        "sha3_256",
        "verify_p256",
        "True",
        "False",
        "None",
    ]
)
"""Names that belong to the dialect: no contract may give them another meaning."""

SEARCHES_MAX: Final = 20
"""For how many unknown names a check looks for a near one."""

RUNTIME_CODES: Final = frozenset(
    [
        "OUT_OF_GAS",
        "INT_OVERFLOW",
        "DIV_ZERO",
        "KEY",
        "INDEX",
        "VALUE_SIZE",
        "SHIFT_RANGE",
        "KEY_RANGE",
        "STATE_MISSING",
        "ARG_TYPE",
        "ARG_SIZE",
        "INT_PARSE",
        "REENTRANT",
        "CALL_DEPTH",
    ]
)
"""Codes that only the machine raises, so that a reader may trust what they say."""


FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
"""A function in the syntax tree; `async def` is refused, and checked as if it were a plain one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A function as its callers see it. `kind` is entry, view, init, migrate or helper."""

    name: str
    kind: str
    parameters: tuple[Parameter, ...]
    returns: Type
    node: FunctionNode


@dataclass(slots=True, kw_only=True)
class ModuleScope:
    """Everything declared at top level, filled from top to bottom.

    `broken` are declarations that were refused: using them is no further fault.
    """

    contract: str
    interfaces: Mapping[str, Interface]
    faults: FaultLog
    lines: list[str]
    constants: dict[str, ir.Const] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    slots: dict[str, ir.Slot] = field(default_factory=dict)
    handles: dict[str, Interface] = field(default_factory=dict)
    functions: dict[str, Signature] = field(default_factory=dict)
    broken: dict[str, None] = field(default_factory=dict)
    type_sizes: int = 0
    events: dict[str, tuple[tuple[str, Type], ...]] = field(default_factory=dict)
    imports: set[tuple[str, str, str]] = field(default_factory=set)
    foreign: set[Record] = field(default_factory=set)
    local_names: dict[str, str] = field(default_factory=dict)
    searches: int = 0
    calls: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    writes: dict[str, tuple[int, int, str]] = field(default_factory=dict)

    def is_taken(self, name: str) -> bool:
        """Tell whether a top-level declaration has this name."""
        places = (self.constants, self.records, self.slots, self.handles, self.functions, self.broken)
        return any(name in place for place in places)

    def find_near(self, name: str, local_names: Iterable[str]) -> str:
        """Return a name of this contract that one slip of the hand turns into `name`; empty if there is none.

        Few names are looked for: a source can hold thousands of both.
        """
        self.searches += 1
        if self.searches > SEARCHES_MAX:
            return ""
        places = (self.constants, self.records, self.slots, self.handles, self.functions)
        return find_near(name, chain(local_names, *places, sorted(RESERVED)))

    def bound(self, node: ast.AST, kind: Type) -> Type:
        """Return the type, or `UNKNOWN` with a fault noted if it is deeper or larger than types may be."""
        if kind.depth > TYPE_DEPTH_MAX:
            self.fault("TYPE_DEPTH", node, f"type nests {kind.depth} containers; at most {TYPE_DEPTH_MAX}")
            return UNKNOWN
        if kind.size > TYPE_SIZE_MAX:
            self.fault("TYPE_SIZE", node, f"type holds {kind.size} types; at most {TYPE_SIZE_MAX}")
            return UNKNOWN
        self.type_sizes += max(kind.size - TYPE_SIZE_FREE, 0)
        if self.type_sizes > TYPE_SIZES_MAX:
            message = f"the large types of this contract hold more than {TYPE_SIZES_MAX} types together"
            self.fault("TYPE_SIZE", node, message)
            return UNKNOWN
        return kind

    def text(self, node: ast.AST) -> str:
        """Return the source text of a node, its first line if it has several."""
        line, start = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        is_short = getattr(node, "end_lineno", line) == line
        return self.lines[line - 1][start : getattr(node, "end_col_offset", None) if is_short else None]

    def fault(self, code: str, node: ast.AST, message: str, construct: str = "", *, remedy: str = "") -> None:
        """Note a fault at a node of the syntax tree."""
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        self.faults.add(code, line, column, message, construct or self.text(node), remedy)


@dataclass(slots=True, kw_only=True)
class FunctionScope:
    """The names of one function, and which of them hold a value at the point being read."""

    module: ModuleScope
    signature: Signature
    rules: Mapping[type[ast.expr], Rule]
    types: dict[str, Type] = field(default_factory=dict)
    assigned: frozenset[str] | None = frozenset()
    loops: list[list[frozenset[str]]] = field(default_factory=list)
    hidden: int = 0
    shadows: dict[str, str] = field(default_factory=dict)

    def fault(self, code: str, node: ast.AST, message: str, construct: str = "", *, remedy: str = "") -> None:
        """Note a fault at a node of the syntax tree."""
        self.module.fault(code, node, message, construct, remedy=remedy)

    def text(self, node: ast.AST) -> str:
        """Return the source text of a node, its first line if it has several."""
        return self.module.text(node)

    def wrong(
        self, code: str, node: ast.AST, message: str, construct: str = "", *, remedy: str = ""
    ) -> ir.Expr:
        """Note a fault and return an expression of unknown type, so that the check goes on."""
        self.fault(code, node, message, construct, remedy=remedy)
        return NOTHING_KNOWN

    def mark(self, name: str) -> None:
        """Note that a local holds a value from here on."""
        if self.assigned is not None:
            self.assigned |= {name}

    def expect(self, name: str, kind: Type = UNKNOWN) -> None:
        """Let a name that a refused construct would bind hold a value: its uses are no further faults."""
        if name not in RESERVED and not self.module.is_taken(name):
            self.types.setdefault(name, kind)
            self.mark(name)

    def expect_all(self, target: ast.expr) -> None:
        """Let every name inside a refused target hold a value."""
        for part in ast.walk(target):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                self.expect(part.id)

    def shadow(self, name: str, kind: Type) -> str:
        """Let `name` mean a value of its own, until `shadows` is put back; return what holds it."""
        hidden = self.next_hidden()
        self.shadows[name], self.types[hidden] = hidden, kind
        self.mark(hidden)
        return hidden

    def next_hidden(self) -> str:
        """Return a fresh name that no author can write."""
        self.hidden += 1
        return f"{self.hidden}t"

    def note_write(self, node: ast.AST, what: str) -> None:
        """Note that this function changes the ledger, which no view may reach."""
        place = (getattr(node, "lineno", 1), getattr(node, "col_offset", 0), what)
        self.module.writes.setdefault(self.signature.name, place)


def join_assigned(left: frozenset[str] | None, right: frozenset[str] | None) -> frozenset[str] | None:
    """Return the names that hold a value after either of two paths; `None` is a path that ends before."""
    if left is None:
        return right
    return left if right is None else left & right


Rule = Callable[[FunctionScope, ast.expr, "Type | None"], ir.Expr]
"""Checks one kind of expression; the last argument is the type that the place calls for, if known."""

NOTHING_KNOWN: Final = ir.Const(UNKNOWN, 0)
"""Stands for an expression that has a fault."""
