"""The links that this node opens: one to each peer that it has an address and a CA for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from tanpo.ledger.types import NetworkId
from tanpo.node.metrics import Metrics
from tanpo.node.peer_link import Inbox, PeerAddress, PeerLink, build_hello, renew_links


class DialledPeers:
    """The links by the peer's name, in `links`, and the tasks that hold them open."""

    def __init__(
        self,
        *,
        network_id: NetworkId,
        version: str,
        metrics: Metrics,
        on_change: Callable[[], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self.links: dict[str, PeerLink] = {}
        self._hello = build_hello(network_id, version)
        self._metrics = metrics
        self._on_change = on_change
        self._on_fatal = on_fatal
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._inbox: Inbox | None = None

    def add(self, peer: PeerAddress) -> None:
        """Have a link to one more peer; it is dialled once `start` was called."""
        link = PeerLink(peer=peer, hello=self._hello, metrics=self._metrics, on_change=self._on_change)
        self.links[peer.label] = link
        if self._inbox is not None:
            self._run(link, self._inbox)

    def start(self, inbox: Inbox) -> None:
        """Begin to dial; what peers send on our streams goes to the inbox."""
        self._inbox = inbox
        for link in self.links.values():
            self._run(link, inbox)

    async def follow(self, peers: Sequence[PeerAddress]) -> None:
        """Dial these peers from now on, and no others: where the CAs are others, by those."""
        wanted = {peer.label: peer for peer in peers}
        for name in [name for name in self.links if name not in wanted]:
            await self._end(name)
        changed: list[PeerAddress] = []
        for name, peer in wanted.items():
            if name not in self.links:
                self.add(peer)
            elif self.links[name].peer.authorities != peer.authorities:
                changed.append(peer)
        await renew_links(self.links, changed)

    async def stop(self) -> None:
        """Close every stream."""
        self._inbox = None
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks = {}

    def _run(self, link: PeerLink, inbox: Inbox) -> None:
        name = link.peer.label
        self._tasks[name] = task = asyncio.create_task(link.run(inbox), name=f"link {name}")
        task.add_done_callback(self._note_end)

    async def _end(self, name: str) -> None:
        """Close the stream to a peer whose member is dismissed."""
        del self.links[name]
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._on_change()

    def _note_end(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # Without this link the node would go on, quietly, with one vote less.
            self._on_fatal(error)
