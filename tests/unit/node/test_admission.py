"""The admission window follows the commit rate and never closes on an idle network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tanpo.ledger.errors import Reason, Unavailable
from tanpo.ledger.transaction import Envelope
from tanpo.node.admission import QUEUE_MS_MAX, WINDOW_TRANSACTIONS_MIN, AdmissionWindow


def test_an_idle_network_takes_a_burst(make_envelope: Callable[..., Envelope]) -> None:
    AdmissionWindow().check(WINDOW_TRANSACTIONS_MIN - 1, make_envelope("r1"))


def test_beyond_the_window_clients_are_told_to_come_back(make_envelope: Callable[..., Envelope]) -> None:
    with pytest.raises(Unavailable) as refused:
        AdmissionWindow().check(WINDOW_TRANSACTIONS_MIN, make_envelope("r1"))
    assert (refused.value.reason, refused.value.limit) == (
        Reason.MEMPOOL_FULL,
        str(WINDOW_TRANSACTIONS_MIN),
    )


def test_the_window_grows_to_a_second_of_work() -> None:
    window = AdmissionWindow()
    for now_ms in range(0, 60_000, 100):
        window.note_committed(300, now_ms)
    assert 2_900 < window.limit <= 3_000


def test_the_window_shrinks_when_the_network_slows() -> None:
    window = AdmissionWindow()
    for now_ms in range(0, 60_000, 100):
        window.note_committed(300, now_ms)
    for now_ms in range(60_000, 120_000, 100):
        window.note_committed(1, now_ms)
    assert window.limit == WINDOW_TRANSACTIONS_MIN


def test_an_empty_pool_always_takes_one_envelope(parties: object) -> None:
    many = parties.envelope(*(parties.transaction(f"r{n}") for n in range(3)))  # type: ignore[attr-defined] # a fixture
    AdmissionWindow().check(0, many)


def test_a_wait_in_the_queue_is_measured_by_the_rate_and_bounded() -> None:
    window = AdmissionWindow()
    assert window.compute_queue_ms(1_000) == 0
    for now_ms in range(0, 60_000, 100):
        window.note_committed(50, now_ms)
    assert 1_990 <= window.compute_queue_ms(1_000) <= 2_050
    assert window.compute_queue_ms(1_000_000) == QUEUE_MS_MAX
