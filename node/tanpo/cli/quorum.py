"""Whether a local network can have a quorum: who of its validators runs, and who has forgotten its votes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from tanpo.cli.layout import NetworkFolder, NodePlace
from tanpo.cli.readiness import REJOIN, Shortage, find_obstacles
from tanpo.ledger.certificate import compute_quorum
from tanpo.ledger.errors import LedgerError

_DEADLINE_S: Final = 3.0


def find_shortage(
    folder: NetworkFolder,
    nodes: Sequence[NodePlace],
    is_running: Callable[[NodePlace], bool],
    waiting: Collection[str],
    forgetful: Collection[str],
) -> Shortage | None:
    """Return what a network lacks for the nodes of the `waiting` members to get on; None if it lacks nothing.

    A validator whose node is none of this folder's counts as one that can vote. `forgetful` are members known
    to have forgotten; those who say so themselves are added. None too while no node can be asked.
    """
    with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
        told = dict(zip(nodes, pool.map(lambda node: find_obstacles(node.ops_address), nodes), strict=True))
    # Whoever answers runs.
    stopped = [node for node in nodes if told[node] is None and not is_running(node)]
    forgotten = [node for node in nodes if node.member in forgetful or REJOIN in (told[node] or "")]
    if not stopped and not forgotten:
        return None
    validators = _read_validators(folder, [node for node in nodes if told[node] is not None])
    if not validators:
        return None
    voting = [node for node in nodes if f"{node.member}/{node.node}" in validators]
    # Who only follows needs somebody to follow, and may follow one that has forgotten.
    is_following = not any(node.member in waiting for node in voting)
    needed = 1 if is_following else compute_quorum(len(validators))
    unable = set(stopped if is_following else [*stopped, *forgotten]).intersection(voting)
    if len(validators) - len(unable) >= needed:
        return None
    return Shortage(
        validator_count=len(validators),
        needed=needed,
        stopped=tuple(node.member for node in voting if node in stopped and node not in forgotten),
        forgetful=tuple(node.member for node in voting if node in forgotten and not is_following),
    )


def _read_validators(folder: NetworkFolder, nodes: Sequence[NodePlace]) -> tuple[str, ...]:
    """Return the validators of the epoch that the first node is in that can be asked; none if none can be."""
    from tanpo.client import Client, load_profile

    for node in nodes:
        try:
            config = load_profile(folder.get_member(node.member).operator_profile)
            with Client(replace(config, deadline_s=_DEADLINE_S)) as client:
                return tuple(client.network.status().validators)
        except LedgerError:
            continue
    return ()
