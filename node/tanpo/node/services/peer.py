"""The receiving half of a link: frames from one node, taken one after another, and what goes back to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from tanpo.api.v1 import peer_pb2, peer_pb2_grpc
from tanpo.ledger.errors import LedgerError, PeerFault, Reason, UsageError
from tanpo.node.identity import Caller
from tanpo.node.logs import Milestones, get_logger
from tanpo.node.metrics import Metrics
from tanpo.node.peer_link import WELCOME_TIMEOUT_S, Inbox, check_frame, verify_greeting
from tanpo.node.roster import compute_name
from tanpo.node.services.guard import Context, Policy
from tanpo.node.services.snapshots import SnapshotDesk
from tanpo.node.transport import GrpcTransport, guests_full
from typing_extensions import override

_LOG: Final = get_logger("peers")


class PeerService(peer_pb2_grpc.PeerServicer):
    """`tanpo.api.v1.Peer`. Each node of a member has one stream; a newer one replaces the older."""

    def __init__(
        self,
        *,
        own_name: str,
        inbox: Inbox,
        transport: GrpcTransport,
        policy: Policy,
        hello: peer_pb2.PeerHello,
        metrics: Metrics,
        on_frame: Callable[[str], None],
        desk: SnapshotDesk,
        get_height: Callable[[], int],
        read_clock_ms: Callable[[], int],
    ) -> None:
        self._own_name = own_name
        self._inbox = inbox
        self._transport = transport
        self._policy = policy
        self._hello = hello
        self._metrics = metrics
        self._on_frame = on_frame
        self._desk = desk
        self._get_height = get_height
        self._read_clock_ms = read_clock_ms
        self._streams: dict[str, asyncio.Task[None] | None] = {}
        self._milestones = Milestones()

    @override
    async def Exchange(
        self, request_iterator: AsyncIterator[peer_pb2.PeerFrame], context: Context
    ) -> AsyncIterator[peer_pb2.PeerAnswer]:
        caller = self._policy.identify(context)
        sender = self._compute_sender(caller)
        await self._read_hello(request_iterator)
        task = asyncio.current_task()
        queue = self._transport.open_caller(
            caller.member, caller.name, on_evicted=lambda: self._evict(sender, task)
        )
        older = self._streams.get(sender)
        if older is not None:
            # Half open after a crash of the peer: it would wait for a keepalive to fail.
            older.cancel()
        self._streams[sender] = task
        reading = asyncio.create_task(self._read(sender, queue.name, request_iterator), name=f"from {sender}")
        reading.add_done_callback(lambda _: queue.has_work.set())
        self._on_frame(sender)
        try:
            yield self._build_welcome()
            while not reading.done():
                queue.has_work.clear()
                while (frame := queue.take()) is not None:
                    yield peer_pb2.PeerAnswer(
                        messages=frame.messages, envelopes=frame.envelopes, evidence=frame.evidence
                    )
                await queue.has_work.wait()
            reading.result()
        except asyncio.CancelledError:
            if self._streams.get(sender) is task:
                raise
            raise self._explain_end(sender) from None
        finally:
            reading.cancel()
            self._transport.close_caller(caller.member, caller.name, queue)
            if self._streams.get(sender) is task:
                del self._streams[sender]

    @override
    async def ListSnapshots(
        self, request: peer_pb2.ListSnapshotsRequest, context: Context
    ) -> peer_pb2.ListSnapshotsResponse:
        return self._desk.list_all(self._name_caller(context), self._get_height())

    @override
    async def GetSnapshot(
        self, request: peer_pb2.GetSnapshotRequest, context: Context
    ) -> peer_pb2.GetSnapshotResponse:
        return self._desk.get(self._name_caller(context), request.digest)

    @override
    async def GetSnapshotChunk(
        self, request: peer_pb2.GetSnapshotChunkRequest, context: Context
    ) -> peer_pb2.GetSnapshotChunkResponse:
        return self._desk.get_chunk(self._name_caller(context), request.digest, request.position)

    @override
    async def GetVitals(self, request: peer_pb2.GetVitalsRequest, context: Context) -> peer_pb2.NodeVitals:
        return peer_pb2.NodeVitals(
            clock_ms=self._read_clock_ms(),
            software_version=self._hello.software_version,
            height=self._get_height(),
        )

    def _name_caller(self, context: Context) -> str:
        return self._compute_sender(self._policy.identify(context))

    def _evict(self, sender: str, task: asyncio.Task[None] | None) -> None:
        """End a guest's stream, even one that is held up because the guest does not read."""
        if task is not None and self._streams.get(sender) is task:
            del self._streams[sender]
            task.cancel()

    def _explain_end(self, sender: str) -> LedgerError:
        """Return why we ended a stream of a node."""
        if sender not in self._streams:
            return guests_full(sender)
        return UsageError(
            Reason.PROTOCOL, "a newer stream of the same node took over", remedy="keep one stream"
        )

    def _compute_sender(self, caller: Caller) -> str:
        name = compute_name(caller.member, caller.name)
        if name == self._own_name:
            raise UsageError(
                Reason.CALLER_FORBIDDEN,
                f"{caller} is the name of this node itself",
                value=caller,
                limit="another node of the network",
                remedy="give each node a name and a certificate of its own",
            )
        return name

    def _build_welcome(self) -> peer_pb2.PeerAnswer:
        return peer_pb2.PeerAnswer(
            welcome=peer_pb2.PeerWelcome(
                network_id=self._hello.network_id,
                protocol_version=self._hello.protocol_version,
                software_version=self._hello.software_version,
            )
        )

    async def _read(self, sender: str, label: str, frames: AsyncIterator[peer_pb2.PeerFrame]) -> None:
        async for frame in frames:
            await self._take(sender, label, frame)

    async def _read_hello(self, frames: AsyncIterator[peer_pb2.PeerFrame]) -> None:
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT_S):
                first = await anext(frames)
        except (TimeoutError, StopAsyncIteration):
            raise _no_hello() from None
        if not first.HasField("hello") or first.messages or first.envelopes or first.evidence:
            raise _no_hello()
        verify_greeting(self._hello, first.hello)

    async def _take(self, sender: str, label: str, frame: peer_pb2.PeerFrame) -> None:
        """Hand one frame to the core. A frame that breaks the protocol is dropped, the stream goes on."""
        self._on_frame(sender)
        try:
            self._check(frame)
            await self._inbox.receive(
                sender, list(frame.messages), list(frame.envelopes), list(frame.evidence)
            )
        except PeerFault as fault:
            # Nothing else: what goes wrong on our side is not to be held against the peer.
            self._note_fault(sender, label, fault)

    def _check(self, frame: peer_pb2.PeerFrame) -> None:
        if frame.HasField("hello"):
            raise PeerFault(Reason.PROTOCOL, "a second hello on one stream")
        check_frame(frame)

    def _note_fault(self, sender: str, label: str, fault: PeerFault) -> None:
        self._metrics.peer_faults.labels(label).inc()
        count = self._milestones.note(label)
        if count:
            # The 1st, 2nd, 4th, 8th, ...: a peer that sends garbage all day must not fill the disk.
            _LOG.warning(
                "frame dropped",
                peer=sender,
                reason=fault.reason,
                why=fault.message,
                value=fault.value,
                frames_dropped=count,
            )


def _no_hello() -> PeerFault:
    return PeerFault(
        Reason.PROTOCOL,
        "the stream does not begin with a hello alone",
        limit=f"one hello within {WELCOME_TIMEOUT_S} s",
        remedy="run compatible versions",
    )
