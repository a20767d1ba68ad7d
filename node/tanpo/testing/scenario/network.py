"""The network of a scenario: letters wait until the script delivers, drops, holds or repeats them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from tanpo.ledger.errors import invariant

LETTERS_MAX: Final = 100_000
"""Most letters of one scenario; more is a storm that no reader would follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One encoded message on its way. `block` is what the story calls the block it is about."""

    number: int
    sender: str
    sender_key: str
    receiver: str
    kind: str
    term: int | None
    block: str | None
    encoded: bytes

    def describe(self) -> str:
        """Return sender, receiver and content in words."""
        about = f" {self.block}" if self.block else f" of term {self.term}" if self.term is not None else ""
        return f"{self.sender} to {self.receiver}: {self.kind}{about}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which letters a line of the script means; an empty set means any."""

    kinds: frozenset[str] = frozenset()
    senders: frozenset[str] = frozenset()
    receivers: frozenset[str] = frozenset()
    term: int | None = None
    block: str | None = None

    def covers(self, letter: Letter) -> bool:
        """Return whether a letter is meant."""
        return (
            (not self.kinds or letter.kind in self.kinds)
            and (not self.senders or letter.sender in self.senders)
            and (not self.receivers or letter.receiver in self.receivers)
            and (self.term is None or letter.term == self.term)
            and (self.block is None or letter.block == self.block)
        )


class Network:
    """What was sent and has not arrived, in the order of sending, and which links are cut."""

    __slots__ = ("_cuts", "_holds", "_sent", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Letter] = []
        self._sent: list[Letter] = []
        self._cuts: set[tuple[str, str]] = set()
        self._holds: list[Choice] = []

    def post(self, letter: Letter) -> Letter | None:
        """Send a letter and return it with its number; None if the link is cut: then it is lost."""
        if (letter.sender, letter.receiver) in self._cuts:
            return None
        invariant(len(self._sent) < LETTERS_MAX, f"a scenario sends at most {LETTERS_MAX} letters")
        letter = replace(letter, number=len(self._sent))
        self._sent.append(letter)
        self.waiting.append(letter)
        return letter

    def select(self, choice: Choice, *, is_sent: bool = False) -> list[Letter]:
        """Return the letters meant that wait, or that were ever sent, oldest first."""
        letters = self._sent if is_sent else self.waiting
        return [letter for letter in letters if choice.covers(letter)]

    def take(self, letters: Iterable[Letter]) -> None:
        """Remove letters from those that wait."""
        numbers = {letter.number for letter in letters}
        self.waiting = [letter for letter in self.waiting if letter.number not in numbers]

    def next_letter(self) -> Letter | None:
        """Return the oldest letter that waits and is not held, and remove it."""
        for position, letter in enumerate(self.waiting):
            if not any(hold.covers(letter) for hold in self._holds):
                return self.waiting.pop(position)
        return None

    def hold(self, choice: Choice) -> None:
        """Keep such letters waiting until they are released or delivered by name."""
        self._holds.append(choice)

    def release(self) -> None:
        """Let all held letters go."""
        self._holds.clear()

    def cut(self, senders: Iterable[str], receivers: Iterable[str]) -> None:
        """Lose what is sent from now on, one way, and what already waits on the link."""
        ends = list(receivers)
        self._cuts |= {(sender, receiver) for sender in senders for receiver in ends if sender != receiver}
        self.waiting = [one for one in self.waiting if (one.sender, one.receiver) not in self._cuts]

    def heal(self) -> None:
        """Make all links whole."""
        self._cuts.clear()
