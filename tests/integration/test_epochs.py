"""Validators of a network of real processes change under load: added, removed, replaced, given another key.

`TANPO_EPOCH_ROUNDS=50 TANPO_EPOCH_SEED=7 pytest tests/integration/test_epochs.py` kills leaders at epoch
changes at length; the seed picks the moment, and stands in the note of a failure.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tanpo.cli.bench.book import open_book
from tanpo.cli.demo.desk import Desk
from tanpo.cli.demo.stream import wait_agreed
from tanpo.cli.layout import NODE_NAME
from tanpo.cli.network import LocalNetwork, rekey
from tanpo.cli.provision import plan_network
from tanpo.cli.samples import load_catalog
from tanpo.client import load_genesis, load_key
from tanpo.ledger.block import decode_block
from tanpo.ledger.errors import Unavailable
from tanpo.ledger.transaction import Call
from tanpo.ledger.types import Height
from tanpo.ledger.values import Value
from tanpo.storage import LedgerStore
from tanpo.testing.swap_load import SwapLoad
from tanpo.testing.waiting import wait_until

ROUNDS = int(os.environ.get("TANPO_EPOCH_ROUNDS", "3"))
DEADLINE_S = 90.0
POLL_S = 0.05

pytestmark = pytest.mark.timeout(300 + 40 * ROUNDS)


class Town:
    """A running network, its desk, and what its members vote for."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.network = desk.network

    def describe(self, members: Sequence[str]) -> tuple[Value, ...]:
        """Return these members' nodes as validators, with the keys they run with."""
        return tuple(
            {
                "member": member,
                "node": NODE_NAME,
                "public_key": load_key(
                    self.network.folder.get_member(member).validator_key
                ).public_key.encoded,
            }
            for member in members
        )

    def call(self, members: Sequence[str]) -> Call:
        return Call.create("validators", "replace", {"validators": self.describe(members)})

    async def change(self, members: Sequence[str], epoch: int, *, down: Sequence[str] = ()) -> None:
        """Vote for these members' nodes, and wait until all nodes that are up are in the epoch."""
        await self.desk.settle(f"epoch {epoch}", self.call(members), self._find_voters(down))
        await self.wait_epoch(epoch, down=down)

    async def refuse(
        self, members: Sequence[str], code: str, voters: Sequence[str] = (), **named: Value
    ) -> None:
        """Expect the contract to refuse a vote for these members' nodes."""
        await self.desk.refuse(
            code, self.call(members), voters or self._find_voters(()), code=code, details=named
        )

    async def wait_epoch(self, epoch: int, *, down: Sequence[str] = ()) -> None:
        async with asyncio.timeout(DEADLINE_S):
            for member in self.network.members:
                while member not in down and await self._read_epoch(member) < epoch:  # noqa: ASYNC110  # a process
                    await asyncio.sleep(POLL_S)

    async def find_leader(self) -> str:
        """Return the member whose node leads, by the word of a node that is up."""
        status = await self.desk.read_status(self.network.members[0])
        return status.leader.partition("/")[0]

    async def _read_epoch(self, member: str) -> int:
        with suppress(Unavailable):
            return (await self.desk.read_status(member)).epoch
        return -1

    def _find_voters(self, down: Sequence[str]) -> list[str]:
        """Return all members, one whose node is up first: it submits."""
        return sorted(self.network.members, key=lambda member: member in down)


@pytest.fixture
def make_network(tmp_path: Path) -> Iterator[Callable[[int, int], LocalNetwork]]:
    """Starts networks of some members, the first of them validators."""
    started: list[LocalNetwork] = []

    def make(member_count: int, validator_count: int) -> LocalNetwork:
        network = LocalNetwork.create(tmp_path / "net", plan_network(member_count, validator_count))
        started.append(network)
        network.start(ready_seconds=90)
        return network

    yield make
    for network in started:
        network.stop()


async def wait_sealed(desk: Desk) -> None:
    """Wait until all nodes agree on the empty block that ends a chain: after that none comes."""

    async def is_sealed() -> bool:
        statuses = await wait_agreed(desk)
        return not (await desk.read_blocks(statuses[desk.network.members[0]].height))[0].receipts

    await wait_until(is_sealed)


async def play(
    network: LocalNetwork, workers: Sequence[str], scene: Callable[[Town, SwapLoad], Any]
) -> SwapLoad:
    """Run a scene while swaps go on, and wait until all nodes agree."""
    async with Desk(network) as desk:
        await open_book(desk, load_catalog())
        load = SwapLoad(desk, DEADLINE_S)
        async with asyncio.TaskGroup() as group:
            for member in workers:
                group.create_task(load.work(member))
            await load.wait_more(5)
            await scene(Town(desk), load)
            await load.wait_more(5)
            load.stop()
        await wait_sealed(desk)
    assert len({one.tx_id for one in load.acknowledged}) == len(load.acknowledged)
    return load


def check_chains(network: LocalNetwork, load: SwapLoad) -> list[int]:
    """Stop the network, compare what all nodes hold, and return the epochs of the chain."""
    network.stop()
    network_id = load_genesis(network.folder.genesis).network_id
    stores = [
        LedgerStore.open(network.folder.get_member(member).data, network_id=network_id)
        for member in network.members
    ]
    try:
        assert len({(store.executed_height, store.state_root) for store in stores}) == 1
        epochs: list[int] = []
        for number in range(1, stores[0].executed_height + 1):
            blocks = {store.read_block(Height(number)).block for store in stores}
            assert len(blocks) == 1, f"fork at height {number}"
            epochs.append(decode_block(blocks.pop()).header.epoch)
        for one in load.acknowledged:
            assert stores[0].find_transaction(one.tx_id) == (one.height, one.index), "a swap was lost"
        return epochs
    finally:
        for store in stores:
            store.close()


async def test_validators_come_and_go_while_swaps_go_on(make_network: Any) -> None:
    network = make_network(6, 4)
    first, second, third, fourth, fifth, sixth = network.members

    async def scene(town: Town, load: SwapLoad) -> None:
        assert (await town.desk.read_status(fifth)).observer_reason
        await town.refuse((first, second, fifth, sixth), "QUORUM_LOST", kept=2, limit=3)
        await town.refuse((first, second, third, fourth), "VALIDATORS_UNCHANGED")
        await town.refuse((second, third, fourth), "UNAUTHORISED", voters=(first, second), votes=2)

        await town.change((first, second, third, fourth, fifth), 1)  # added
        assert not (await town.desk.read_status(fifth)).observer_reason
        await load.wait_more(5)
        await town.change((second, third, fourth, fifth), 2)  # removed
        assert (await town.desk.read_status(first)).observer_reason
        await load.wait_more(5)

        await asyncio.to_thread(rekey, network, third)  # another key
        assert "another key" in (await town.desk.read_status(third)).observer_reason
        await town.change((second, third, fourth, fifth), 3)
        assert not (await town.desk.read_status(third)).observer_reason

        await asyncio.to_thread(network.kill, fourth)  # dead, replaced, and asleep through two changes
        await town.change((second, third, fifth, sixth), 4, down=(fourth,))
        await load.wait_more(5)
        await town.change((sixth, fifth, third, second), 5, down=(fourth,))
        await load.wait_more(5)
        await asyncio.to_thread(network.start, [fourth])
        await town.wait_epoch(5)

    load = await play(network, (first, second, fifth), scene)
    assert sorted(set(check_chains(network, load))) == [0, 1, 2, 3, 4, 5]


async def test_leaders_killed_at_the_change_of_epochs_lose_nothing(make_network: Any) -> None:
    network = make_network(5, 5)
    seed = int(os.environ.get("TANPO_EPOCH_SEED") or secrets.randbelow(10**6))
    chance = random.Random(seed)
    survivor, *others = network.members
    order: list[str] = list(network.members)

    async def scene(town: Town, load: SwapLoad) -> None:
        for number in range(ROUNDS):
            # Another order is another set of validators, and another leader.
            order.insert(0, order.pop(chance.randrange(1, len(order))))
            voting = asyncio.create_task(
                town.desk.settle(f"round {number}", town.call(order), network.members)
            )
            await load.wait_more(chance.randrange(0, 12))
            victim = await town.find_leader()
            victim = chance.choice(others) if victim == survivor else victim
            await asyncio.to_thread(network.kill, victim)
            await voting
            await town.wait_epoch(number + 1, down=(victim,))
            await load.wait_more(chance.randrange(0, 12))
            await asyncio.to_thread(network.start, [victim])
            await town.wait_epoch(number + 1)

    try:
        load = await play(network, [survivor] * 6, scene)
        assert sorted(set(check_chains(network, load))) == list(range(ROUNDS + 1))
    except BaseException as error:
        error.add_note(f"TANPO_EPOCH_SEED={seed} TANPO_EPOCH_ROUNDS={ROUNDS}")
        raise
