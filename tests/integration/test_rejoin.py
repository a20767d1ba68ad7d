"""A validator that forgot follows and signs nothing, and comes back with the others' help (D6 to D8)."""

from __future__ import annotations

import asyncio
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tanpo.cli.demo.desk import Desk
from tanpo.cli.network import LocalNetwork, launch
from tanpo.cli.provision import plan_network
from tanpo.cli.samples import load_catalog
from tanpo.consensus.record import decode_record
from tanpo.ledger.errors import Unavailable
from tanpo.ledger.transaction import Call
from tanpo.ledger.types import ValidatorIndex
from tanpo.storage import SafetyStore
from tanpo.testing.waiting import wait_until

WAIT_S = 60.0
TERM_CHANGES_MAX = 6

pytestmark = pytest.mark.timeout(400)


class Writer:
    """Commits transactions, one after the other, through the node of a member that stays up."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._made = 0

    async def write(self, count: int) -> list[int]:
        """Commit so many; return their heights."""
        template = load_catalog().get_instrument("usd-deposit")
        heights: list[int] = []
        for _ in range(count):
            self._made += 1
            arguments = template.to_arguments()
            instrument = arguments["instrument"]
            assert isinstance(instrument, dict)
            named = {"instrument": {**instrument, "id": f"usd-{self._made}"}}
            call = Call.create("instruments", "define", named)
            heights.append((await self._desk.settle("define", call, (template.registrar,))).height)
        return heights


@pytest.fixture
def network(tmp_path: Path) -> Iterator[LocalNetwork]:
    network = LocalNetwork.create(tmp_path / "net", plan_network(4))
    network.start()
    yield network
    network.stop()


async def read_reason(desk: Desk, member: str) -> str:
    return (await desk.read_status(member)).stalled_reason


async def find_leader(desk: Desk, witness: str) -> str:
    return (await desk.read_status(witness)).leader.partition("/")[0]


async def end_term(desk: Desk, network: LocalNetwork, witness: str) -> None:
    """Restart the leader, as for an upgrade: it gives its term away first."""
    leader = await find_leader(desk, witness)
    await asyncio.to_thread(network.stop, [leader])
    await asyncio.to_thread(network.start, [leader])


async def has_signed(desk: Desk, member: str, index: ValidatorIndex, heights: list[int]) -> bool:
    for height in heights:
        proof = (await desk.clients[member].chain.block(height)).commit_proof
        if index in [signer for signer, _ in proof.certificate.signatures]:
            return True
    return False


def read_evidence(network: LocalNetwork) -> list[str]:
    """Return the evidence that the nodes that are up count."""
    found = []
    for node in network.nodes:
        if network.find_process(node.member) is not None:
            with urllib.request.urlopen(f"http://{node.ops_address}/metrics", timeout=WAIT_S) as answer:
                lines = answer.read().decode().splitlines()
            found += [line for line in lines if line.startswith("tanpo_evidence_total{")]
    return found


def lose(network: LocalNetwork, victim: str, what: str, older: Path) -> None:
    """Do to a stopped node's disk what a disaster, or a restored backup, does."""
    data = network.folder.get_member(victim).data
    shutil.rmtree(data / "consensus" if what == "consensus" else data)
    if what == "older copy":
        shutil.copytree(older, data)


@pytest.mark.parametrize("what", ["consensus", "everything", "older copy"])
async def test_a_validator_that_forgot_signs_nothing_until_it_rejoins(
    network: LocalNetwork, tmp_path: Path, what: str
) -> None:
    async with Desk(network) as desk:
        writer = Writer(desk)
        await writer.write(2)
        leader, victim, other, witness = order(network, await find_leader(desk, network.members[0]))
        index = ValidatorIndex(network.members.index(victim))
        data = network.folder.get_member(victim).data
        await asyncio.to_thread(network.stop, [victim])
        shutil.copytree(data, tmp_path / "older")
        await asyncio.to_thread(network.start, [victim])
        # With one of the others down each commit needs the victim's vote: so somebody saw it.
        await asyncio.to_thread(network.kill, other)
        assert await has_signed(desk, witness, index, await writer.write(3))
        await asyncio.to_thread(network.start, [other])
        await asyncio.to_thread(network.kill, victim)
        lose(network, victim, what, tmp_path / "older")

        await asyncio.to_thread(launch, network, victim)

        async def has_amnesia() -> bool:
            return "amnesia" in await read_reason(desk, victim)

        await wait_until(has_amnesia, seconds=WAIT_S)
        heights = await writer.write(3)
        assert not await has_signed(desk, witness, index, heights)
        assert "--rejoin" in await read_reason(desk, victim)

        async def has_caught_up() -> bool:
            return (await desk.read_status(victim)).height >= heights[-1]

        await wait_until(has_caught_up, seconds=WAIT_S)
        assert SafetyStore.is_present(data / "consensus") is (what == "older copy")

        await asyncio.to_thread(network.stop, [victim])
        if what == "consensus":
            await asyncio.to_thread(launch, network, victim)
            await wait_until(has_amnesia, seconds=WAIT_S)
            with pytest.raises(Unavailable, match="amnesia"):
                await asyncio.to_thread(network.wait_ready, [victim], ready_seconds=2.0)
            await asyncio.to_thread(network.stop, [victim])
        await asyncio.to_thread(launch, network, victim, may_rejoin=True)

        async def is_silent() -> bool:
            return "rejoined: silent up to term" in await read_reason(desk, victim)

        await wait_until(is_silent, seconds=WAIT_S)
        for _ in range(TERM_CHANGES_MAX):
            if (await desk.read_status(victim)).is_ready:
                break
            await end_term(desk, network, witness)
        await asyncio.to_thread(network.wait_ready)
        leader, *_ = order(network, await find_leader(desk, witness))
        spare = next(member for member in (other, leader, witness) if member not in (victim, witness))
        await asyncio.to_thread(network.kill, spare)
        assert await has_signed(desk, witness, index, await writer.write(3))
        assert read_evidence(network) == []
        await asyncio.to_thread(network.stop)
        assert read_floor(data) > 0


def order(network: LocalNetwork, leader: str) -> tuple[str, str, str, str]:
    """Return the leader, then a victim and two more, of whom the last submits and is asked."""
    # The registrar's own node takes the transactions in: it stays up.
    witness = load_catalog().get_instrument("usd-deposit").registrar
    rest = [member for member in network.members if member not in (leader, witness)]
    return leader, rest[0], rest[1], witness


def read_floor(data: Path) -> int:
    store = SafetyStore.open(data / "consensus")
    try:
        record = store.load().record
    finally:
        store.close()
    assert record is not None
    return decode_record(record).floor
