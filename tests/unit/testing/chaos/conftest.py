from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tanpo.testing.chaos.operations import Action, History, Operation, State

MS = 1_000_000

Make = Callable[..., Operation]


@pytest.fixture
def make() -> Make:
    """Make an operation that took from one millisecond to another; `ended=None` leaves it unknown."""
    count = 0

    def make(
        action: Action, subject: Any, *arguments: int, at: int, ended: int | None, **more: Any
    ) -> Operation:
        nonlocal count
        count += 1
        operation = Operation(
            number=count,
            action=action,
            subject=(subject,) if isinstance(subject, str) else tuple(subject),
            arguments=arguments,
            invoked_ns=at * MS,
            completed_ns=None if ended is None else ended * MS,
            state=State.UNKNOWN if ended is None else State.OK,
            request_id="" if action.value.startswith("look") else f"bench-{count}",
            node=more.pop("node", "n1"),
        )
        return replace(operation, **more)

    return make


@pytest.fixture
def history() -> Callable[..., History]:
    def build(*operations: Operation) -> History:
        return History(operations=tuple(sorted(operations, key=lambda one: one.invoked_ns)))

    return build
