from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tanpo.ledger.errors import UsageError
from tanpo.testing.chaos.operations import Action, HistoryWriter, State, load_history


def test_a_history_survives_its_file(make: Any, tmp_path: Path) -> None:
    done = make(Action.COLLECT, "s", at=0, ended=1, value=(1, 2), height=3, index=4)
    refused = make(Action.TRANSFER, ("a", "b"), 9, at=2, ended=3, state=State.REFUSED, code="NO")
    path = tmp_path / "history"
    with path.open("w") as file:
        writer = HistoryWriter(file)
        for one in (done, refused):
            writer.invoke(one)
            writer.complete(one)
    assert load_history([path]).operations == (done, refused)


def test_what_was_begun_and_never_ended_is_unknown(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "history"
    with path.open("w") as file:
        HistoryWriter(file).invoke(make(Action.WRITE, "r", 1, at=0, ended=1))
    (found,) = load_history([path]).operations
    assert (found.state, found.completed_ns) == (State.UNKNOWN, None)


def test_what_was_unknown_at_first_is_counted_and_takes_its_last_ending(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "history"
    done = make(Action.WRITE, "r", 1, at=0, ended=9, height=2)
    with path.open("w") as file:
        writer = HistoryWriter(file)
        writer.invoke(done)
        writer.complete(replace(done, state=State.UNKNOWN, completed_ns=None))
        writer.complete(done)
    found = load_history([path])
    assert (found.operations, found.unknown_first) == ((done,), 1)


@pytest.mark.parametrize("line", ["", "{}", '{"event": "complete", "number": 7}', "[1]"])
def test_a_line_that_is_no_event_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "history"
    path.write_text(line + "\n")
    with pytest.raises(UsageError, match="history:1 is no event"):
        load_history([path])
