"""Whom a running node lets in, and whom it dials, when members come, go, and take another CA."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import grpc.aio
import pytest
from tanpo.api.v1 import ledger_pb2, ledger_pb2_grpc, network_pb2, network_pb2_grpc
from tanpo.ledger.membership import MemberAuthority, Registration, list_genesis_members
from tanpo.ledger.types import MemberId
from tanpo.node.identity import Role
from tanpo.node.pki import create_authority, issue_certificate

TIMEOUT_S = 60


def drop(world: Any, member: str) -> list[Registration]:
    return [one for one in list_genesis_members(world.genesis) if one.member != member]


async def ask(channel: grpc.aio.Channel) -> Any:
    """Ask for the members; the connection is made if there is none."""
    stub: Any = network_pb2_grpc.NetworkStub(channel)
    return await stub.GetMembers(network_pb2.GetMembersRequest(), timeout=TIMEOUT_S)


async def test_a_dismissed_member_is_refused_at_once_and_its_streams_end(
    start_node: Any, world: Any, refused: Any
) -> None:
    async with start_node("alpha", clients=("alpha", "beta")) as node:
        async with node.channel(world.issue("beta", "client")) as channel:
            await ask(channel)
            stub: Any = ledger_pb2_grpc.LedgerStub(channel)
            stream = stub.StreamEvents(ledger_pb2.StreamEventsRequest())
            reading = asyncio.ensure_future(stream.read())
            await asyncio.sleep(0)
            node.authorities.replace(drop(world, "beta"))
            node.servers.end_unwelcome()
            with refused() as refusal:
                await ask(channel)
            assert refusal.reason == "CALLER_UNKNOWN"
            async with asyncio.timeout(TIMEOUT_S):
                await stream.code()
            reading.cancel()
        async with node.channel(world.issue("beta", "client")) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await ask(channel)
        async with node.channel(world.issue("alpha", "client")) as channel:
            await ask(channel)


async def test_a_member_that_was_admitted_is_let_in_and_the_old_ca_and_the_new_one_overlap(
    start_node: Any, world: Any
) -> None:
    old, new = (create_authority(MemberId("fund"), "testnet") for _ in range(2))
    fund = replace(list_genesis_members(world.genesis)[0], member=MemberId("fund"), authorities=())
    certificates = [issue_certificate(one, Role.CLIENT, "desk") for one in (old, new)]
    members = list_genesis_members(world.genesis)

    async def find_welcome() -> list[bool]:
        found = []
        for certificate in certificates:
            async with node.channel(certificate) as channel:
                try:
                    await ask(channel)
                except grpc.aio.AioRpcError:
                    found.append(False)
                else:
                    found.append(True)
        return found

    async with start_node("alpha", clients=("alpha", "fund")) as node:
        assert await find_welcome() == [False, False]
        for authorities, welcome in (
            ((old,), [True, False]),
            ((old, new), [True, True]),
            ((new,), [False, True]),
        ):
            held = tuple(MemberAuthority(certificate=one.certificate_pem, added=1) for one in authorities)
            node.authorities.replace([*members, replace(fund, authorities=held)])
            assert await find_welcome() == welcome


async def test_a_node_dials_whom_the_members_admit_and_lets_go_whom_they_dismiss(
    start_node: Any, dial: Any, wait_until: Any
) -> None:
    async with (
        start_node("beta") as beta,
        start_node("alpha") as alpha,
    ):
        await alpha.transport.dialled.follow([dial(beta.servers.peer_port, to="beta", by="alpha")])
        await wait_until(lambda: "beta/n1" in alpha.transport.connected())
        alpha.transport.send("beta/n1", b"hello")
        await beta.inbox.wait_for(1)
        await alpha.transport.dialled.follow([])
        assert "beta/n1" not in alpha.transport.connected()
        await wait_until(lambda: not beta.transport.connected())


async def test_a_link_goes_over_to_the_other_ca_of_a_peer(
    start_node: Any, dial: Any, world: Any, wait_until: Any
) -> None:
    other = create_authority(MemberId("beta"), "testnet")
    async with start_node("beta") as beta, start_node("alpha") as alpha:
        port = beta.servers.peer_port
        await alpha.transport.dialled.follow([dial(port, to="beta", by="alpha", authority=other)])
        await wait_until(lambda: alpha.transport.peers()[0].last_error)
        await alpha.transport.dialled.follow([dial(port, to="beta", by="alpha")])
        await wait_until(lambda: "beta/n1" in alpha.transport.connected())


async def test_what_is_no_ca_is_passed_over(start_node: Any, world: Any) -> None:
    members = [
        replace(one, authorities=(MemberAuthority(certificate=b"none", added=0), *one.authorities))
        if one.member == "beta"
        else one
        for one in list_genesis_members(world.genesis)
    ]
    async with start_node("alpha", clients=("alpha", "beta")) as node:
        node.authorities.replace(members)
        for member in ("alpha", "beta"):
            async with node.channel(world.issue(member, "client")) as channel:
                await ask(channel)
