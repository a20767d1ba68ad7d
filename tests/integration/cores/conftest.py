"""Cores with real stores, contracts and replicas, joined by links inside one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tanpo.consensus import Timing
from tanpo.consensus.messages import Append, AppendReply
from tanpo.consensus.wire import decode_message, encode_message
from tanpo.contracts import load_source
from tanpo.ledger.block import decode_block, encode_block
from tanpo.ledger.errors import LedgerError
from tanpo.ledger.genesis import Genesis, InstalledContract, Member, Parameters
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.snapshotproof import decode_snapshot_proof, verify_snapshot_proof
from tanpo.ledger.transaction import Call, Envelope, Transaction, build_transaction, sign_envelope
from tanpo.ledger.types import BlockHash, Height, KeyId, MemberId
from tanpo.ledger.validators import Validator, validators_to_value
from tanpo.node.clock import Clock
from tanpo.node.config import ExecutionMode
from tanpo.node.core import Core, CoreSettings
from tanpo.node.intake import Intake
from tanpo.node.metrics import Metrics
from tanpo.node.outcome import Outcome
from tanpo.node.promises import create_promises
from tanpo.node.retention import RetentionPolicy
from tanpo.storage import StoredBlock
from tanpo.storage.snapshot_building import JOINING_NAME, Arrival, SnapshotBuilder
from tanpo.storage.snapshots import Offer
from tanpo.testing.accusation import make_vote

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
WAIT_S = 60


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
    """One node's way to the others: each frame is delivered by a task of its own."""

    def __init__(self, own: str, network: Network) -> None:
        self._own = own
        self._network = network

    def send(self, to: str, message: bytes) -> None:
        self._network.deliver(self._own, to, [message], [])

    def share(self, to: str, envelopes: Sequence[bytes]) -> None:
        self._network.deliver(self._own, to, [], list(envelopes))

    def share_evidence(self, to: str, evidence: Sequence[bytes]) -> None:
        self._network.deliver(self._own, to, [], [], list(evidence))

    def connected(self) -> list[str]:
        return self._network.find_others(self._own)


class Network:
    """Members, keys, and the cores that are up. A node is meant by a number or by its name.

    The first four numbers are the members' first nodes, which are the validators of the genesis.
    """

    members = MEMBERS

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = {member: PrivateKey.generate() for member in MEMBERS}
        self.names = [f"{member}/node" for member in MEMBERS]
        self.validator_keys = {name: PrivateKey.generate() for name in self.names}
        self.cores: dict[int, Core] = {}
        self.traitor: int | None = None
        self.valid_for_ms = 600_000
        self._inboxes: dict[str, Intake] = {}
        self._runs: dict[int, asyncio.Task[None]] = {}
        self._deliveries: set[asyncio.Task[None]] = set()
        validators = tuple(self.make_validator(name) for name in self.names)
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
                    ca_certificate=b"none",
                    keys=(key.public_key.encoded,),
                )
                for member, key in self.keys.items()
            ),
            validators=validators,
            contracts=(
                InstalledContract(name="notes", source=NOTES, arguments=()),
                InstalledContract(
                    name="members",
                    source=load_source("members"),
                    arguments=(),
                ),
                InstalledContract(
                    name="validators",
                    source=load_source("validators"),
                    arguments=(("validators", validators_to_value(validators)),),
                ),
            ),
        )

    def listener(self) -> Listener:
        return Listener()

    def make_validator(self, name: str, key: PrivateKey | None = None) -> Validator:
        member, _, node = name.partition("/")
        public_key = (key or self.validator_keys[name]).public_key.encoded
        return Validator(member=MemberId(member), node=node, public_key=public_key)

    def add_node(self, name: str) -> int:
        """Return the number of a further node, with a key of its own, that is not started yet."""
        self.names.append(name)
        self.validator_keys[name] = PrivateKey.generate()
        self.prepare(len(self.names) - 1)
        return len(self.names) - 1

    def prepare(self, index: int) -> None:
        """Make the consensus store of a node that never ran."""
        create_promises(self.genesis, self.folder / self.names[index])

    def start(
        self,
        index: int,
        *,
        may_rejoin: bool = False,
        execution: ExecutionMode = ExecutionMode.IN_PROCESS,
        metrics: Metrics | None = None,
        snapshot_every_blocks: int = 0,
        retention: RetentionPolicy | None = None,
    ) -> Core:
        name = self.names[index]
        member, _, node = name.partition("/")
        core = Core.open(
            genesis=self.genesis,
            data_dir=self.folder / name,
            member=MemberId(member),
            node=node,
            signing_key=self.validator_keys[name],
            settings=CoreSettings(
                timing=Timing(base_timeout_ms=300, request_timeout_ms=600),
                may_rejoin=may_rejoin,
                execution=execution,
                snapshot_every_blocks=snapshot_every_blocks,
                retention=retention or RetentionPolicy(),
            ),
            metrics=metrics or Metrics(),
        )
        self._inboxes[name] = core.attach(Links(name, self))
        self.cores[index] = core
        self._runs[index] = asyncio.create_task(core.run())
        return core

    async def stop(self, index: int) -> None:
        del self._inboxes[self.names[index]]
        core = self.cores.pop(index)
        run = self._runs.pop(index)
        if run.done():
            run.result()
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        core.close()

    def find_leader(self) -> int:
        """Return the number of the leader, as a node that is up sees it."""
        return self.names.index(next(iter(self.cores.values())).status().leader)

    def find_others(self, own: str) -> list[str]:
        return [name for name in self._inboxes if name != own]

    def deliver(
        self,
        sender: str,
        to: str,
        messages: list[bytes],
        envelopes: list[bytes],
        evidence: Sequence[bytes] = (),
    ) -> None:
        traitor = None if self.traitor is None else self.names[self.traitor]
        if to == traitor:
            for message in messages:
                self.betray(sender, message)
        inbox = self._inboxes.get(to)
        if inbox is not None and (sender in self._inboxes or sender == traitor):
            task = asyncio.create_task(inbox.receive(sender, messages, envelopes, evidence))
            self._deliveries.add(task)
            task.add_done_callback(self._deliveries.discard)

    def betray(self, to: str, encoded: bytes) -> None:
        """Vote for a proposal, and for a block that does not exist, at one height."""
        epoch, message = decode_message(encoded)
        if not isinstance(message, Append) or self.traitor is None:
            return
        header, name = message.block.header, self.names[self.traitor]
        votes = [
            make_vote(
                self.genesis.network_id,
                self.validator_keys[name],
                self.traitor,
                block_hash=block_hash,
                height=header.height,
                term=header.term,
            )
            for block_hash in (message.block.block_hash, BlockHash(bytes(32)))
        ]
        replies = [AppendReply(vote=vote) for vote in votes]
        self.deliver(name, to, [encode_message(reply, epoch) for reply in replies], [])

    async def submit(self, core: Core, listener: Listener, *envelopes: Envelope) -> list[LedgerError | None]:
        return await core.gateway.submit([envelope.encoded for envelope in envelopes], listener)

    def envelope(self, request_id: str, text: str, *members: str) -> Envelope:
        signers = [self.keys[member] for member in members or ("alpha",)]
        transaction = self.transaction(request_id, text, *members)
        return sign_envelope(self.genesis.network_id, [transaction], signers)

    def transaction(self, request_id: str, text: str, *members: str) -> Transaction:
        call = Call.create("notes", "write", {"name": request_id, "text": text})
        return self._build(request_id, call, *members or ("alpha",))

    def replacement(self, request_id: str, validators: Sequence[Validator], *members: str) -> Envelope:
        """Return the members' vote for other validators; three of four members are enough."""
        signing = members or MEMBERS[:3]
        call = Call.create("validators", "replace", {"validators": validators_to_value(validators)})
        transaction = self._build(request_id, call, *signing)
        return sign_envelope(
            self.genesis.network_id, [transaction], [self.keys[member] for member in signing]
        )

    def call(self, request_id: str, call: Call, *members: str) -> Envelope:
        """Return any transaction of these members."""
        transaction = self._build(request_id, call, *members)
        return sign_envelope(
            self.genesis.network_id, [transaction], [self.keys[member] for member in members]
        )

    def join(self, index: int, source: Core, offer: Offer) -> None:
        """Lay another node's snapshot for a node that was never started, as if it had fetched it."""
        proof = decode_snapshot_proof(offer.proof)
        verified = verify_snapshot_proof(proof, self.genesis)
        builder = SnapshotBuilder.open(self.folder / self.names[index] / JOINING_NAME, offer.manifest)
        for position in builder.missing:
            chunk = source.snapshots.read_chunk(offer.manifest.digest, position)
            builder.insert(position, builder.verify(position, chunk))
        block = StoredBlock(
            height=verified.block.header.height,
            block_hash=verified.block.block_hash,
            block=encode_block(verified.block),
            proof=proof.tip.commit_proof,
        )
        builder.finish(
            self.genesis.network_id,
            Arrival(block=block, receipts_root=verified.header.receipts_root, links=proof.steps),
        )

    async def wait_equal(self, height: int) -> None:
        """Wait until all cores that are up have executed `height` and agree on their state."""
        async with asyncio.timeout(WAIT_S):
            while True:
                found = {(c.status().height, c.status().state_root) for c in self.cores.values()}
                if len(found) == 1 and next(iter(found))[0] >= height:
                    return
                self.check_runs()
                await asyncio.sleep(0.01)

    async def wait_recorded(self) -> None:
        """Wait until all cores that are up have evidence in their chain."""
        async with asyncio.timeout(WAIT_S):
            while not all(any(one.height for one in core.evidence()) for core in self.cores.values()):
                self.check_runs()
                await asyncio.sleep(0.01)

    async def wait_epoch(self, epoch: int) -> None:
        """Wait until all cores that are up are in an epoch."""
        async with asyncio.timeout(WAIT_S):
            while {core.status().epoch for core in self.cores.values()} != {epoch}:
                self.check_runs()
                await asyncio.sleep(0.01)

    async def wait_moving(self, index: int) -> None:
        """Wait until nothing keeps a core from going on: on a busy machine it may be behind for a moment."""
        async with asyncio.timeout(WAIT_S):
            while self.cores[index].status().stalled_reason:
                self.check_runs()
                await asyncio.sleep(0.01)

    async def pause(self, turns: int) -> None:
        """Let everything else go on for a number of turns of the loop."""
        for _ in range(turns):
            await asyncio.sleep(0)

    async def wait_end(self, index: int) -> None:
        """Wait until a core ends by itself, close it, and raise what it ended with."""
        async with asyncio.timeout(WAIT_S):
            await asyncio.wait([self._runs[index]])
        del self._inboxes[self.names[index]]
        self.cores.pop(index).close()
        self._runs.pop(index).result()

    def check_runs(self) -> None:
        """Raise what ended a core."""
        for run in self._runs.values():
            if run.done():
                run.result()

    def check_chains(self) -> None:
        """Compare all blocks of all cores that are up, up to the lowest of their heights."""
        lowest = min(core.status().height for core in self.cores.values())
        for height in range(1, lowest + 1):
            blocks = {core.reads.block(height).block_hash for core in self.cores.values()}
            assert len(blocks) == 1, f"fork at height {height}"

    def read_epochs(self, index: int) -> list[int]:
        """Return the epoch of each block that a core holds."""
        reads = self.cores[index].reads
        heights = range(1, self.cores[index].status().height + 1)
        return [decode_block(reads.block(Height(height)).block).header.epoch for height in heights]

    def _build(self, request_id: str, call: Call, *members: str) -> Transaction:
        return build_transaction(
            network_id=self.genesis.network_id,
            member=MemberId(members[0]),
            request_id=request_id,
            valid_until_ms=Clock.system().wall_ms() + self.valid_for_ms,
            gas_limit=100_000,
            signers=[KeyId(self.keys[member].key_id) for member in members],
            call=call,
        )


class Cluster:
    """Starts networks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @asynccontextmanager
    async def running(self, count: int = 4) -> AsyncIterator[Network]:
        """Run a network of which the first nodes are up."""
        network = Network(self._folder)
        for index in range(4):
            network.prepare(index)
        for index in range(count):
            network.start(index)
        try:
            yield network
        finally:
            for index in list(network.cores):
                await network.stop(index)


@pytest.fixture(scope="module")
def lasting_cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """For what a whole module looks at, and none of its tests changes."""
    return Cluster(tmp_path_factory.mktemp("cluster"))


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Makes networks whose data goes with the test."""
    return Cluster(tmp_path)
