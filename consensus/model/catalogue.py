"""What the model checks: the instances explored whole, and the rules taken away one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A size of the model, with all rules in force: no fork may be reachable, and every commit must be."""

    name: str
    terms: int
    heights: int
    contents: int = 1
    options: tuple[str, ...] = ()
    is_quick: bool = True
    """Whether it takes a few seconds at most, so that tests may run it."""

    def list_flags(self) -> list[str]:
        """Return the macros that make this instance of the model."""
        sizes = (f"TERMS={self.terms}", f"HEIGHTS={self.heights}", f"VARIANTS={self.contents}")
        return [f"-D{flag}" for flag in (*sizes, *self.options)]

    def list_commits(self) -> list[str]:
        """Return every (epoch, term, height) at which some run must commit a block."""
        has_epochs = "EPOCH" in self.options
        commits_by_child_only = "NUDGE=0" in self.options
        tops = {1: self.heights - (has_epochs or commits_by_child_only)}
        if has_epochs:
            tops[2] = self.heights
        return [
            f"{epoch} {term} {height}"
            for epoch, top in tops.items()
            for term in range(1, self.terms + 1)
            for height in range(1, top + 1)
        ]

    def list_steps(self) -> list[str]:
        """Return every kind of step that some run must take."""
        forgets = any(option.startswith("FORGETS") for option in self.options)
        steps = {
            "prepare": True,
            "commit": "NUDGE=0" not in self.options,
            "timeout": self.terms > 1,
            "learn": "EAGER" in self.options,
            "advance": "STRATA" in self.options,
            "begin": "EPOCH" in self.options,
            "repeated": "EPOCH" in self.options,
            "forget": forgets,
            "answer": forgets,
            # Back from amnesia, a validator signs from term 3 on.
            "back": forgets and self.terms > 2,
        }
        return [name for name, is_due in steps.items() if is_due]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A rule taken away, and the smallest instance known in which that shows."""

    name: str
    """The macro without its `NO_`; its first part is the rule's id in SPEC.md."""
    without: str
    instance: Instance
    has_fork: bool = True
    flags: tuple[str, ...] = ()
    """What takes the rule away if no macro does."""
    is_quick: bool = True

    def list_flags(self) -> list[str]:
        """Return the macros of the model without the rule."""
        return self.instance.list_flags() + [f"-D{flag}" for flag in self.flags or (f"NO_{self.name}",)]


def _sorted(terms: int, heights: int, contents: int = 1, *options: str) -> Instance:
    return _any_order(terms, heights, contents, "STRATA", *options)


def _any_order(terms: int, heights: int, contents: int = 1, *options: str) -> Instance:
    return Instance(name="", terms=terms, heights=heights, contents=contents, options=options)


INSTANCES: Final = (
    # Steps sorted by term.
    Instance(name="2 terms, 2 contents", terms=2, heights=2, contents=2, options=("STRATA",), is_quick=False),
    Instance(name="3 terms", terms=3, heights=2, options=("STRATA",), is_quick=False),
    Instance(name="3 terms, 2 contents", terms=3, heights=2, contents=2, options=("STRATA",)),
    Instance(name="3 heights", terms=3, heights=3, options=("STRATA",)),
    Instance(name="4 terms", terms=4, heights=2, options=("STRATA",)),
    Instance(name="6 terms", terms=6, heights=2, options=("STRATA",), is_quick=False),
    Instance(name="chained, 4 terms", terms=4, heights=2, options=("STRATA", "NUDGE=0")),
    Instance(name="chained, 3 heights", terms=3, heights=3, options=("STRATA", "NUDGE=0")),
    Instance(name="6 validators", terms=2, heights=1, options=("STRATA", "HONEST=5", "NEED=3")),
    Instance(name="learning early", terms=4, heights=2, options=("STRATA", "EAGER"), is_quick=False),
    # An epoch boundary.
    Instance(name="2 epochs, 2 contents", terms=2, heights=2, contents=2, options=("STRATA", "EPOCH")),
    Instance(name="2 epochs of 3 terms", terms=3, heights=2, options=("STRATA", "EPOCH")),
    Instance(name="2 epochs of 3 heights", terms=2, heights=3, options=("STRATA", "EPOCH")),
    Instance(name="2 epochs, any order", terms=2, heights=2, options=("EPOCH",)),
    # Amnesia.
    Instance(name="amnesia, 2 contents", terms=2, heights=1, contents=2, options=("FORGETS=1",)),
    Instance(name="amnesia, 3 terms", terms=3, heights=1, options=("FORGETS=1",), is_quick=False),
    # Every order of steps: the instances of the prototype.
    Instance(name="learning early, any order", terms=2, heights=2, options=("EAGER",)),
    Instance(name="2 terms, 2 contents, any order", terms=2, heights=2, contents=2, is_quick=False),
    Instance(name="3 terms, any order", terms=3, heights=2, is_quick=False),
    Instance(name="chained, 4 terms, any order", terms=4, heights=2, options=("NUDGE=0",), is_quick=False),
    Instance(
        name="2 epochs of 3 terms and heights",
        terms=3,
        heights=3,
        options=("STRATA", "EPOCH"),
        is_quick=False,
    ),
    Instance(name="2 epochs of 4 terms", terms=4, heights=2, options=("STRATA", "EPOCH"), is_quick=False),
    Instance(name="amnesia, 2 heights", terms=2, heights=2, options=("FORGETS=1",), is_quick=False),
    Instance(name="amnesia twice", terms=3, heights=1, options=("FORGETS=2",), is_quick=False),
    Instance(name="amnesia, 4 terms", terms=4, heights=1, options=("FORGETS=1",), is_quick=False),
    Instance(
        name="amnesia, 3 terms, 2 contents",
        terms=3,
        heights=1,
        contents=2,
        options=("FORGETS=1",),
        is_quick=False,
    ),
)

REMOVALS: Final = (
    Removal(
        name="S1_QUORUM",
        without="q = 2f + 1 among six validators",
        instance=_sorted(1, 1, 2),
        flags=("HONEST=5", "NEED=2"),
    ),
    Removal(name="S1_DISTINCT", without="a signer counts twice in a certificate", instance=_sorted(1, 1, 2)),
    Removal(
        name="S1_DISTINCT_TIMEOUTS",
        without="a signer counts twice in a term certificate",
        instance=_sorted(2, 1),
    ),
    Removal(
        name="S3_JUSTIFY",
        without="the justify of a proposal voted for does not raise the lock",
        instance=_sorted(3, 2, 1, "NUDGE=0"),
    ),
    Removal(name="S3_SIGNED", without="a timeout's signature leaves the lock out", instance=_sorted(2, 1)),
    Removal(name="S4", without="a certificate commits a parent of an earlier term", instance=_sorted(4, 2)),
    Removal(name="S5_LOCK", without="a commit vote without a lock", instance=_sorted(2, 1)),
    Removal(name="S5_TERM", without="a commit vote for a term already left", instance=_any_order(2, 1)),
    Removal(name="R1_PREPARE", without="prepare votes after a timeout", instance=_sorted(2, 2, 1, "NUDGE=0")),
    Removal(name="R1_COMMIT", without="commit votes after a timeout", instance=_sorted(2, 1)),
    Removal(name="R2", without="two prepare votes at one rank", instance=_sorted(1, 2, 2)),
    Removal(
        name="R3",
        without="a later block of a term extends a certificate of another term",
        instance=_sorted(2, 2),
    ),
    Removal(
        name="R3_CERTIFIED", without="a block extends one without certificate", instance=_sorted(1, 2, 2)
    ),
    Removal(name="R4_ONE", without="votes for two first blocks of a term", instance=_sorted(2, 2)),
    Removal(
        name="R4_HIGHEST", without="a first block extends less than what is listed", instance=_sorted(2, 1)
    ),
    Removal(name="D1_VOTE", without="a crash undoes a vote", instance=_sorted(1, 1, 2)),
    Removal(name="D1_LOCK", without="a crash undoes a lock", instance=_sorted(2, 1)),
    Removal(name="D1_TIMEOUT", without="a crash undoes a timeout", instance=_sorted(2, 1)),
    Removal(
        name="D6",
        without="a validator that forgot everything signs at once",
        instance=_any_order(1, 1, 2, "FORGETS=1"),
    ),
    Removal(
        name="D8_QUORUM",
        without="one answer less than a quorum",
        instance=_any_order(3, 1, 2, "FORGETS=1"),
    ),
    Removal(
        name="D8_FLOOR",
        without="no floor after answers of a quorum",
        instance=_any_order(1, 1, 2, "FORGETS=1"),
    ),
    Removal(
        name="D8_PLUS_ONE",
        without="the floor is the highest term among the answers, not one above",
        instance=_any_order(2, 1, 2, "FORGETS=1"),
    ),
    Removal(
        name="D8_LOCK",
        without="the lock is not the highest among the answers",
        instance=_any_order(3, 1, 1, "FORGETS=1"),
        has_fork=False,
        is_quick=False,
    ),
    Removal(
        name="V5",
        without="blocks follow the last one of an epoch",
        instance=_sorted(2, 2, 1, "EPOCH"),
    ),
    Removal(
        name="E3_COMMITTED",
        without="an epoch begins after a block that is certified only",
        instance=_sorted(2, 2, 1, "EPOCH"),
    ),
    Removal(
        name="E3_BINDING",
        without="timeouts of one epoch count in the next",
        instance=_sorted(2, 2, 1, "EPOCH"),
    ),
    Removal(
        name="E4_HIGHEST",
        without="an epoch's last block is repeated on a certificate below what is listed",
        instance=_sorted(3, 2, 1, "EPOCH"),
    ),
)
