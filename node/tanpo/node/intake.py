"""What arrives from other nodes: consensus messages go straight on, envelopes and evidence wait their turn.

All queues are bounded. A link that brings more messages than the replica steps is read more slowly; each
node has queues of its own of what it shares, served in turn, and what is beyond their bound is dropped,
because whoever admitted it shares it again. What is shared ends up on our disk, so it is taken in a task of
the core and not of a link: a disk that fails is no fault of the peer, and must stop the process.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tanpo.consensus import Received
from tanpo.consensus.wire import decode_message
from tanpo.ledger.block import EVIDENCE_BYTES_MAX
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.node.clock import Clock
from tanpo.node.driver import Driver
from tanpo.node.logs import Milestones, get_logger
from tanpo.node.metrics import Metrics
from tanpo.node.roster import Roster

SHARED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Shared envelopes of one validator that wait to be verified, as many as it queues for us itself."""

GUEST_BYTES_MAX: Final = 512 * 1024
"""The same for a guest, of whom there may be many."""

GUEST_MESSAGES_MAX: Final = 64
GUEST_REST_S: Final = 0.005
"""Of a guest's frame so many messages are looked at, and so long passes before its next one: with guests we
speak of catching up only, there may be many, and none of them may slow the validators down."""

EVIDENCE_MAX: Final = 64
"""Pieces of evidence of one validator that wait to be checked, as many as it queues for us itself."""

SHARED_OVERHEAD_BYTES: Final = 128
"""What a waiting envelope costs besides its bytes, so that many tiny ones stay within the bound too."""

SHARED_BATCH: Final = 64
"""Envelopes verified together: enough to fill a chunk of signatures, few enough not to delay a block."""

_LOG = get_logger("intake")


class Intake:
    """The `Inbox` of the transport."""

    def __init__(
        self,
        *,
        driver: Driver,
        roster: Roster,
        clock: Clock,
        metrics: Metrics,
        take_shared: Callable[[Sequence[bytes]], Awaitable[None]],
        take_evidence: Callable[[bytes, str], bool],
    ) -> None:
        self._driver = driver
        self._roster = roster
        self._clock = clock
        self._metrics = metrics
        self._take_shared = take_shared
        self._take_evidence = take_evidence
        self._shared: dict[str, deque[bytes]] = {}
        self._shared_bytes: Counter[str] = Counter()
        self._evidence: dict[str, deque[bytes]] = {}
        self._has_shared = asyncio.Event()
        self._milestones = Milestones()

    async def receive(
        self,
        sender: str,
        messages: Sequence[bytes],
        envelopes: Sequence[bytes],
        evidence: Sequence[bytes] = (),
    ) -> None:
        """Take one frame of an authenticated node, by its name.

        Raises:
            PeerFault: a message does not stand, those before it were taken; or evidence is too long.
        """
        is_guest = not self._roster.is_validator(sender)
        self._queue_shared(sender, envelopes)
        try:
            for encoded in messages[:GUEST_MESSAGES_MAX] if is_guest else messages:
                now_ms, wall_ms = self._clock.read()
                epoch, message = decode_message(encoded)
                number = self._roster.number(sender)
                if number is not None:
                    self._driver.post(
                        Received(sender=number, epoch=epoch, message=message, now_ms=now_ms, wall_ms=wall_ms)
                    )
            self._metrics.consensus_messages.inc(len(messages))
            # To check evidence costs signatures; what a guest knows of, validators know too.
            if not is_guest:
                self._queue_evidence(sender, evidence)
        finally:
            # After a fault too, or one bad message a frame would let a peer outrun the replica.
            await self._driver.wait_for_room()
            if is_guest:
                await asyncio.sleep(GUEST_REST_S)

    async def run(self) -> None:
        """Admit shared envelopes and hold shared evidence until cancelled.

        Raises:
            CorruptState, Unavailable: our own disk failed; the process must stop.
        """
        while True:
            await self._has_shared.wait()
            self._has_shared.clear()
            while self._shared or self._evidence:
                for sender in tuple(self._evidence):
                    self._take_piece(sender)
                for sender in tuple(self._shared):
                    await self._take_batch(sender, self._take(sender))
                    await asyncio.sleep(0)
                await asyncio.sleep(0)

    def _queue_shared(self, sender: str, envelopes: Sequence[bytes]) -> None:
        bytes_max = SHARED_BYTES_MAX if self._roster.is_validator(sender) else GUEST_BYTES_MAX
        for encoded in envelopes:
            size = len(encoded) + SHARED_OVERHEAD_BYTES
            if self._shared_bytes[sender] + size > bytes_max:
                return
            self._shared_bytes[sender] += size
            self._shared.setdefault(sender, deque()).append(encoded)
            self._has_shared.set()

    def _queue_evidence(self, sender: str, evidence: Sequence[bytes]) -> None:
        for encoded in evidence:
            if len(encoded) > EVIDENCE_BYTES_MAX:
                raise PeerFault(
                    Reason.TOO_LARGE,
                    "too long a piece of evidence",
                    value=len(encoded),
                    limit=EVIDENCE_BYTES_MAX,
                )
            queue = self._evidence.setdefault(sender, deque())
            if len(queue) < EVIDENCE_MAX:
                queue.append(encoded)
                self._has_shared.set()

    def _take_piece(self, sender: str) -> None:
        queue = self._evidence[sender]
        encoded = queue.popleft()
        if not queue:
            del self._evidence[sender]
        try:
            self._take_evidence(encoded, sender)
        except PeerFault as fault:
            self._note_fault(sender, "shared evidence refused", fault)

    def _take(self, sender: str) -> list[bytes]:
        queue = self._shared[sender]
        batch = [queue.popleft() for _ in range(min(SHARED_BATCH, len(queue)))]
        self._shared_bytes[sender] -= sum(len(encoded) + SHARED_OVERHEAD_BYTES for encoded in batch)
        if not queue:
            del self._shared[sender], self._shared_bytes[sender]
        return batch

    async def _take_batch(self, sender: str, batch: Sequence[bytes]) -> None:
        try:
            await self._take_shared(batch)
        except PeerFault as fault:
            self._note_fault(sender, "shared envelopes refused", fault)

    def _note_fault(self, sender: str, event: str, fault: PeerFault) -> None:
        label = self._roster.compute_label(sender)
        self._metrics.peer_faults.labels(label).inc()
        count = self._milestones.note(label)
        if count:
            _LOG.warning(event, peer=sender, fault=str(fault), faults=count)
