"""How long a replica may be left without ticks (T2, P4): never beyond its next duty."""

from __future__ import annotations

from typing import Any

import pytest
from tanpo.consensus import Broadcast
from tanpo.consensus.messages import Heartbeat, Suspect


def test_an_idle_leader_rests_until_its_next_heartbeat(leader: Any, seen: Any) -> None:
    """P4"""
    leader.tick()
    leader.tick(after_ms=100)
    rest_ms = leader.replica.rest_until_ms - leader.now_ms

    assert leader.tick(after_ms=rest_ms - 1) == []
    assert seen.sent(leader.tick(after_ms=1), Heartbeat)


def test_a_follower_rests_no_longer_than_its_patience_with_a_silent_leader(bench: Any, seen: Any) -> None:
    """T2: it is asked again and again, and wakes in the very millisecond in which it may complain."""
    bench.tick()
    bench.receive(0, bench.heartbeat())
    heard_ms = bench.now_ms
    effects: list[Any] = []
    for _ in range(10):
        if (until_ms := bench.replica.rest_until_ms) is None:
            break
        effects = bench.tick(after_ms=until_ms - bench.now_ms)

    assert seen.sent(effects, Suspect)
    assert bench.now_ms == heard_ms + bench.timing.base_timeout_ms + 1


@pytest.mark.parametrize("work", ["transactions", "a proposal", "a complaint", "a timeout"])
def test_there_is_no_rest_while_something_is_under_way(bench: Any, work: str) -> None:
    bench.tick()
    assert bench.replica.rest_until_ms is not None

    match work:
        case "transactions":
            bench.submit(b"one")
        case "a proposal":
            bench.receive(0, bench.append(bench.block(1)))
        case "a complaint":
            bench.receive(1, Suspect(term=bench.replica.term))
        case _:
            bench.receive(1, bench.timeout(1, 1))

    assert bench.replica.rest_until_ms is None


def test_rest_comes_back_when_nothing_waits_any_more(bench: Any) -> None:
    bench.submit(b"one")
    bench.tick(pending=False)

    assert bench.replica.rest_until_ms is not None


def test_the_wait_for_a_commit_begins_with_the_work_and_not_with_the_tick_before(
    bench: Any, seen: Any
) -> None:
    """T2: a leader is not suspected for the time in which there was nothing to do."""
    patience_ms = bench.timing.base_timeout_ms
    bench.tick()
    bench.now_ms += patience_ms - 100
    bench.receive(0, bench.heartbeat())
    bench.submit(b"one")

    assert not seen.of(bench.tick(after_ms=200, pending=True), Broadcast)
    bench.receive(0, bench.heartbeat())
    assert seen.sent(bench.tick(after_ms=patience_ms - 199, pending=True), Suspect)
