"""How long a healed core may take follows from what the chain says about patience, and from nothing else."""

from __future__ import annotations

import pytest
from tanpo.consensus import terms
from tanpo.consensus.state import Core
from tanpo.simulator import Cluster, Mode, Settings, draw_settings, run_seed
from tanpo.simulator.bounds import compute_bound_ms, compute_doublings


@pytest.mark.parametrize(
    ("committed", "doublings"),
    [
        ([], 0),
        ([1, 1, 2, 3], 0),
        ([3], 2),
        ([1, 4], 2),
        ([3, *[3] * 99], 2),
        ([3, *[3] * 100], 1),
        ([3, *[3] * 99, 4, 4], 2),
        ([40], 16),
    ],
)
def test_patience_is_learnt_from_the_terms_of_what_was_committed(
    committed: list[int], doublings: int
) -> None:
    """T3"""
    assert compute_doublings(committed) == doublings


def test_a_core_that_lacks_a_validator_is_given_the_time_to_wait_for_it() -> None:
    cluster = Cluster(Settings(seed=1, mode=Mode.LIVENESS))
    cluster.begin()
    cluster.core = frozenset({"0", "1", "2", "3"})
    whole_ms = compute_bound_ms(cluster)
    cluster.core = frozenset({"1", "2", "3"})

    assert compute_bound_ms(cluster) - whole_ms == 3_000


def test_a_network_whose_patience_never_falls_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """T3"""

    def grow(core: Core) -> int:
        timing = core.config.timing
        return min(
            timing.timeout_max_ms, timing.base_timeout_ms << min(core.term + core.record.doublings, 16)
        )

    monkeypatch.setattr(terms, "compute_timeout_ms", grow)

    report = run_seed(66, draw_settings(66, Mode.LIVENESS))

    assert report.checker == "liveness"
