"""Links between validators: frames, bounds, garbage, restarts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import grpc
import grpc.aio
import pytest
from tanpo.api.v1 import peer_pb2, peer_pb2_grpc
from tanpo.ledger.errors import InvariantViolation, PeerFault, Reason
from tanpo.ledger.genesis import Genesis
from tanpo.node.frames import FRAME_EVIDENCE_MAX, FRAME_MESSAGES_MAX
from tanpo.node.metrics import Metrics
from tanpo.node.protocol import PROTOCOL_VERSION
from tanpo.node.roster import GUESTS_MAX
from tanpo.node.tls import PEER_MESSAGE_BYTES_MAX
from tanpo.node.transport import GrpcTransport

TIMEOUT_S = 60
ALPHA, BETA = "alpha/n1", "beta/n1"


def make_transport(world: Any, address: Any, genesis: Genesis | None = None) -> GrpcTransport:
    network_id = (genesis or world.genesis).network_id
    return GrpcTransport(
        peers=[address],
        roster=world.make_roster("beta"),
        network_id=network_id,
        version="test",
        metrics=Metrics(),
        on_fatal=stop_test,
    )


class Collecting:
    """An inbox that keeps what comes, and refuses what is bad."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []

    async def receive(
        self,
        sender: str,
        messages: Sequence[bytes],
        envelopes: Sequence[bytes],
        evidence: Sequence[bytes] = (),
    ) -> None:
        if b"bad" in messages:
            raise PeerFault(Reason.MALFORMED, "no such message")
        self.taken += [(sender, one) for one in (*messages, *envelopes, *evidence)]


class Silent:
    """An inbox to which nothing comes."""

    async def receive(
        self,
        sender: str,
        messages: Sequence[bytes],
        envelopes: Sequence[bytes],
        evidence: Sequence[bytes] = (),
    ) -> None:
        raise AssertionError(f"{sender} sent {messages} {envelopes}")


def stop_test(error: BaseException) -> None:
    raise AssertionError("a link ended") from error


async def open_stream(node: Any, channel: grpc.aio.Channel) -> Any:
    """Return a stream as a validator, welcomed."""
    stub: Any = peer_pb2_grpc.PeerStub(channel)
    call = stub.Exchange()
    hello = peer_pb2.PeerHello(network_id=node.world.genesis.network_id, protocol_version=PROTOCOL_VERSION)
    await call.write(peer_pb2.PeerFrame(hello=hello))
    assert (await call.read()).welcome.network_id == node.world.genesis.network_id
    return call


async def test_messages_arrive_in_order_with_their_sender(
    world: Any, start_node: Any, dial: Any, wait_until: Any
) -> None:
    async with start_node("alpha") as node:
        transport = make_transport(world, dial(node.servers.peer_port, to="alpha", by="beta"))
        messages = [f"m{number}".encode() for number in range(1000)]
        for message in messages:  # queued before there is a link: they leave when it is up
            transport.send(ALPHA, message)
        transport.share(ALPHA, [b"e1", b"e2"])
        await transport.start(Silent())
        await node.inbox.wait_for(1002)
        await wait_until(
            lambda: not transport.peers()[0].queued_bytes
        )  # What arrived may be counted for a moment.
        state = transport.peers()[0]
        await transport.stop()
    assert node.inbox.messages == [(BETA, message) for message in messages]
    assert node.inbox.envelopes == [(BETA, b"e1"), (BETA, b"e2")]
    assert node.inbox.frames == 1
    assert (state.is_connected, state.queued_bytes, state.last_error) == (True, 0, "")


async def test_a_link_does_not_go_by_the_web_proxy_of_the_environment(
    world: Any, start_node: Any, dial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with start_node("alpha") as node:
        transport = make_transport(world, dial(node.servers.peer_port, to="alpha", by="beta"))
        transport.send(ALPHA, b"m")
        await transport.start(Silent())
        await node.inbox.wait_for(1)
        await transport.stop()
    assert node.inbox.messages == [(BETA, b"m")]


async def test_evidence_is_shared_in_frames_of_a_bounded_number(
    world: Any, start_node: Any, dial: Any
) -> None:
    evidence = [f"proof {number}".encode() for number in range(2 * FRAME_EVIDENCE_MAX + 1)]
    async with start_node("alpha") as node:
        transport = make_transport(world, dial(node.servers.peer_port, to="alpha", by="beta"))
        transport.share_evidence(ALPHA, evidence)
        await transport.start(Silent())
        await node.inbox.wait_for(len(evidence))
        await transport.stop()
    assert node.inbox.evidence == [(BETA, one) for one in evidence]
    assert node.inbox.frames == 3


async def test_what_is_sent_to_a_stranger_goes_nowhere(world: Any, start_node: Any, dial: Any) -> None:
    async with start_node("alpha") as node:
        transport = make_transport(world, dial(node.servers.peer_port, to="alpha", by="beta"))
        await transport.start(Silent())
        transport.send(BETA, b"to myself")
        transport.send(ALPHA, b"to alpha")
        await node.inbox.wait_for(1)
        await transport.stop()
    assert node.inbox.messages == [(BETA, b"to alpha")]


async def test_peer_that_restarts_is_connected_again(
    world: Any, start_node: Any, dial: Any, wait_until: Any
) -> None:
    async with start_node("alpha") as node:
        port = node.servers.peer_port
        transport = make_transport(world, dial(port, to="alpha", by="beta"))
        await transport.start(Silent())
        transport.send(ALPHA, b"before")
        await node.inbox.wait_for(1)
    await wait_until(lambda: not transport.peers()[0].is_connected)
    await wait_until(lambda: "refused" in transport.peers()[0].last_error.lower())
    async with start_node("alpha", peer_port=port) as node:
        transport.send(ALPHA, b"after")
        await node.inbox.wait_for(1)
        assert node.inbox.messages == [(BETA, b"after")]
        await transport.stop()


async def test_peer_of_another_network_is_refused_with_the_reason(
    world: Any, start_node: Any, dial: Any, wait_until: Any
) -> None:
    other = Genesis(
        network="other",
        time_ms=1,
        parameters=world.genesis.parameters,
        members=world.genesis.members,
        validators=world.genesis.validators,
        contracts=(),
    )
    async with start_node("alpha") as node:
        transport = make_transport(world, dial(node.servers.peer_port, to="alpha", by="beta"), other)
        await transport.start(Silent())
        await wait_until(lambda: "network" in transport.peers()[0].last_error)
        state = transport.peers()[0]
        await transport.stop()
    assert not state.is_connected
    assert "another network" in state.last_error


async def test_peer_that_another_member_impersonates_is_not_trusted(
    world: Any, start_node: Any, dial: Any, wait_until: Any
) -> None:
    async with start_node("beta") as node:
        # beta listens where alpha is expected; its certificate is of its own CA.
        transport = make_transport(world, dial(node.servers.peer_port, to="alpha", by="gamma"))
        await transport.start(Silent())
        await wait_until(lambda: "certificate" in transport.peers()[0].last_error)
        state = transport.peers()[0]
        await transport.stop()
    assert not state.is_connected
    assert "certificate is refused: unable to get local issuer certificate" in state.last_error


async def test_garbage_frames_are_dropped_counted_and_logged_seldom(
    world: Any, start_node: Any, wait_until: Any
) -> None:
    async with start_node("alpha") as node:
        certificate = world.issue("beta", "node", "n1")
        async with node.channel(certificate, port=node.servers.peer_port) as channel:
            call = await open_stream(node, channel)
            node.inbox.fail_with = PeerFault(Reason.MALFORMED, "no such message", value="ff")
            for _ in range(20):
                await call.write(peer_pb2.PeerFrame(messages=[b"\xff"]))
            faults = node.metrics.peer_faults.labels("beta/n1")
            await wait_until(lambda: faults._value.get() == 20)
            node.inbox.fail_with = None
            await call.write(peer_pb2.PeerFrame(messages=[b"fine"]))
            await node.inbox.wait_for(1)
            call.cancel()
    lines = [json.loads(line) for line in node.logs.getvalue().splitlines()]
    dropped = [line["frames_dropped"] for line in lines if line["event"] == "frame dropped"]
    assert dropped == [1, 2, 4, 8, 16]
    assert node.fatal == []


@pytest.mark.parametrize(
    "frame",
    [
        peer_pb2.PeerFrame(hello=peer_pb2.PeerHello(protocol_version=PROTOCOL_VERSION)),
        peer_pb2.PeerFrame(messages=[b""] * (FRAME_MESSAGES_MAX + 1)),
        peer_pb2.PeerFrame(envelopes=[b""] * (FRAME_MESSAGES_MAX + 1)),
    ],
    ids=["second hello", "too many messages", "too many envelopes"],
)
async def test_frames_against_the_rules_are_dropped(world: Any, start_node: Any, frame: Any) -> None:
    async with start_node("alpha") as node:
        certificate = world.issue("beta", "node", "n1")
        async with node.channel(certificate, port=node.servers.peer_port) as channel:
            call = await open_stream(node, channel)
            await call.write(frame)
            await call.write(peer_pb2.PeerFrame(messages=[b"fine"]))
            await node.inbox.wait_for(1)
            call.cancel()
    assert node.inbox.messages == [(BETA, b"fine")]


@pytest.mark.parametrize("first", [peer_pb2.PeerFrame(), peer_pb2.PeerFrame(messages=[b"x"])])
async def test_stream_without_a_hello_is_ended(world: Any, start_node: Any, refused: Any, first: Any) -> None:
    async with start_node("alpha") as node:
        certificate = world.issue("beta", "node", "n1")
        async with node.channel(certificate, port=node.servers.peer_port) as channel:
            stub: Any = peer_pb2_grpc.PeerStub(channel)
            call = stub.Exchange(timeout=TIMEOUT_S)
            await call.write(first)
            with refused() as refusal:
                await call.read()
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "PROTOCOL")


async def test_bytes_that_are_no_frame_end_the_stream_and_not_the_node(
    world: Any, start_node: Any, refused: Any, dial: Any
) -> None:
    async with start_node("alpha") as node:
        certificate = world.issue("beta", "node", "n1")
        async with node.channel(certificate, port=node.servers.peer_port) as channel:
            call = channel.stream_stream("/tanpo.api.v1.Peer/Exchange")(timeout=TIMEOUT_S)
            await call.write(b"\xff" * 100)
            with refused() as refusal:
                await call.read()
        transport = make_transport(world, dial(node.servers.peer_port, to="alpha", by="beta"))
        await transport.start(Silent())
        transport.send(ALPHA, b"fine")
        await node.inbox.wait_for(1)
        await transport.stop()
    assert refusal.reason == "MALFORMED"
    assert node.fatal == []


async def test_frame_above_the_limit_ends_the_stream_and_not_the_node(world: Any, start_node: Any) -> None:
    async with start_node("alpha") as node:
        certificate = world.issue("beta", "node", "n1")
        async with node.channel(certificate, port=node.servers.peer_port) as channel:
            call = await open_stream(node, channel)
            await call.write(peer_pb2.PeerFrame(messages=[bytes(PEER_MESSAGE_BYTES_MAX + 1)]))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            again = await open_stream(node, channel)
            await again.write(peer_pb2.PeerFrame(messages=[b"fine"]))
            await node.inbox.wait_for(1)
            again.cancel()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_newer_stream_of_a_validator_replaces_the_older(
    world: Any, start_node: Any, refused: Any
) -> None:
    async with start_node("alpha") as node:
        certificate = world.issue("beta", "node", "n1")
        async with node.channel(certificate, port=node.servers.peer_port) as channel:
            older = await open_stream(node, channel)
            newer = await open_stream(node, channel)
            with refused() as refusal:
                await older.read()
            await newer.write(peer_pb2.PeerFrame(messages=[b"fine"]))
            await node.inbox.wait_for(1)
            newer.cancel()
    assert refusal.reason == "PROTOCOL"


async def test_core_that_must_stop_is_reported(world: Any, start_node: Any, wait_until: Any) -> None:
    async with start_node("alpha") as node:
        node.inbox.fail_with = InvariantViolation("roots differ")
        certificate = world.issue("beta", "node", "n1")
        async with node.channel(certificate, port=node.servers.peer_port) as channel:
            call = await open_stream(node, channel)
            await call.write(peer_pb2.PeerFrame(messages=[b"x"]))
            await wait_until(lambda: node.fatal)
            call.cancel()
    assert node.fatal == [node.inbox.fail_with]


async def test_peer_that_does_not_read_costs_bounded_memory(
    world: Any, start_node: Any, dial: Any, wait_until: Any
) -> None:
    async with start_node("alpha") as node:
        node.inbox.gate.clear()
        transport = make_transport(world, dial(node.servers.peer_port, to="alpha", by="beta"))
        await transport.start(Silent())
        await wait_until(lambda: transport.peers()[0].is_connected)
        block = bytes(1_000_000)
        for _ in range(100):
            transport.send(ALPHA, block)
            transport.share(ALPHA, [block])
            await asyncio.sleep(0)
        state = transport.peers()[0]
        assert state.queued_bytes <= 40 * 1024 * 1024
        assert state.dropped_messages >= 100
        node.inbox.gate.set()
        await transport.stop()


async def test_a_node_without_an_address_is_answered_on_its_own_stream(
    world: Any, start_node: Any, dial: Any, wait_until: Any
) -> None:
    inbox = Collecting()
    async with start_node("alpha") as node:
        transport = make_transport(world, dial(node.servers.peer_port, to="alpha", by="beta"))
        await transport.start(inbox)
        await wait_until(lambda: list(node.transport.connected()) == [BETA])
        node.transport.send(BETA, b"answer")
        node.transport.share(BETA, [b"envelope"])
        node.transport.share_evidence(BETA, [b"proof"])
        await wait_until(lambda: len(inbox.taken) == 3)
        (state,) = node.transport.peers()
        await transport.stop()
        await wait_until(lambda: not node.transport.connected())
    assert sorted(inbox.taken) == [(ALPHA, b"answer"), (ALPHA, b"envelope"), (ALPHA, b"proof")]
    assert (state.member, state.node, state.address, state.is_connected) == ("beta", "n1", "", True)


async def test_garbage_on_our_own_stream_is_counted_and_the_stream_goes_on(
    world: Any, start_node: Any, dial: Any, wait_until: Any
) -> None:
    inbox = Collecting()
    async with start_node("alpha") as node:
        transport = make_transport(world, dial(node.servers.peer_port, to="alpha", by="beta"))
        await transport.start(inbox)
        await wait_until(lambda: list(node.transport.connected()) == [BETA])
        node.transport.send(BETA, b"bad")
        await wait_until(lambda: "no such message" in transport.peers()[0].last_error)
        node.transport.send(BETA, b"good")
        await wait_until(lambda: inbox.taken)
        await transport.stop()
    assert inbox.taken == [(ALPHA, b"good")]


async def test_guests_are_bounded_and_told_to_go_elsewhere(
    world: Any, start_node: Any, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tanpo.node.transport.GUESTS_MAX", 2)
    async with start_node("alpha") as node:
        calls = []
        async with AsyncExitStack() as channels:
            for name in ("n1", "guest-1", "guest-2", "guest-3"):
                certificate = world.issue("beta", "node", name)
                channel = node.channel(certificate, port=node.servers.peer_port)
                await channels.enter_async_context(channel)
                calls.append(channel)
            for channel in calls[:3]:
                await open_stream(node, channel)
            stub: Any = peer_pb2_grpc.PeerStub(calls[3])
            call = stub.Exchange(timeout=TIMEOUT_S)
            hello = peer_pb2.PeerHello(network_id=world.genesis.network_id, protocol_version=PROTOCOL_VERSION)
            await call.write(peer_pb2.PeerFrame(hello=hello))
            with refused() as refusal:
                await call.read()
    assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "GUESTS_FULL")
    assert refusal.metadata["remedy"] == "connect to another validator"


async def test_a_member_that_takes_every_place_of_a_guest_keeps_no_other_out(
    world: Any, start_node: Any, refused: Any
) -> None:
    names = [("delta", f"x{number}") for number in range(GUESTS_MAX)] + [
        ("gamma", "late"),
        ("gamma", "later"),
    ]
    async with start_node("alpha") as node, AsyncExitStack() as channels:
        calls = []
        for member, name in names:
            channel = node.channel(world.issue(member, "node", name), port=node.servers.peer_port)
            calls.append(await open_stream(node, await channels.enter_async_context(channel)))
        endings = []
        for call in calls[GUESTS_MAX - 2 : GUESTS_MAX]:
            with refused() as refusal:
                await call.read()
            endings.append((refusal.code, refusal.reason))
        for call, text in ((calls[0], b"of the first"), (calls[-1], b"of the last")):
            await call.write(peer_pb2.PeerFrame(messages=[text]))
        await node.inbox.wait_for(2)
        connected = list(node.transport.connected())
        for call in calls:
            call.cancel()
    assert endings == [("UNAVAILABLE", "GUESTS_FULL")] * 2
    assert sorted(node.inbox.messages) == [("delta/x0", b"of the first"), ("gamma/later", b"of the last")]
    assert connected == [f"{member}/{name}" for member, name in (*names[: GUESTS_MAX - 2], *names[-2:])]
