"""A node's edge over a core that answers from memory: real gRPC, real mTLS, loopback, free ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tanpo.ledger.errors import LedgerError, Reason, TransactionRejected, Unavailable
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.lineage import EpochStep
from tanpo.ledger.membership import list_genesis_members
from tanpo.ledger.transaction import Envelope, decode_envelope
from tanpo.ledger.types import BlockHash, Height, MemberId, StateRoot
from tanpo.node.authorities import Authorities
from tanpo.node.backups import BackupSource
from tanpo.node.clock import Clock
from tanpo.node.clock_watch import ClockWatch
from tanpo.node.config import NodeConfig, TlsConfig
from tanpo.node.credentials import CurrentCredentials, NodeCredentials
from tanpo.node.events import EventItem, EventRead
from tanpo.node.evidence import EvidenceRead
from tanpo.node.identity import CallerVerifier
from tanpo.node.logs import LogLevel, start_logging
from tanpo.node.metrics import Metrics
from tanpo.node.outcome import Outcome, OutcomeListener, OutcomeState
from tanpo.node.peer_link import PeerAddress
from tanpo.node.pki import Authority, IssuedCertificate
from tanpo.node.proofs import LineageRead, StateProofRead, StateQuestion
from tanpo.node.servers import Parts, Servers
from tanpo.node.tls import load_channel_credentials
from tanpo.node.transport import GrpcTransport
from tanpo.storage.backup import Origin
from tanpo.storage.manifest import ChunkPlace, Manifest
from tanpo.storage.snapshots import Offer
from tanpo.testing.world import MEMBERS, World

WAIT_S = 60


async def poll_until(condition: Callable[[], object]) -> None:
    """Wait for what another task of this loop brings about."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0.005)


class FakeGateway:
    """Admits everything that decodes; outcomes come when a test commits."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.waiting: list[tuple[Envelope, OutcomeListener]] = []
        self.forgotten: list[OutcomeListener] = []
        self.submitted = asyncio.Event()
        self.is_draining = False
        self.is_instant = False
        self.refuse_with: LedgerError | None = None
        self.fail_with: Exception | None = None

    async def submit(self, envelopes: Sequence[bytes], listener: OutcomeListener) -> list[LedgerError | None]:
        if self.fail_with is not None:
            raise self.fail_with
        verdicts: list[LedgerError | None] = []
        for encoded in envelopes:
            try:
                envelope = decode_envelope(self._world.genesis.network_id, encoded)
            except LedgerError as error:
                verdicts.append(error)
                continue
            verdicts.append(self.refuse_with)
            if self.refuse_with is None:
                self.waiting.append((envelope, listener))
        if self.is_instant:
            self.commit(height=1)
        self.submitted.set()
        return verdicts

    def commit(self, height: int) -> None:
        """Commit all that waits, as one block."""
        waiting, self.waiting = self.waiting, []
        index = 0
        for envelope, listener in waiting:
            outcomes = [
                make_outcome(OutcomeState.COMMITTED, tx, height=height, index=index + position)
                for position, tx in enumerate(envelope.transactions)
            ]
            index += len(outcomes)
            listener.deliver(outcomes)

    def forget(self, listener: OutcomeListener) -> None:
        self.forgotten.append(listener)

    async def drain(self) -> int:
        self.is_draining = True
        await poll_until(lambda: not self.waiting)
        return 0


def make_outcome(state: OutcomeState, transaction: Any, *, height: int = 0, index: int = 0) -> Outcome:
    return Outcome(
        state=state,
        tx_id=transaction.tx_id,
        member=transaction.member,
        request_id=transaction.request_id,
        height=height,
        index=index,
        receipt=b"receipt" if height else b"",
        as_of_height=height,
        as_of_time_ms=1_700_000_000_000,
    )


class FakeReads:
    """Knows no transaction, and says of every request that it is pending."""

    def __init__(self) -> None:
        self.fail_with: Exception | None = None
        self.first_height = Height(1)

    def outcome(self, member: str, request_id: str) -> Outcome:
        if self.fail_with is not None:
            raise self.fail_with
        return Outcome(
            state=OutcomeState.PENDING,
            tx_id=b"",
            member=member,
            request_id=request_id,
            as_of_height=7,
            as_of_time_ms=1,
        )

    def receipt(self, tx_id: bytes) -> Any:
        raise TransactionRejected(Reason.NOT_FOUND, "no such transaction", value=tx_id.hex())

    transaction = receipt_proof = receipt

    def list_of_party(self, member: str, before: tuple[int, int] | None, limit: int) -> list[Any]:
        return [(7, 1, b"x" * 32), (7, 0, b"y" * 32)][:limit] if before is None else []

    def view(self, contract: str, view: str, arguments: bytes, height: int) -> Any:
        raise TransactionRejected(Reason.CONTRACT_UNKNOWN, "no such contract", value=contract)

    def block(self, height: int) -> Any:
        raise TransactionRejected(Reason.HEIGHT_UNKNOWN, "no such height", value=height, limit=7)

    def contracts(self) -> list[Any]:
        return []

    def contract_version(self, name: str, version: int) -> Any:
        raise TransactionRejected(Reason.CONTRACT_UNKNOWN, "no such contract", value=name)


class FakeProofs:
    """Proves what it was asked for, and knows epoch 0."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.questions: list[StateQuestion] = []

    async def state(self, question: StateQuestion) -> StateProofRead:
        self.questions.append(question)
        return StateProofRead(
            height=question.height or 7,
            partial_tree=b"tree",
            entries=tuple((key, b"value") for key in question.keys),
            group_keys=(question.group,) if question.group else (),
            header=b"header",
            descendants=(b"above",),
            commit_proof=b"proof",
        )

    def lineage(self, from_epoch: int) -> LineageRead:
        step = EpochStep(header=b"end", commit_proof=b"proof", validators=self._world.genesis.validators)
        return LineageRead(validators=self._world.genesis.validators, steps=(step,) * (3 - from_epoch))


class FakeEvents:
    """Endless events, as fast as they are read."""

    def __init__(self) -> None:
        self.yielded = 0
        self.is_open = False

    async def stream(
        self, *, from_height: int, from_index: int, contracts: frozenset[str]
    ) -> AsyncIterator[EventRead]:
        self.is_open = True
        try:
            height = max(1, from_height)
            while True:
                self.yielded += 1
                event = EventItem(
                    index=0, tx_id=b"t" * 32, contract="notes", name="Written", fields=bytes(64_000)
                )
                yield EventRead(
                    height=height,
                    block_hash=b"h" * 32,
                    time_ms=height,
                    events=(event,),
                    next_height=height + 1,
                    next_index=0,
                )
                height += 1
                await asyncio.sleep(0)
        finally:
            self.is_open = False


@dataclass(frozen=True)
class FakeStatus:
    height: int = 7
    block_hash: bytes = b"b" * 32
    state_root: bytes = b"r" * 32
    time_ms: int = 1_700_000_000_000
    epoch: int = 0
    term: int = 3
    leader: str = "beta/n1"
    is_leader: bool = False
    pending_transactions: int = 0
    stalled_reason: str = ""
    observer_reason: str = ""
    retention: str = "archive"
    blocks_bytes: int = 0
    state_bytes: int = 0


class FakeSnapshots:
    """Offers one snapshot whose chunks are made up."""

    first_height = 1

    def __init__(self) -> None:
        self.chunks = [b"chunk %d" % number for number in range(3)]
        places = tuple(
            ChunkPlace(start=start, size=len(chunk), digest=sha256(chunk).digest())
            for start, chunk in enumerate(self.chunks)
        )
        manifest = Manifest(
            height=Height(40),
            header_hash=BlockHash(bytes(32)),
            state_root=StateRoot(bytes(32)),
            chunks=places,
        )
        self.offer = Offer(manifest=manifest, proof=b"a proof")

    def offers(self) -> list[Offer]:
        return [self.offer]

    def read_chunk(self, digest: bytes, position: int) -> bytes:
        if digest != self.offer.manifest.digest or position >= len(self.chunks):
            raise Unavailable(Reason.NOT_FOUND, "this chunk of a snapshot is not here")
        return self.chunks[position]


class FakeCore:
    def __init__(self, world: World, member: str) -> None:
        self.genesis = world.genesis
        self.members = list_genesis_members(world.genesis)
        self.roster = world.make_roster(member)
        self.gateway = FakeGateway(world)
        self.reads: Any = FakeReads()
        self.proofs = FakeProofs(world)
        self.events = FakeEvents()
        self.snapshots = FakeSnapshots()
        self.state = FakeStatus()
        self.has_handed_over = False

    def evidence(self) -> list[EvidenceRead]:
        return []

    def copy(self) -> BackupSource:
        digest = "00" * 32
        origin = Origin(
            network_id=self.genesis.network_id.hex(),
            member="alpha",
            node="n1",
            height=7,
            block_hash=digest,
            state_root=digest,
            receipts_root=digest,
            epoch=0,
        )
        parts = [("genesis.json", b"{}"), ("state.rows", b"rows")]
        return BackupSource(origin=origin, parts=(part for part in parts))

    async def hand_over(self) -> None:
        self.has_handed_over = True

    def status(self) -> FakeStatus:
        return self.state


class FakeInbox:
    """Keeps frames; refuses messages that begin with "bad", and holds the stream while `gate` is closed."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.envelopes: list[tuple[str, bytes]] = []
        self.evidence: list[tuple[str, bytes]] = []
        self.frames = 0
        self.arrived = asyncio.Condition()
        self.gate = asyncio.Event()
        self.gate.set()
        self.fail_with: Exception | None = None

    async def receive(
        self,
        sender: str,
        messages: Sequence[bytes],
        envelopes: Sequence[bytes],
        evidence: Sequence[bytes] = (),
    ) -> None:
        await self.gate.wait()
        if self.fail_with is not None:
            raise self.fail_with
        async with self.arrived:
            self.frames += 1
            self.messages += [(sender, message) for message in messages]
            self.envelopes += [(sender, envelope) for envelope in envelopes]
            self.evidence += [(sender, one) for one in evidence]
            self.arrived.notify_all()

    async def wait_for(self, count: int) -> None:
        async with self.arrived:
            await self.arrived.wait_for(
                lambda: len(self.messages) + len(self.envelopes) + len(self.evidence) >= count
            )


@dataclass
class RunningNode:
    """One edge that listens."""

    world: World
    member: str
    core: FakeCore
    inbox: FakeInbox
    transport: GrpcTransport
    servers: Servers
    authorities: Authorities
    metrics: Metrics
    logs: StringIO
    fatal: list[BaseException] = field(default_factory=list)

    def channel(
        self,
        certificate: IssuedCertificate | None,
        *,
        port: int | None = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> grpc.aio.Channel:
        """Return a channel to the client port (or `port`) with a certificate, or none."""
        credentials = (
            load_channel_credentials(
                self.world.authorities[self.member].certificate_pem,
                certificate.certificate,
                certificate.private_key,
            )
            if certificate
            else grpc.ssl_channel_credentials(self.world.authorities[self.member].certificate_pem)
        )
        name = ("grpc.ssl_target_name_override", f"n1.{self.member}.tanpo")
        return grpc.aio.secure_channel(
            f"127.0.0.1:{port or self.servers.port}", credentials, options=(name, *options)
        )


def read_error(error: grpc.aio.AioRpcError) -> tuple[str, str, dict[str, str]]:
    """Return code, reason and metadata of a refusal."""
    status: Any = rpc_status.from_call(error)  # type: ignore[arg-type]  # it wants a call, and works on errors
    if status is None:
        return error.code().name, "", {}
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "tanpo"
    return error.code().name, info.reason, dict(info.metadata)


class Refusal:
    """What a call was refused with."""

    code = ""
    reason = ""
    metadata: dict[str, str]
    message = ""


@pytest.fixture(scope="session")
def world() -> World:
    return World()


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object]], Any]:
    """Waits until a condition holds, a minute at most."""
    return poll_until


@pytest.fixture
def refused() -> Callable[[], Any]:
    """A context manager that expects a refusal and tells what it was."""

    @contextmanager
    def expect() -> Iterator[Refusal]:
        refusal = Refusal()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            yield refusal
        refusal.code, refusal.reason, refusal.metadata = read_error(caught.value)
        refusal.message = caught.value.details() or ""

    return expect


@pytest.fixture
def start_node(world: World, tmp_path: Path) -> Callable[..., Any]:
    """A context manager that runs one edge on free ports (or a given peer port)."""

    @asynccontextmanager
    async def start(
        member: str = "alpha",
        *,
        clients: tuple[str, ...] = (),
        peers: Sequence[PeerAddress] = (),
        peer_port: int = 0,
        genesis: Genesis | None = None,
        now: Callable[[], datetime] | None = None,
        certificate: IssuedCertificate | None = None,
    ) -> AsyncIterator[RunningNode]:
        node = _build(world, tmp_path, member, clients, peers, peer_port, genesis, now, certificate)
        await node.servers.start()
        await node.transport.start(node.inbox)
        try:
            yield node
        finally:
            await node.transport.stop()
            await node.servers.stop()

    return start


@pytest.fixture
def dial(world: World) -> Callable[..., PeerAddress]:
    """Returns the address of a peer's port, as the transport of another member sees it."""

    def make(port: int, *, to: str, by: str, authority: Authority | None = None) -> PeerAddress:
        own = world.issue(by, "node", "n1")
        trusted = authority or world.authorities[to]
        return PeerAddress(
            member=MemberId(to),
            node="n1",
            address=f"127.0.0.1:{port}",
            authorities=trusted.certificate_pem,
            credentials=load_channel_credentials(trusted.certificate_pem, own.certificate, own.private_key),
        )

    return make


def _build(
    world: World,
    folder: Path,
    member: str,
    clients: tuple[str, ...],
    peers: Sequence[PeerAddress],
    peer_port: int,
    genesis: Genesis | None,
    now: Callable[[], datetime] | None,
    certificate: IssuedCertificate | None,
) -> RunningNode:
    core, inbox, metrics, logs = FakeCore(world, member), FakeInbox(), Metrics(), StringIO()
    if genesis is not None:
        core.genesis = genesis
    issued = certificate or world.issue(member, "node", "n1")
    holder = CallerVerifier.from_genesis(world.genesis).verify_holder(issued.certificate)
    fatal: list[BaseException] = []
    transport = GrpcTransport(
        peers=peers,
        roster=core.roster,
        network_id=core.genesis.network_id,
        version="test",
        metrics=metrics,
        on_fatal=fatal.append,
    )
    config = NodeConfig(
        member=member,
        node="n1",
        data_dir=folder,
        genesis=folder,
        listen="127.0.0.1:0",
        peer_listen=f"127.0.0.1:{peer_port}",
        ops_listen="127.0.0.1:0",
        tls=TlsConfig(ca=folder, certificate=folder, key=folder),
        clients=clients,
    )
    authorities = Authorities({MemberId(name): (world.authorities[name].certificate,) for name in MEMBERS})
    verifier = CallerVerifier(authorities, now=now)
    servers = Servers(
        Parts(
            config=config,
            core=core,
            inbox=inbox,
            transport=transport,
            credentials=CurrentCredentials(
                NodeCredentials(
                    certificate=issued.certificate,
                    private_key=issued.private_key,
                    valid_until=holder.valid_until,
                    signing_key=None,
                )
            ),
            authorities=authorities,
            verifier=verifier,
            metrics=metrics,
            log_control=start_logging(LogLevel.INFO, logs),
            version="test",
            clock=Clock.system(),
            clock_watch=ClockWatch(
                find_peers=list, read_clock_ms=Clock.system().wall_ms, precision_ms=500, metrics=metrics
            ),
            on_fatal=fatal.append,
        )
    )
    return RunningNode(
        world=world,
        member=member,
        core=core,
        inbox=inbox,
        transport=transport,
        servers=servers,
        authorities=authorities,
        metrics=metrics,
        logs=logs,
        fatal=fatal,
    )
