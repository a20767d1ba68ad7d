"""Four cores with real stores, contracts and replicas, joined by links inside one event loop."""

from __future__ import annotations

import asyncio
import random
import shutil
from typing import Any

import pytest
from tanpo.ledger.block import decode_block
from tanpo.ledger.errors import LedgerError, Reason
from tanpo.ledger.evidence import DoubleVote, Evidence, decode_evidence, encode_evidence, verify_evidence
from tanpo.ledger.transaction import sign_envelope
from tanpo.ledger.validators import ValidatorSet
from tanpo.ledger.values import encode_value
from tanpo.node.core import Core
from tanpo.node.metrics import Metrics
from tanpo.node.outcome import OutcomeState
from tanpo.storage import SafetyStore
from tanpo.testing.accusation import make_double_vote
from tanpo.testing.waiting import wait_until


async def test_a_transaction_is_committed_and_certified_on_every_node(cluster: Any) -> None:
    async with cluster.running() as network:
        listener = network.listener()
        assert await network.submit(network.cores[2], listener, network.envelope("r1", "hello")) == [None]
        [outcome] = await listener.wait("r1")
        assert outcome.state is OutcomeState.COMMITTED
        await network.wait_equal(outcome.height + 1)
        for core in network.cores.values():
            assert core.reads.receipt(outcome.tx_id).receipt == outcome.receipt
            assert core.reads.receipt_proof(outcome.tx_id).receipt == outcome.receipt


async def test_a_failed_transaction_has_a_receipt_and_no_effect(cluster: Any) -> None:
    async with cluster.running() as network:
        listener = network.listener()
        await network.submit(network.cores[0], listener, network.envelope("r1", ""))
        [outcome] = await listener.wait("r1")
        assert outcome.state is OutcomeState.COMMITTED
        assert b"EMPTY" in outcome.receipt
        with pytest.raises(LedgerError, match="STATE_MISSING"):
            await network.cores[0].reads.view("notes", "read", b"\0\0\0\x01\0\x04name\x03\0\x02r1", 0)


async def test_the_same_bytes_have_one_effect_and_other_bytes_are_refused(cluster: Any) -> None:
    async with cluster.running() as network:
        listener, again = network.listener(), network.listener()
        envelope = network.envelope("r1", "one")
        await network.submit(network.cores[0], listener, envelope)
        [first] = await listener.wait("r1")
        await network.wait_equal(first.height)
        assert await network.submit(network.cores[3], again, envelope) == [None]
        [second] = await again.wait("r1")
        assert (second.height, second.receipt) == (first.height, first.receipt)
        [refused] = await network.submit(network.cores[1], network.listener(), network.envelope("r1", "two"))
        assert refused is not None
        assert refused.reason is Reason.REQUEST_ID_REUSED


async def test_whoever_waits_for_an_envelope_that_another_overtook_hears_of_every_transaction(
    cluster: Any,
) -> None:
    async with cluster.running() as network:
        found: list[OutcomeState] = []
        # On a busy machine the other may reach the leader first, or the leader change: then once more.
        for number in range(20):
            first = network.transaction(f"first-{number}", "one")
            second = network.transaction(f"second-{number}", "two")
            both, alone = (
                sign_envelope(network.genesis.network_id, transactions, [network.keys["alpha"]])
                for transactions in ([first, second], [first])
            )
            leader = network.find_leader()
            listener = network.listener()
            # Neither node has heard of the other's envelope; the leader's is the one that is proposed.
            assert await network.submit(network.cores[(leader + 1) % 4], listener, both) == [None]
            await network.submit(network.cores[leader], network.listener(), alone)
            found = [one.state for one in await listener.wait(f"first-{number}", f"second-{number}")]
            if found != [OutcomeState.COMMITTED] * 2:
                break
        assert found == [OutcomeState.COMMITTED, OutcomeState.UNKNOWN]


async def test_the_network_goes_on_without_its_leader_and_takes_it_back(cluster: Any) -> None:
    async with cluster.running() as network:
        listener = network.listener()
        await network.submit(network.cores[0], listener, network.envelope("r1", "before"))
        await listener.wait("r1")
        leader = network.find_leader()
        await network.stop(leader)
        survivor = next(iter(network.cores.values()))
        await network.submit(survivor, listener, network.envelope("r2", "after"))
        [outcome] = await listener.wait("r2")
        network.start(leader)
        await network.wait_equal(outcome.height)
        assert len(network.cores) == 4


async def test_all_nodes_restart_and_remember(cluster: Any) -> None:
    async with cluster.running() as network:
        listener = network.listener()
        envelopes = [network.envelope(f"r{number}", "text", "beta") for number in range(40)]
        await network.submit(network.cores[1], listener, *envelopes)
        await listener.wait(*(f"r{number}" for number in range(40)))
        metrics, stored = Metrics(), 0.0
        for index in range(4):
            stored = network.cores[index].status().height
            await network.stop(index)
        for index in range(3):
            network.start(index)
        network.start(3, metrics=metrics)

        async def shows_height() -> bool:
            shown = metrics.registry.get_sample_value("tanpo_height")
            return shown is not None and shown >= stored

        await wait_until(shows_height)  # Before anything comes to be executed.
        again = network.listener()
        await network.submit(network.cores[2], again, envelopes[7], network.envelope("new", "text"))
        [repeat, new] = await again.wait("r7", "new")
        assert repeat.receipt == listener.outcomes["r7"].receipt
        await network.wait_equal(new.height)


async def test_a_validator_that_lost_its_promises_follows_and_signs_nothing(cluster: Any) -> None:
    async with cluster.running() as network:
        listener = network.listener()
        await network.submit(network.cores[0], listener, network.envelope("r1", "text"))
        [outcome] = await listener.wait("r1")
        await network.wait_equal(outcome.height)
        await network.stop(3)
        shutil.rmtree(network.folder / network.names[3] / "consensus")
        forgetful = network.start(3)
        await network.submit(network.cores[0], listener, network.envelope("r2", "text"))
        [outcome] = await listener.wait("r2")
        await network.wait_equal(outcome.height)
        assert "amnesia" in forgetful.status().stalled_reason
        assert not SafetyStore.is_present(network.folder / network.names[3] / "consensus")


def _read_evidence(network: Any, core: Core) -> list[Evidence]:
    """Return the evidence in a node's blocks, verified against the genesis alone."""
    validators = ValidatorSet(network.genesis.validators)
    found: list[Evidence] = []
    for height in range(1, core.status().height + 1):
        for encoded in decode_block(core.reads.block(height).block).evidence:
            evidence = decode_evidence(encoded)
            verify_evidence(evidence, network.genesis.network_id, validators)
            found.append(evidence)
    return found


def _count_evidence(core: Core) -> list[tuple[str, str, int]]:
    return [(read.name, read.claim.kind, read.height) for read in core.evidence()]


async def test_two_votes_for_one_height_end_up_in_a_block_as_evidence(cluster: Any) -> None:
    async with cluster.running(3) as network:
        network.traitor = 3
        listener = network.listener()
        for number in range(5):
            await network.submit(network.cores[0], listener, network.envelope(f"r{number}", "text"))
            await listener.wait(f"r{number}")
        await network.wait_recorded()
        await network.wait_equal(network.cores[0].status().height)
        for core in network.cores.values():
            [evidence] = _read_evidence(network, core)
            assert isinstance(evidence, DoubleVote)
            assert evidence.accused == 3
            [(name, kind, height)] = _count_evidence(core)
            assert (name, kind) == ("delta/node", "double-vote")
            assert height > 0


async def test_evidence_that_one_follower_holds_reaches_the_chain_once_and_outlives_restarts(
    cluster: Any,
) -> None:
    async with cluster.running() as network:
        leader = network.find_leader()
        follower, sender, accused = (index for index in range(4) if index != leader)
        key = network.validator_keys[network.names[accused]]
        evidence, again = (
            encode_evidence(make_double_vote(network.genesis.network_id, key, accused, height=height))
            for height in (1, 2)
        )
        network.deliver(network.names[sender], network.names[follower], [], [], [evidence, again])
        await network.wait_recorded()
        before = _count_evidence(network.cores[0])
        for index in range(4):
            await network.stop(index)
        for index in range(4):
            assert not list((network.folder / network.names[index] / "evidence").iterdir())
            network.start(index)
        network.deliver(network.names[sender], network.names[follower], [], [], [again])
        listener = network.listener()
        await network.submit(network.cores[0], listener, network.envelope("r1", "text"))
        [outcome] = await listener.wait("r1")
        await network.wait_equal(outcome.height)
        for core in network.cores.values():
            assert _count_evidence(core) == before
            assert len(_read_evidence(network, core)) == 1


@pytest.mark.parametrize("seed", range(3))
async def test_random_restarts_under_load_lose_nothing_and_repeat_nothing(cluster: Any, seed: int) -> None:
    chance = random.Random(seed)
    async with cluster.running() as network:
        acknowledged, envelopes = network.listener(), []
        for number in range(60):
            if number % 12 == 11 and len(network.cores) == 4:
                await network.stop(chance.choice(sorted(network.cores)))
            elif len(network.cores) < 4 and chance.random() < 0.3:
                network.start(next(index for index in range(4) if index not in network.cores))
            core = network.cores[chance.choice(sorted(network.cores))]
            envelopes.append(network.envelope(f"r{number}", "text", chance.choice(network.members)))
            assert await network.submit(core, acknowledged, envelopes[-1]) == [None]
            await asyncio.sleep(0.01)
        for index in range(4):
            if index not in network.cores:
                network.start(index)
        again = network.listener()
        await network.submit(network.cores[0], again, *envelopes)
        outcomes = await again.wait(*(f"r{number}" for number in range(60)))
        for outcome in outcomes:
            before = acknowledged.outcomes.get(outcome.request_id, outcome)
            assert (before.height, before.receipt) == (outcome.height, outcome.receipt)
        await network.wait_equal(max(outcome.height for outcome in outcomes))
        for core in network.cores.values():
            total = await core.reads.view("notes", "total", b"\0\0\0\0", 0)
            assert total.value == encode_value(60)
