"""What the bench asks nodes: their status, their blocks, and why they are stalled. One client a node."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

import grpc
import grpc.aio
from tanpo.api.v1 import admin_pb2, admin_pb2_grpc
from tanpo.client import AsyncClient, ClientConfig, NodeStatus, load_profile
from tanpo.client.channel import compute_channel_options, load_credentials
from tanpo.ledger.errors import LedgerError
from tanpo.ledger.types import NetworkId
from tanpo.testing.chaos.network import ChaosNetwork

ANSWER_S: Final = 1.5
"""How long a node gets to say how it is; one that is stopped never does."""
READ_S: Final = 30.0
"""How long a block or a proof may take from a node that runs, on a busy machine."""


class Probes:
    """A client of each node that asks no other, and the operators' way in."""

    def __init__(self, network: ChaosNetwork) -> None:
        self._network = network
        self._stack = AsyncExitStack()
        self.clients: dict[str, AsyncClient] = {}
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def __aenter__(self) -> Self:
        for member in self._network.members:
            files = self._network.local.folder.get_member(member)
            config = load_profile(files.profile)
            alone = replace(config, addresses=config.addresses[:1], deadline_s=READ_S)
            self.clients[member] = await self._stack.enter_async_context(AsyncClient(alone))
            operator = load_profile(files.operator_profile)
            self._channels[member] = await self._stack.enter_async_context(_dial(operator))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    @property
    def network_id(self) -> NetworkId:
        """The network's id."""
        return next(iter(self.clients.values())).config.network_id

    async def find_status(self, member: str) -> NodeStatus | None:
        """Return what a node says of itself, None when it does not answer."""
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self.clients[member].network.status()
        except (LedgerError, TimeoutError):
            return None

    async def read_statuses(self, members: Sequence[str] = ()) -> Mapping[str, NodeStatus]:
        """Return the status of every node that answers, of all by default."""
        members = members or self._network.members
        found = await asyncio.gather(*(self.find_status(member) for member in members))
        return {member: status for member, status in zip(members, found, strict=True) if status is not None}

    async def why_stalled(self, member: str) -> tuple[str, ...]:
        """Return a node's reasons why nothing moves; none when all is well or it does not answer."""
        stub = admin_pb2_grpc.AdminStub(self._channels[member])
        try:
            answer = await stub.WhyStalled(admin_pb2.WhyStalledRequest(), timeout=ANSWER_S)
        except grpc.RpcError:
            return ()
        return tuple(answer.reasons)


def _dial(config: ClientConfig) -> grpc.aio.Channel:
    return grpc.aio.secure_channel(
        config.addresses[0],
        load_credentials(config.identity),
        options=compute_channel_options(config.identity),
    )
