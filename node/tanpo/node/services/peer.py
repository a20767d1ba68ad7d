"""The receiving half of a link: frames from one validator, taken one after another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from tanpo.api.v1 import peer_pb2, peer_pb2_grpc
from tanpo.ledger.errors import CorruptState, LedgerError, PeerFault, Reason, UsageError
from tanpo.ledger.types import ValidatorIndex
from tanpo.ledger.validators import ValidatorSet
from tanpo.node.identity import Caller
from tanpo.node.logs import get_logger
from tanpo.node.metrics import Metrics
from tanpo.node.services.guard import Context, Policy
from tanpo.node.transport import (
    FRAME_EVIDENCE_MAX,
    FRAME_MESSAGES_MAX,
    WELCOME_TIMEOUT_S,
    Inbox,
    verify_greeting,
)
from typing_extensions import override

_LOG: Final = get_logger("peers")


class PeerService(peer_pb2_grpc.PeerServicer):
    """`tanpo.api.v1.Peer`. Each validator has one stream; a newer one replaces the older."""

    def __init__(
        self,
        *,
        validators: ValidatorSet,
        own: ValidatorIndex | None,
        inbox: Inbox,
        policy: Policy,
        hello: peer_pb2.PeerHello,
        metrics: Metrics,
        on_greeting: Callable[[ValidatorIndex], None],
        on_frame: Callable[[ValidatorIndex], None],
    ) -> None:
        self._validators = validators
        self._own = own
        self._inbox = inbox
        self._policy = policy
        self._hello = hello
        self._metrics = metrics
        self._on_greeting = on_greeting
        self._on_frame = on_frame
        self._streams: dict[ValidatorIndex, asyncio.Task[None] | None] = {}
        self._fault_counts: dict[ValidatorIndex, int] = {}

    @override
    async def Exchange(
        self, request_iterator: AsyncIterator[peer_pb2.PeerFrame], context: Context
    ) -> AsyncIterator[peer_pb2.PeerWelcome]:
        caller = self._policy.identify(context)
        sender = self._find_sender(caller)
        await self._read_hello(request_iterator)
        task = asyncio.current_task()
        older = self._streams.get(sender)
        if older is not None:
            # Half open after a crash of the peer: it would wait for a keepalive to fail.
            older.cancel()
        self._streams[sender] = task
        try:
            yield peer_pb2.PeerWelcome(
                network_id=self._hello.network_id,
                protocol_version=self._hello.protocol_version,
                software_version=self._hello.software_version,
            )
            self._on_frame(sender)
            self._on_greeting(sender)
            async for frame in request_iterator:
                await self._take(sender, caller, frame)
        except asyncio.CancelledError:
            if self._streams.get(sender) is task:
                raise
            raise UsageError(
                Reason.PROTOCOL, "a newer stream of the same node took over", remedy="keep one stream"
            ) from None
        finally:
            if self._streams.get(sender) is task:
                del self._streams[sender]

    def _find_sender(self, caller: Caller) -> ValidatorIndex:
        index = self._validators.find_index(caller.member, caller.name)
        if index is None or index == self._own:
            raise UsageError(
                Reason.CALLER_FORBIDDEN,
                f"{caller} is no other validator of this network",
                value=caller,
                limit="the validators in the genesis",
                remedy="connect with the certificate of a validator, or use the client services",
            )
        return index

    async def _read_hello(self, frames: AsyncIterator[peer_pb2.PeerFrame]) -> None:
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT_S):
                first = await anext(frames)
        except (TimeoutError, StopAsyncIteration):
            raise _no_hello() from None
        if not first.HasField("hello") or first.messages or first.envelopes or first.evidence:
            raise _no_hello()
        verify_greeting(self._hello, first.hello)

    async def _take(self, sender: ValidatorIndex, caller: Caller, frame: peer_pb2.PeerFrame) -> None:
        """Hand one frame to the core. A frame that breaks the protocol is dropped, the stream goes on."""
        self._on_frame(sender)
        try:
            self._check(frame)
            await self._inbox.receive(
                sender, list(frame.messages), list(frame.envelopes), list(frame.evidence)
            )
        except CorruptState:
            raise
        except LedgerError as error:
            self._note_fault(sender, caller, error)

    def _check(self, frame: peer_pb2.PeerFrame) -> None:
        if frame.HasField("hello"):
            raise PeerFault(Reason.PROTOCOL, "a second hello on one stream")
        for kind, count, limit in (
            ("messages", len(frame.messages), FRAME_MESSAGES_MAX),
            ("envelopes", len(frame.envelopes), FRAME_MESSAGES_MAX),
            ("pieces of evidence", len(frame.evidence), FRAME_EVIDENCE_MAX),
        ):
            if count > limit:
                raise PeerFault(Reason.TOO_LARGE, f"too many {kind} in a frame", value=count, limit=limit)

    def _note_fault(self, sender: ValidatorIndex, caller: Caller, error: LedgerError) -> None:
        self._metrics.peer_faults.labels(f"{caller.member}/{caller.name}").inc()
        count = self._fault_counts[sender] = self._fault_counts.get(sender, 0) + 1
        if count & (count - 1) == 0:
            # The 1st, 2nd, 4th, 8th, ...: a peer that sends garbage all day must not fill the disk.
            _LOG.warning(
                "frame dropped",
                peer=f"{caller.member}/{caller.name}",
                reason=error.reason,
                why=error.message,
                value=error.value,
                frames_dropped=count,
            )


def _no_hello() -> PeerFault:
    return PeerFault(
        Reason.PROTOCOL,
        "the stream does not begin with a hello alone",
        limit=f"one hello within {WELCOME_TIMEOUT_S} s",
        remedy="run compatible versions",
    )
