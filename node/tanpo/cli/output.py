"""How commands speak: JSON or a table on stdout, progress and one line for an error on stderr.

Rich is imported only where something is drawn: `-o json` and `--help` answer without it.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from tanpo.ledger.errors import LedgerError


_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_MISUSED: Final = 2
"""The exit code for a command line that typer refuses: it is the same to those who call us."""


class Format(StrEnum):
    """How a command prints its result."""

    TABLE = "table"
    JSON = "json"


OutputOption: TypeAlias = Annotated[
    Format, typer.Option("--output", "-o", help="A table for people, or JSON on stdout.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table: its heading, the key of its value in a row, and how it is shown.

    Numbers stand right; an identifier keeps its digits together, and `digits_max` of it are enough.
    """

    heading: str
    key: str
    is_number: bool = False
    digits_max: int = 0

    def show(self, row: Mapping[str, Any]) -> str:
        """Return this column of a row as text."""
        value = row.get(self.key, "")
        if self.is_number or isinstance(value, bool) or not isinstance(value, int):
            text = show(value)
        else:
            text = str(value)
        return f"{text[: self.digits_max]}…" if 0 < self.digits_max < len(text) else text


def print_json(document: object) -> None:
    """Print one JSON value on stdout."""
    print_text(json.dumps(document, indent=2, ensure_ascii=False))


def print_rows(output: Format, rows: Sequence[Mapping[str, Any]], columns: Iterable[Column]) -> None:
    """Print rows as a JSON array, or as a table with these columns."""
    if output is Format.JSON:
        print_json([dict(row) for row in rows])
    else:
        print_table(build_table(rows, columns))


def print_fields(output: Format, fields: Mapping[str, Any]) -> None:
    """Print one object as JSON, or as a table of names and values."""
    if output is Format.JSON:
        print_json(dict(fields))
        return
    rows = [{"name": name, "value": value} for name, value in fields.items()]
    print_table(build_table(rows, (Column(heading="", key="name"), Column(heading="", key="value"))))


def print_table(*parts: Table | str) -> None:
    """Print tables and texts on stdout; as wide as a table needs where that is no terminal."""
    console = _console(stderr=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    _write(captured.get())


def print_text(text: str) -> bool:
    """Print plain text on stdout; return whether anybody still reads it."""
    return _write(text + "\n")


def print_error(text: str) -> None:
    """Say on one line of stderr why a command did not do what it was asked to."""
    sys.stderr.write(f"tanpo: {' '.join(text.split())}\n")


def open_streams() -> None:
    """Let the standard streams that the shell closed (`>&-`) lead nowhere.

    Otherwise a file or a socket of ours would be opened in their place, and be written to.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is taken: this one.
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - as long as the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115 - as long as the process


def _write(text: str) -> bool:
    """Write to stdout; return False if its reader (`tanpo net logs | head`) went away: that is its right.

    The exit code stays that of what the command did. So nothing is raised, of which typer would make a 1.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain when it flushes stdout at exit, so stdout leads nowhere from now on.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def build_table(
    rows: Iterable[Mapping[str, Any]], columns: Iterable[Column], *, title: str | None = None
) -> Table:
    """Return a table ready to print."""
    from rich import box
    from rich.table import Table

    chosen = tuple(columns)
    has_headings = any(column.heading for column in chosen)
    table = Table(
        title=title,
        box=box.SIMPLE_HEAD if has_headings else None,
        show_header=has_headings,
        show_edge=False,
        title_justify="left",
    )
    for column in chosen:
        table.add_column(
            column.heading,
            justify="right" if column.is_number else "left",
            no_wrap=column.is_number,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(column.show(row) for column in chosen))
    return table


def show(value: object) -> str:
    """Return a value as a person reads it: thousands apart, yes and no, JSON for what is nested."""
    from rich.markup import escape

    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, dict | list | tuple):
        return escape(json.dumps(value, ensure_ascii=False))
    return "" if value is None else escape(str(value))


def stderr_console() -> Console:
    """Return a console for progress, which never mixes with results."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # No emoji: `:AB:` in a fingerprint that two people compare by telephone is no picture.
    return Console(stderr=stderr, highlight=False, emoji=False, width=None if stream.isatty() else 140)


def describe_error(error: LedgerError) -> str:
    """Return an error on one line: code, message, value, limit, remedy."""
    parts = [f"{error.reason}: {error.message}"]
    if error.value:
        parts.append(f"value: {error.value}")
    if error.limit:
        parts.append(f"limit: {error.limit}")
    if error.remedy:
        parts.append(f"remedy: {error.remedy}")
    return " ".join("; ".join(parts).split())


class Reporting:
    """Around a command: an expected error becomes one line on stderr, never a traceback.

    The exit code is 2 for what was asked in a way that it cannot be done, and else 1.

    A context manager and not an `except` clause, so that the error tree, and all that it pulls in, is
    imported only when there is an error.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, SystemExit):
            return
        from tanpo.ledger.errors import LedgerError, Reason

        for found in _flatten(error):
            if isinstance(found, LedgerError):
                print_error(describe_error(found))
                raise SystemExit(_MISUSED if found.reason is Reason.MISUSE else 1) from None
            if isinstance(found, OSError) and (found.filename is not None or found.errno in _FULL):
                print_error(_describe_refusal(found))
                raise SystemExit(1) from None


def _describe_refusal(error: OSError) -> str:
    """Return what the operating system refused to do with a file, in the words of our own errors."""
    from tanpo.ledger.errors import Reason, UsageError

    is_full = error.errno in _FULL
    return describe_error(
        UsageError(
            Reason.DISK_FULL if is_full else Reason.CONFIGURATION,
            f"the operating system refused: {error.strerror}",
            value=error.filename or "",
            remedy="make room on the disk" if is_full else "correct the path or its permissions",
        )
    )


def _flatten(error: BaseException) -> list[BaseException]:
    """Return the errors in a group of tasks, or the one error."""
    if isinstance(error, BaseExceptionGroup):
        return [inner for one in error.exceptions for inner in _flatten(one)]
    return [error]
