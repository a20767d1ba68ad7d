from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from tanpo.ledger.membership import MemberAuthority, Registration
from tanpo.ledger.types import MemberId
from tanpo.node.metrics import CONTENT_TYPE, Metrics
from tanpo.node.ops import REQUEST_BYTES_MAX, OpsServer, decode_authorities

# A member chose the bytes of its CA: they need not be a certificate, nor text.
MEMBERS = (
    Registration(
        member=MemberId("dealer-a"),
        name="",
        lei="",
        roles=(),
        authorities=(MemberAuthority(certificate=b"\xff\x00PEM", added=7),),
        keys=(),
    ),
)


@asynccontextmanager
async def serve(obstacles: list[str]) -> AsyncIterator[int]:
    server = OpsServer(
        find_obstacles=lambda: obstacles,
        render_metrics=Metrics().render,
        metrics_content_type=CONTENT_TYPE,
        list_members=lambda: MEMBERS,
    )
    port = await server.start("127.0.0.1", 0)
    try:
        yield port
    finally:
        await server.stop()


async def ask(port: int, request: bytes) -> tuple[int, str, bytes]:
    """Return status, head and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, head.decode(), body


async def test_the_cas_of_the_members_of_now_are_told() -> None:
    async with serve([]) as port:
        status, _, body = await ask(port, b"GET /authorities HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (status, decode_authorities(body.decode())) == (200, MEMBERS)


async def test_alive_and_ready() -> None:
    async with serve([]) as port:
        assert (await ask(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 200
        status, head, body = await ask(port, b"GET /readyz HTTP/1.1\r\n\r\n")
    assert (status, json.loads(body)) == (200, {"ready": True, "obstacles": []})
    assert "application/json" in head


async def test_not_ready_says_why_and_is_alive() -> None:
    async with serve(["no quorum"]) as port:
        assert (await ask(port, b"GET /healthz HTTP/1.1\r\n\r\n"))[0] == 200
        status, _, body = await ask(port, b"GET /readyz HTTP/1.1\r\n\r\n")
    assert (status, json.loads(body)) == (503, {"ready": False, "obstacles": ["no quorum"]})


async def test_metrics_are_in_the_text_format_of_prometheus() -> None:
    async with serve([]) as port:
        status, head, body = await ask(port, b"GET /metrics?x=1 HTTP/1.1\r\n\r\n")
    assert status == 200
    assert CONTENT_TYPE in head
    assert b"\ntanpo_height 0.0\n" in body


async def test_head_has_no_body() -> None:
    async with serve([]) as port:
        status, head, body = await ask(port, b"HEAD /healthz HTTP/1.1\r\n\r\n")
    assert (status, body) == (200, b"")
    assert "Content-Length: 6" in head


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /healthz HTTP/1.1\r\n\r\n", 405),
        (b"GET /etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"GET /healthz\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * (2 * REQUEST_BYTES_MAX) + b"\r\n\r\n", 431),
    ],
)
async def test_other_requests_are_refused(request_bytes: bytes, status: int) -> None:
    async with serve([]) as port:
        assert (await ask(port, request_bytes))[0] == status


async def test_stop_drops_a_connection_that_says_nothing() -> None:
    async with serve([]) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET ")
        await writer.drain()
    with suppress(ConnectionResetError):  # or an ordinary end, as the system pleases
        assert await reader.read() == b""
    writer.close()
