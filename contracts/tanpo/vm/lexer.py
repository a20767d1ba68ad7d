"""The first gate: limits on the text itself, applied before CPython's parser sees a byte of it.

Some CPython versions crash on deep nesting and disagree on long chains, so whatever the versions could
differ on is refused here, by our own scanner.
"""

from __future__ import annotations

import re
from typing import Final

from tanpo.vm.faults import FaultLog
from tanpo.vm.limits import (
    BRACKET_DEPTH_MAX,
    DIGITS_MAX,
    ELIF_MAX,
    INDENT_DEPTH_MAX,
    LINE_CHARACTERS_MAX,
    NAME_CHARACTERS_MAX,
    SOURCE_BYTES_MAX,
    STATEMENT_TOKENS_MAX,
    TEXT_SIZE_MAX,
)

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER: Final = re.compile(r"0[xX][0-9A-Fa-f]+|[0-9]+(?:_[0-9]+)*")
_BROKEN_NUMBER: Final = re.compile(r"\.?[0-9](?:[eE][+-](?=[0-9])|[0-9A-Za-z_.])*")
"""What is skipped as one malformed number, so that the rest of the line is still read."""

_OPERATOR: Final = re.compile(r"//=|<<=|>>=|->|:=|\*\*|//|<<|>>|<=|>=|==|!=|[-+*%&|^]=|[-+*/%&|^~<>=.,:@]")
_PLACEHOLDER: Final = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
_BYTE_ORDER_MARKS: Final = ("\ufeff", "\xef\xbb\xbf", "\xff\xfe", "\xfe\xff")
"""As text, and as the bytes of UTF-8 and both orders of UTF-16 read one by one."""

_BROKEN_BRACES: Final = re.compile(r"\{[^}\n]*\}?|\}")
_FIXED_ESCAPES: Final = "\\'\"nrt"
_HEX: Final = "0123456789abcdefABCDEF"
_DUNDERS: Final = {
    "__init__": "name it otherwise, as in setup, and write @init before it; a record has no functions",
    "__name__": "leave it out: a contract is never run as a program",
}
_CHARACTERS: Final = {"!": "write not, or != to compare", "?": "choose with a if condition else b"}
_CLOSERS: Final = {")": "(", "]": "[", "}": "{"}


def scan(source: str, faults: FaultLog) -> None:
    """Note every breach of the lexical rules. With a fault noted, the text must not be parsed."""
    if len(source) > SOURCE_BYTES_MAX:
        message = f"source of {len(source)} characters is longer than {SOURCE_BYTES_MAX}"
        faults.add("SOURCE_SIZE", 1, 0, message, "source")
        return
    _check_characters(source, faults)
    if not faults:
        _Scanner(source, faults).run()


def _check_characters(source: str, faults: FaultLog) -> None:
    mark = next((mark for mark in _BYTE_ORDER_MARKS if source.startswith(mark)), "")
    if mark:
        # Each character of such a file would be another fault.
        message = "the source begins with a byte order mark; save it as plain ASCII, without one"
        faults.add("NOT_ASCII", 1, 0, message, ascii(mark))
        return
    carriage_returns = 0
    for number, line in enumerate(source.split("\n"), start=1):
        if len(line) > LINE_CHARACTERS_MAX:
            message = f"line of {len(line)} characters is longer than {LINE_CHARACTERS_MAX}"
            faults.add("LINE_LENGTH", number, LINE_CHARACTERS_MAX, message)
        if line.isascii() and line.isprintable():
            continue
        for column, character in enumerate(line):
            if not character.isascii():
                faults.add(
                    "NOT_ASCII",
                    number,
                    column,
                    f"character {character!a} is not ASCII",
                    ascii(character),
                )
                break
            if not character.isprintable():
                message = f"control character {character!a}"
                if character == "\r" and column == len(line) - 1:
                    carriage_returns += 1
                    if carriage_returns > 1:
                        break
                    message = "a carriage return before the line feed: end all lines with a line feed alone"
                faults.add("CONTROL_CHARACTER", number, column, message, ascii(character))
                break


class _Scanner:
    """Walks the text once, token by token."""

    def __init__(self, source: str, faults: FaultLog) -> None:
        self._source = source
        self._faults = faults
        self._position = 0
        self._line = 1
        self._line_start = 0
        self._brackets: list[tuple[str, int, int]] = []
        self._indents = [0]
        self._tokens = 0
        self._elifs: dict[int, int] = {}
        self._after_string = False
        self._at_start = True

    def run(self) -> None:
        """Scan to the end, or to the first fault after which the rest would be misread."""
        source = self._source
        while self._position < len(source):
            if self._at_start and not self._brackets:
                self._start_line()
                if self._position >= len(source):
                    break
            if not self._step(source[self._position]):
                return
        if self._brackets:
            character, line, column = self._brackets[-1]
            self._faults.add("SYNTAX", line, column, f"bracket {character!r} is never closed", character)

    def _fault(self, code: str, message: str, construct: str = "", remedy: str = "") -> None:
        self._faults.add(code, self._line, self._position - self._line_start, message, construct, remedy)

    def _start_line(self) -> None:
        start = self._position
        while self._source.startswith(" ", self._position):
            self._position += 1
        self._at_start = False
        if self._source[self._position : self._position + 1] in ("", "\n", "#"):
            return
        width = self._position - start
        self._elifs = {column: count for column, count in self._elifs.items() if column <= width}
        if not re.match(r"(elif|else)\b", self._source[self._position : self._position + 5]):
            self._elifs.pop(width, None)
        while self._indents[-1] > width:
            self._indents.pop()
        if self._indents[-1] < width:
            self._indents.append(width)
            if len(self._indents) - 1 > INDENT_DEPTH_MAX:
                message = f"block is {len(self._indents) - 1} deep; at most {INDENT_DEPTH_MAX} are allowed"
                self._fault("INDENT_DEPTH", message)

    def _step(self, character: str) -> bool:
        if character == "\n":
            self._end_line()
            return True
        if character == " ":
            self._position += 1
            return True
        if character == "#":
            stop = self._source.find("\n", self._position)
            self._position = len(self._source) if stop < 0 else stop
            return True
        self._tokens += 1
        if self._tokens == STATEMENT_TOKENS_MAX + 1:
            self._fault("STATEMENT_SIZE", f"statement has more than {STATEMENT_TOKENS_MAX} tokens")
        return self._scan_token(character)

    def _end_line(self) -> None:
        self._position += 1
        self._line += 1
        self._line_start = self._position
        if not self._brackets:
            self._tokens = 0
            self._after_string = False
            self._at_start = True

    def _scan_token(self, character: str) -> bool:
        if character in "'\"":
            return self._scan_string("")
        name = _NAME.match(self._source, self._position)
        if name:
            following = self._source[name.end() : name.end() + 1]
            if following and following in "'\"":
                return self._scan_string(name[0])
            return self._scan_name(name[0])
        self._after_string = False
        if character.isdigit():
            return self._scan_number()
        if character in "([{":
            return self._open(character)
        if character in ")]}":
            return self._close(character)
        return self._scan_operator(character)

    def _scan_name(self, name: str) -> bool:
        self._after_string = False
        if "__" in name:
            self._fault("NAME", "name has a double underscore", name, _DUNDERS.get(name, ""))
        elif len(name) > NAME_CHARACTERS_MAX:
            message = f"name of {len(name)} characters is longer than {NAME_CHARACTERS_MAX}"
            self._fault("NAME", message, name, "choose a shorter name")
        if name == "elif":
            column = self._indents[-1]
            self._elifs[column] = self._elifs.get(column, 0) + 1
            if self._elifs[column] == ELIF_MAX + 1:
                self._fault("ELIF_COUNT", f"more than {ELIF_MAX} elif branches")
        self._position += len(name)
        return True

    def _scan_number(self) -> bool:
        match = _NUMBER.match(self._source, self._position)
        text = match[0] if match else ""
        following = self._source[self._position + len(text) : self._position + len(text) + 1]
        digits = len(text.replace("_", "")) - (2 if text[:2] in ("0x", "0X") else 0)
        if following in (".", "e", "E"):
            return self._skip_number("FLOAT", "a number with a fraction or an exponent is not allowed")
        if following == "_" or following.isalnum() or digits > DIGITS_MAX:
            return self._skip_number("NUMBER", f"number is malformed or longer than {DIGITS_MAX} digits")
        self._position += len(text)
        return True

    def _skip_number(self, code: str, message: str) -> bool:
        match = _BROKEN_NUMBER.match(self._source, self._position)
        text = match[0] if match else self._source[self._position]
        self._fault(code, message, text[: DIGITS_MAX + 1])
        self._position += len(text)
        return True

    def _open(self, character: str) -> bool:
        self._brackets.append((character, self._line, self._position - self._line_start))
        if len(self._brackets) > BRACKET_DEPTH_MAX:
            self._fault("BRACKET_DEPTH", f"brackets are nested deeper than {BRACKET_DEPTH_MAX}", character)
            return False
        self._position += 1
        return True

    def _close(self, character: str) -> bool:
        if not self._brackets or self._brackets.pop()[0] != _CLOSERS[character]:
            self._fault("SYNTAX", f"bracket {character!r} closes nothing", character)
            return False
        self._position += 1
        return True

    def _scan_operator(self, character: str) -> bool:
        if character == "\\":
            self._fault("CONTINUATION", "line continues with a backslash", character)
            self._position += 1
            return True
        if character == ";":
            self._fault("SEMICOLON", "two statements on one line", character)
            self._position += 1
            return True
        match = _OPERATOR.match(self._source, self._position)
        if not match:
            message, remedy = f"character {character!r} has no meaning here", _CHARACTERS.get(character, "")
            self._fault("CHARACTER", message, character, remedy)
            self._position += 1
            return True
        if match[0] == "." and self._source[self._position + 1 : self._position + 2].isdigit():
            return self._skip_number("FLOAT", "a number with a fraction is not allowed")
        self._position += len(match[0])
        return True

    def _scan_string(self, prefix: str) -> bool:
        is_known = prefix in ("", "b", "f")
        if self._after_string and prefix and self._source[self._position - 1] in "'\"" and not is_known:
            return self._refuse_quote()
        if not is_known:
            self._fault("STRING", f"string prefix {prefix!r} is not allowed", prefix)
        if self._after_string:
            self._fault("STRING_ADJACENT", "two strings stand side by side", prefix)
        self._after_string = True
        self._position += len(prefix)
        quote = self._source[self._position]
        triple = self._source.startswith(quote * 3, self._position)
        if triple and prefix and is_known:
            self._fault("STRING", "a long string takes no prefix", prefix)
        self._position += 3 if triple else 1
        closer = quote * 3 if triple else quote
        return self._scan_body(closer, formatted=prefix == "f" and not triple, is_known=is_known)

    def _refuse_quote(self) -> bool:
        """Note a quote inside a text, after which the rest of the line would be misread, and skip that."""
        self._position -= 1
        message = "this quote ends the text, which goes on after it"
        quote = self._source[self._position]
        remedy = f"write \\{quote} inside the text, or put the text in the other kind of quotes"
        self._fault("STRING", message, quote, remedy)
        stop = self._source.find("\n", self._position)
        self._position = len(self._source) if stop < 0 else stop
        return True

    def _scan_body(self, closer: str, *, formatted: bool, is_known: bool) -> bool:
        start = self._position
        while not self._source.startswith(closer, self._position):
            character = self._source[self._position : self._position + 1]
            if character == "" or (character == "\n" and len(closer) == 1):
                self._fault("STRING", "string is not closed")
                return True
            if self._position - start == TEXT_SIZE_MAX + 1:
                self._fault("STRING", f"string is longer than {TEXT_SIZE_MAX} characters")
            if character == "\\":
                self._scan_escape(is_known=is_known)
            elif formatted and character in "{}":
                if not self._scan_braces(closer):
                    return True
            else:
                self._position += 1
            if self._source[self._position - 1] == "\n":
                self._line += 1
                self._line_start = self._position
        self._position += len(closer)
        return True

    def _scan_braces(self, closer: str) -> bool:
        """Return whether the end of the string can still be told."""
        match = _PLACEHOLDER.match(self._source, self._position)
        if match and "__" not in match[0]:
            self._position += len(match[0])
            return True
        rest = _BROKEN_BRACES.match(self._source, self._position)
        text = rest[0] if rest else self._source[self._position]
        self._fault("FORMAT", "only plain names may stand in braces", text)
        if closer in text:
            stop = self._source.find("\n", self._position)
            self._position = len(self._source) if stop < 0 else stop
            return False
        self._position += len(text)
        return True

    def _scan_escape(self, *, is_known: bool) -> None:
        following = self._source[self._position + 1 : self._position + 4]
        if following[:1] and following[0] in _FIXED_ESCAPES:
            self._position += 2
            return
        if len(following) == 3 and following[0] == "x" and following[1] in _HEX and following[2] in _HEX:
            self._position += 4
            return
        if is_known:
            self._fault("ESCAPE", f"escape \\{following[:1]} is not allowed", following[:1])
        self._position += 2 if following else 1
