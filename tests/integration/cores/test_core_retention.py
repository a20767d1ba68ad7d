"""Pruning on a running network: what a pruned node answers, and how others go on that need what it lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tanpo.ledger.errors import LedgerError, Reason
from tanpo.ledger.lineage import Lineage
from tanpo.ledger.receipt import decode_receipt
from tanpo.ledger.transaction import compute_request_digest
from tanpo.ledger.types import MemberId
from tanpo.node import retention
from tanpo.node.retention import RetentionPolicy

WAIT_S = 60
pytestmark = pytest.mark.timeout(300)
EVERY = 4
POLICY = RetentionPolicy(blocks=6, state_window=4)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have few blocks suffice for a step."""
    monkeypatch.setattr(retention, "HEIGHTS_A_STEP", 2)


async def submit(network: Any, core: int, envelope: Any) -> Any:
    listener = network.listener()
    assert await network.submit(network.cores[core], listener, envelope) == [None]
    [outcome] = await listener.wait(envelope.transactions[0].request_id)
    return decode_receipt(outcome.receipt)


async def submit_soon(network: Any, name: str, make: Callable[[str], Any]) -> Any:
    """Have a request executed that expires soon, and return it: on a busy machine not the first of them."""
    network.valid_for_ms = 5_000
    for number in range(20):
        listener, envelope = network.listener(), make(f"{name}-{number}")
        if await network.submit(network.cores[0], listener, envelope) == [None]:
            [outcome] = await listener.wait(f"{name}-{number}")
            if outcome.height:
                return envelope
    pytest.fail("each expired before it was executed")


async def restart(network: Any, index: int, policy: RetentionPolicy | None) -> Any:
    await network.stop(index)
    return network.start(index, snapshot_every_blocks=EVERY, retention=policy)


async def grow_until(network: Any, name: str, condition: Any, count: int = 4) -> None:
    """Have blocks made until something holds, of requests that expire soon.

    Each that expires before it is executed has the next ones last longer: a busy machine takes its time.
    """
    network.valid_for_ms = 700
    async with asyncio.timeout(2 * WAIT_S):
        for number in range(2_000):
            if condition():
                return
            listener = network.listener()
            envelope = network.envelope(f"{name}-{number}", "text")
            is_executed = False
            if await network.submit(network.cores[number % count], listener, envelope) == [None]:
                [outcome] = await listener.wait(envelope.transactions[0].request_id)
                is_executed = bool(outcome.height)
            if not is_executed:
                network.valid_for_ms = min(2 * network.valid_for_ms, 10_000)
            await asyncio.sleep(0.02)
    pytest.fail("it did not come about in 2,000 blocks")


def check_answers(pruned: Any, archive: Any) -> int:
    """Every height is answered as by the archive, or refused as pruned; return the first that is not."""
    first: int = pruned.reads.first_height
    for height in range(1, first):
        with pytest.raises(LedgerError) as refusal:
            pruned.reads.block(height)
        assert refusal.value.reason is Reason.HEIGHT_PRUNED
        assert refusal.value.limit == f"{first} or later"
    for height in range(first, min(pruned.status().height, archive.status().height) - 2):
        found, wanted = pruned.reads.block(height), archive.reads.block(height)
        assert (found.block, found.receipts) == (wanted.block, wanted.receipts)
    return first


async def test_a_pruned_validator_goes_on_and_an_archive_answers_what_it_does_not(cluster: Any) -> None:
    async with cluster.running() as network:
        for index in range(3):
            await restart(network, index, None)
        pruned = await restart(network, 3, POLICY)
        first = await submit_soon(network, "first", lambda name: network.envelope(name, "text"))
        network.start(network.add_node("alpha/spare"), snapshot_every_blocks=EVERY)
        validators = [network.make_validator(name) for name in network.names]
        await submit_soon(network, "add", lambda name: network.replacement(name, validators))
        await network.wait_epoch(1)
        ended = pruned.status().height
        await grow_until(network, "a", lambda: pruned.reads.first_height > ended + 10)
        archive = network.cores[0]
        assert archive.reads.first_height == 1
        assert check_answers(pruned, archive) > ended

        # A request that expired with the blocks it was executed in is not said to be new, nor to be unknown.
        request_id = first.transactions[0].request_id
        digest = compute_request_digest(MemberId("alpha"), request_id)
        assert not pruned._execution.is_taken(digest)
        [refusal] = await network.submit(pruned, network.listener(), first)
        assert refusal.reason is Reason.HEIGHT_PRUNED
        assert pruned.reads.outcome("alpha", request_id).since_time_ms > first.transactions[0].valid_until_ms
        assert archive.reads.outcome("alpha", request_id).height > 0

        # The way from the genesis to the validators of now is shown as by an archive.
        shown = pruned.proofs.lineage(0)
        assert shown == archive.proofs.lineage(0)
        lineage = Lineage.of_genesis(network.genesis)
        for step in shown.steps:
            lineage.extend(step)
        assert lineage.newest == 1

        # Started again, with more to keep, it has what it had, goes on voting, and keeps more.
        await network.stop(3)
        first_height = pruned.reads.first_height
        pruned = network.start(3, snapshot_every_blocks=EVERY)
        assert pruned.reads.first_height == first_height
        assert f"archive from block {first_height} on" in pruned.status().retention
        network.valid_for_ms = 600_000
        await submit(network, 3, network.envelope("after", "text"))
        await network.wait_equal(first_height)
        assert pruned.reads.first_height == first_height


async def test_who_was_away_catches_up_past_a_pruned_node(cluster: Any) -> None:
    async with cluster.running() as network:
        for index in range(4):
            await restart(network, index, POLICY if index else None)
        await network.stop(3)
        pruned = [network.cores[index] for index in (1, 2)]
        await grow_until(network, "a", lambda: all(core.reads.first_height > 12 for core in pruned), count=3)
        behind = network.start(3, snapshot_every_blocks=EVERY)
        await network.wait_equal(network.cores[0].status().height)
        assert behind.reads.first_height == 1
        check_answers(pruned[0], network.cores[0])
