"""Outcomes reach exactly those who wait for them, grouped, once."""

from __future__ import annotations

from collections.abc import Sequence

from tanpo.node.outcome import Outcome, OutcomeHub, OutcomeState


class Listener:
    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []

    def deliver(self, outcomes: Sequence[Outcome]) -> None:
        self.batches.append([outcome.tx_id for outcome in outcomes])


def _outcome(tx_id: bytes) -> Outcome:
    return Outcome(
        state=OutcomeState.COMMITTED,
        tx_id=tx_id,
        member="dealer-a",
        request_id="r",
        as_of_height=1,
        as_of_time_ms=1,
    )


def test_a_listener_hears_of_a_blocks_outcomes_in_one_call() -> None:
    hub, first, second = OutcomeHub(), Listener(), Listener()
    for tx_id in (b"a", b"b"):
        hub.wait(tx_id, first)
    hub.wait(b"b", second)
    hub.publish([_outcome(b"a"), _outcome(b"b"), _outcome(b"c")])
    assert first.batches == [[b"a", b"b"]]
    assert second.batches == [[b"b"]]


def test_an_outcome_is_delivered_once() -> None:
    hub, listener = OutcomeHub(), Listener()
    hub.wait(b"a", listener)
    hub.wait(b"a", listener)
    hub.publish([_outcome(b"a")])
    hub.publish([_outcome(b"a")])
    assert listener.batches == [[b"a"]]


def test_a_listener_that_went_away_hears_nothing_and_is_not_kept() -> None:
    hub, gone, staying = OutcomeHub(), Listener(), Listener()
    hub.wait(b"a", gone)
    hub.wait(b"b", gone)
    hub.wait(b"b", staying)
    hub.forget(gone)
    assert not hub.is_awaited(b"a")
    hub.publish([_outcome(b"a"), _outcome(b"b")])
    assert (gone.batches, staying.batches) == ([], [[b"b"]])
