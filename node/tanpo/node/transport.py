"""Peers: a link to every other node that we have an address for, and the streams of those that dial us.

`send` never waits. What does not fit is dropped, oldest first: consensus repeats what matters, and a peer
that was away catches up by fetching blocks. Everything queued leaves in one frame, because a message of its
own costs 0.1 ms of CPU.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from tanpo.ledger.errors import Reason, Unavailable
from tanpo.ledger.types import MemberId, NetworkId
from tanpo.node.dialled import DialledPeers
from tanpo.node.frames import FrameQueue
from tanpo.node.metrics import Metrics
from tanpo.node.outbox import CALLER_LIMITS
from tanpo.node.peer_link import Inbox, PeerAddress, PeerLink, PeerState
from tanpo.node.roster import GUESTS_MAX, Roster, compute_name, find_crowding


class _Caller:
    """A node that has opened a stream to us, and what goes back on it if we have no link to it."""

    def __init__(
        self, member: MemberId, node: str, queue: FrameQueue, on_evicted: Callable[[], None]
    ) -> None:
        self.queue = queue
        self.on_evicted = on_evicted
        self._member = member
        self._node = node
        self._now = asyncio.get_running_loop().time
        self._heard_at = self._now()

    def note_heard(self) -> None:
        self._heard_at = self._now()

    def state(self) -> PeerState:
        return PeerState(
            member=self._member,
            node=self._node,
            address="",
            is_connected=True,
            queued_bytes=self.queue.queued_bytes,
            dropped_messages=self.queue.dropped_messages,
            last_error="",
            silent_s=self._now() - self._heard_at,
        )


class GrpcTransport:
    """The links to all other nodes: those we dial, and the streams of those that dial us.

    `dialled` are those that we dial. A node we have no address for is spoken to on the stream that it opened.
    """

    def __init__(
        self,
        *,
        peers: Sequence[PeerAddress],
        roster: Roster,
        network_id: NetworkId,
        version: str,
        metrics: Metrics,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._callers: dict[str, _Caller] = {}
        self._roster = roster
        self._metrics = metrics
        self.dialled = DialledPeers(
            network_id=network_id,
            version=version,
            metrics=metrics,
            on_change=self._note_change,
            on_fatal=on_fatal,
        )
        for peer in peers:
            self.dialled.add(peer)

    @property
    def links(self) -> Mapping[str, PeerLink]:
        """The links that this node opened, by the peer's name."""
        return self.dialled.links

    def send(self, to: str, message: bytes) -> None:
        """Queue a consensus message for a node; for ourselves or a stranger it is dropped."""
        queue = self._find_queue(to)
        if queue is not None:
            queue.send(message)

    def share(self, to: str, envelopes: Sequence[bytes]) -> None:
        """Queue admitted envelopes for a node; for ourselves or a stranger they are dropped."""
        queue = self._find_queue(to)
        if queue is not None:
            queue.share(envelopes)

    def share_evidence(self, to: str, evidence: Sequence[bytes]) -> None:
        """Queue evidence for a node; for ourselves or a stranger it is dropped."""
        queue = self._find_queue(to)
        if queue is not None:
            queue.share_evidence(evidence)

    def connected(self) -> Sequence[str]:
        """Return the nodes that can be reached now."""
        linked = [name for name, link in self.links.items() if link.is_connected]
        return [*linked, *(name for name in self._callers if name not in self.links)]

    def peers(self) -> list[PeerState]:
        """Return every peer and how it is doing."""
        callers = [caller.state() for name, caller in self._callers.items() if name not in self.links]
        return [*(link.state() for link in self.links.values()), *callers]

    def note_heard(self, name: str) -> None:
        """Note that something came from a node."""
        peer = self.links.get(name) or self._callers.get(name)
        if peer is not None:
            peer.note_heard()

    def open_caller(self, member: MemberId, node: str, on_evicted: Callable[[], None]) -> FrameQueue:
        """Return the queue of a node that has just opened a stream to us, to be sent on that stream.

        `on_evicted` ends the stream; it is called when another node needs the place more.

        Raises:
            Unavailable: there are too many nodes that are no validators, and its member has its share.
        """
        name = compute_name(member, node)
        if not self._is_expected(name):
            self._make_room(name)
        label = name if name in self.links else self._roster.compute_label(name)
        queue = FrameQueue(name=label, metrics=self._metrics, limits=CALLER_LIMITS)
        self._callers[name] = _Caller(member, node, queue, on_evicted)
        self._note_change()
        link = self.links.get(name)
        if link is not None:
            link.retry_now()  # It is up: no need to wait out a pause.
        return queue

    def close_caller(self, member: MemberId, node: str, queue: FrameQueue) -> None:
        """Forget the stream of a node, unless a newer one has taken its place."""
        name = compute_name(member, node)
        held = self._callers.get(name)
        if held is not None and held.queue is queue:
            del self._callers[name]
            self._note_change()

    async def start(self, inbox: Inbox) -> None:
        """Begin to dial; what peers send on our streams goes to the inbox."""
        self.dialled.start(inbox)

    async def stop(self) -> None:
        """Close every stream."""
        await self.dialled.stop()

    def _find_queue(self, name: str) -> FrameQueue | None:
        peer = self.links.get(name) or self._callers.get(name)
        return None if peer is None else peer.queue

    def _make_room(self, newcomer: str) -> None:
        guests = [name for name in self._callers if name != newcomer and not self._is_expected(name)]
        if len(guests) < GUESTS_MAX:
            return
        crowding = find_crowding(guests, newcomer)
        if crowding is None:
            raise guests_full(newcomer)
        self._callers.pop(crowding).on_evicted()

    def _is_expected(self, name: str) -> bool:
        return name in self.links or self._roster.is_validator(name)

    def _note_change(self) -> None:
        self._metrics.peers_connected.set(len(self.connected()))


def guests_full(name: str) -> Unavailable:
    """Return the error for a node that is no validator and has no place among the guests."""
    return Unavailable(
        Reason.GUESTS_FULL,
        "too many nodes that are no validators are connected to this one",
        value=name,
        limit=GUESTS_MAX,
        remedy="connect to another validator",
    )
