"""Peers: one gRPC stream to every other validator, opened again for as long as the node runs.

`send` never waits. What does not fit is dropped, oldest first: consensus repeats what matters, and a peer
that was away catches up by fetching blocks. Everything queued leaves in one frame, because a message of its
own costs 0.1 ms of CPU.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Protocol

import grpc
import grpc.aio
from tanpo.api.v1 import peer_pb2, peer_pb2_grpc
from tanpo.ledger.errors import LedgerError, PeerFault, Reason, Unavailable, clip
from tanpo.ledger.types import MemberId, NetworkId, ValidatorIndex
from tanpo.node.link_errors import explain_link_failure
from tanpo.node.logs import get_logger
from tanpo.node.metrics import Metrics
from tanpo.node.outbox import (
    CONSENSUS_LIMITS,
    EVIDENCE_LIMITS,
    GOSSIP_LIMITS,
    MESSAGE_OVERHEAD_BYTES,
    Outbox,
)
from tanpo.node.pki import compute_host_name
from tanpo.node.tls import PEER_MESSAGE_BYTES_MAX, compute_peer_channel_options

PROTOCOL_VERSION: Final = 1
"""Of the frames and messages between nodes; nodes of other versions are refused."""

FRAME_BYTES_MAX: Final = 4 * 1024 * 1024
"""A frame ends here unless one message is longer, so that urgent messages do not wait behind megabytes."""

MESSAGE_BYTES_MAX: Final = PEER_MESSAGE_BYTES_MAX - 64 * 1024
"""The longest message there may be: it fits a frame together with the frame's own fields."""

FRAME_MESSAGES_MAX: Final = 4096
"""Of each kind in a frame; a receiver refuses more, because each costs memory beyond its bytes."""

FRAME_EVIDENCE_MAX: Final = 16
"""Of evidence: each costs a receiver several signature checks."""

GOSSIP_LINGER_S: Final = 0.025
"""Least time between two frames sent for envelopes alone: a frame costs as much as checking a signature, on
both sides and for every peer, so on a busy link envelopes share frames."""

WELCOME_TIMEOUT_S: Final = 5.0
BACKOFF_MIN_S: Final = 0.05
BACKOFF_MAX_S: Final = 1.0
CLOSE_TIMEOUT_S: Final = 1.0

_LOG: Final = get_logger("peers")


class Inbox(Protocol):
    """Where frames from peers go; the core implements it."""

    async def receive(
        self,
        sender: ValidatorIndex,
        messages: Sequence[bytes],
        envelopes: Sequence[bytes],
        evidence: Sequence[bytes] = (),
    ) -> None:
        """Take one frame; the peer's stream is read no further until this returns.

        Raises:
            PeerFault: the frame breaks the protocol; it is dropped and counted.
        """
        ...


class PeerTransport(Protocol):
    """What the core needs to reach other validators. Nothing here blocks."""

    def send(self, to: ValidatorIndex, message: bytes) -> None:
        """Queue a consensus message for one validator."""
        ...

    def broadcast(self, message: bytes) -> None:
        """Queue a consensus message for every other validator."""
        ...

    def share(self, envelopes: Sequence[bytes]) -> None:
        """Queue admitted envelopes for every other validator."""
        ...

    def share_evidence(self, evidence: Sequence[bytes]) -> None:
        """Queue evidence against validators for every other validator."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerState:
    """How a peer is doing, for operators. `silent_s`: how long nothing came from it, None if nothing did."""

    member: MemberId
    node: str
    address: str
    is_connected: bool
    queued_bytes: int
    dropped_messages: int
    last_error: str
    silent_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerAddress:
    """A validator, where to reach it, and credentials that trust its member's CA alone."""

    index: ValidatorIndex
    member: MemberId
    node: str
    address: str
    credentials: grpc.ChannelCredentials

    @property
    def label(self) -> str:
        """The peer's name in metrics and logs."""
        return f"{self.member}/{self.node}"


class PeerLink:
    """The outgoing stream to one peer and what waits for it."""

    def __init__(self, *, peer: PeerAddress, hello: peer_pb2.PeerHello, metrics: Metrics) -> None:
        now = asyncio.get_running_loop().time
        self._now = now
        self.peer = peer
        self._hello = hello
        self._consensus = Outbox(CONSENSUS_LIMITS, now)
        self._gossip = Outbox(GOSSIP_LIMITS, now)
        self._evidence = Outbox(EVIDENCE_LIMITS, now)
        self._shared_at = -GOSSIP_LINGER_S
        self._linger: asyncio.TimerHandle | None = None
        self._has_work = asyncio.Event()
        self._is_back = asyncio.Event()
        self._is_connected = False
        self._last_error = ""
        self._heard_at: float | None = None
        self._metrics = metrics
        self._queue_gauge = metrics.peer_queue_bytes.labels(peer.label)

    @property
    def is_connected(self) -> bool:
        """Whether the peer welcomed the present stream."""
        return self._is_connected

    def send(self, message: bytes) -> None:
        """Queue a consensus message; it takes along whatever waits."""
        self._put(self._consensus, "consensus", message)
        self._has_work.set()

    def share(self, envelopes: Sequence[bytes]) -> None:
        """Queue envelopes. They leave at once on a quiet link, else together with those of a few ms."""
        for envelope in envelopes:
            self._put(self._gossip, "gossip", envelope)
        loop = asyncio.get_running_loop()
        due = self._shared_at + GOSSIP_LINGER_S
        if loop.time() >= due:
            self._has_work.set()
        elif self._linger is None:
            self._linger = loop.call_at(due, self._end_linger)

    def share_evidence(self, evidence: Sequence[bytes]) -> None:
        """Queue evidence; it takes along whatever waits."""
        for encoded in evidence:
            self._put(self._evidence, "evidence", encoded)
        self._has_work.set()

    def retry_now(self) -> None:
        """Do not wait out the pause before the next attempt: the peer has just shown that it is up."""
        self._is_back.set()

    def note_heard(self) -> None:
        """Note that something came from the peer, over the stream that it opened."""
        self._heard_at = self._now()

    def state(self) -> PeerState:
        """Return how the peer is doing."""
        return PeerState(
            member=self.peer.member,
            node=self.peer.node,
            address=self.peer.address,
            is_connected=self._is_connected,
            queued_bytes=self._consensus.queued_bytes + self._gossip.queued_bytes,
            dropped_messages=self._consensus.dropped + self._gossip.dropped,
            last_error=self._last_error,
            silent_s=None if self._heard_at is None else self._now() - self._heard_at,
        )

    async def run(self) -> None:
        """Keep a stream to the peer open until cancelled."""
        backoff = BACKOFF_MIN_S
        while True:
            was_connected = await self._attempt()
            backoff = BACKOFF_MIN_S if was_connected else min(2 * backoff, BACKOFF_MAX_S)
            await self._pause(backoff)

    async def _attempt(self) -> bool:
        """Hold one stream for as long as it lasts. Returns whether the peer welcomed it."""
        was_connected = False
        async with grpc.aio.secure_channel(
            self.peer.address,
            self.peer.credentials,
            options=compute_peer_channel_options(self.peer.member, self.peer.node),
        ) as channel:
            exchange: Any = peer_pb2_grpc.PeerStub(channel).Exchange
            call = exchange()
            try:
                await self._greet(call)
                was_connected = True
                self._set_connected(True)
                await self._hold(call)
            except grpc.aio.AioRpcError as error:
                host_name = compute_host_name(self.peer.member, self.peer.node)
                self._note_failure(explain_link_failure(error.code().name, error.details() or "", host_name))
            except (LedgerError, grpc.aio.BaseError, OSError) as error:
                self._note_failure(str(error))
            finally:
                self._set_connected(False)
                call.cancel()
        return was_connected

    async def _greet(self, call: Any) -> None:
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT_S):
                await call.write(peer_pb2.PeerFrame(hello=self._hello))
                welcome = await call.read()
        except TimeoutError:
            raise Unavailable(
                Reason.DEADLINE, "the peer did not answer", limit=f"{WELCOME_TIMEOUT_S} s"
            ) from None
        except asyncio.InvalidStateError:
            # gRPC's word for writing to a call that has ended; the call knows why.
            await self._raise_end(call)
        if not isinstance(welcome, peer_pb2.PeerWelcome):
            await self._raise_end(call)
        verify_greeting(self._hello, welcome)

    async def _hold(self, call: Any) -> None:
        """Send whatever is queued until the stream ends."""
        ended = asyncio.create_task(call.read(), name=f"watch {self.peer.label}")
        ended.add_done_callback(lambda _: self._has_work.set())
        try:
            while not ended.done():
                self._has_work.clear()
                await self._flush(call)
                await self._has_work.wait()
            ended.result()
            await self._raise_end(call)
        finally:
            ended.cancel()

    async def _flush(self, call: Any) -> None:
        while self._consensus or self._gossip or self._evidence:
            frame = self._take_frame()
            self._queue_gauge.set(self._consensus.queued_bytes + self._gossip.queued_bytes)
            if not (frame.messages or frame.envelopes or frame.evidence):
                return  # all that was queued is too old
            try:
                await call.write(frame)
            except asyncio.InvalidStateError:
                await self._raise_end(call)

    def _take_frame(self) -> peer_pb2.PeerFrame:
        messages = self._consensus.take(FRAME_BYTES_MAX, FRAME_MESSAGES_MAX)
        room = FRAME_BYTES_MAX - sum(len(message) + MESSAGE_OVERHEAD_BYTES for message in messages)
        envelopes = self._gossip.take(room, FRAME_MESSAGES_MAX) if room > 0 else []
        if envelopes:
            self._shared_at = asyncio.get_running_loop().time()
        evidence = self._evidence.take(room, FRAME_EVIDENCE_MAX) if room > 0 else []
        return peer_pb2.PeerFrame(messages=messages, envelopes=envelopes, evidence=evidence)

    def _put(self, outbox: Outbox, kind: str, message: bytes) -> None:
        if len(message) > MESSAGE_BYTES_MAX:
            outbox.dropped += 1
            self._metrics.peer_dropped.labels(self.peer.label, kind).inc()
            _LOG.error("message too long to send", peer=self.peer.label, kind=kind, size=len(message))
            return
        dropped = outbox.put(message)
        if dropped:
            self._metrics.peer_dropped.labels(self.peer.label, kind).inc(dropped)

    def _end_linger(self) -> None:
        self._linger = None
        self._has_work.set()

    def _set_connected(self, is_connected: bool) -> None:
        if is_connected == self._is_connected:
            return
        self._is_connected = is_connected
        self._metrics.peers_connected.inc(1 if is_connected else -1)
        if is_connected:
            self._metrics.peer_reconnects.labels(self.peer.label).inc()
            self._last_error = ""
            self._has_work.set()
            _LOG.info("peer connected", peer=self.peer.label, address=self.peer.address)

    def _note_failure(self, why: str) -> None:
        why = clip(why)
        if why != self._last_error:
            # Once per cause, or a peer that is down for a day would fill the log.
            _LOG.warning("peer not reachable", peer=self.peer.label, address=self.peer.address, why=why)
        self._last_error = why

    async def _pause(self, backoff: float) -> None:
        # Jitter: four nodes started together must not dial each other in step for ever.
        delay = backoff * (0.5 + secrets.randbelow(1000) / 2000)
        try:
            async with asyncio.timeout(delay):
                await self._is_back.wait()
        except TimeoutError:
            pass
        self._is_back.clear()

    async def _raise_end(self, call: Any) -> NoReturn:
        """Raise why the stream ended, or that it should have: after its welcome a peer says nothing."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                code, details = await call.code(), await call.details()
        except TimeoutError:
            raise PeerFault(Reason.PROTOCOL, "the peer sent what it should not") from None
        raise Unavailable(Reason.UNREACHABLE, f"{code.name}: {details or 'the peer ended the stream'}")


class GrpcTransport:
    """The links to all other validators: the `PeerTransport` of a running node."""

    def __init__(
        self,
        *,
        peers: Sequence[PeerAddress],
        network_id: NetworkId,
        version: str,
        metrics: Metrics,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        hello = build_hello(network_id, version)
        self._links = {peer.index: PeerLink(peer=peer, hello=hello, metrics=metrics) for peer in peers}
        self._tasks: list[asyncio.Task[None]] = []
        self._on_fatal = on_fatal

    def send(self, to: ValidatorIndex, message: bytes) -> None:
        """Queue a consensus message for one validator; for ourselves or a stranger it is dropped."""
        link = self._links.get(to)
        if link is not None:
            link.send(message)

    def broadcast(self, message: bytes) -> None:
        """Queue a consensus message for every other validator."""
        for link in self._links.values():
            link.send(message)

    def share(self, envelopes: Sequence[bytes]) -> None:
        """Queue admitted envelopes for every other validator."""
        for link in self._links.values():
            link.share(envelopes)

    def share_evidence(self, evidence: Sequence[bytes]) -> None:
        """Queue evidence for every other validator."""
        for link in self._links.values():
            link.share_evidence(evidence)

    def retry_now(self, index: ValidatorIndex) -> None:
        """Dial a validator that has just dialled us, without waiting."""
        link = self._links.get(index)
        if link is not None:
            link.retry_now()

    def note_heard(self, index: ValidatorIndex) -> None:
        """Note that something came from a validator."""
        link = self._links.get(index)
        if link is not None:
            link.note_heard()

    def peers(self) -> list[PeerState]:
        """Return every peer and how it is doing."""
        return [link.state() for link in self._links.values()]

    def connected(self) -> frozenset[ValidatorIndex]:
        """Return the validators that welcomed us."""
        return frozenset(index for index, link in self._links.items() if link.is_connected)

    async def start(self) -> None:
        """Begin to dial."""
        self._tasks = [
            asyncio.create_task(link.run(), name=f"link {link.peer.label}") for link in self._links.values()
        ]
        for task in self._tasks:
            task.add_done_callback(self._note_end)

    async def stop(self) -> None:
        """Close every stream."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def _note_end(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # Without this link the node would go on, quietly, with one vote less.
            self._on_fatal(error)


def build_hello(network_id: NetworkId, version: str) -> peer_pb2.PeerHello:
    """Return what a node says first on a stream."""
    return peer_pb2.PeerHello(
        network_id=network_id, protocol_version=PROTOCOL_VERSION, software_version=version
    )


def verify_greeting(own: peer_pb2.PeerHello, theirs: peer_pb2.PeerHello | peer_pb2.PeerWelcome) -> None:
    """Raise `PeerFault` unless a peer is of our network and speaks our protocol."""
    if theirs.network_id != own.network_id:
        raise PeerFault(
            Reason.GENESIS_MISMATCH,
            "the peer belongs to another network",
            value=theirs.network_id.hex(),
            limit=own.network_id.hex(),
            remedy="give both nodes the same genesis file",
        )
    if theirs.protocol_version != own.protocol_version:
        raise PeerFault(
            Reason.VERSION_UNKNOWN,
            "the peer speaks another version of the protocol between nodes",
            value=theirs.protocol_version,
            limit=own.protocol_version,
            remedy="run compatible versions",
        )
