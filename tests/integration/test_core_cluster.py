"""Four cores with real stores, contracts and replicas, joined by links inside one event loop."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tanpo.consensus import Timing
from tanpo.consensus.messages import Append, AppendReply
from tanpo.consensus.wire import decode_message, encode_message
from tanpo.ledger.block import decode_block
from tanpo.ledger.errors import LedgerError, Reason
from tanpo.ledger.evidence import DoubleVote, Evidence, decode_evidence, encode_evidence, verify_evidence
from tanpo.ledger.genesis import Genesis, InstalledContract, Member, Parameters
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.transaction import Call, Envelope, Transaction, build_transaction, sign_envelope
from tanpo.ledger.types import BlockHash, Height, KeyId, MemberId, ValidatorIndex
from tanpo.ledger.validators import Validator, ValidatorSet
from tanpo.ledger.values import encode_value
from tanpo.node.clock import Clock
from tanpo.node.core import Core, CoreSettings
from tanpo.node.intake import Intake
from tanpo.node.metrics import Metrics
from tanpo.node.outcome import Outcome, OutcomeState
from tanpo.node.promises import create_promises
from tanpo.storage import SafetyStore
from tanpo.testing.accusation import make_double_vote, make_vote

NOTES = """
notes: Map[str, str]
count: int


@init
def setup() -> None:
    count = 0


@entry
def write(name: str, text: str) -> int:
    require(len(text) > 0, "EMPTY", name=name)
    notes[name] = text
    count += 1
    emit("Written", name=name, by=ctx.sender)
    return count


@view
def total() -> int:
    return count


@view
def read(name: str) -> str:
    return notes[name]
"""

MEMBERS = ("alpha", "beta", "gamma", "delta")
WAIT_S = 20


class Listener:
    """Collects outcomes and wakes whoever waits for them."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._changed = asyncio.Event()

    def deliver(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes.update({outcome.request_id: outcome for outcome in outcomes})
        self._changed.set()

    async def wait(self, *request_ids: str) -> list[Outcome]:
        async with asyncio.timeout(WAIT_S):
            while not all(request_id in self.outcomes for request_id in request_ids):
                self._changed.clear()
                await self._changed.wait()
        return [self.outcomes[request_id] for request_id in request_ids]


class Links:
    """One node's way to the others: each frame is delivered by a task of its own, unless `is_cut`."""

    def __init__(self, own: int, network: Network) -> None:
        self._own = own
        self._network = network

    def send(self, to: ValidatorIndex, message: bytes) -> None:
        self._network.deliver(self._own, to, [message], [])

    def broadcast(self, message: bytes) -> None:
        for to in range(len(MEMBERS)):
            if to != self._own:
                self._network.deliver(self._own, to, [message], [])

    def share(self, envelopes: Sequence[bytes]) -> None:
        for to in range(len(MEMBERS)):
            if to != self._own:
                self._network.deliver(self._own, to, [], list(envelopes))

    def share_evidence(self, evidence: Sequence[bytes]) -> None:
        for to in range(len(MEMBERS)):
            if to != self._own:
                self._network.deliver(self._own, to, [], [], list(evidence))


class Network:
    """Members, keys, and the cores that are up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = {member: PrivateKey.generate() for member in MEMBERS}
        self.validator_keys = {member: PrivateKey.generate() for member in MEMBERS}
        self.cores: dict[int, Core] = {}
        self.traitor: int | None = None
        self._inboxes: dict[int, Intake] = {}
        self._runs: dict[int, asyncio.Task[None]] = {}
        self._deliveries: set[asyncio.Task[None]] = set()
        self.genesis = Genesis(
            network="test",
            time_ms=Clock.system().wall_ms() - 60_000,
            parameters=Parameters(),
            members=tuple(
                Member(
                    member=MemberId(member),
                    name=member,
                    lei="",
                    roles=("participant",),
                    ca_certificate=b"",
                    keys=(key.public_key.encoded,),
                )
                for member, key in self.keys.items()
            ),
            validators=tuple(
                Validator(member=MemberId(member), node="node", public_key=key.public_key.encoded)
                for member, key in self.validator_keys.items()
            ),
            contracts=(InstalledContract(name="notes", source=NOTES, arguments=()),),
        )

    def start(self, index: int, *, may_rejoin: bool = False) -> Core:
        member = MEMBERS[index]
        core = Core.open(
            genesis=self.genesis,
            data_dir=self.folder / member,
            member=MemberId(member),
            node="node",
            signing_key=self.validator_keys[member],
            settings=CoreSettings(
                timing=Timing(base_timeout_ms=300, request_timeout_ms=600), may_rejoin=may_rejoin
            ),
            metrics=Metrics(),
        )
        self._inboxes[index] = core.attach(Links(index, self))
        self.cores[index] = core
        self._runs[index] = asyncio.create_task(core.run())
        return core

    async def stop(self, index: int) -> None:
        del self._inboxes[index]
        core = self.cores.pop(index)
        run = self._runs.pop(index)
        if run.done():
            run.result()
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        core.close()

    def deliver(
        self,
        sender: int,
        to: int,
        messages: list[bytes],
        envelopes: list[bytes],
        evidence: list[bytes] | None = None,
    ) -> None:
        if to == self.traitor:
            for message in messages:
                self.betray(ValidatorIndex(sender), message)
        inbox = self._inboxes.get(to)
        if inbox is not None and (sender in self._inboxes or sender == self.traitor):
            frame = inbox.receive(ValidatorIndex(sender), messages, envelopes, evidence or [])
            task = asyncio.create_task(frame)
            self._deliveries.add(task)
            task.add_done_callback(self._deliveries.discard)

    def betray(self, to: ValidatorIndex, encoded: bytes) -> None:
        """Vote for a proposal, and for a block that does not exist, at one height."""
        epoch, message = decode_message(encoded)
        if not isinstance(message, Append) or self.traitor is None:
            return
        header = message.block.header
        key = self.validator_keys[MEMBERS[self.traitor]]
        votes = [
            make_vote(
                self.genesis.network_id,
                key,
                self.traitor,
                block_hash=block_hash,
                height=header.height,
                term=header.term,
            )
            for block_hash in (message.block.block_hash, BlockHash(bytes(32)))
        ]
        replies = [AppendReply(vote=vote, executed_height=Height(0)) for vote in votes]
        self.deliver(self.traitor, to, [encode_message(reply, epoch) for reply in replies], [])

    def envelope(self, request_id: str, text: str, *members: str) -> Envelope:
        signers = [self.keys[member] for member in members or ("alpha",)]
        transaction = self.transaction(request_id, text, *members)
        return sign_envelope(self.genesis.network_id, [transaction], signers)

    def transaction(self, request_id: str, text: str, *members: str) -> Transaction:
        signers = [self.keys[member] for member in members or ("alpha",)]
        return build_transaction(
            network_id=self.genesis.network_id,
            member=MemberId((members or ("alpha",))[0]),
            request_id=request_id,
            valid_until_ms=Clock.system().wall_ms() + 60_000,
            gas_limit=100_000,
            signers=[KeyId(key.key_id) for key in signers],
            call=Call.create("notes", "write", {"name": request_id, "text": text}),
        )

    async def wait_equal(self, height: int) -> None:
        """Wait until all cores that are up have executed `height` and agree on their state."""
        async with asyncio.timeout(WAIT_S):
            while True:
                found = {(c.status().height, c.status().state_root) for c in self.cores.values()}
                if len(found) == 1 and next(iter(found))[0] >= height:
                    return
                for run in self._runs.values():
                    if run.done():
                        run.result()
                await asyncio.sleep(0.01)

    async def wait_recorded(self) -> None:
        """Wait until all cores that are up have evidence in their chain."""
        async with asyncio.timeout(WAIT_S):
            while True:
                if all(any(one.height for one in core.evidence()) for core in self.cores.values()):
                    return
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(folder: Path, count: int = 4) -> AsyncIterator[Network]:
    network = Network(folder)
    for index in range(count):
        create_promises(network.genesis, folder / MEMBERS[index])
        network.start(index)
    try:
        yield network
    finally:
        for index in list(network.cores):
            await network.stop(index)


async def _submit(core: Core, listener: Listener, *envelopes: Envelope) -> list[LedgerError | None]:
    return await core.gateway.submit([envelope.encoded for envelope in envelopes], listener)


async def test_a_transaction_is_committed_and_certified_on_every_node(tmp_path: Path) -> None:
    async with running(tmp_path) as network:
        listener = Listener()
        assert await _submit(network.cores[2], listener, network.envelope("r1", "hello")) == [None]
        [outcome] = await listener.wait("r1")
        assert outcome.state is OutcomeState.COMMITTED
        await network.wait_equal(outcome.height + 1)
        for core in network.cores.values():
            assert core.reads.receipt(outcome.tx_id).receipt == outcome.receipt
            assert core.reads.receipt_proof(outcome.tx_id).receipt == outcome.receipt


async def test_a_failed_transaction_has_a_receipt_and_no_effect(tmp_path: Path) -> None:
    async with running(tmp_path) as network:
        listener = Listener()
        await _submit(network.cores[0], listener, network.envelope("r1", ""))
        [outcome] = await listener.wait("r1")
        assert outcome.state is OutcomeState.COMMITTED
        assert b"EMPTY" in outcome.receipt
        with pytest.raises(LedgerError, match="STATE_MISSING"):
            network.cores[0].reads.view("notes", "read", b"\0\0\0\x01\0\x04name\x03\0\x02r1", 0)


async def test_the_same_bytes_have_one_effect_and_other_bytes_are_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as network:
        listener, again = Listener(), Listener()
        envelope = network.envelope("r1", "one")
        await _submit(network.cores[0], listener, envelope)
        [first] = await listener.wait("r1")
        await network.wait_equal(first.height)
        assert await _submit(network.cores[3], again, envelope) == [None]
        [second] = await again.wait("r1")
        assert (second.height, second.receipt) == (first.height, first.receipt)
        [refused] = await _submit(network.cores[1], Listener(), network.envelope("r1", "two"))
        assert refused is not None
        assert refused.reason is Reason.REQUEST_ID_REUSED


async def test_whoever_waits_for_an_envelope_that_another_overtook_hears_of_every_transaction(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as network:
        first, second = network.transaction("r1", "one"), network.transaction("r2", "two")
        both, alone = (
            sign_envelope(network.genesis.network_id, transactions, [network.keys["alpha"]])
            for transactions in ([first, second], [first])
        )
        leader = network.cores[0].status().leader
        listener = Listener()
        # Neither node has heard of the other's envelope; the leader's is the one that is proposed.
        assert await _submit(network.cores[(leader + 1) % 4], listener, both) == [None]
        assert await _submit(network.cores[leader], Listener(), alone) == [None]
        outcomes = await listener.wait("r1", "r2")
        assert [outcome.state for outcome in outcomes] == [OutcomeState.COMMITTED, OutcomeState.UNKNOWN]


async def test_the_network_goes_on_without_its_leader_and_takes_it_back(tmp_path: Path) -> None:
    async with running(tmp_path) as network:
        listener = Listener()
        await _submit(network.cores[0], listener, network.envelope("r1", "before"))
        await listener.wait("r1")
        leader = network.cores[0].status().leader
        await network.stop(leader)
        survivor = next(iter(network.cores.values()))
        await _submit(survivor, listener, network.envelope("r2", "after"))
        [outcome] = await listener.wait("r2")
        network.start(leader)
        await network.wait_equal(outcome.height)
        assert len(network.cores) == 4


async def test_all_nodes_restart_and_remember(tmp_path: Path) -> None:
    async with running(tmp_path) as network:
        listener = Listener()
        envelopes = [network.envelope(f"r{number}", "text", "beta") for number in range(40)]
        await _submit(network.cores[1], listener, *envelopes)
        await listener.wait(*(f"r{number}" for number in range(40)))
        for index in range(4):
            await network.stop(index)
        for index in range(4):
            network.start(index)
        again = Listener()
        await _submit(network.cores[2], again, envelopes[7], network.envelope("new", "text"))
        [repeat, new] = await again.wait("r7", "new")
        assert repeat.receipt == listener.outcomes["r7"].receipt
        await network.wait_equal(new.height)


async def test_a_validator_that_lost_its_promises_follows_and_signs_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as network:
        listener = Listener()
        await _submit(network.cores[0], listener, network.envelope("r1", "text"))
        [outcome] = await listener.wait("r1")
        await network.wait_equal(outcome.height)
        await network.stop(3)
        shutil.rmtree(tmp_path / MEMBERS[3] / "consensus")
        forgetful = network.start(3)
        await _submit(network.cores[0], listener, network.envelope("r2", "text"))
        [outcome] = await listener.wait("r2")
        await network.wait_equal(outcome.height)
        assert "amnesia" in forgetful.status().stalled_reason
        assert not SafetyStore.is_present(tmp_path / MEMBERS[3] / "consensus")


def _read_evidence(network: Network, core: Core) -> list[Evidence]:
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


async def test_two_votes_for_one_height_end_up_in_a_block_as_evidence(tmp_path: Path) -> None:
    async with running(tmp_path, 3) as network:
        network.traitor = 3
        listener = Listener()
        for number in range(5):
            await _submit(network.cores[0], listener, network.envelope(f"r{number}", "text"))
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
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as network:
        leader = network.cores[0].status().leader
        follower, sender, accused = (index for index in range(4) if index != leader)
        key = network.validator_keys[MEMBERS[accused]]
        evidence, again = (
            encode_evidence(make_double_vote(network.genesis.network_id, key, accused, height=height))
            for height in (1, 2)
        )
        network.deliver(sender, follower, [], [], [evidence, again])
        await network.wait_recorded()
        before = _count_evidence(network.cores[0])
        for index in range(4):
            await network.stop(index)
        for index in range(4):
            assert not list((tmp_path / MEMBERS[index] / "evidence").iterdir())
            network.start(index)
        network.deliver(sender, follower, [], [], [again])
        listener = Listener()
        await _submit(network.cores[0], listener, network.envelope("r1", "text"))
        [outcome] = await listener.wait("r1")
        await network.wait_equal(outcome.height)
        for core in network.cores.values():
            assert _count_evidence(core) == before
            assert len(_read_evidence(network, core)) == 1


@pytest.mark.parametrize("seed", range(3))
async def test_random_restarts_under_load_lose_nothing_and_repeat_nothing(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with running(tmp_path) as network:
        acknowledged, envelopes = Listener(), []
        for number in range(60):
            if number % 12 == 11 and len(network.cores) == 4:
                await network.stop(chance.choice(sorted(network.cores)))
            elif len(network.cores) < 4 and chance.random() < 0.3:
                network.start(next(index for index in range(4) if index not in network.cores))
            core = network.cores[chance.choice(sorted(network.cores))]
            envelopes.append(network.envelope(f"r{number}", "text", chance.choice(MEMBERS)))
            assert await _submit(core, acknowledged, envelopes[-1]) == [None]
            await asyncio.sleep(0.01)
        for index in range(4):
            if index not in network.cores:
                network.start(index)
        again = Listener()
        await _submit(network.cores[0], again, *envelopes)
        outcomes = await again.wait(*(f"r{number}" for number in range(60)))
        for outcome in outcomes:
            before = acknowledged.outcomes.get(outcome.request_id, outcome)
            assert (before.height, before.receipt) == (outcome.height, outcome.receipt)
        await network.wait_equal(max(outcome.height for outcome in outcomes))
        for core in network.cores.values():
            assert core.reads.view("notes", "total", b"\0\0\0\0", 0).value == encode_value(60)
