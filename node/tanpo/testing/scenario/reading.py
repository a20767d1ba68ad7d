"""Reading the words of a step: names, numbers, durations, blocks and choices of letters."""

from __future__ import annotations

import re
from typing import Final

from tanpo.ledger.block import Block
from tanpo.ledger.certificate import SignedKind
from tanpo.ledger.types import Term
from tanpo.testing.scenario.archive import GENESIS_NAME
from tanpo.testing.scenario.contents import COMMIT_VOTE, KINDS
from tanpo.testing.scenario.network import Choice
from tanpo.testing.scenario.process import Process
from tanpo.testing.scenario.script import Step
from tanpo.testing.scenario.stage import Stage

ALL: Final = "all"
_KINDS: Final = {"prepare": SignedKind.VOTE_PREPARE, "commit": SignedKind.VOTE_COMMIT}
_DURATION: Final = re.compile(r"(?P<sign>[+-]?)(?P<number>[0-9]+)(?P<unit>ms|s|m)")
_DIGITS_MAX: Final = 6
_UNITS: Final = {"ms": 1, "s": 1000, "m": 60_000}


def read_names(stage: Stage, step: Step, words: str) -> list[str]:
    """Return the names in a list like `alice,bob`; `all` is everybody."""
    everybody = [*stage.processes, *stage.byzantine]
    names = everybody if words == ALL else words.split(",")
    for name in names:
        if name not in everybody:
            raise step.fail(name, "is nobody", [*everybody, ALL])
    return names


def read_process(stage: Stage, step: Step, name: str) -> Process:
    """Return the process of a validator that the script does not hold."""
    if name not in stage.processes:
        raise step.fail(name, "runs no replica", list(stage.processes))
    return stage.processes[name]


def read_processes(stage: Stage, step: Step, words: str | None) -> list[Process]:
    """Return the processes in a list of names; without one all that are up."""
    if words is None:
        return [process for process in stage.honest if process.is_up]
    if words == ALL:
        return list(stage.processes.values())
    return [read_process(stage, step, name) for name in words.split(",")]


def read_number(step: Step, key: str, value: str) -> int:
    """Return a number above zero."""
    if not value.isdecimal() or len(value) > 12:
        raise step.fail(f"{key}={value}", "is no number", ["1", "2", "..."])
    return int(value)


def read_term(step: Step) -> Term:
    """Return the option `term=`."""
    return Term(read_number(step, "term", step.options["term"]))


def read_duration_ms(step: Step, word: str) -> int:
    """Return a duration like `2s`, `250ms` or `-1m`."""
    found = _DURATION.fullmatch(word)
    if found is None:
        raise step.fail(word, "is no duration", ["2s", "250ms", "-1m"])
    if len(found["number"]) > _DIGITS_MAX:
        raise step.fail(word, "is too long", [f"at most {'9' * _DIGITS_MAX}{found['unit']}"])
    return int(f"{found['sign']}{found['number']}") * _UNITS[found["unit"]]


def read_span_ms(step: Step, word: str) -> int:
    """Return how much time passes: a duration that does not go back."""
    span_ms = read_duration_ms(step, word)
    if span_ms < 0:
        raise step.fail(word, "goes back in time", ["2s", "250ms", "1m"])
    return span_ms


def read_block(stage: Stage, step: Step, name: str) -> Block | None:
    """Return the block with this name, None for genesis."""
    if name == GENESIS_NAME:
        return None
    block = stage.archive.find(name)
    if block is None:
        raise step.fail(name, "is no block", [GENESIS_NAME, *stage.archive.names])
    return block


def read_kind(step: Step) -> SignedKind:
    """Return the option `kind=`: a prepare vote unless it says otherwise."""
    kind = step.options.get("kind", "prepare")
    if kind not in _KINDS:
        raise step.fail(kind, "is no kind of vote", list(_KINDS))
    return _KINDS[kind]


def read_choice(stage: Stage, step: Step, words: tuple[str, ...]) -> Choice:
    """Return which letters a step means: kinds (`all` for any), and options from, to, term, block."""
    kinds = [*KINDS.values(), COMMIT_VOTE, ALL]
    for word in words:
        if word not in kinds:
            raise step.fail(word, "is no kind of message", kinds)
    options = step.options
    ends = [
        frozenset(read_names(stage, step, options[key])) if key in options else frozenset[str]()
        for key in ("from", "to")
    ]
    return Choice(
        kinds=frozenset(words) - {ALL},
        senders=ends[0],
        receivers=ends[1],
        term=read_term(step) if "term" in options else None,
        block=options.get("block"),
    )
