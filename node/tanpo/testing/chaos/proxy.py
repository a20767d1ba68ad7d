"""The wire between nodes as a mesh of TCP proxies, one for each ordered pair, that the bench may break.

A proxy needs no privileges and no support of the kernel. What it holds back it keeps in order and delivers
later: over TCP a lost packet shows as a stall, and at worst as a reset, never as a gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from random import Random
from typing import Final

from tanpo.cli.layout import NodePlace
from tanpo.cli.ports import LOOPBACK
from tanpo.node.config import split_address

CHUNK_BYTES: Final = 64 * 1024
CHUNKS_MAX: Final = 256
"""Chunks on their way in one direction; beyond them the sender must wait, as on a real link."""
RETRANSMIT_S: Final = 0.2
"""What one lost packet costs: the least retransmission timeout of a kernel; each further loss doubles it."""
LOSSES_MAX: Final = 4
RESETS_PER_LOSS: Final = 0.02
"""Which part of the losses ends the connection altogether."""


class Lane:
    """One direction of a link: whether bytes pass, how late, and how often some are lost."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._is_open = asyncio.Event()
        self.restore()

    def restore(self) -> None:
        """Let all bytes pass at once, those held back first."""
        self.delay_s = 0.0
        self.jitter_s = 0.0
        self.loss = 0.0
        self._is_open.set()

    def hold(self) -> None:
        """Let nothing pass until `restore`; connections stay open and know nothing of it."""
        self._is_open.clear()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes until the reader's end, or until the connection is lost on the way."""
        on_their_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_MAX)
        taking = asyncio.create_task(self._take(reader, on_their_way))
        try:
            while await self._pass_next(on_their_way, writer):
                pass
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        """Read on while earlier bytes are still on their way: a delay must not become a lower speed."""
        now = asyncio.get_running_loop().time
        while True:
            try:
                chunk = await reader.read(CHUNK_BYTES)
            except OSError:
                chunk = b""
            delay_s = self.delay_s + self._chance.uniform(0.0, self.jitter_s)
            await queue.put((now() + delay_s, chunk))
            if not chunk:
                return

    async def _pass_next(
        self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> bool:
        due, chunk = await queue.get()
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        stall_s = RETRANSMIT_S
        for _ in range(LOSSES_MAX):
            if self._chance.random() >= self.loss:
                break
            if self._chance.random() < RESETS_PER_LOSS:
                return False
            await asyncio.sleep(stall_s)
            stall_s *= 2
        await self._is_open.wait()
        if not chunk:
            return False
        try:
            writer.write(chunk)
            await writer.drain()
        except OSError:
            return False
        return True


class ProxyLink:
    """The link over which one node dials another. `towards` carries what the dialler says."""

    def __init__(self, dialler: str, listener: str, target: tuple[str, int], chance: Random) -> None:
        self.dialler = dialler
        self.listener = listener
        self.towards = Lane(chance)
        self.back = Lane(chance)
        self._target = target
        self._is_cut = False
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}

    @property
    def address(self) -> str:
        """Where the dialler finds the listener; only while the proxy is open."""
        if self._server is None:
            return ""
        return f"{LOOPBACK}:{self._server.sockets[0].getsockname()[1]}"

    async def open(self) -> None:
        """Listen on a port of the kernel's choice."""
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0)

    async def close(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset()
        tasks = tuple(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def cut(self) -> None:
        """End every connection and let none be made until `restore`."""
        self._is_cut = True
        self.reset()

    def restore(self) -> None:
        """Make the link whole again."""
        self._is_cut = False
        self.towards.restore()
        self.back.restore()

    def reset(self) -> None:
        """End the connections there are; new ones may be made."""
        for writers in tuple(self._connections.values()):
            for writer in writers:
                writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or self._is_cut:
            writer.transport.abort()
            return
        writers: tuple[asyncio.StreamWriter, ...] = (writer,)
        self._connections[task] = writers
        try:
            with suppress(OSError):
                far_reader, far_writer = await asyncio.open_connection(*self._target)
                writers = self._connections[task] = (writer, far_writer)
                if not self._is_cut:
                    await self._join(reader, writer, far_reader, far_writer)
        except asyncio.CancelledError:
            return  # Only `close` cancels; asyncio would log a handler that ends otherwise.
        finally:
            self._connections.pop(task, None)
            for one in writers:
                one.transport.abort()

    async def _join(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        lanes = (
            asyncio.create_task(self.towards.carry(reader, far_writer)),
            asyncio.create_task(self.back.carry(far_reader, writer)),
        )
        try:
            await asyncio.wait(lanes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)


class ProxyMesh:
    """The links of all ordered pairs of nodes, whole at first. All methods belong to one event loop."""

    def __init__(self, links: dict[tuple[str, str], ProxyLink]) -> None:
        self._links = links

    @classmethod
    async def open(cls, nodes: Sequence[NodePlace], seed: int) -> ProxyMesh:
        """Open a proxy for every ordered pair of nodes, towards the listener's own address for peers."""
        links = {
            (one.member, other.member): ProxyLink(
                one.member,
                other.member,
                split_address(other.peer_address),
                Random(f"{seed}:{one.member}:{other.member}"),  # noqa: S311  # replayed, not secret
            )
            for one in nodes
            for other in nodes
            if one.member != other.member
        }
        mesh = cls(links)
        try:
            for link in links.values():
                await link.open()
        except BaseException:
            await mesh.close()
            raise
        return mesh

    def get(self, dialler: str, listener: str) -> ProxyLink:
        """Return the link over which one node dials another."""
        return self._links[dialler, listener]

    def cut(self, one: str, other: str) -> None:
        """Cut the wire between two nodes: connections end, and none can be made."""
        for link in self._between(one, other):
            link.cut()

    def hold(self, one: str, other: str) -> None:
        """Let nothing pass between two nodes in either direction, without a word to either."""
        self.hold_one_way(one, other)
        self.hold_one_way(other, one)

    def hold_one_way(self, source: str, target: str) -> None:
        """Let no byte of one node reach another, over either link; what the other says arrives."""
        self.get(source, target).towards.hold()
        self.get(target, source).back.hold()

    def worsen(
        self, one: str, other: str, *, delay_ms: int = 0, jitter_ms: int = 0, loss: float = 0.0
    ) -> None:
        """Make the wire between two nodes slow or lossy, in both directions."""
        for link in self._between(one, other):
            for lane in (link.towards, link.back):
                lane.delay_s, lane.jitter_s, lane.loss = delay_ms / 1000, jitter_ms / 1000, loss

    def reset(self, one: str, other: str) -> None:
        """End the connections between two nodes; they may connect again at once."""
        for link in self._between(one, other):
            link.reset()

    def restore(self, one: str, other: str) -> None:
        """Make the wire between two nodes whole again."""
        for link in self._between(one, other):
            link.restore()

    async def close(self) -> None:
        """Close every proxy."""
        await asyncio.gather(*(link.close() for link in self._links.values()))

    def _between(self, one: str, other: str) -> Iterator[ProxyLink]:
        yield self.get(one, other)
        yield self.get(other, one)
