"""A real node that lies: the honest ones notice, agree among themselves and go on."""

from __future__ import annotations

import asyncio
import http.client
import re
import sys
from pathlib import Path
from random import Random

import pytest
from tanpo.client import AsyncClient, load_profile
from tanpo.testing.chaos.audit import audit_chain, check_logs, wait_converged
from tanpo.testing.chaos.contract import BENCH_CONTRACT
from tanpo.testing.chaos.network import ChaosNetwork
from tanpo.testing.chaos.probes import Probes
from tanpo.testing.chaos.steps import Behaviour
from tanpo.testing.waiting import wait_until

pytestmark = pytest.mark.timeout(400)

LIARS = {
    # The first leader lies about its proposals, and floods; the second helps to give the first up.
    Behaviour.EQUIVOCATE: "trust-bank",
    Behaviour.WITHHOLD: "trust-bank",
    Behaviour.LIE: "dealer-a",
    Behaviour.FLOOD: "trust-bank",
}
FIRST_LEADER, HONEST = "trust-bank", "dealer-b"
WRITES = 15
WAIT_S = 60.0


async def write(network: ChaosNetwork) -> None:
    async with AsyncClient(load_profile(network.local.folder.get_member(HONEST).profile)) as client:
        for value in range(WRITES):
            done = await client.submit(
                BENCH_CONTRACT, "write", {"key": f"k{value}", "value": value}, deadline_s=60.0
            )
            done.raise_for_failure()


def count_faults(network: ChaosNetwork, liar: str) -> float:
    """Return how many broken messages of the liar an honest node counted."""
    connection = http.client.HTTPConnection(network.local.get_node(HONEST).ops_address, timeout=10)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    found = re.findall(rf'^tanpo_peer_faults_total{{.*"{liar}/node-1".*}} (\S+)$', text, re.MULTILINE)
    return sum(map(float, found))


async def is_flooded(network: ChaosNetwork, liar: str) -> bool:
    return await asyncio.to_thread(count_faults, network, liar) > 10


def is_accused(network: ChaosNetwork, liar: str) -> bool:
    """Return whether an honest node holds evidence against the liar."""
    logs = [network.local.folder.get_member(member).log.read_text() for member in network.honest]
    return any(
        f'"validator": "{liar}/node-1"' in line and "evidence" in line
        for log in logs
        for line in log.splitlines()
    )


async def wait_recorded(probes: Probes, honest: list[str], liar: str) -> None:
    """Wait until every honest node has evidence against the liar in its chain, and verify it."""
    async with asyncio.timeout(WAIT_S):
        for member in honest:
            while not (found := await probes.clients[member].network.evidence()):  # noqa: ASYNC110  # of others
                await asyncio.sleep(0.1)
            while any(one.height is None for one in found):
                await asyncio.sleep(0.1)
                found = await probes.clients[member].network.evidence()
            assert {one.accused for one in found} == {f"{liar}/node-1"}
            assert all(one.is_verified for one in found)


async def lead_until_accused(network: ChaosNetwork, probes: Probes, liar: str) -> None:
    """Let terms change until the liar has led, or has told of its lock, and was found out.

    On a slow machine it may have been given up before it lied, or not have been asked.
    """
    for _ in range(2 * len(network.members)):
        if is_accused(network, liar):
            return
        statuses = await probes.read_statuses(network.honest)
        leader = max(statuses.values(), key=lambda status: status.term).leader.partition("/")[0]
        if leader != liar:
            await network.kill(leader)
            await network.start([leader])
        await write(network)


@pytest.mark.parametrize("behaviour", list(Behaviour))
async def test_nothing_that_a_liar_does_stops_or_divides_the_honest(
    network: ChaosNetwork, probes: Probes, faulty_node: Path, behaviour: Behaviour
) -> None:
    liar = LIARS[behaviour]
    network.faulty.add(liar)
    network.use_program(liar, (sys.executable, "-P", str(faulty_node), "--behaviour", behaviour))
    await network.start()
    await write(network)
    if behaviour is Behaviour.LIE:
        # Without the first leader a quorum takes the liar's word for which block is the highest.
        await network.kill(FIRST_LEADER)
        await write(network)
        await network.start([FIRST_LEADER])
    if behaviour is Behaviour.EQUIVOCATE or behaviour is Behaviour.LIE:
        await lead_until_accused(network, probes, liar)
    if behaviour is Behaviour.FLOOD:
        await wait_until(lambda: is_flooded(network, liar))
    await network.kill(liar)
    await write(network)
    assert await wait_converged(network, probes, WAIT_S) == []
    audit = await audit_chain(network, probes, (), proofs_max=1000, chance=Random(1))
    assert audit.violations == []
    assert audit.transactions >= 2 * WRITES
    assert check_logs(network) == []
    is_provable = behaviour in (Behaviour.EQUIVOCATE, Behaviour.LIE)
    if is_provable:
        await wait_recorded(probes, sorted(network.honest), liar)
    assert is_accused(network, liar) is is_provable
