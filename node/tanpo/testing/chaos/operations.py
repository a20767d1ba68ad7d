"""What clients did and what they were told: operations, and the file that holds a history of them.

A history is written as it happens, one line an event, so that it survives whoever wrote it. Times are of the
machine's monotonic clock, which all its processes share.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TextIO

from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.values import Value

PROCESS_OPERATIONS_MAX: Final = 10_000_000
"""Operations of one process; their numbers are unique over all."""


class Action(StrEnum):
    """What an operation does, named as the contract's entry or view."""

    WRITE = "write"
    READ = "read"
    SWAP = "swap"
    ADD = "add"
    COLLECT = "collect"
    TRANSFER = "transfer"
    AUDIT = "audit"
    LOOK_REGISTER = "look_register"
    LOOK_SET = "look_set"
    LOOK_ACCOUNTS = "look_accounts"


QUERIES: Final = frozenset({Action.LOOK_REGISTER, Action.LOOK_SET, Action.LOOK_ACCOUNTS})
"""Answers of one node from its own committed state: they may be old, but never wrong (`checks.queries`)."""


class State(StrEnum):
    """How an operation ended."""

    OK = "ok"
    """It took effect, or told what it read."""
    REFUSED = "refused"
    """It was committed and its contract failed: no effect, but an observation like any other."""
    NEVER = "never"
    """It is in no block and never will be."""
    UNKNOWN = "unknown"
    """Nobody told: it may have taken effect at any time since its invocation, or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation. `subject` is a register's key, a set's group, or a transfer's deliverer and receiver.

    `completed_ns` is None while `UNKNOWN`. `height` and `index` are its place in the chain; of a query, the
    height of the state it read. `node` is the one that gave the last answer.
    """

    number: int
    action: Action
    subject: tuple[str, ...]
    arguments: tuple[int, ...]
    invoked_ns: int
    node: str = ""
    request_id: str = ""
    state: State = State.UNKNOWN
    completed_ns: int | None = None
    value: Value = ()
    code: str = ""
    height: int = 0
    index: int = 0

    @property
    def is_query(self) -> bool:
        """Whether it only asked one node."""
        return self.action in QUERIES

    @property
    def is_committed(self) -> bool:
        """Whether it is known to be in a block."""
        return not self.is_query and self.state in (State.OK, State.REFUSED)

    def __str__(self) -> str:
        """Return the operation on one line, times in milliseconds."""
        ended = "..." if self.completed_ns is None else f"{self.completed_ns / 1e6:.1f}"
        what = ", ".join([*self.subject, *map(str, self.arguments)])
        shown = self.code or (f" = {self.value!r}" if self.value != () else "")
        place = f" at height {self.height}" if self.height else ""
        return (
            f"#{self.number} {self.action}({what}){shown} {self.state}{place} "
            f"via {self.node or '?'} [{self.invoked_ns / 1e6:.1f} .. {ended}]"
        )


class HistoryWriter:
    """Appends to a history file; each event is out of the process before the call returns."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def invoke(self, operation: Operation) -> None:
        """Note the beginning of an operation, before anything is sent."""
        self._put(
            {
                "event": "invoke",
                "number": operation.number,
                "action": operation.action,
                "subject": operation.subject,
                "arguments": operation.arguments,
                "request_id": operation.request_id,
                "ns": operation.invoked_ns,
            }
        )

    def complete(self, operation: Operation) -> None:
        """Note an ending. An `UNKNOWN` one may be followed by another, once it was found out."""
        self._put(
            {
                "event": "complete",
                "number": operation.number,
                "state": operation.state,
                "node": operation.node,
                "ns": operation.completed_ns,
                "value": operation.value,
                "code": operation.code,
                "height": operation.height,
                "index": operation.index,
            }
        )

    def _put(self, document: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(document) + "\n")
        self._file.flush()


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All operations of a run in the order of their invocation, each with the last that is known of it.

    `unknown_first` counts those that were unknown for a while, whatever became of them.
    """

    operations: tuple[Operation, ...]
    unknown_first: int = 0

    @property
    def transactions(self) -> list[Operation]:
        """The operations that went through the chain, or tried to."""
        return [one for one in self.operations if not one.is_query]

    @property
    def queries(self) -> list[Operation]:
        """The queries that were answered."""
        return [one for one in self.operations if one.is_query and one.state is State.OK]

    def count(self) -> dict[str, int]:
        """Return how many operations ended in each state."""
        return {str(state): sum(one.state is state for one in self.operations) for state in State}


def load_history(paths: Iterable[Path]) -> History:
    """Return the history in the files of several processes. An operation without an ending is unknown.

    Raises:
        UsageError: a line is no event, or completes what was never invoked.
    """
    found: dict[int, Operation] = {}
    unknown: set[int] = set()
    for path in sorted(paths):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            try:
                document = json.loads(line)
                if document["event"] == "invoke":
                    found[document["number"]] = _read_invocation(document)
                else:
                    known = found[document["number"]]
                    found[known.number] = _read_completion(known, document)
                    if document["state"] == State.UNKNOWN:
                        unknown.add(known.number)
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(
                    Reason.MALFORMED, f"{path}:{number} is no event: {error}", value=line, limit="an event"
                ) from None
    ordered = tuple(sorted(found.values(), key=lambda one: (one.invoked_ns, one.number)))
    return History(operations=ordered, unknown_first=len(unknown))


def _read_invocation(document: Mapping[str, Any]) -> Operation:
    return Operation(
        number=document["number"],
        action=Action(document["action"]),
        subject=tuple(document["subject"]),
        arguments=tuple(document["arguments"]),
        request_id=document["request_id"],
        invoked_ns=document["ns"],
    )


def _read_completion(known: Operation, document: Mapping[str, Any]) -> Operation:
    return replace(
        known,
        state=State(document["state"]),
        node=document["node"],
        completed_ns=document["ns"],
        value=_freeze(document["value"]),
        code=document["code"],
        height=document["height"],
        index=document["index"],
    )


def _freeze(value: Any) -> Value:
    """Return a value with lists as the tuples they were."""
    if isinstance(value, list):
        return tuple(_freeze(item) for item in value)
    frozen: Value = value
    return frozen
