"""A server whose certificate changes while many connect, as a program: gRPC's own faults end the process."""

from __future__ import annotations

import asyncio
import sys
import threading

import grpc
import grpc.aio
from tanpo.ledger.genesis import Genesis, Member, Parameters
from tanpo.ledger.types import MemberId
from tanpo.node.identity import Role
from tanpo.node.pki import create_authority, issue_certificate
from tanpo.node.tls import load_channel_credentials, load_rotating_server_credentials

CALLERS = 20
ROTATE_EVERY = 25
SOLO = MemberId("solo")


class Site:
    """A member's CA, some certificates for one node, and which of them it shows now."""

    def __init__(self) -> None:
        self.authority = create_authority(SOLO, "testnet")
        self.issued = [issue_certificate(self.authority, Role.NODE, "n1") for _ in range(3)]
        self.client = issue_certificate(self.authority, Role.CLIENT, "desk")
        self.genesis = Genesis(
            network="testnet",
            time_ms=0,
            parameters=Parameters(),
            members=(
                Member(
                    member=SOLO,
                    name="Solo",
                    lei="",
                    roles=(),
                    ca_certificate=self.authority.certificate_pem,
                    keys=(),
                ),
            ),
            validators=(),
            contracts=(),
        )
        self.answered = 0

    def read_pair(self) -> tuple[bytes, bytes]:
        shown = self.issued[self.answered // ROTATE_EVERY % len(self.issued)]
        return shown.certificate, shown.private_key


async def answer(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    return request


async def call(site: Site, port: int, count: int) -> None:
    """Connect anew for every call."""
    while site.answered < count:
        credentials = load_channel_credentials(
            site.authority.certificate_pem, site.client.certificate, site.client.private_key
        )
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
            say = channel.unary_unary("/Echo/Say", bytes, bytes)
            await say(b"x", timeout=60)
        site.answered += 1


def compute(is_over: threading.Event) -> None:
    """Keep the interpreter busy, as a node under load does: gRPC's threads then have to wait for it."""
    while not is_over.is_set():
        sum(number * number for number in range(2000))


async def main(count: int) -> None:
    site = Site()
    is_over = threading.Event()
    threading.Thread(target=compute, args=(is_over,)).start()
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Echo", {"Say": handler}),))
    port = server.add_secure_port(
        "127.0.0.1:0",
        load_rotating_server_credentials(lambda: site.authority.certificate_pem, site.read_pair),
    )
    await server.start()
    await asyncio.gather(*(call(site, port, count) for _ in range(CALLERS)))
    is_over.set()
    await server.stop(None)
    sys.stdout.write(f"{site.answered}\n")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
