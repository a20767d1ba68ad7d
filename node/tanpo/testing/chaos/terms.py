"""How long a network is without a leader after its leader died: the figure, on real processes."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Final

from tanpo.testing.chaos.checks import Violation
from tanpo.testing.chaos.network import ChaosNetwork
from tanpo.testing.chaos.probes import Probes
from tanpo.testing.chaos.repair import ensure_running

POLL_S: Final = 0.02
CHANGE_S: Final = 30.0
BOUND_TIMEOUTS: Final = 3
"""In how many base timeouts a term is to have changed after its leader's death, whenever that is."""
SETTLED_S: Final = 1.0
"""Between two kills: the network is to be at work again, not in the change of term before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TermChange:
    """One death of a leader: seconds until a quorum of nodes was in a later term, and until that committed.

    None when it did not happen in `CHANGE_S`.
    """

    leader: str
    term: int
    to_term_s: float | None
    to_commit_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TermFigures:
    """The figures over several deaths, in seconds."""

    count: int
    median_s: float
    worst_s: float
    commit_median_s: float
    commit_worst_s: float
    base_timeout_s: float

    @property
    def bound_s(self) -> float:
        """How long the worst change may take."""
        return BOUND_TIMEOUTS * self.base_timeout_s

    @property
    def is_in_bound(self) -> bool:
        """Whether the worst change was in time: half of the deaths in time are no promise kept."""
        return self.worst_s < self.bound_s

    def to_document(self) -> dict[str, float | int | bool]:
        """Return the figures and whether all changes were in time, ready for JSON."""
        return asdict(self) | {"bound_s": self.bound_s, "is_in_bound": self.is_in_bound}


async def measure_term_changes(
    network: ChaosNetwork, probes: Probes, count: int, chance: Random
) -> list[TermChange]:
    """Kill the leader so many times, while clients are at work, and start it again each time."""
    changes = []
    for _ in range(count):
        changes.append(await _change_term(network, probes))
        await ensure_running(network, chance)
        await asyncio.sleep(SETTLED_S)
    return changes


def compute_figures(changes: Sequence[TermChange], base_timeout_ms: int) -> TermFigures | None:
    """Return the figures of the changes; one that did not happen counts as `CHANGE_S`. None without any."""
    if not changes:
        return None
    to_term = [CHANGE_S if one.to_term_s is None else one.to_term_s for one in changes]
    to_commit = [CHANGE_S if one.to_commit_s is None else one.to_commit_s for one in changes]
    return TermFigures(
        count=len(changes),
        median_s=round(statistics.median(to_term), 3),
        worst_s=round(max(to_term), 3),
        commit_median_s=round(statistics.median(to_commit), 3),
        commit_worst_s=round(max(to_commit), 3),
        base_timeout_s=base_timeout_ms / 1000,
    )


def check_term_changes(changes: Sequence[TermChange], figures: TermFigures | None) -> list[Violation]:
    """Check that each death of a leader was followed by a later term in time, and by a commit."""
    found = [
        Violation(check="progress", what=f"no commit after a leader's death: {one}")
        for one in changes
        if one.to_commit_s is None
    ]
    if figures is not None and not figures.is_in_bound:
        what = f"{figures.worst_s} s until a later term, {figures.bound_s} s allowed: {list(changes)}"
        found.append(Violation(check="leader death", what=what))
    return found


async def _change_term(network: ChaosNetwork, probes: Probes) -> TermChange:
    statuses = await probes.read_statuses()
    newest = max(statuses.values(), key=lambda status: status.term)
    leader = newest.leader.partition("/")[0]
    survivors = [member for member in network.members if member != leader and network.is_running(member)]
    await network.kill(leader)
    died = time.monotonic()
    to_term_s: float | None = None
    top = max(status.height for status in statuses.values())
    while time.monotonic() - died < CHANGE_S:
        found = (await probes.read_statuses(survivors)).values()
        later = [status for status in found if status.term > newest.term]
        if to_term_s is None and len(later) >= network.quorum:
            to_term_s = time.monotonic() - died
            # What was under way is committed by now: from here on it is the new leader's work.
            top = max(top, *(status.height for status in found))
        if to_term_s is not None and any(status.height > top for status in later):
            return TermChange(
                leader=leader, term=newest.term, to_term_s=to_term_s, to_commit_s=time.monotonic() - died
            )
        await asyncio.sleep(POLL_S)
    return TermChange(leader=leader, term=newest.term, to_term_s=to_term_s, to_commit_s=None)
