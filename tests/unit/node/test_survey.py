from __future__ import annotations

import pytest
from tanpo.ledger.errors import Reason
from tanpo.node.survey import SKEW_MAX_MS, PeerVitals, check_skew, compute_skew


def answers(*skews: int | None) -> list[PeerVitals]:
    """What peers answered; None for one that did not."""
    return [
        PeerVitals(
            name=f"m{number}/n1", address="x:1", problem="down" if skew is None else "", skew_ms=skew or 0
        )
        for number, skew in enumerate(skews)
    ]


@pytest.mark.parametrize(
    ("skews", "expected"),
    [
        ((90_000, 90_010, 90_020), 90_010),
        ((-90_000, -90_010, -90_020), -90_010),
        ((5, -3, 2), 2),
        ((90_000, 90_010, None), 90_000),
        ((90_000,), 90_000),
        ((0, 10**15, 0), 0),
        ((0, -(10**15), 3), 0),
        ((90_000, 10**15, -(10**15)), 90_000),
        ((10**15, None, None), None),
        ((None, None, None), None),
        ((), None),
    ],
)
def test_a_difference_counts_as_far_as_more_peers_tell_of_it_than_may_lie(
    skews: tuple[int | None, ...], expected: int | None
) -> None:
    assert compute_skew(answers(*skews)) == expected


def test_only_a_clock_that_is_off_by_more_than_a_minute_is_refused() -> None:
    error = check_skew(answers(SKEW_MAX_MS + 1, SKEW_MAX_MS + 1, 0))

    assert check_skew(answers(SKEW_MAX_MS, -SKEW_MAX_MS, SKEW_MAX_MS)) is None
    assert error is not None
    assert (error.reason, error.value) == (Reason.CLOCK_WRONG, f"{SKEW_MAX_MS + 1} ms")
    assert "60 s ahead of" in error.message
