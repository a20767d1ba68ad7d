"""Checks of a history against what the product promises. Each returns what is wrong, in words.

The promises:

- a transaction takes effect at one place in the chain, between its submission and its answer, and answers
  from the state just before it: strict serialisability over registers, sets and accounts together;
- an acknowledged transaction is never lost, a refused one never applied, and a request never applied twice,
  however often it is sent;
- a query is answered by one node from the state after one block, whose height it tells. It may be old, but it
  is exactly that state, and never older than what this node has told anybody before.

`check_bank` and `check_sets` look at answers alone, as `linearizability` does for registers. `check_order`
replays the chain as a witness: if its order explains every answer and agrees with real time, then the whole
history is strictly serialisable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tanpo.ledger.values import Value
from tanpo.testing.chaos.model import Answer, Model
from tanpo.testing.chaos.operations import Action, History, Operation, State

BALANCES: Final = frozenset({Action.AUDIT, Action.LOOK_ACCOUNTS})
LISTINGS: Final = frozenset({Action.COLLECT, Action.LOOK_SET})


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A broken promise: which check found it, and what happened."""

    check: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a request is in the chain, and what its receipt says."""

    height: int
    index: int
    succeeded: bool
    code: str
    value: Value

    @property
    def answer(self) -> Answer:
        """The receipt as the model answers."""
        return Answer(value=self.value if self.succeeded else (), code=self.code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """The places of the bench's requests in the chain; more than one is a request applied twice.

    `top` is the height up to which the chain was read.
    """

    top: int
    places: Mapping[str, Sequence[Place]] = field(default_factory=dict)

    def find(self, operation: Operation) -> Place | None:
        """Return the place of an operation's request."""
        places = self.places.get(operation.request_id, ())
        return places[0] if places else None


def check_bank(history: History, total: int) -> list[Violation]:
    """Check that every reading of all balances shows the whole total, and no account below zero."""
    found: list[Violation] = []
    for one in history.operations:
        if one.action in BALANCES and one.state is State.OK:
            balances = _numbers(one.value)
            if sum(balances) != total:
                found.append(_wrong("bank", f"the total is {sum(balances)}, not {total}: {one}"))
            if min(balances, default=0) < 0:
                found.append(_wrong("bank", f"an account is overdrawn: {one}"))
    return found


def check_sets(history: History) -> list[Violation]:
    """Check that readings of a set lose nothing acknowledged, show nothing never added, and nothing twice."""
    adds: dict[str, list[Operation]] = {}
    listings: dict[str, list[Operation]] = {}
    for one in history.operations:
        if one.action is Action.ADD:
            adds.setdefault(one.subject[0], []).append(one)
        elif one.action in LISTINGS and one.state is State.OK:
            listings.setdefault(one.subject[0], []).append(one)
    found: list[Violation] = []
    for group in sorted(listings):
        readings = listings[group]
        for reading in readings:
            found += _check_listing(reading, adds.get(group, []))
        found += _check_growth(readings)
    return found


def check_settled(history: History, requests: Requests) -> list[Violation]:
    """Check that the chain holds what was acknowledged, once, and nothing that nobody asked for."""
    found: list[Violation] = []
    known = {one.request_id for one in history.transactions}
    for request_id in sorted(requests.places):
        places = requests.places[request_id]
        if len(places) > 1:
            found.append(_wrong("exactly once", f"request {request_id} is in the chain {len(places)} times"))
        if request_id not in known:
            found.append(_wrong("phantom", f"request {request_id} is in the chain, but nobody made it"))
    for one in history.transactions:
        place = requests.find(one)
        if one.is_committed and place is None:
            found.append(_wrong("acknowledged", f"acknowledged, but not in the chain: {one}"))
        elif one.is_committed and place is not None and _differs(one, place):
            found.append(_wrong("acknowledged", f"the chain has it otherwise ({place}): {one}"))
        elif one.state is State.NEVER and place is not None:
            found.append(_wrong("refused", f"it was to be in no block, but is ({place}): {one}"))
    return found


def check_order(history: History, requests: Requests, accounts: Mapping[str, int]) -> list[Violation]:
    """Check that the chain's order explains every answer and agrees with real time, and every query too."""
    placed = sorted(
        ((place, one) for one in history.transactions if (place := requests.find(one)) is not None),
        key=lambda pair: (pair[0].height, pair[0].index),
    )
    queries = sorted(history.queries, key=lambda one: one.height)
    model = Model.create(accounts)
    found: list[Violation] = []
    latest: Operation | None = None
    asked = 0
    for place, one in placed:
        while asked < len(queries) and queries[asked].height < place.height:
            found += _check_query(queries[asked], model)
            asked += 1
        expected = model.apply(one)
        if expected != place.answer:
            found.append(_wrong("order", f"{place.answer} where the order allows {expected}: {one}"))
        if latest is not None and one.completed_ns is not None and one.completed_ns < latest.invoked_ns:
            found.append(
                _wrong("real time", f"it had ended before the other began, but follows it: {one}; {latest}")
            )
        if latest is None or one.invoked_ns > latest.invoked_ns:
            latest = one
    for one in queries[asked:]:
        found += _check_query(one, model)
        if one.height > requests.top:
            found.append(_wrong("query", f"the chain ends at height {requests.top}: {one}"))
    return found


def check_freshness(history: History, renewals: Mapping[str, Sequence[int]]) -> list[Violation]:
    """Check that no node answers a query from a state older than it has told anybody before.

    `renewals` are the times at which a node was given another's data, after which it may be behind itself.
    """
    found: list[Violation] = []
    for node in sorted({one.node for one in history.queries}):
        starts = [0, *sorted(renewals.get(node, ()))]
        for start, stop in zip(starts, [*starts[1:], None], strict=True):
            answers = [one for one in history.operations if one.node == node and _is_within(one, start, stop)]
            found += _check_ascent(node, answers)
    return found


def _is_within(operation: Operation, start_ns: int, stop_ns: int | None) -> bool:
    """Return whether a node answered an operation, and told a height, in a stretch of time."""
    if operation.completed_ns is None or not operation.height:
        return False
    return operation.invoked_ns >= start_ns and (stop_ns is None or operation.completed_ns < stop_ns)


def _check_ascent(node: str, answers: Sequence[Operation]) -> list[Violation]:
    """Check each query of one node against the highest answer that was complete before it was asked."""
    found: list[Violation] = []
    ended = sorted(answers, key=lambda one: one.completed_ns or 0)
    highest: Operation | None = None
    taken = 0
    for query in (one for one in answers if one.is_query):
        while taken < len(ended) and (ended[taken].completed_ns or 0) < query.invoked_ns:
            if highest is None or ended[taken].height > highest.height:
                highest = ended[taken]
            taken += 1
        if highest is not None and highest.height > query.height:
            found.append(_wrong("freshness", f"{node} knew height {highest.height} by {highest}: {query}"))
    return found


def _check_listing(reading: Operation, adds: Sequence[Operation]) -> list[Violation]:
    elements = _numbers(reading.value)
    present = set(elements)
    found: list[Violation] = []
    if len(present) != len(elements):
        twice = sorted({one for one in elements if elements.count(one) > 1})
        found.append(_wrong("set", f"elements {twice} are there twice: {reading}"))
    ended_ns = reading.completed_ns or 0
    possible = {
        one.arguments[0] for one in adds if one.state is not State.NEVER and one.invoked_ns <= ended_ns
    }
    if phantoms := sorted(present - possible):
        found.append(_wrong("set", f"elements {phantoms} were never added: {reading}"))
    if reading.action is Action.COLLECT:
        certain = {
            one.arguments[0]
            for one in adds
            if one.state is State.OK and (one.completed_ns or 0) < reading.invoked_ns
        }
        if lost := sorted(certain - present):
            found.append(_wrong("set", f"acknowledged elements {lost} are missing: {reading}"))
    return found


def _check_growth(readings: Sequence[Operation]) -> list[Violation]:
    """Check that elements only ever come at the end: of any two readings one begins with the other."""
    found: list[Violation] = []
    previous: Operation | None = None
    for reading in sorted(readings, key=lambda one: len(_numbers(one.value))):
        if previous is not None:
            shorter, longer = _numbers(previous.value), _numbers(reading.value)
            if longer[: len(shorter)] != shorter:
                found.append(_wrong("set", f"two readings contradict each other: {previous}; {reading}"))
        previous = reading
    return found


def _check_query(query: Operation, model: Model) -> list[Violation]:
    expected = model.apply(query)
    if expected.value == query.value:
        return []
    return [_wrong("query", f"the state of that height has {expected.value!r}: {query}")]


def _differs(operation: Operation, place: Place) -> bool:
    is_elsewhere = (operation.height, operation.index) != (place.height, place.index)
    return is_elsewhere or Answer(value=operation.value, code=operation.code) != place.answer


def _numbers(value: Value) -> tuple[int, ...]:
    return tuple(item for item in value if isinstance(item, int)) if isinstance(value, tuple) else ()


def _wrong(check: str, what: str) -> Violation:
    return Violation(check=check, what=what)
