"""Parses a source that passed the first gate, and says which statements are wrong if CPython refuses it.

Versions of CPython agree on what is a module, not on where one that is not goes wrong. So they are asked yes
or no only: each statement is parsed on its own, and what then remains is how blocks are put together.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from tanpo.vm.advice import find_near
from tanpo.vm.faults import FAULTS_MAX

_VERSION: Final = (3, 11)
_PIECE: Final = re.compile(
    r'#[^\n]*|"""(?:\\.|[^\\])*?"""|\'\'\'(?:\\.|[^\\])*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|.|\n',
    re.DOTALL,
)
_WORD: Final = re.compile(r"@|[a-z]*")
_LEADS: Final[dict[str, str]] = {
    "elif": "if x:\n pass\n",
    "else": "if x:\n pass\n",
    "except": "try:\n pass\n",
    "finally": "try:\n pass\n",
}
"""What has to stand before a statement that cannot stand first."""

_TAILS: Final[tuple[str, ...]] = (
    "",
    "\n pass",
    "\n pass\nfinally:\n pass",
    "\n case _:\n  pass",
    "\ndef f(): pass",
)
"""What may have to follow a statement that opens something."""

_BLOCKS: Final = "indent each block by four spaces more than the line that opens it, and its statements alike"

_AFTER: Final[dict[str, frozenset[str]]] = {
    "elif": frozenset(("if", "elif")),
    "else": frozenset(("if", "elif", "for", "while", "except")),
    "except": frozenset(("try", "except")),
    "finally": frozenset(("try", "except", "else")),
}
"""The statements that may come before, in the same block."""


def parse(source: str) -> ast.Module | None:
    """Return the syntax tree of a text that the lexer let pass, or `None` if it is not a module."""
    try:
        tree = ast.parse(source, feature_version=_VERSION)
    except SyntaxError:
        return None
    if "f'" in source or 'f"' in source:
        _place_parts(tree)
    return tree


def _place_parts(tree: ast.Module) -> None:
    # Python 3.11 places the parts of a formatted text elsewhere than 3.12; the text itself, both alike.
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            for part in ast.walk(node):
                if isinstance(part, ast.expr):
                    ast.copy_location(part, node)


@dataclass(frozen=True, slots=True)
class SyntaxFault:
    """A statement that is not valid: place, what is wrong, its first line, and a remedy if one is known."""

    line: int
    column: int
    message: str
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class _Statement:
    line: int
    indent: int
    text: str

    @property
    def word(self) -> str:
        match = _WORD.match(self.text)
        return match[0] if match else ""

    @property
    def opens(self) -> bool:
        return self.text.endswith(":")

    def refuse(self, message: str, remedy: str = "") -> SyntaxFault:
        return SyntaxFault(self.line, self.indent, message, self.text.partition("\n")[0], remedy)


def find_syntax_faults(source: str) -> list[SyntaxFault]:
    """Return what is wrong with a text that `parse` refused: at least one fault, in order."""
    statements = list(_split(source))
    wrong = (statement for statement in statements if not _stands_alone(statement))
    # No more are shown, and to look for a remedy takes as long as to find the fault.
    faults = [
        statement.refuse("this statement is not valid Python", _find_remedy(statement))
        for statement in islice(wrong, FAULTS_MAX)
    ]
    if faults:
        return faults
    misplaced = _find_misplaced(statements)
    return [misplaced or SyntaxFault(1, 0, "the blocks of this source are not valid Python", "")]


def _split(source: str) -> Iterator[_Statement]:
    """Yield the statements and block headers of a text, without comments."""
    text, line, start, depth, column = "", 1, 1, 0, 0
    for piece in (match[0] for match in _PIECE.finditer(source)):
        if piece == "\n" and depth == 0:
            if text.strip():
                yield _Statement(start, column, text.strip())
            text, start = "", line + 1
        elif not piece.startswith("#"):
            if not text.strip() and piece != " ":
                start, column = line, len(text)
            text += piece
            depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(piece, 0)
        line += piece.count("\n")
    if text.strip():
        yield _Statement(start, column, text.strip())


def _stands_alone(statement: _Statement) -> bool:
    if statement.word == "case" and parse(f"match x:\n {statement.text}\n  pass"):
        return True
    lead = _LEADS.get(statement.word, "")
    return any(parse(lead + statement.text + tail) for tail in _TAILS)


_SINGLE_EQUALS: Final = re.compile(r"(?<![=!<>:+*/%&|^-])=(?!=)")
_STRINGS: Final = re.compile(r"\"[^\"]*\"|'[^']*'")
_WORDS: Final = ("return", "require", "while", "break", "continue", "abort", "elif", "else", "emit", "pass")
_SLIPS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"^else +if\b"), "write elif"),
    (re.compile(r"\+\+|--$"), "write x += 1 or x -= 1"),
    (re.compile(r"==="), "compare with =="),
    (re.compile(r"<>"), "compare with !="),
    (re.compile(r"=>"), "write >= to compare"),
    (re.compile(r"\bnew +\w"), "make a record by its name alone: Lot(...)"),
    (re.compile(r"&&|\|\|"), "write and, or"),
    (re.compile(r"(?<![\w.])0[0-9]"), "write the number without leading zeros"),
    (
        re.compile(r"^(?:let|var|const|int|str|bool|uint256?) +\w+ *="),
        "write name = value, or name: type = value",
    ),
    (re.compile(r"^(?:function|func|fn|fun) +\w+ *\("), "write def name(parameter: type) -> type:"),
    (re.compile(r"^[^=]*=$"), "write a value after the ="),
)
"""Common slips, and what other languages write; sought in statements that are no Python, outside strings."""


def _find_remedy(statement: _Statement) -> str:
    """Return what to write instead, if one change makes the statement valid or its slip is a common one."""
    if not statement.opens and _stands_alone(replace(statement, text=statement.text + ":")):
        return "put a colon at its end"
    if statement.word in ("if", "elif", "while"):
        compared = replace(statement, text=_SINGLE_EQUALS.sub("==", statement.text))
        if _stands_alone(compared):
            return "compare with ==; a single = assigns"
    bare = _STRINGS.sub("''", statement.text)
    for slip, remedy in _SLIPS:
        if slip.search(bare):
            return remedy
    if " if " in statement.text and _stands_alone(replace(statement, text=f"{statement.text} else x")):
        return "give the other value too: a if condition else b"
    near = find_near(statement.word, _WORDS) if statement.word not in _WORDS else ""
    return f"did you mean {near}?" if near else ""


def _find_misplaced(statements: list[_Statement]) -> SyntaxFault | None:
    """Return the first statement that does not fit where it stands, each being valid on its own."""
    indents = [0]
    before: dict[int, str] = {}
    previous: _Statement | None = None
    for statement in statements:
        message = _check_indent(statement, previous, indents) or _check_order(statement, previous, before)
        if message:
            return statement.refuse(message, _BLOCKS if "indented" in message else "")
        before = {indent: word for indent, word in before.items() if indent < statement.indent}
        before[statement.indent] = statement.word
        previous = statement
    if previous is not None and (previous.opens or previous.word == "@"):
        return previous.refuse("what this opens is missing", "write the block, indented; pass if it is empty")
    return None


def _check_indent(statement: _Statement, previous: _Statement | None, indents: list[int]) -> str:
    if previous is not None and previous.opens:
        if statement.indent <= previous.indent:
            return "an indented block is missing before this"
        indents.append(statement.indent)
        return ""
    while indents[-1] > statement.indent:
        indents.pop()
    return "" if indents[-1] == statement.indent else "this is indented unlike the statements around it"


def _check_order(statement: _Statement, previous: _Statement | None, before: dict[int, str]) -> str:
    last = before.get(statement.indent, "")
    if statement.word in _AFTER and last not in _AFTER[statement.word]:
        return f"{statement.word} does not belong to a statement before it"
    if last == "try" and statement.word not in ("except", "finally"):
        return "try has neither except nor finally"
    if previous is not None and previous.word == "@" and statement.word not in ("@", "def", "class", "async"):
        return "a decorator stands before something other than a function or class"
    return ""
