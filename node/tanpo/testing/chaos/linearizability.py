"""Is there an order of a register's operations that explains every answer? (Wing and Gong, with memory)

Operations are tried in every order that real time allows, depth first. What was tried is remembered as the
set of operations put in order and the content they left (Lowe's memory), so that the search is over those and
not over orders. It trusts nothing but the answers: not the chain, not the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tanpo.testing.chaos.model import step_register
from tanpo.testing.chaos.operations import Action, Operation, State

CONFIGURATIONS_MAX: Final = 2_000_000
"""Where the search gives up undecided; keys are short-lived so that it stays far below."""

EXPLAINED_MAX: Final = 8
"""Operations shown around the one that cannot be explained."""

REGISTER_ACTIONS: Final = frozenset({Action.WRITE, Action.READ, Action.SWAP})


class Verdict(StrEnum):
    """What the search found."""

    LINEARIZABLE = "linearizable"
    VIOLATED = "violated"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The verdict on one register, how many configurations it took, and for a violation the reason."""

    key: str
    verdict: Verdict
    configurations: int
    explanation: str = ""


class _Entry:
    """An invocation or a return in a doubly linked list in order of time."""

    __slots__ = ("is_return", "mate", "next", "position", "previous")

    def __init__(self, position: int, *, is_return: bool) -> None:
        self.position = position
        self.is_return = is_return
        self.mate: _Entry | None = None
        self.previous: _Entry | None = None
        self.next: _Entry | None = None


def check_register(
    key: str, operations: Iterable[Operation], configurations_max: int = CONFIGURATIONS_MAX
) -> Finding:
    """Return whether the operations of one register, 0 at first, have an order that explains them.

    An unknown operation may be put anywhere after its invocation, or left out. Queries, and what never
    happened, are not part of it.
    """
    relevant = [
        one
        for one in operations
        if one.action in REGISTER_ACTIONS
        and (one.state is State.OK or (one.state is State.UNKNOWN and one.action is not Action.READ))
    ]
    return _Search(key, sorted(relevant, key=lambda one: one.invoked_ns), configurations_max).run()


def check_registers(operations: Iterable[Operation]) -> list[Finding]:
    """Return the finding for every register of a history: each is correct on its own or not at all."""
    by_key: dict[str, list[Operation]] = {}
    for one in operations:
        if one.action in REGISTER_ACTIONS:
            by_key.setdefault(one.subject[0], []).append(one)
    return [check_register(key, by_key[key]) for key in sorted(by_key)]


class _Search:
    """One depth-first search. `_order` is the path to the present configuration."""

    def __init__(self, key: str, operations: Sequence[Operation], configurations_max: int) -> None:
        self._key = key
        self._operations = operations
        self._configurations_max = configurations_max
        self._head, self._returns = _link(operations)
        self._order: list[tuple[_Entry, int]] = []
        self._seen: set[tuple[int, int]] = set()
        self._content = 0
        self._done = 0
        self._best: tuple[list[int], int, int] = ([], 0, -1)

    def run(self) -> Finding:
        """Search until an order is found, or there is none, or it would take too long."""
        entry = self._head.next
        while self._returns and entry is not None:
            if len(self._seen) > self._configurations_max:
                return self._find(Verdict.UNDECIDED, "too many configurations")
            if not entry.is_return:
                entry = self._head.next if self._try(entry) else entry.next
                continue
            self._note_stuck(entry)
            if not self._order:
                return self._find(Verdict.VIOLATED, self._explain())
            entry = self._undo().next
        return self._find(Verdict.LINEARIZABLE, "")

    def _try(self, entry: _Entry) -> bool:
        """Put an operation next in order if its answer allows it and the result is new."""
        operation = self._operations[entry.position]
        answer, content = step_register(operation, self._content)
        if operation.state is State.OK and answer.value != operation.value:
            return False
        done = self._done | 1 << entry.position
        if (done, content) in self._seen:
            return False
        self._seen.add((done, content))
        self._order.append((entry, self._content))
        self._content, self._done = content, done
        self._returns -= entry.mate is not None
        _unlink(entry)
        return True

    def _undo(self) -> _Entry:
        entry, self._content = self._order.pop()
        self._done &= ~(1 << entry.position)
        self._returns += entry.mate is not None
        _relink(entry)
        return entry

    def _note_stuck(self, entry: _Entry) -> None:
        """Remember the longest order that worked: what it could not take next is the best explanation."""
        if len(self._order) >= len(self._best[0]):
            self._best = ([one.position for one, _ in self._order], self._content, entry.position)

    def _explain(self) -> str:
        order, content, stuck = self._best
        blocked = self._operations[stuck]
        placed = set(order)
        pending = [
            one
            for position, one in enumerate(self._operations)
            if position not in placed and one.invoked_ns <= (blocked.completed_ns or 0) and one is not blocked
        ]
        lines = [
            f"register {self._key}: no order of its {len(self._operations)} operations explains all answers.",
            f"The longest explains {len(order)} and leaves {content} in it; then no place is left for",
            f"  {blocked}",
            "It ends with",
            *(f"  {self._operations[position]}" for position in order[-EXPLAINED_MAX:]),
        ]
        if pending:
            lines += [
                "Not placed either, though invoked by then:",
                *(f"  {one}" for one in pending[:EXPLAINED_MAX]),
            ]
        return "\n".join(lines)

    def _find(self, verdict: Verdict, explanation: str) -> Finding:
        return Finding(
            key=self._key, verdict=verdict, configurations=len(self._seen), explanation=explanation
        )


def _link(operations: Sequence[Operation]) -> tuple[_Entry, int]:
    """Return the head of the list of all invocations and returns, and how many returns there are.

    At one instant invocations come first: operations that touch in time count as concurrent.
    """
    events: list[tuple[int, int, int, _Entry]] = []
    returns = 0
    for position, one in enumerate(operations):
        call = _Entry(position, is_return=False)
        events.append((one.invoked_ns, 0, position, call))
        if one.state is State.OK and one.completed_ns is not None:
            call.mate = _Entry(position, is_return=True)
            events.append((one.completed_ns, 1, position, call.mate))
            returns += 1
    head = last = _Entry(-1, is_return=False)
    for *_, entry in sorted(events, key=lambda event: event[:3]):
        last.next, entry.previous = entry, last
        last = entry
    return head, returns


def _unlink(entry: _Entry) -> None:
    """Take an operation out of the list; each entry keeps its neighbours for `_relink`."""
    for one in (entry, entry.mate):
        if one is not None and one.previous is not None:
            one.previous.next = one.next
            if one.next is not None:
                one.next.previous = one.previous


def _relink(entry: _Entry) -> None:
    """Put back what `_unlink` took out last."""
    for one in (entry.mate, entry):
        if one is not None and one.previous is not None:
            one.previous.next = one
            if one.next is not None:
                one.next.previous = one
