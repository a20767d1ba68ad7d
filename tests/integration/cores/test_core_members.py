"""Members and their keys come and go while nodes run, and all nodes take each signature for the same."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

from tanpo.ledger.block import decode_block
from tanpo.ledger.errors import Reason
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.receipt import decode_receipt
from tanpo.ledger.transaction import Call
from tanpo.ledger.types import Height
from tanpo.ledger.values import Value
from tanpo.node.config import ExecutionMode
from tanpo.node.outcome import OutcomeState
from tanpo.node.rehearsing import Replay

WAIT_S = 60


class Register:
    """Changes the members of a network; each change is a transaction, and is there when it returns."""

    def __init__(self, network: Any) -> None:
        self.network = network
        self._listener = network.listener()
        self._requests = 0

    async def run(self, entry: str, arguments: dict[str, Value], *members: str, core: int = 0) -> Any:
        """Have members sign a call of `members`; return the outcome, or why it was refused at once."""
        return await self.submit(Call.create("members", entry, arguments), *members, core=core)

    async def write(self, *members: str, core: int = 0) -> Any:
        """Have members sign a note."""
        self._requests += 1
        call = Call.create("notes", "write", {"name": f"note-{self._requests}", "text": "x"})
        return await self.submit(call, *members, core=core)

    async def submit(self, call: Call, *members: str, core: int) -> Any:
        network, self._requests = self.network, self._requests + 1
        request_id = f"r{self._requests}"
        envelope = network.call(request_id, call, *members)
        (refusal,) = await network.submit(network.cores[core], self._listener, envelope)
        if refusal is not None:
            return refusal
        (outcome,) = await self._listener.wait(request_id)
        return outcome

    async def admit(self, member: str, *voters: str) -> None:
        key = self.network.keys[member] = PrivateKey.generate()
        arguments: dict[str, Value] = {
            "member": member,
            "name": member,
            "lei": "",
            "granted": ("participant",),
            "ca_certificate": b"none",
            "keys": (key.public_key.encoded,),
        }
        assert has_succeeded(await self.run("admit", arguments, *voters))

    async def rotate(self, member: str) -> PrivateKey:
        """Give a member another key, remove its old one, and return that."""
        old: PrivateKey = self.network.keys[member]
        new = PrivateKey.generate()
        added: dict[str, Value] = {"member": member, "key": new.public_key.encoded}
        assert has_succeeded(await self.run("add_key", added, member))
        self.network.keys[member] = new
        removed: dict[str, Value] = {"member": member, "key": old.public_key.encoded}
        assert has_succeeded(await self.run("remove_key", removed, member))
        return old


def has_succeeded(outcome: Any) -> bool:
    return bool(decode_receipt(outcome.receipt).succeeded)


async def test_a_member_is_admitted_transacts_changes_its_key_and_is_dismissed_on_nodes_of_every_kind(
    cluster: Any,
) -> None:
    async with cluster.running(count=0) as network:
        for index in range(4):
            mode = ExecutionMode.WORKER if index == 1 else ExecutionMode.IN_PROCESS
            network.start(index, execution=mode)
        register = Register(network)
        await register.admit("epsilon", "alpha", "beta", "gamma")
        await network.wait_equal(1)
        for core in range(4):
            assert has_succeeded(await register.write("epsilon", core=core))
        old = await register.rotate("epsilon")
        new, network.keys["epsilon"] = network.keys["epsilon"], old
        assert (await register.write("epsilon")).reason is Reason.KEY_UNKNOWN
        network.keys["epsilon"] = new
        assert has_succeeded(await register.write("epsilon", "delta", core=0))
        voters = ("alpha", "beta", "gamma", "epsilon")
        assert has_succeeded(await register.run("dismiss", {"member": "epsilon"}, *voters))
        assert (await register.write("epsilon")).reason is Reason.KEY_UNKNOWN
        last = await register.write("alpha")
        await network.wait_equal(last.height)
        network.check_chains()


async def test_a_node_that_starts_again_and_one_that_executes_all_again_have_the_keys_of_the_state(
    cluster: Any,
) -> None:
    async with cluster.running() as network:
        register = Register(network)
        await register.admit("epsilon", "alpha", "beta", "gamma")
        await register.rotate("alpha")
        await network.stop(3)
        assert has_succeeded(await register.write("epsilon"))
        last = await register.write("alpha")
        shutil.rmtree(network.folder / network.names[3] / "state")
        network.start(3)
        await network.wait_equal(last.height)
        assert has_succeeded(await register.write("epsilon", core=3))
        assert has_succeeded(await register.write("alpha", core=3))
        await network.stop(3)
        network.start(3)
        assert has_succeeded(await register.write("epsilon", core=3))
        last = await register.write("alpha", core=3)
        await network.wait_equal(last.height)
        network.check_chains()


async def test_a_dry_run_and_a_node_that_joined_take_signatures_for_the_same(cluster: Any) -> None:
    async with cluster.running() as network:
        await network.stop(0)
        core = network.start(0, snapshot_every_blocks=4)
        register = Register(network)
        await register.admit("epsilon", "alpha", "beta", "gamma")
        await register.rotate("beta")
        for _ in range(3):
            assert has_succeeded(await register.write("epsilon", "beta"))
        async with asyncio.timeout(WAIT_S):
            while not core.snapshots.offers():  # noqa: ASYNC110 - what is waited for has no events
                await asyncio.sleep(0.01)
        replay, height = Replay(network.genesis), core.status().height
        blocks = [decode_block(core.reads.block(Height(one)).block) for one in range(1, height + 1)]
        for block in blocks[:-1]:
            replay.execute(block)
        assert replay.compute_root() == blocks[-1].header.state_root
        index = network.add_node("epsilon/node")
        network.join(index, core, core.snapshots.offers()[0])
        network.start(index)
        last = await register.write("epsilon", core=index)
        assert has_succeeded(last)
        await network.wait_equal(last.height)


async def test_what_waits_and_is_signed_by_a_key_that_is_removed_is_refused_for_good(cluster: Any) -> None:
    async with cluster.running() as network:
        register, listener, core = Register(network), network.listener(), network.cores[0]
        # Valid for so long that no block may hold it yet: it waits, whoever leads.
        network.valid_for_ms = 2 * network.genesis.parameters.validity_max_ms
        waiting = network.envelope("waiting", "text", "delta")
        network.valid_for_ms = 60_000
        core._outcomes.wait(waiting.transactions[0].tx_id, listener)
        core._mempool.add(waiting, 0, is_own=False)
        await register.rotate("delta")
        (outcome,) = await listener.wait("waiting")
        assert (outcome.state, outcome.error.reason) == (OutcomeState.REJECTED, Reason.KEY_UNKNOWN)
        assert core.status().pending_transactions == 0


async def test_a_request_that_is_sent_again_is_answered_though_the_key_that_signed_it_is_removed(
    cluster: Any,
) -> None:
    async with cluster.running() as network:
        register, listener, core = Register(network), network.listener(), network.cores[0]
        call = Call.create("notes", "write", {"name": "note", "text": "x"})
        envelope = network.call("again", call, "delta")
        assert await network.submit(core, listener, envelope) == [None]
        (first,) = await listener.wait("again")
        await register.rotate("delta")
        again = network.listener()
        assert await network.submit(core, again, envelope) == [None]
        (second,) = await again.wait("again")
        assert (second.state, second.height) == (OutcomeState.COMMITTED, first.height)
