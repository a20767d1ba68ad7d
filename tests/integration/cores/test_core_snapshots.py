"""Snapshots on a running network: taken beside blocks, proved from the genesis, and joined by."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.receipt import decode_receipt
from tanpo.ledger.snapshotproof import (
    decode_snapshot_proof,
    encode_snapshot_proof,
    verify_snapshot_proof,
)
from tanpo.storage.snapshots import Offer

WAIT_S = 60
EVERY = 4


async def submit(network: Any, core: int, envelope: Any) -> Any:
    listener = network.listener()
    assert await network.submit(network.cores[core], listener, envelope) == [None]
    [outcome] = await listener.wait(envelope.transactions[0].request_id)
    return decode_receipt(outcome.receipt)


async def restart_with_snapshots(network: Any, count: int) -> None:
    for index in range(count):
        await network.stop(index)
        network.start(index, snapshot_every_blocks=EVERY)


async def wait_offer(core: Any, height: int) -> Offer:
    """Wait for a snapshot of a height or a later one."""
    async with asyncio.timeout(WAIT_S):
        while True:
            for offer in core.snapshots.offers():
                if offer.manifest.height >= height:
                    found: Offer = offer
                    return found
            await asyncio.sleep(0.01)


async def change_validators(network: Any) -> None:
    """Begin another epoch."""
    network.start(network.add_node("alpha/spare"), snapshot_every_blocks=EVERY)
    validators = [network.make_validator(name) for name in network.names]
    await submit(network, 0, network.replacement("add", validators))
    await network.wait_epoch(1)


def find_shared(network: Any, above: int) -> Offer | None:
    """Return the snapshot of a height above this one that all nodes offer, if there is one."""
    first, *others = (core.snapshots.offers() for core in network.cores.values())
    for offer in first:
        if offer.manifest.height > above and all(
            offer.manifest in [one.manifest for one in held] for held in others
        ):
            found: Offer = offer
            return found
    return None


async def wait_shared(network: Any, above: int) -> Offer:
    """Have blocks made until all nodes offer the same snapshot of a height above this one, and return it.

    A node that still writes its last snapshot skips one, so blocks pause for all to finish what they write.
    """
    for attempt in range(8):
        for number in range(EVERY + 2):
            await submit(network, number % 4, network.envelope(f"shared-{attempt}-{number}", "text"))
        for _ in range(1500):
            if (offer := find_shared(network, above)) is not None:
                return offer
            await asyncio.sleep(0.01)
    pytest.fail("no snapshot that all nodes offer in 8 rounds of blocks")


async def wait_two(network: Any) -> Sequence[Offer]:
    """Have blocks made until a node offers two snapshots: one that still writes the last skips the next."""
    async with asyncio.timeout(WAIT_S):
        for number in range(1_000):
            offers: Sequence[Offer] = network.cores[0].snapshots.offers()
            if len(offers) == 2:
                return offers
            await submit(network, number % 4, network.envelope(f"two-{number}", "text"))
            await asyncio.sleep(0.05)
    pytest.fail("no two snapshots in 1,000 blocks")


async def test_nodes_take_the_same_snapshots_and_prove_them_from_the_genesis(cluster: Any) -> None:
    async with cluster.running() as network:
        await restart_with_snapshots(network, 4)
        for number in range(5):
            await submit(network, number % 4, network.envelope(f"r{number}", "text"))
        await change_validators(network)
        tip = network.cores[0].status().height
        offer = await wait_shared(network, tip)
        proof = decode_snapshot_proof(offer.proof)
        verified = verify_snapshot_proof(proof, network.genesis)
        assert len(proof.steps) == 1
        assert verified.header.epoch == 1
        assert verified.header.state_root == offer.manifest.state_root
        assert verified.block.header.height == offer.manifest.height
        assert encode_snapshot_proof(proof) == offer.proof


async def test_no_byte_of_the_proof_of_a_snapshot_can_change(cluster: Any) -> None:
    async with cluster.running() as network:
        await restart_with_snapshots(network, 4)
        for number in range(EVERY + 2):
            await submit(network, number % 4, network.envelope(f"r{number}", "text"))
        offer = await wait_offer(network.cores[0], EVERY)
        true = verify_snapshot_proof(decode_snapshot_proof(offer.proof), network.genesis)
        source = random.Random(3)
        for at in source.sample(range(len(offer.proof)), 300):
            forged = bytearray(offer.proof)
            forged[at] ^= 1 << source.randrange(8)
            try:
                shown = verify_snapshot_proof(decode_snapshot_proof(bytes(forged)), network.genesis)
            except PeerFault:
                continue
            assert shown == true, at  # signatures have more than one spelling
        strangers = replace(network.genesis, validators=network.genesis.validators[::-1])
        with pytest.raises(PeerFault):
            verify_snapshot_proof(decode_snapshot_proof(offer.proof), strangers)


async def test_a_proof_put_together_from_true_parts_is_refused(cluster: Any) -> None:
    async with cluster.running() as network:
        await restart_with_snapshots(network, 4)
        await change_validators(network)
        for number in range(3 * EVERY):
            await submit(network, number % 4, network.envelope(f"r{number}", "text"))
        offers = await wait_two(network)
        older, newer = (decode_snapshot_proof(one.proof) for one in reversed(offers))
        for forged, says in (
            (replace(newer, above=older.above), "not the next after its block"),
            (replace(newer, above=newer.tip), "not the next after its block"),
            (replace(newer, tip=older.tip), "not the one that is final"),
            (replace(newer, block=older.block), "not the one that is final"),
            (replace(newer, steps=newer.steps * 2), "do not lead to that of its header"),
            (replace(newer, steps=()), "not known here"),
        ):
            with pytest.raises(PeerFault, match=says):
                verify_snapshot_proof(forged, network.genesis)


async def test_a_node_that_joins_in_a_later_epoch_follows_and_serves_others(cluster: Any) -> None:
    async with cluster.running() as network:
        await restart_with_snapshots(network, 4)
        first = network.envelope("first", "text")
        await submit(network, 0, first)
        await change_validators(network)
        for number in range(EVERY + 2):
            await submit(network, number % 4, network.envelope(f"r{number}", "text"))
        offer = await wait_offer(network.cores[0], EVERY)
        joined = network.add_node("beta/joined")
        network.join(joined, network.cores[0], offer)
        core = network.start(joined, snapshot_every_blocks=EVERY)
        assert core.snapshots.first_height == offer.manifest.height
        await network.wait_equal(offer.manifest.height + 1)
        receipt = await submit(network, joined, network.envelope("by-the-newcomer", "text"))
        assert receipt.succeeded
        # What was executed before it joined is refused: it must not wait here for a block for ever.
        [refusal] = await network.submit(core, network.listener(), first)
        assert refusal.reason == "HEIGHT_PRUNED"
        assert core.status().pending_transactions == 0
        # What it knows of the first epoch came with the snapshot; it is enough for the next one to join.
        for number in range(EVERY):
            await submit(network, number % 4, network.envelope(f"more-{number}", "text"))
        own = await wait_offer(core, offer.manifest.height + 1)
        verify_snapshot_proof(decode_snapshot_proof(own.proof), network.genesis)
        await network.stop(joined)
        network.start(joined)
        await network.wait_equal(own.manifest.height)


async def test_a_node_catches_up_from_those_that_have_the_blocks(cluster: Any) -> None:
    """One that joined later has none of them, is asked in its turn, and goes on."""
    async with cluster.running() as network:
        await restart_with_snapshots(network, 4)
        for number in range(EVERY + 2):
            await submit(network, number % 4, network.envelope(f"r{number}", "text"))
        offer = await wait_offer(network.cores[0], EVERY)
        joined = network.add_node("beta/joined")
        network.join(joined, network.cores[0], offer)
        network.start(joined)
        await network.wait_equal(offer.manifest.height + 1)
        newcomer = network.add_node("gamma/spare")
        network.start(newcomer)
        await network.wait_equal(offer.manifest.height + 1)
        assert network.cores[newcomer].snapshots.first_height == 1
