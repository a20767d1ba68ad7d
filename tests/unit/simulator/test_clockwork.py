"""Virtual time."""

from __future__ import annotations

from functools import partial

import pytest
from tanpo.simulator import Violation
from tanpo.simulator.clockwork import STORM_STEPS, Clockwork


def test_happenings_come_in_order_of_time_and_then_of_asking() -> None:
    clock, seen = Clockwork(), list[tuple[int, str]]()
    for delay_ms, name in ((5, "late"), (1, "first"), (1, "second")):
        clock.after(delay_ms, partial(lambda name: seen.append((clock.now_ms, name)), name))

    while clock.step(10):
        pass

    assert seen == [(1, "first"), (1, "second"), (5, "late")]
    assert (clock.now_ms, clock.steps) == (10, 3)


def test_answers_to_answers_are_found_instead_of_going_on_for_ever() -> None:
    clock = Clockwork()

    def answer() -> None:
        clock.after(0, answer)

    clock.after(3, answer)
    for _ in range(STORM_STEPS):
        clock.step(10)

    assert clock.now_ms == 3
    with pytest.raises(Violation, match="storm"):
        clock.step(10)
