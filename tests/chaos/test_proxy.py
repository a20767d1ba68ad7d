"""The wires of the bench do what their faults say, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from tanpo.cli.layout import NodePlace
from tanpo.testing.chaos.proxy import CHUNK_BYTES, ProxyMesh

A_WHILE_S = 0.2
"""How long nothing is to arrive, where that is the claim. A machine that is slow cannot break it."""
LONG_S = 60.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Listener:
    """A node's port for peers, as far as a wire sees it."""

    def __init__(self) -> None:
        self.accepted: asyncio.Queue[Streams] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self._opened: list[asyncio.StreamWriter] = []

    async def open(self, member: str) -> NodePlace:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        address = f"127.0.0.1:{port}"
        return NodePlace(
            member=member, node="node-1", address=address, peer_address=address, ops_address=address
        )

    async def dial(self, address: str) -> Streams:
        host, _, port = address.rpartition(":")
        streams = await asyncio.open_connection(host, int(port))
        self._opened.append(streams[1])
        return streams

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._opened:
            writer.transport.abort()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._opened.append(writer)
        await self.accepted.put((reader, writer))


@pytest_asyncio.fixture
async def listeners() -> AsyncIterator[dict[str, Listener]]:
    found = {member: Listener() for member in ("a", "b")}
    yield found
    for listener in found.values():
        listener.close()


@pytest_asyncio.fixture
async def mesh(listeners: dict[str, Listener]) -> AsyncIterator[ProxyMesh]:
    places = [await listener.open(member) for member, listener in listeners.items()]
    mesh = await ProxyMesh.open(places, seed=1)
    yield mesh
    await mesh.close()


async def connect(mesh: ProxyMesh, listeners: dict[str, Listener]) -> tuple[Streams, Streams]:
    """Let a dial b; return the streams of both ends."""
    near = await listeners["a"].dial(mesh.get("a", "b").address)
    async with asyncio.timeout(LONG_S):
        return near, await listeners["b"].accepted.get()


async def arrives(reader: asyncio.StreamReader, expected: bytes) -> bool:
    async with asyncio.timeout(LONG_S):
        return await reader.readexactly(len(expected)) == expected


async def is_silent(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(A_WHILE_S):
            await reader.read(1)
    except TimeoutError:
        return True
    return False


async def is_closed(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(LONG_S):
        try:
            return await reader.read() == b""
        except ConnectionError:
            return True


async def test_a_whole_wire_carries_everything_both_ways(
    mesh: ProxyMesh, listeners: dict[str, Listener]
) -> None:
    (near_in, near_out), (far_in, far_out) = await connect(mesh, listeners)
    much = bytes(range(256)) * (4 * CHUNK_BYTES // 256)
    near_out.write(much)
    far_out.write(b"answer")
    assert await arrives(far_in, much)
    assert await arrives(near_in, b"answer")


async def test_a_one_way_cut_holds_one_direction_and_loses_nothing(
    mesh: ProxyMesh, listeners: dict[str, Listener]
) -> None:
    (near_in, near_out), (far_in, far_out) = await connect(mesh, listeners)
    mesh.hold_one_way("a", "b")
    near_out.write(b"held")
    far_out.write(b"passes")
    assert await arrives(near_in, b"passes")
    assert await is_silent(far_in)
    mesh.restore("a", "b")
    assert await arrives(far_in, b"held")


async def test_a_one_way_cut_holds_the_same_direction_of_the_link_that_the_other_dialled(
    mesh: ProxyMesh, listeners: dict[str, Listener]
) -> None:
    (near_in, near_out), (far_in, far_out) = await connect(mesh, listeners)
    mesh.hold_one_way("b", "a")
    far_out.write(b"held")
    near_out.write(b"passes")
    assert await arrives(far_in, b"passes")
    assert await is_silent(near_in)


async def test_a_cut_wire_ends_connections_and_lets_none_be_made(
    mesh: ProxyMesh, listeners: dict[str, Listener]
) -> None:
    (near_in, _), (far_in, _) = await connect(mesh, listeners)
    mesh.cut("b", "a")
    assert await is_closed(near_in)
    assert await is_closed(far_in)
    again, _ = await listeners["a"].dial(mesh.get("a", "b").address)
    assert await is_closed(again)
    assert listeners["b"].accepted.empty()
    mesh.restore("a", "b")
    await connect(mesh, listeners)


async def test_a_wire_that_is_reset_can_be_used_again_at_once(
    mesh: ProxyMesh, listeners: dict[str, Listener]
) -> None:
    (near_in, _), _ = await connect(mesh, listeners)
    mesh.reset("a", "b")
    assert await is_closed(near_in)
    (_, near_out), (far_in, _) = await connect(mesh, listeners)
    near_out.write(b"again")
    assert await arrives(far_in, b"again")


async def test_a_slow_wire_delivers_late_and_in_order(
    mesh: ProxyMesh, listeners: dict[str, Listener]
) -> None:
    (_, near_out), (far_in, _) = await connect(mesh, listeners)
    mesh.worsen("a", "b", delay_ms=100, jitter_ms=100)
    now = asyncio.get_running_loop().time
    started = now()
    sent = b"".join(number.to_bytes(4, "big") for number in range(20_000))
    near_out.write(sent)
    assert await arrives(far_in, sent)
    assert now() - started >= 0.1


async def test_a_lossy_wire_stalls_or_resets_and_never_leaves_a_gap(
    mesh: ProxyMesh, listeners: dict[str, Listener]
) -> None:
    (_, near_out), (far_in, _) = await connect(mesh, listeners)
    mesh.worsen("a", "b", loss=0.5)
    sent = bytes(range(256)) * 1024
    near_out.write(sent)
    received = b""
    async with asyncio.timeout(LONG_S):
        while len(received) < len(sent) and (part := await far_in.read(CHUNK_BYTES)):
            received += part
    assert sent.startswith(received)


async def test_the_end_of_one_side_reaches_the_other(mesh: ProxyMesh, listeners: dict[str, Listener]) -> None:
    (_, near_out), (far_in, _) = await connect(mesh, listeners)
    near_out.write(b"last words")
    near_out.close()
    assert await arrives(far_in, b"last words")
    assert await is_closed(far_in)
