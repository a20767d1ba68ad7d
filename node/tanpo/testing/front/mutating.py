"""Changes sources at random: bytes, tokens, lines, and pieces of syntax from other sources."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable
from random import Random
from typing import Final

_TOKEN: Final = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|\s+|.", re.DOTALL)
_WORDS: Final = (
    *b"False None True and as assert async await break class continue def del elif else except".split(),
    *b"finally for from global if import in is lambda nonlocal not or pass raise return try while".split(),
    *b"with yield match case type int bool str bytes list dict tuple Map Index Contract record entry".split(),
    *b"view init migrate require abort emit ctx len range min max abs sorted mul_div div_round".split(),
    *b"sha256 sha512 sha3_256 verify_p256 append pop get find join encode hex add remove contains".split(),
    *b"page first sender signers time height tx_id contract self __class__ x 0 1 -1 0x7f 1.5 1e5 1_0".split(),
    *b"'a' b'a' f'{x}' '''a''' # $ ( ) [ ] { } : , . ; @ = == != < <= > >= + - * / // % ** & | ^ ~".split(),
    *b"<< >> -> := += -= ... \\".split(),
    str(2**256 - 1).encode(),
    *(b"\n", b"\n    ", b"    ", b" ", b"\t", b"\r", b"\xc3\xa9", b"\xed\xa0\x80", b"\x00"),
)
_TOKENS_KEPT: Final = 400
_SOURCE_MAX: Final = 20_000


class Mutator:
    """Makes new sources from old ones. The same seed and old ones give the same, on one version of Python.

    Without `syntax` it never asks Python for a syntax tree, and they are the same on all versions.
    """

    def __init__(self, random: Random, *, syntax: bool = True) -> None:
        self._random = random
        ways: list[Callable[[bytes, bytes], bytes]] = [
            self._change_byte,
            self._change_token,
            self._change_token,
            self._move_line,
            self._splice_lines,
            self._repeat,
        ]
        self._ways = [*ways, self._splice_syntax, self._splice_syntax] if syntax else ways

    def mutate(self, source: bytes, other: bytes) -> bytes:
        """Return `source` with one to four changes, some of them taken from `other`."""
        for _ in range(self._random.choice((1, 1, 1, 2, 2, 4))):
            source = self._random.choice(self._ways)(source, other)[:_SOURCE_MAX]
        return source

    def _change_byte(self, source: bytes, other: bytes) -> bytes:  # noqa: ARG002 - one shape
        place = self._random.randrange(len(source) + 1)
        cut = self._random.randrange(2)
        return source[:place] + self._random.randbytes(1) + source[place + cut :]

    def _change_token(self, source: bytes, other: bytes) -> bytes:
        tokens = _TOKEN.findall(source)
        if not tokens:
            return other
        place = self._random.randrange(len(tokens))
        match self._random.randrange(4):
            case 0:
                del tokens[place]
            case 1:
                tokens[place] = self._random.choice(_WORDS)
            case 2:
                tokens.insert(place, b" " + self._random.choice(_WORDS) + b" ")
            case _:
                donors = _TOKEN.findall(other)[:_TOKENS_KEPT] or [b""]
                tokens[place] = self._random.choice(donors)
        return b"".join(tokens)

    def _move_line(self, source: bytes, other: bytes) -> bytes:  # noqa: ARG002 - one shape
        lines = source.split(b"\n")
        line = lines.pop(self._random.randrange(len(lines)))
        if self._random.randrange(3):
            indent = b" " * self._random.randrange(9) if self._random.randrange(4) == 0 else b""
            lines.insert(self._random.randrange(len(lines) + 1), indent + line)
        return b"\n".join(lines)

    def _splice_lines(self, source: bytes, other: bytes) -> bytes:
        lines, donors = source.split(b"\n"), other.split(b"\n")
        start = self._random.randrange(len(donors))
        place = self._random.randrange(len(lines) + 1)
        lines[place:place] = donors[start : start + self._random.randrange(1, 6)]
        return b"\n".join(lines)

    def _splice_syntax(self, source: bytes, other: bytes) -> bytes:
        """Put an expression or statement of `other` where one of the same sort stands."""
        kind = self._random.choice((ast.expr, ast.expr, ast.stmt))
        targets, donors = find_pieces(source, kind), find_pieces(other, kind)
        if not targets or not donors:
            return self._change_token(source, other)
        start, stop = self._random.choice(targets)
        first, last = self._random.choice(donors)
        return source[:start] + other[first:last] + source[stop:]

    def _repeat(self, source: bytes, other: bytes) -> bytes:  # noqa: ARG002 - one shape
        start = self._random.randrange(len(source) + 1)
        piece = source[start : start + self._random.randrange(1, 40)]
        return source[:start] + piece * self._random.choice((2, 3, 17, 50)) + source[start:]


def find_pieces(source: bytes, kind: type[ast.AST]) -> list[tuple[int, int]]:
    """Return start and end of every node of a kind; none if the source is not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return []
    starts = [0]
    for line in source.split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)
    pieces: list[tuple[int, int]] = []
    for node in ast.walk(tree):
        if isinstance(node, kind) and isinstance(node, ast.expr | ast.stmt):
            end, last = node.end_lineno or 0, node.end_col_offset or 0
            if 0 < node.lineno < len(starts) and 0 < end < len(starts):
                pieces.append((starts[node.lineno - 1] + node.col_offset, starts[end - 1] + last))
    return pieces
