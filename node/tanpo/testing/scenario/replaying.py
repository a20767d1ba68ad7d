"""Replaying a scenario: its steps in order, what came of each below it, and whether its claims hold."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from tanpo.ledger.errors import InvariantViolation
from tanpo.simulator import Violation
from tanpo.testing.scenario.claims import ClaimFailed, verify_claim
from tanpo.testing.scenario.commands import act, is_close, is_telling
from tanpo.testing.scenario.script import OUTCOME, ScenarioError, Script, Step
from tanpo.testing.scenario.stage import Stage
from tanpo.testing.scenario.telling import NOTHING, tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What came of a scenario: its text with the outcomes drawn anew, and the claims that failed."""

    script: Script
    text: str
    failures: tuple[str, ...]

    @property
    def difference(self) -> str:
        """How the outcomes differ from those in the file; empty if they do not."""
        return "".join(
            difflib.unified_diff(
                self.script.text.splitlines(keepends=True),
                self.text.splitlines(keepends=True),
                fromfile=self.script.name,
                tofile="replayed",
            )
        )

    @property
    def is_good(self) -> bool:
        """Whether all claims hold and the outcomes are those in the file."""
        return not self.failures and not self.difference


def replay(script: Script) -> Replay:
    """Play a scenario from its first line to its last.

    Raises:
        ScenarioError: a line cannot be carried out.
    """
    outcomes: dict[int, list[str]] = {}
    failures: list[str] = []
    stage = Stage(_read_cast(script))
    for step in script.steps[1:]:
        try:
            outcomes[step.line] = _play(stage, step)
        except ClaimFailed as failure:
            failures.append(str(failure))
        except (Violation, InvariantViolation) as violation:
            failures.append(f"{step.place}: {step.text}: {violation}")
            break
    lines: list[str] = []
    for number, line in enumerate(script.lines):
        lines += [line, *(f"{OUTCOME} {outcome}" for outcome in outcomes.get(number, []))]
    return Replay(script=script, text="\n".join(lines) + "\n", failures=tuple(failures))


def _read_cast(script: Script) -> tuple[str, ...]:
    first = script.steps[0] if script.steps else None
    if first is None or first.name != "validators":
        place, word = (f"{script.name}:1", "") if first is None else (first.place, first.name)
        raise ScenarioError(place, word, "cannot be the first command", ["validators NAME ..."])
    if len(set(first.words)) != len(first.words):
        raise first.fail(" ".join(first.words), "names somebody twice", ["each name once"])
    return first.words


def _play(stage: Stage, step: Step) -> list[str]:
    if step.name == "validators":
        raise step.fail(step.name, "can only be the first command")
    if step.name.startswith("expect "):
        verify_claim(stage, step)
        return []
    stage.told.clear()
    answers = act(stage, step)
    stage.witness.check_commits(stage.honest)
    lines = [answer.rstrip() for answer in answers] + tell(stage.told, is_close=is_close(step))
    return lines or ([NOTHING] if is_telling(step) else [])
