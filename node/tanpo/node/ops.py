"""The operators' HTTP port: `/healthz`, `/readyz` and `/metrics`, for probes and Prometheus, and
`/authorities`, the CAs of all members as this node knows them, for `tanpo node doctor`.

A few lines of HTTP/1.1 on the node's own loop: GET only, one request a connection, everything bounded. It
carries no secret and changes nothing, but it is not authenticated: bind it to loopback or an inner network.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from tanpo.ledger.membership import MemberAuthority, Registration
from tanpo.ledger.types import MemberId

REQUEST_BYTES_MAX: Final = 8 * 1024
REQUEST_TIMEOUT_S: Final = 5.0
CONNECTIONS_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One HTTP response."""

    status: HTTPStatus
    content_type: str
    body: bytes


class OpsServer:
    """The server of one node."""

    def __init__(
        self,
        *,
        find_obstacles: Callable[[], list[str]],
        render_metrics: Callable[[], bytes],
        metrics_content_type: str,
        list_members: Callable[[], Sequence[Registration]],
    ) -> None:
        self._find_obstacles = find_obstacles
        self._render_metrics = render_metrics
        self._metrics_content_type = metrics_content_type
        self._list_members = list_members
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.StreamWriter, asyncio.Event] = {}

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port. Raises `OSError` when it cannot."""
        self._server = await asyncio.start_server(
            self._serve, host, port, limit=REQUEST_BYTES_MAX, reuse_address=True
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and drop what is open."""
        if self._server is None:
            return
        self._server.close()
        ended = [done.wait() for done in self._connections.values()]
        for writer in self._connections:
            writer.transport.abort()
        await asyncio.gather(*ended)
        await self._server.wait_closed()

    def answer(self, method: str, target: str) -> Answer:
        """Return the response to a request line."""
        if method not in ("GET", "HEAD"):
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n")
        match target.partition("?")[0]:
            case "/healthz":
                return _text(HTTPStatus.OK, "alive\n")
            case "/readyz":
                obstacles = self._find_obstacles()
                return Answer(
                    status=HTTPStatus.SERVICE_UNAVAILABLE if obstacles else HTTPStatus.OK,
                    content_type="application/json",
                    body=json.dumps({"ready": not obstacles, "obstacles": obstacles}).encode() + b"\n",
                )
            case "/metrics":
                return Answer(
                    status=HTTPStatus.OK,
                    content_type=self._metrics_content_type,
                    body=self._render_metrics(),
                )
            case "/authorities":
                return Answer(
                    status=HTTPStatus.OK,
                    content_type="application/json",
                    body=encode_authorities(self._list_members()),
                )
        return _text(HTTPStatus.NOT_FOUND, "try /healthz, /readyz, /metrics or /authorities\n")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        done = self._connections[writer] = asyncio.Event()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                await self._respond(reader, writer)
        except (TimeoutError, ConnectionError):
            pass  # the other end is slow or gone; it asks again
        finally:
            del self._connections[writer]
            done.set()
            writer.close()

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) > CONNECTIONS_MAX:
            await _write(writer, "GET", _text(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections\n"))
            return
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        except asyncio.LimitOverrunError:
            answer = _text(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is too long\n")
            await _write(writer, "GET", answer)
            return
        parts = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            await _write(writer, "GET", _text(HTTPStatus.BAD_REQUEST, "this port speaks HTTP/1.1\n"))
            return
        await _write(writer, parts[0], self.answer(parts[0], parts[1]))


def encode_authorities(members: Sequence[Registration]) -> bytes:
    """Return the CAs of members as JSON, PEM by the member's name; `decode_authorities` is the inverse."""
    told = {
        one.member: [
            {"certificate": held.certificate.decode("latin-1"), "added": held.added}
            for held in one.authorities
        ]
        for one in members
    }
    return json.dumps(told).encode() + b"\n"


def decode_authorities(text: str) -> tuple[Registration, ...]:
    """Return members that have CAs and nothing else. Raises `ValueError`, `TypeError` or `KeyError`."""
    return tuple(
        Registration(
            member=MemberId(str(member)),
            name="",
            lei="",
            roles=(),
            authorities=tuple(
                MemberAuthority(
                    certificate=str(one["certificate"]).encode("latin-1"), added=int(one["added"])
                )
                for one in authorities
            ),
            keys=(),
        )
        for member, authorities in dict(json.loads(text)).items()
    )


def _text(status: HTTPStatus, text: str) -> Answer:
    return Answer(status=status, content_type="text/plain; charset=utf-8", body=text.encode())


async def _write(writer: asyncio.StreamWriter, method: str, answer: Answer) -> None:
    head = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\n"
        f"Content-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    writer.write(head.encode("latin-1") + (b"" if method == "HEAD" else answer.body))
    await writer.drain()
