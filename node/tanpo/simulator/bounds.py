"""How long a core that has healed may take to commit all that was submitted, by the rules T2 and T3."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from tanpo.simulator.healing import list_core

if TYPE_CHECKING:
    from tanpo.simulator.cluster import Cluster
    from tanpo.simulator.process import Process

SLACK_MS: Final = 12_000
"""What a healed core may take beyond waiting for leaders: to come together, to catch up and to execute."""

FAILING_MAX: Final = 1
"""How many leaders of the core may fail, because not all others have come to their term yet."""

CALM_COMMITS: Final = 100
DOUBLINGS_MAX: Final = 16


def compute_bound_ms(cluster: Cluster) -> int:
    """Return how long a core that heals now may take to commit all that is submitted.

    In the worst case every leader that is not in it comes first, and each of their terms is waited out: with
    the patience of now, doubled by each. A next epoch begins with the patience of the first term.
    """
    core = list_core(cluster)
    now = min(process.chain.state.reign for process in core)
    total_ms = SLACK_MS
    for epoch in range(now, cluster.clients.reign_asked + 1):
        reign = cluster.reigns[epoch]
        first = _compute_attempts(core, epoch)
        bad = reign.validator_count - len(cluster.core.intersection(reign.nodes))
        total_ms += sum(_compute_wait_ms(cluster, first + more) for more in range(bad + FAILING_MAX))
    return total_ms


def compute_doublings(terms: Iterable[int]) -> int:
    """Return how often patience is doubled for good after commits of these terms, from an epoch's first on:
    by each term without one, less one for a hundred commits in a row without a change (T3)."""
    doublings = calm = last = 0
    for term in terms:
        failures = term - last - 1
        if failures >= 0:
            doublings, calm = min(DOUBLINGS_MAX, doublings + failures), 0
        elif doublings:
            calm += 1
            if calm == CALM_COMMITS:
                doublings, calm = doublings - 1, 0
        last = term
    return doublings


def _compute_wait_ms(cluster: Cluster, attempts: int) -> int:
    """Return how long a leader that does nothing, or passes over a transaction, is waited for."""
    timing = cluster.settings.timing
    patience_ms = min(timing.timeout_max_ms, timing.base_timeout_ms << min(attempts, DOUBLINGS_MAX))
    return max(patience_ms, timing.request_timeout_ms) + timing.base_timeout_ms


def _compute_attempts(core: list[Process], epoch: int) -> int:
    """Return the most doublings that anybody in the core may count on."""
    here = [process for process in core if process.replica.epoch == epoch]
    term = max((process.replica.term for process in here), default=1)
    found = 0
    for process in here:
        terms = [one.block.header.term for one in process.chain.blocks if one.block.header.epoch == epoch]
        tip_term = terms[-1] if terms else 0
        found = max(found, term - tip_term - 1 + compute_doublings(terms))
    return max(0, found)
