"""Why a contract is refused when it is checked: one catalogue of codes, each with its remedy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from tanpo.ledger.errors import Reason, TransactionRejected, clip

FAULTS_MAX: Final = 100
"""How many faults one check reports; a reader who has a hundred does not need more."""

REMEDIES: Final[dict[str, str]] = {
    # before parsing
    "SOURCE_SIZE": "split the contract in two, or shorten it",
    "NOT_ASCII": "write ASCII only; spell other characters in data, not in source",
    "CONTROL_CHARACTER": "indent with spaces and end lines with a plain line feed",
    "LINE_LENGTH": "break the line inside brackets",
    "CONTINUATION": "put the expression in brackets instead of ending the line with a backslash",
    "SEMICOLON": "write one statement a line",
    "BRACKET_DEPTH": "assign inner parts to names first",
    "INDENT_DEPTH": "move the inner block into a function",
    "STATEMENT_SIZE": "split the statement into several",
    "ELIF_COUNT": "look the case up in a table, or split the function",
    "NUMBER": "write a decimal or 0x number of at most 78 digits and a space after it",
    "STRING": "close the string on its line; use no prefix but b or f, and short strings",
    "ESCAPE": "use only \\\\ \\' \\\" \\n \\r \\t and \\x",
    "FORMAT": "put only plain names in braces: assign the expression to a name first",
    "STRING_ADJACENT": "join the strings with +",
    "NAME": "choose another name, short and without a double underscore",
    "CHARACTER": "remove the character; the dialect has no use for it",
    "SYNTAX": "correct the syntax; the dialect is a subset of Python",
    # structure
    "CONSTRUCT": "write it with the constructs of the dialect; see the language reference",
    "IMPORT": "contracts import nothing; use the builtins, or a handle: name: Contract['name']",
    "INHERITANCE": "declare all fields in the record itself",
    "LAMBDA": "write a plain function at top level and call it by name",
    "NESTED_FUNCTION": "move the function to the top level",
    "GENERATOR": "build a list",
    "TRY": "test the condition first; a failure undoes the whole transaction",
    "RAISE": "use abort('CODE') or require(condition, 'CODE')",
    "ASSERT": "use require(condition, 'CODE')",
    "SET": "use a dict with bool values, or a list",
    "FLOAT": "use integers in the smallest unit, with mul_div for ratios",
    "NONE": "use an empty value or a separate flag; None exists only as -> None",
    "IS": "compare with ==",
    "POWER": "multiply, or shift",
    "DIVISION": "use //, or div_round(a, b, mode)",
    "WALRUS": "assign in a statement of its own",
    "MATCH": "use if and elif",
    "STAR": "name every argument and every target",
    "DEFAULT": "pass every argument; write a second function for the short form",
    "REPETITION": "use a list comprehension or a loop",
    "CHAINED_ASSIGNMENT": "write one assignment a line",
    "LOOP_ELSE": "use a flag",
    "COMPREHENSION": "use one for and at most one if over a single name",
    "SLICE_STEP": "slice without a step and pick in a loop",
    "EXPRESSION_DEPTH": "assign inner parts to names first",
    "DOCSTRING": "remove the text, or make it a comment",
    "UNREACHABLE": "remove the statements that can never run",
    # declarations
    "DECLARATION": "declare constants, records, state, handles and decorated functions at top level",
    "DECORATOR": "use @record on classes and one of @entry, @view, @init, @migrate on functions",
    "DUPLICATE": "give each thing a name of its own",
    "RESERVED": "choose another name; this one belongs to the dialect",
    "RECORD_FIELD": "write 1 to 100 fields as name: type, without values",
    "CONSTANT": "give a literal, a tuple of literals, or integer arithmetic on constants",
    "STATE_COUNT": "keep them in fewer Maps, keyed by what tells them apart",
    "STATE_TYPE": "use int, bool, str, bytes, list, dict, tuple, a record, Map[K, V] or Index[G, M]",
    "KEY_TYPE": "key by int, str, bytes, bool or, in Map and Index, a tuple of these",
    "TYPE": "name a type of the dialect, or a record declared above",
    "TYPE_DEPTH": "nest fewer containers; keep the inner ones in a Map",
    "TYPE_SIZE": "nest records and tuples less, or split them; keep the parts in a Map of their own",
    "ANNOTATION": "annotate every parameter, and the result unless there is none",
    "INIT": "declare at most one @init and one @migrate, without a result; @migrate takes no parameters",
    "NO_ENTRY": "decorate at least one function with @entry or @view",
    "HANDLE": "install that contract first; the name in Contract[...] is a literal",
    "RECURSION": "write a loop; functions may not call themselves, not even through others",
    "CALL_CHAIN": "flatten the helpers; a chain of calls is bounded",
    "VIEW_WRITES": "make it an @entry, or do not write, emit or call entry points here",
    # bodies
    "NAME_UNKNOWN": "declare or assign the name before using it",
    "UNASSIGNED": "assign the name on every path that leads here",
    "TYPE_MISMATCH": "use a value of the type that is called for; nothing is converted silently",
    "OPERATOR": "use the operator on the types it is defined for",
    "CONDITION": "compare explicitly: conditions are bool, as in x != 0 or len(s) > 0",
    "EMPTY_TYPE": "annotate the name: xs: list[int] = []",
    "FIELD": "use a field that the record declares",
    "METHOD": "use a method that the type has; see the language reference",
    "CALL": "call functions, records, builtins and methods of handles by name",
    "ARGUMENTS": "give each parameter once, by position or by name",
    "NO_VALUE": "use the call as a statement; it returns nothing",
    "UNUSED_VALUE": "assign the value to a name, or remove the statement",
    "RETURN": "return a value of the declared type on every path",
    "STATE_COPY": "state is copied on reading: x = m[k], change x, then m[k] = x",
    "ASSIGN_TARGET": "assign to a name, a tuple of names, an item of a list, dict or Map, or a record field",
    "CONSTANT_ASSIGN": "constants and handles do not change; use a state variable",
    "CODE": 'give a literal code such as "NOT_OWNER": capital letters, digits, underscores, at most 48',
    "CODE_RESERVED": "choose another code; this one is raised by the machine itself",
    "DETAIL": "name the values, and pass int, bool, str or bytes",
    "EVENT": "use a literal name and the same fields with the same types wherever the event is emitted",
    "MODE": 'give the literal "DOWN", "UP", "FLOOR", "CEILING", "HALF_UP" or "HALF_EVEN"',
    "LITERAL_RANGE": "use a value inside the limits of the type",
    "TUPLE_INDEX": "index a tuple with a literal inside its length",
    "STATEMENT_ONLY": "use it as a statement of its own",
    "LOOP_CONTROL": "use break and continue inside a loop",
}
"""Every code a fault can carry, and what to do about it unless the fault itself says it better."""


NAMES_SHOWN: Final = 12


def list_names(names: Iterable[str]) -> str:
    """Return the first few names as text: a source can earn thousands of messages over thousands of names."""
    shown = list(islice(names, NAMES_SHOWN + 1))
    return ", ".join(shown[:NAMES_SHOWN]) + (" ..." if len(shown) > NAMES_SHOWN else "")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Fault:
    """One refusal of a piece of source. Lines count from 1, columns from 1."""

    line: int
    column: int
    code: str
    construct: str
    message: str
    remedy: str

    @property
    def place(self) -> str:
        """Line and column, as an editor reads them."""
        return f"{self.line}:{self.column}"

    def __str__(self) -> str:
        return f"{self.place}: {self.code}: {self.message} ({self.remedy})"


class ContractRefused(TransactionRejected):
    """The source is not a contract of this dialect. `faults` lists everything wrong with it, in order."""

    def __init__(self, name: str, faults: tuple[Fault, ...]) -> None:
        first = faults[0]
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        super().__init__(
            Reason.CONTRACT_REFUSED,
            f"contract {clip(name)} is refused: {first.place}: {first.code}: {first.message}{more}",
            value=first.construct,
            limit=first.code,
            remedy=first.remedy,
        )
        self.faults = faults


def list_places(faults: Sequence[Fault]) -> tuple[str, ...]:
    """Return the lines and codes of faults in order, each once: what enters the state of a ledger.

    Where a fault stands on its line, and where the syntax breaks, is Python's to say, and its versions do not
    agree in every case.
    """
    if len(faults) >= FAULTS_MAX:
        # The list was cut, perhaps inside the faults of its last line.
        faults = [fault for fault in faults if fault.line < faults[-1].line] or faults[:1]
    places = sorted({(0 if fault.code == "SYNTAX" else fault.line, fault.code) for fault in faults})
    return tuple(f"line {line}: {code}" if line else code for line, code in places)


class FaultLog:
    """Collects the faults of one check of a source."""

    __slots__ = ("_faults", "_lines")

    def __init__(self, source: str) -> None:
        self._faults: set[Fault] = set()
        self._lines = source.split("\n")

    def add(
        self, code: str, line: int, column: int, message: str, construct: str = "", remedy: str = ""
    ) -> None:
        """Note a fault; `column` counts from 0 as in Python's syntax trees.

        Without a construct, what stands there in the source is named. Without a remedy, that of the code
        holds; give one where what to write instead is known better.
        """
        if construct == "":
            found = self._lines[line - 1][column:].strip() or self._lines[line - 1].strip() or "end of line"
            construct = found if found.isascii() else ascii(found)
        fault = Fault(
            line=line,
            column=column + 1,
            code=code,
            construct=clip(construct),
            message=clip(message),
            remedy=clip(remedy) or REMEDIES[code],
        )
        self._faults.add(fault)

    def cut(self, line: int, start: int, stop: int | None) -> str:
        """Return a part of a line of the source, by columns that count from 0."""
        return self._lines[line - 1][start:stop]

    def __bool__(self) -> bool:
        return bool(self._faults)

    def finish(self) -> tuple[Fault, ...]:
        """Return the faults in order of place, at most `FAULTS_MAX`."""
        return tuple(sorted(self._faults)[:FAULTS_MAX])
