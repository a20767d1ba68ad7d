"""What a checker raises: something that must never be, was."""

from __future__ import annotations


class Violation(Exception):
    """A rule was broken. `checker` names the rule, `what` says how, `process` by whom."""

    def __init__(self, checker: str, what: str, process: str = "") -> None:
        super().__init__(f"{checker}: {process + ': ' if process else ''}{what}")
        self.checker = checker
        self.what = what
        self.process = process
