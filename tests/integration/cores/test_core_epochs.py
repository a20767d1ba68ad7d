"""Validators change while the network runs: cores with real stores, contracts and replicas."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from typing import Any

import pytest
from tanpo.ledger.certificate import decode_commit_proof
from tanpo.ledger.errors import UsageError
from tanpo.ledger.evidence import encode_evidence
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.receipt import decode_receipt
from tanpo.node.promises import create_promises
from tanpo.testing.accusation import make_double_vote


async def submit(network: Any, core: int, envelope: Any) -> Any:
    """Submit an envelope at a core and return its receipt."""
    listener = network.listener()
    assert await network.submit(network.cores[core], listener, envelope) == [None]
    request_id = envelope.transactions[0].request_id
    [outcome] = await listener.wait(request_id)
    return decode_receipt(outcome.receipt)


async def change(network: Any, core: int, request_id: str, names: list[str]) -> Any:
    """Vote for these nodes and return the receipt."""
    validators = [network.make_validator(name) for name in names]
    return await submit(network, core, network.replacement(request_id, validators))


async def test_a_node_joins_as_an_observer_and_is_voted_in(cluster: Any) -> None:
    async with cluster.running() as network:
        for number in range(5):
            await submit(network, number % 4, network.envelope(f"r{number}", "text"))
        newcomer = network.add_node("alpha/spare")
        network.start(newcomer)
        await network.wait_equal(5)
        assert network.cores[newcomer].status().observer_reason.startswith("observer: not among")
        await network.wait_moving(newcomer)

        receipt = await change(network, 0, "add", [*network.names[:4], "alpha/spare"])
        assert receipt.succeeded
        await network.wait_epoch(1)
        assert network.cores[newcomer].status().observer_reason == ""
        # Five validators need four votes: without one of the old ones the newcomer's vote counts.
        await network.stop(2)
        await submit(network, newcomer, network.envelope("after", "text"))
        network.start(2)
        await network.wait_epoch(1)
        await network.wait_equal(receipt.height + 2)
        network.check_chains()
        assert sorted(set(network.read_epochs(2))) == [0, 1]


async def test_a_removed_validator_follows_as_an_observer(cluster: Any) -> None:
    async with cluster.running() as network:
        network.start(network.add_node("beta/spare"))
        await change(network, 0, "add", network.names)
        await network.wait_epoch(1)
        await change(network, 0, "remove", network.names[1:])
        await network.wait_epoch(2)
        assert network.cores[0].status().observer_reason
        receipt = await submit(network, 0, network.envelope("by-the-observer", "text"))
        await network.wait_equal(receipt.height)
        network.check_chains()
        assert network.names[0] not in network.cores[1].roster.names


async def test_a_key_is_replaced_once_the_node_runs_with_the_new_one(cluster: Any) -> None:
    async with cluster.running() as network:
        await submit(network, 0, network.envelope("before", "text"))
        await network.stop(3)
        network.validator_keys[network.names[3]] = PrivateKey.generate()
        core = network.start(3)
        assert "name another key" in core.status().observer_reason
        await network.wait_equal(1)
        await change(network, 0, "rekey", network.names)
        await network.wait_epoch(1)
        assert core.status().observer_reason == ""
        # Three of four votes are needed: the new key signs.
        await network.stop(0)
        receipt = await submit(network, 1, network.envelope("after", "text"))
        await network.wait_equal(receipt.height)
        network.check_chains()


async def test_a_key_that_was_voted_in_before_its_node_had_it_is_not_used(cluster: Any) -> None:
    async with cluster.running() as network:
        network.validator_keys[network.names[3]] = (
            PrivateKey.generate()
        )  # the node still runs with its old key
        await change(network, 0, "rekey", network.names)
        await network.wait_epoch(1)
        before = await submit(network, 0, network.envelope("before", "text"))
        await network.wait_equal(before.height)
        await network.stop(3)
        core = network.start(3)
        assert "must not sign" in core.status().stalled_reason
        receipt = await submit(network, 0, network.envelope("after", "text"))
        await network.wait_equal(receipt.height)


async def test_a_validator_that_lost_its_promises_votes_again_with_another_key(cluster: Any) -> None:
    async with cluster.running() as network:
        await submit(network, 0, network.envelope("before", "text"))
        await network.wait_equal(1)
        await network.stop(3)
        folder = network.folder / network.names[3]
        shutil.rmtree(folder / "consensus")
        old_key = network.validator_keys[network.names[3]].public_key.encoded
        with pytest.raises(UsageError, match="the ledger has blocks"):
            create_promises(network.genesis, folder, old_key)
        new_key = network.validator_keys[network.names[3]] = PrivateKey.generate()
        create_promises(network.genesis, folder, new_key.public_key.encoded)
        core = network.start(3)
        await change(network, 0, "rekey", network.names)
        await network.wait_epoch(1)
        assert core.status().observer_reason == ""
        assert "amnesia" not in core.status().stalled_reason
        # Three of four votes are needed: the new key signs.
        await network.stop(0)
        receipt = await submit(network, 1, network.envelope("after", "text"))
        await network.wait_equal(receipt.height)


async def test_a_dead_validator_is_replaced_by_a_node_that_nobody_has_an_address_of(cluster: Any) -> None:
    async with cluster.running() as network:
        await submit(network, 0, network.envelope("before", "text"))
        await network.stop(3)
        newcomer = network.add_node("delta/new")
        network.start(newcomer)
        await change(network, 0, "replace", [*network.names[:3], "delta/new"])
        await network.wait_epoch(1)
        receipt = await submit(network, newcomer, network.envelope("after", "text"))
        await network.wait_equal(receipt.height)
        network.check_chains()


async def test_a_node_that_slept_through_two_changes_catches_up(cluster: Any) -> None:
    async with cluster.running() as network:
        await submit(network, 0, network.envelope("before", "text"))
        await network.stop(3)
        newcomer = network.add_node("alpha/spare")
        network.start(newcomer)
        await change(network, 0, "one", [*network.names[:4], "alpha/spare"])
        await network.wait_epoch(1)
        for number in range(20):
            await submit(network, number % 3, network.envelope(f"r{number}", "text"))
        await change(network, 0, "two", network.names[:4])
        await network.wait_epoch(2)
        receipt = await submit(network, 0, network.envelope("later", "text"))
        network.start(3)
        await network.wait_epoch(2)
        await network.wait_equal(receipt.height)
        network.check_chains()
        # It votes again: with one of the others down its vote is needed.
        await network.stop(1)
        await submit(network, 3, network.envelope("last", "text"))


async def test_an_observer_catches_up_when_all_validators_of_its_epoch_are_gone(cluster: Any) -> None:
    async with cluster.running() as network:
        await submit(network, 0, network.envelope("before", "text"))
        names = list(network.names)
        for number in range(4):
            newcomer = network.add_node(f"{network.members[number]}/new")
            network.start(newcomer)
            names[number] = network.names[newcomer]
            await change(network, newcomer, f"change-{number}", names)
            await network.wait_epoch(number + 1)
            await network.stop(number)
        late = network.add_node("alpha/late")
        network.start(late)
        receipt = await submit(network, 4, network.envelope("after", "text"))
        await network.wait_epoch(4)
        await network.wait_equal(receipt.height)
        network.check_chains()


async def test_all_nodes_stop_and_start_in_a_later_epoch(cluster: Any) -> None:
    async with cluster.running() as network:
        await change(network, 0, "turn", network.names[::-1])
        await network.wait_epoch(1)
        height = network.cores[0].status().height
        for index in range(4):
            await network.stop(index)
        for index in range(4):
            network.start(index)
        receipt = await submit(network, 1, network.envelope("after", "text"))
        assert receipt.height > height
        await network.wait_equal(receipt.height)
        assert list(network.cores[0].roster.names) == network.names[::-1]


async def test_two_changes_in_neighbouring_blocks_give_an_epoch_of_one_block(cluster: Any) -> None:
    async with cluster.running() as network:
        network.start(network.add_node("alpha/spare"))
        listener = network.listener()
        first = network.replacement("one", [network.make_validator(name) for name in network.names])
        second = network.replacement("two", [network.make_validator(name) for name in network.names[:4]])
        # The second waits in the mempools until the first is in force; a leader may refuse it before.
        await network.submit(network.cores[0], listener, first, second)
        [one, two] = [decode_receipt(outcome.receipt) for outcome in await listener.wait("one", "two")]
        assert one.succeeded
        if not two.succeeded:
            assert two.code == "CHANGE_PENDING"
            await change(network, 0, "three", network.names[:4])
        await network.wait_epoch(2)
        await network.wait_equal(two.height + 1)
        network.check_chains()


async def test_a_key_that_is_no_point_is_dropped_by_every_node_and_changes_go_on(cluster: Any) -> None:
    async with cluster.running() as network:
        validators = [network.make_validator(name) for name in network.names]
        wrong = replace(validators[3], public_key=validators[3].public_key[:27] + bytes(64))
        receipt = await submit(network, 0, network.replacement("wrong", [*validators[:3], wrong]))
        assert receipt.succeeded
        after = await submit(network, 0, network.envelope("after", "text"))
        await network.wait_equal(after.height)
        assert {core.status().epoch for core in network.cores.values()} == {0}
        assert (await change(network, 0, "right", network.names[::-1])).succeeded
        await network.wait_epoch(1)


async def test_proofs_of_receipts_never_lead_from_one_epoch_into_the_next(cluster: Any) -> None:
    async with cluster.running() as network:
        changed = await change(network, 0, "turn", network.names[::-1])
        await network.wait_epoch(1)
        after = await submit(network, 0, network.envelope("after", "text"))
        await submit(network, 0, network.envelope("last", "text"))
        await network.wait_equal(after.height + 1)
        for receipt, epoch in ((changed, 0), (after, 1)):
            for core in network.cores.values():
                proof = core.reads.receipt_proof(receipt.tx_id)
                assert decode_commit_proof(proof.commit_proof).certificate.epoch == epoch


@pytest.mark.parametrize("seed", range(3))
async def test_nodes_die_at_random_around_changes_and_all_agree(cluster: Any, seed: int) -> None:
    chance = random.Random(seed)
    async with cluster.running() as network:
        spare = network.add_node("alpha/spare")
        network.start(spare)
        for number in range(6):
            listener = network.listener()
            names = network.names if number % 2 == 0 else network.names[:4]
            validators = [network.make_validator(name) for name in names]
            core = network.cores[chance.choice(sorted(network.cores))]
            envelopes = [network.envelope(f"r{number}-{count}", "text") for count in range(5)]
            vote = network.replacement(f"change-{number}", validators)
            await network.submit(core, network.listener(), *envelopes, vote)
            victim = network.find_leader() if chance.random() < 0.5 else chance.randrange(4)
            survivor = next(index for index in range(4) if index != victim)
            await network.submit(network.cores[survivor], listener, vote)
            await network.pause(chance.randrange(30))
            if victim in network.cores:
                await network.stop(victim)
            await listener.wait(f"change-{number}")
            network.start(victim)
            await network.wait_epoch(number + 1)
        await network.wait_equal(1)
        network.check_chains()


async def test_what_a_validator_did_in_an_earlier_epoch_is_still_proved_against_it(cluster: Any) -> None:
    async with cluster.running() as network:
        culprit = network.names[3]
        await change(network, 0, "turn", network.names[::-1])
        await network.wait_epoch(1)
        await change(network, 0, "turn-again", network.names)
        await network.wait_epoch(2)
        # Index 3 of epoch 0 is index 0 of epoch 1: the signature is judged by the keys of its epoch.
        for index, epoch in ((3, 0), (0, 1)):
            evidence = make_double_vote(
                network.genesis.network_id, network.validator_keys[culprit], index, epoch=epoch
            )
            network.deliver(network.names[0], network.names[1], [], [], [encode_evidence(evidence)])
        await network.wait_recorded()
        receipt = await submit(network, 0, network.envelope("after", "text"))
        await network.wait_equal(receipt.height)
        for core in network.cores.values():
            recorded = [(read.claim.epoch, read.name) for read in core.evidence()]
            assert recorded == [(0, culprit), (1, culprit)]
