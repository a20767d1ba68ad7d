"""The language of scenario files: one command a line, what came of it below, the story in comments.

A line is a command, an outcome (`-> ...`), a comment (`# ...`) or empty. The first comment is the title,
and one comment names the source (`# Source: ...`). What a command may say is in `grammar.py`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tanpo.testing.scenario.grammar import COMMANDS, GROUPS, Form

OUTCOME: Final = "->"
_COMMENT: Final = "#"
_SOURCE: Final = "Source:"


class ScenarioError(Exception):
    """A line that cannot be understood or carried out: names file, line, word and what is allowed."""

    def __init__(self, place: str, word: str, problem: str, allowed: Sequence[str] = ()) -> None:
        self.place, self.word, self.allowed = place, word, tuple(allowed)
        choice = f"; allowed: {', '.join(allowed)}" if allowed else ""
        super().__init__(f"{place}: {word!r} {problem}{choice}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command: its place in the file, its name, and its words and options."""

    place: str
    line: int
    text: str
    name: str
    words: tuple[str, ...]
    options: dict[str, str]

    def fail(self, word: str, problem: str, allowed: Sequence[str] = ()) -> ScenarioError:
        """Return the error that this line cannot be carried out."""
        return ScenarioError(self.place, word, problem, allowed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A scenario as written: its lines without outcomes, and the steps among them."""

    name: str
    title: str
    source: str
    text: str
    lines: tuple[str, ...]
    steps: tuple[Step, ...]


def parse_script(name: str, text: str) -> Script:
    """Return the scenario that a file spells.

    Raises:
        ScenarioError: a line is no command, or title or source are missing.
    """
    written = text.splitlines()
    comments = [line[1:].strip() for line in written if line.startswith(_COMMENT)]
    if not written or not comments or not written[0].startswith(_COMMENT):
        raise ScenarioError(f"{name}:1", "", "is no title", ["# One sentence that says what is shown."])
    sources = [comment for comment in comments if comment.startswith(_SOURCE)]
    if not sources:
        raise ScenarioError(f"{name}:1", "", "names no source", [f"# {_SOURCE} paper, section or issue"])
    lines: list[str] = []
    steps: list[Step] = []
    for number, line in enumerate(written, 1):
        if line.startswith(OUTCOME):
            continue
        if line and not line.startswith(_COMMENT):
            steps.append(_parse_step(f"{name}:{number}", len(lines), line))
        lines.append(line)
    return Script(
        name=name,
        title=comments[0],
        source=sources[0][len(_SOURCE) :].strip(),
        text=text,
        lines=tuple(lines),
        steps=tuple(steps),
    )


def _parse_step(place: str, line: int, text: str) -> Step:
    try:
        parts = shlex.split(text, comments=True)
    except ValueError:
        raise ScenarioError(place, text, "has a quote that is not closed", ['"..."']) from None
    name, rest = _find_command(place, parts)
    form = COMMANDS[name]
    words = [part for part in rest if "=" not in part or part.startswith("=")]
    options: dict[str, str] = {}
    for part in rest:
        if part in words:
            continue
        key, value = part.split("=", 1)
        _check_option(place, form, key, value, options)
        options[key] = value
    _check_words(place, form, words)
    missing = [key for key in form.required if key not in options]
    if missing:
        raise ScenarioError(place, name, f"lacks {missing[0]}=...", [form.usage])
    return Step(place=place, line=line, text=text, name=name, words=tuple(words), options=options)


def _find_command(place: str, parts: list[str]) -> tuple[str, list[str]]:
    first = parts[0]
    if first in GROUPS:
        seconds = sorted(name.split()[1] for name in COMMANDS if name.startswith(f"{first} "))
        if len(parts) < 2 or parts[1] not in seconds:
            raise ScenarioError(
                place, " ".join(parts[:2]), "is no command", [f"{first} {s}" for s in seconds]
            )
        return f"{first} {parts[1]}", parts[2:]
    if first not in COMMANDS:
        names = sorted({name.split()[0] for name in COMMANDS})
        raise ScenarioError(place, first, "is no command", names)
    return first, parts[1:]


def _check_option(place: str, form: Form, key: str, value: str, known: dict[str, str]) -> None:
    if key not in form.options and key not in form.required:
        allowed = [f"{name}=" for name in (*form.required, *form.options)]
        raise ScenarioError(place, f"{key}=", "is no option here", allowed or [form.usage])
    if key in known:
        raise ScenarioError(place, f"{key}=", "is given twice", ["once"])
    if not value:
        raise ScenarioError(place, f"{key}=", "has no value", [form.usage])


def _check_words(place: str, form: Form, words: list[str]) -> None:
    if len(words) < form.words_min:
        raise ScenarioError(place, " ".join(words), "is too little", [form.usage])
    if len(words) > form.words_max:
        raise ScenarioError(place, words[form.words_max], "is one word too many", [form.usage])
