"""The end of faults in the mode that demands progress: who heals, and when all is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tanpo.ledger.certificate import compute_quorum

if TYPE_CHECKING:
    from tanpo.simulator.cluster import Cluster
    from tanpo.simulator.process import Process

HEALED_SKEW_MS: Final = 100
"""How far clocks of the core are off at most: any two well within the protocol's precision."""


REPLACED_TERM: Final = 3
"""From this term on it shows whether patience fell back after a commit."""


def heal(cluster: Cluster) -> None:
    """Make a random core of a quorum healthy; the others are dead or hostile, or stay as they are.

    The core is a quorum of every epoch that an honest node may be in, or that is about to begin.
    """
    rng = cluster.streams.get("core")
    first = min(process.chain.state.reign for process in cluster.processes if process.is_honest)
    core: set[str] = set()
    for reign in reversed(cluster.reigns[first : cluster.clients.reign_asked + 1]):
        missing = compute_quorum(reign.validator_count) - sum(node in core for node in reign.nodes)
        candidates = [node for node in reign.nodes if node not in cluster.faulty and node not in core]
        core.update(rng.sample(candidates, max(0, missing)))
    cluster.core = frozenset(core)
    cluster.annals.trace(None, f"{' '.join(sorted(core))} heal")
    _join_links(cluster)
    for process in cluster.processes:
        if process.node in core:
            _heal_one(cluster, process)
        elif rng.random() < 0.5:
            cluster.dead.add(process.name)
            process.crash()
            cluster.annals.trace(process, "is dead for ever")
        elif cluster.is_censor(process.node):
            cluster.well.add(process.node)
            _join_links(cluster)
            _heal_one(cluster, process)


def replace_leader(cluster: Cluster) -> bool:
    """Have the leader die after some terms, if another honest validator can come up in its place.

    All is well by then, so the others must not wait for it as long as they did for the leaders before (T3).
    """
    core = list_core(cluster)
    reign = cluster.reigns[cluster.clients.reign_asked]
    term = max(process.replica.term for process in core)
    leader = reign.nodes[core[0].replica.leader]
    spare = [node for node in reign.nodes if node not in cluster.faulty and node not in cluster.core]
    is_one_epoch = cluster.clients.reign_asked == 0
    if term < REPLACED_TERM or not is_one_epoch or not spare or leader not in cluster.core:
        return False
    cluster.core = cluster.core - {leader} | {spare[0]}
    cluster.annals.trace(None, f"{leader} dies for ever, {spare[0]} heals")
    cluster.dead = {name for name in cluster.dead if name != spare[0]} | {leader}
    _join_links(cluster)
    for process in cluster.processes:
        if process.node == leader:
            process.crash()
        elif process.node == spare[0]:
            _heal_one(cluster, process)
    return True


def can_go_on(cluster: Cluster, number: int) -> bool:
    """Whether the core is a quorum of this epoch too; before it has healed, any epoch may begin."""
    reign = cluster.reigns[number]
    voting = len(cluster.core.intersection(reign.nodes))
    return not cluster.core or voting >= compute_quorum(reign.validator_count)


def has_converged(cluster: Cluster) -> bool:
    """Whether the core has committed all that was submitted, and nothing is under way in it."""
    core = list_core(cluster)
    heights = {process.chain.height for process in core}
    if cluster.clients.open or len(heights) != 1 or not all(process.is_up for process in core):
        return False
    height = heights.pop()
    validators = [process for process in core if process.index is not None]
    is_settled = all(process.replica.high_rank[1] == height for process in validators)
    return is_settled and not any(len(process.pool) for process in core)


def list_core(cluster: Cluster) -> list[Process]:
    """Return the processes that healed."""
    return [process for process in cluster.processes if process.node in cluster.core]


def _join_links(cluster: Cluster) -> None:
    cluster.links.cut = {pair for pair in cluster.links.cut if not cluster.is_healed_pair(pair)}


def _heal_one(cluster: Cluster, process: Process) -> None:
    cluster.checks.on_clock(process)
    process.skew_ms = max(-HEALED_SKEW_MS, min(HEALED_SKEW_MS, process.skew_ms))
    if process.is_up and process.has_drained:
        process.crash()
    if process.is_up:
        process.resume()
    else:
        cluster.weather.restart(process)
