"""The hands of the demo: submit for members, expect what should happen, read balances.

Each member acts through a client of its own node, with its own certificate and key; a transaction that
several members must sign is signed by each of their keys.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, Self

from tanpo.cli.demo.journal import Journal, Step, check, run_all
from tanpo.cli.networks import Network
from tanpo.client import AsyncClient, Committed, CommittedBlock, FileSigner, NodeStatus, load_profile
from tanpo.ledger.transaction import Call, Envelope
from tanpo.ledger.values import Value

STATUS_S: Final = 20.0
"""How long a node may take to say how it is: a moment, unless its machine is busy with others."""
LAG_S: Final = 60.0
"""How long a node may take to execute what another one has."""
LAG_POLL_S: Final = 0.01
VALID_FOR_S: Final = 600.0
"""How long the swaps of the stream, signed ahead, may be committed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What an account has of an instrument, in the smallest unit."""

    free: int
    locked: int
    pledged_out: int
    pledged_in: int

    @property
    def held(self) -> int:
        """All that the account owns."""
        return self.free + self.locked + self.pledged_out


class Desk:
    """The clients and keys of all members of a local network. Without a journal nobody hears of its steps."""

    def __init__(self, network: Network, journal: Journal | None = None) -> None:
        self.network = network
        self.journal = Journal() if journal is None else journal
        self.clients: dict[str, AsyncClient] = {}
        self._probes: dict[str, AsyncClient] = {}
        self._signers: dict[str, FileSigner] = {}
        self._height = 0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for member in self.network.members:
            files = self.network.folder.get_member(member)
            config = load_profile(files.profile)
            self.clients[member] = await self._stack.enter_async_context(AsyncClient(config))
            # One address only: a status must be that node's own, never another's that stood in for it.
            alone = replace(config, addresses=config.addresses[:1], deadline_s=STATUS_S)
            self._probes[member] = await self._stack.enter_async_context(AsyncClient(alone))
            self._signers[member] = FileSigner.load(files.transaction_key)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def settle(self, name: str, call: Call, signers: Sequence[str]) -> Committed:
        """Submit a transaction and expect it to succeed; the first signer submits it."""
        committed, latency_ms = await self._submit(call, signers)
        receipt = committed.receipt
        check(
            receipt.succeeded,
            f"{name!r} failed with {receipt.code}",
            value=dict(receipt.details),
            limit="success",
        )
        self.note(name, committed, latency_ms, is_swap=call.contract == "settlement")
        return committed

    async def refuse(
        self, name: str, call: Call, signers: Sequence[str], *, code: str, details: Mapping[str, Value]
    ) -> Committed:
        """Submit a transaction and expect its contract to refuse it, for the reason and details given."""
        committed, latency_ms = await self._submit(call, signers)
        receipt = committed.receipt
        found = dict(receipt.details)
        check(not receipt.succeeded, f"{name!r} was not refused", value="success", limit=code)
        check(
            receipt.code == code, f"{name!r} was refused for another reason", value=receipt.code, limit=code
        )
        for key, value in details.items():
            check(
                found.get(key) == value, f"the receipt names another {key}", value=found.get(key), limit=value
            )
        self.note(name, committed, latency_ms)
        return committed

    async def ask(self, contract: str, view: str, /, **arguments: Value) -> Any:
        """Return the value of a view on a state that has all that was submitted here.

        The node asked may be a block behind the one that answered a submission; then it is asked again.
        """
        client = next(iter(self.clients.values()))
        deadline = time.monotonic() + LAG_S
        while (answer := await client.query(contract, view, **arguments)).height < self._height:
            check(time.monotonic() < deadline, "a node lags", value=answer.height, limit=self._height)
            await asyncio.sleep(LAG_POLL_S)
        return answer.value

    def saw(self, committed: Committed) -> None:
        """Note an outcome: what is asked from now on is about a state that has it."""
        self._height = max(self._height, committed.height)

    async def get_position(self, account: str, instrument: str) -> Position:
        """Return what an account has of an instrument."""
        return Position(**await self.ask("instruments", "position", account=account, instrument=instrument))

    async def read_status(self, member: str) -> NodeStatus:
        """Return what a member's own node says of itself."""
        return await self._probes[member].network.status()

    async def read_blocks(self, height: int) -> list[CommittedBlock]:
        """Return the block at a height from each member's own node, its commit proof verified."""
        return await run_all(probe.chain.block(height) for probe in self._probes.values())

    def sign(
        self, call: Call, signers: Sequence[str], *, request_id: str, valid_for_s: float = VALID_FOR_S
    ) -> Envelope:
        """Return a call built in the name of the first signer and signed by all."""
        client = self.clients[signers[0]]
        parties = [self._signers[member] for member in signers]
        draft = client.build(
            call, signers=[one.key_id for one in parties], request_id=request_id, valid_for_s=valid_for_s
        )
        return draft.seal(draft.sign(one) for one in parties)

    async def _submit(self, call: Call, signers: Sequence[str]) -> tuple[Committed, float]:
        started = time.perf_counter()
        committed = await self.clients[signers[0]].submit(
            call, signers=[self._signers[member] for member in signers]
        )
        self.saw(committed)
        return committed, (time.perf_counter() - started) * 1000

    def note(self, name: str, committed: Committed, latency_ms: float, *, is_swap: bool = False) -> None:
        """Note a transaction as a step."""
        self.journal.add(
            Step(
                chapter=self.journal.chapter,
                name=name,
                tx_id=committed.tx_id,
                status="committed" if committed.succeeded else "refused",
                latency_ms=latency_ms,
                height=committed.height,
                is_swap=is_swap,
            )
        )
