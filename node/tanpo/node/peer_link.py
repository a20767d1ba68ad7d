"""One link to a peer: a gRPC stream that is opened again for as long as the node runs."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Protocol

import grpc
import grpc.aio
from tanpo.api.v1 import peer_pb2, peer_pb2_grpc
from tanpo.ledger.errors import PeerFault, Reason, Unavailable, clip
from tanpo.ledger.types import MemberId, NetworkId
from tanpo.node.frames import FRAME_EVIDENCE_MAX, FRAME_MESSAGES_MAX, FrameQueue
from tanpo.node.link_errors import explain_link_failure
from tanpo.node.logs import get_logger
from tanpo.node.metrics import Metrics
from tanpo.node.pki import compute_host_name
from tanpo.node.protocol import PROTOCOL_VERSION
from tanpo.node.roster import compute_name
from tanpo.node.tls import compute_peer_channel_options

WELCOME_TIMEOUT_S: Final = 5.0
BACKOFF_MIN_S: Final = 0.05
BACKOFF_MAX_S: Final = 1.0
CLOSE_TIMEOUT_S: Final = 1.0
RENEWAL_TIMEOUT_S: Final = 5.0
"""How long one link may take to come back with other credentials before the next one goes over too."""

_LOG: Final = get_logger("peers")


class Inbox(Protocol):
    """Where frames from other nodes go; the core implements it."""

    async def receive(
        self,
        sender: str,
        messages: Sequence[bytes],
        envelopes: Sequence[bytes],
        evidence: Sequence[bytes] = (),
    ) -> None:
        """Take one frame of an authenticated node, by its name; no more of it is read until this returns.

        It writes nothing to disk, so it has no failures of our own to tell of.

        Raises:
            PeerFault: the frame breaks the protocol; it is dropped and counted.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerState:
    """How a peer is doing, for operators. `address` is empty for one that we know by its own stream only.

    `silent_s`: how long nothing came from it, None if nothing did.
    """

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
    """A node, where to reach it, and credentials that trust its member's CAs, PEM, alone."""

    member: MemberId
    node: str
    address: str
    authorities: bytes
    credentials: grpc.ChannelCredentials

    @property
    def label(self) -> str:
        """The peer's name."""
        return compute_name(self.member, self.node)


class PeerLink:
    """The stream we opened to one peer, and what waits for it. The peer may send on it too."""

    def __init__(
        self,
        *,
        peer: PeerAddress,
        hello: peer_pb2.PeerHello,
        metrics: Metrics,
        on_change: Callable[[], None],
    ) -> None:
        self.peer = peer
        self.queue = FrameQueue(name=peer.label, metrics=metrics)
        self._hello = hello
        self._is_back = asyncio.Event()
        self._is_connected = False
        self._last_error = ""
        self._heard_at: float | None = None
        self._renewal: asyncio.Future[None] | None = None
        self._now = asyncio.get_running_loop().time
        self._metrics = metrics
        self._on_change = on_change

    @property
    def is_connected(self) -> bool:
        """Whether the peer welcomed the present stream."""
        return self._is_connected

    def retry_now(self) -> None:
        """Do not wait out the pause before the next attempt: the peer has just shown that it is up."""
        self._is_back.set()

    async def renew(self, peer: PeerAddress) -> None:
        """Go over to other credentials: end the stream when all was sent, and open another.

        Returns when the other stands, or a peer that does not answer was given time.
        """
        self.peer = peer
        self.retry_now()
        if not self._is_connected:
            return
        self._renewal = asyncio.get_running_loop().create_future()
        self.queue.has_work.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RENEWAL_TIMEOUT_S):
                await self._renewal

    def note_heard(self) -> None:
        """Note that something came from the peer, on whichever stream."""
        self._heard_at = self._now()

    def state(self) -> PeerState:
        """Return how the peer is doing."""
        return PeerState(
            member=self.peer.member,
            node=self.peer.node,
            address=self.peer.address,
            is_connected=self._is_connected,
            queued_bytes=self.queue.queued_bytes,
            dropped_messages=self.queue.dropped_messages,
            last_error=self._last_error,
            silent_s=None if self._heard_at is None else self._now() - self._heard_at,
        )

    async def run(self, inbox: Inbox) -> None:
        """Keep a stream to the peer open until cancelled; what it sends on it goes to the inbox."""
        backoff = BACKOFF_MIN_S
        while True:
            was_connected = await self._attempt(inbox)
            backoff = BACKOFF_MIN_S if was_connected else min(2 * backoff, BACKOFF_MAX_S)
            await self._pause(backoff)

    async def _attempt(self, inbox: Inbox) -> bool:
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
                await self._hold(call, inbox)
            except grpc.aio.AioRpcError as error:
                host_name = compute_host_name(self.peer.member, self.peer.node)
                self._note_failure(explain_link_failure(error.code().name, error.details() or "", host_name))
            except (PeerFault, Unavailable, grpc.aio.BaseError, OSError) as error:
                # Not every error: `CorruptState` is ours, and ends the process by way of `on_fatal`.
                self._note_failure(str(error))
            finally:
                self._set_connected(False)
                call.cancel()
        return was_connected

    async def _greet(self, call: Any) -> None:
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT_S):
                await call.write(peer_pb2.PeerFrame(hello=self._hello))
                answer = await call.read()
        except TimeoutError:
            raise Unavailable(
                Reason.DEADLINE, "the peer did not answer", limit=f"{WELCOME_TIMEOUT_S} s"
            ) from None
        except asyncio.InvalidStateError:
            # gRPC's word for writing to a call that has ended; the call knows why.
            await self._raise_end(call)
        if not isinstance(answer, peer_pb2.PeerAnswer) or not answer.HasField("welcome"):
            await self._raise_end(call)
        verify_greeting(self._hello, answer.welcome)

    async def _hold(self, call: Any, inbox: Inbox) -> None:
        """Send whatever is queued, and take what the peer sends, until the stream ends."""
        reading = asyncio.create_task(self._read(call, inbox), name=f"read {self.peer.label}")
        reading.add_done_callback(lambda _: self.queue.has_work.set())
        try:
            while not reading.done():
                self.queue.has_work.clear()
                await self._flush(call)
                if self._is_renewing:
                    await self._end_writing(call, reading)
                    return
                await self.queue.has_work.wait()
            reading.result()
            await self._raise_end(call)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, call: Any, inbox: Inbox) -> None:
        while isinstance(answer := await call.read(), peer_pb2.PeerAnswer):
            self.note_heard()
            try:
                check_frame(answer)
                await inbox.receive(
                    self.peer.label, list(answer.messages), list(answer.envelopes), list(answer.evidence)
                )
            except PeerFault as fault:
                self._metrics.peer_faults.labels(self.peer.label).inc()
                self._note_failure(f"sent what it should not: {fault}")

    @property
    def _is_renewing(self) -> bool:
        return self._renewal is not None and not self._renewal.done()

    async def _end_writing(self, call: Any, reading: asyncio.Task[None]) -> None:
        """Let the peer read to the end of the stream: what is cancelled is lost on its way."""
        with contextlib.suppress(asyncio.InvalidStateError):
            await call.done_writing()
        await asyncio.wait((reading,), timeout=CLOSE_TIMEOUT_S)

    async def _flush(self, call: Any) -> None:
        while (frame := self.queue.take()) is not None:
            try:
                await call.write(
                    peer_pb2.PeerFrame(
                        messages=frame.messages, envelopes=frame.envelopes, evidence=frame.evidence
                    )
                )
            except asyncio.InvalidStateError:
                await self._raise_end(call)

    def _set_connected(self, is_connected: bool) -> None:
        if is_connected == self._is_connected:
            return
        self._is_connected = is_connected
        self._on_change()
        if is_connected:
            if self._renewal is not None and not self._renewal.done():
                self._renewal.set_result(None)
            self._metrics.peer_reconnects.labels(self.peer.label).inc()
            self._last_error = ""
            self.queue.has_work.set()
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
        """Raise why the stream ended, or that it should have."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                code, details = await call.code(), await call.details()
        except TimeoutError:
            raise PeerFault(Reason.PROTOCOL, "the peer sent what it should not") from None
        raise Unavailable(Reason.UNREACHABLE, f"{code.name}: {details or 'the peer ended the stream'}")


async def renew_links(links: Mapping[str, PeerLink], peers: Sequence[PeerAddress]) -> None:
    """Go over to other credentials, one link after the other, so that a quorum stays connected."""
    for peer in peers:
        if peer.label in links:
            await links[peer.label].renew(peer)


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


def check_frame(frame: peer_pb2.PeerFrame | peer_pb2.PeerAnswer) -> None:
    """Raise `PeerFault` for a frame of more of a kind than any node sends."""
    for kind, count, limit in (
        ("messages", len(frame.messages), FRAME_MESSAGES_MAX),
        ("envelopes", len(frame.envelopes), FRAME_MESSAGES_MAX),
        ("pieces of evidence", len(frame.evidence), FRAME_EVIDENCE_MAX),
    ):
        if count > limit:
            raise PeerFault(Reason.TOO_LARGE, f"too many {kind} in a frame", value=count, limit=limit)
