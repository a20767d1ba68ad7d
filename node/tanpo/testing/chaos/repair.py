"""What an operator does: starts nodes that do not run, and follows the remedy of one that refuses."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Final

from tanpo.testing.chaos.damage import copy_chain, set_aside
from tanpo.testing.chaos.network import ChaosNetwork, NodeEnd, read_end, wait_start

REFUSED: Final = 4
"""The exit code of a node whose stored data contradicts itself."""
DISK_FULL: Final = 5
"""That of a node whose disk is full."""
ATTEMPTS: Final = 3
"""Starts of one node: damage may show a part at a time."""


async def ensure_running(network: ChaosNetwork, chance: Random) -> list[str]:
    """Start every node that is not lost, repair those that refuse, and wait until the honest are ready.

    Returns what went wrong: nodes that do not run although they should, with the reason they give.
    """
    for member in network.members:
        if not network.is_running(member) and read_end(network, member).exit_code == REFUSED:
            await repair(network, member, read_end(network, member), chance)
        if member not in network.lost:
            network.spawn(member)
    waited = [member for member in network.members if member not in network.lost]
    failures = await asyncio.gather(*(_ensure_one(network, member, chance) for member in waited))
    return [failure for failure in failures if failure]


async def repair(network: ChaosNetwork, member: str, end: NodeEnd, chance: Random) -> None:
    """Follow the remedy of a node that refuses to run on its data. One that must not vote is lost."""
    data_dir = network.data_dir(member)
    if f"{data_dir}/consensus" in end.why:
        network.faulty.add(member)
        network.lost.add(member)
    elif f"{data_dir}/state" in end.why and (data_dir / "state").exists():
        set_aside(data_dir / "state")
    else:
        source = chance.choice([one for one in network.honest if one != member])
        await network.kill(source)
        await asyncio.to_thread(copy_chain, network.data_dir(source), data_dir)
        network.note_renewal(member)
        network.spawn(source)


async def _ensure_one(network: ChaosNetwork, member: str, chance: Random) -> str:
    end: NodeEnd | None = None
    for _ in range(ATTEMPTS):
        end = await wait_start(network, member)
        if end is None or member in network.lost:
            return ""
        if end.exit_code == REFUSED:
            await repair(network, member, end, chance)
        if member not in network.lost:
            network.spawn(member)
    return f"{member} does not start: {end}" if member in network.honest else ""
