"""Compiles sources while their proposals are open, so that the block that agrees one does not wait for it.

A source of 64 KiB takes half a second. It is compiled in a thread, which holds the loop up for milliseconds
at a time; proposals are rare, and one is compiled at once. Nothing depends on it but time: a source that was
not prepared is compiled in the block, with the same result.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, cast

from tanpo.ledger.errors import Unavailable
from tanpo.ledger.plans import CONTRACTS_CONTRACT, join_source, plan_from_value
from tanpo.ledger.transaction import Call
from tanpo.ledger.values import Value
from tanpo.node.contract_sets import SOURCES_KEPT_MAX
from tanpo.node.execution import ExecutedBlock, Execution
from tanpo.vm import ContractRefused

WAITING_MAX: Final = SOURCES_KEPT_MAX // 2
"""Proposals that wait to be compiled; beyond it the oldest are left to their block."""


class Preparation:
    """Hears of committed blocks, and compiles what they brought."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._waiting: deque[int] = deque(maxlen=WAITING_MAX)
        self._has_work = asyncio.Event()

    def notice(self, executed: ExecutedBlock) -> None:
        """Hear of a block that was committed."""
        for transaction in executed.decoded.transactions:
            call = transaction.call
            number = dict(call.arguments).get("number") if call.entry == "deliver" else None
            if call.contract == CONTRACTS_CONTRACT and type(number) is int and number not in self._waiting:
                self._waiting.append(number)
                self._has_work.set()

    async def run(self) -> None:
        """Compile what comes, until cancelled."""
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            await self.compile_waiting()

    async def compile_waiting(self) -> None:
        """Compile what waits."""
        while self._waiting:
            await self._prepare(self._waiting.popleft())

    async def _prepare(self, number: int) -> None:
        found, parts = await self._ask("proposal", number), await self._ask("source", number)
        if found is None or parts is None:
            return
        plan, source = plan_from_value(cast("dict[str, Value]", found)["plan"]), join_source(parts)
        if len(source) != plan.source_bytes:
            return
        interfaces = self._execution.contracts.list_interfaces(plan.contract)
        programs = self._execution.programs
        try:
            await asyncio.to_thread(
                programs.compile_source, source.decode("latin-1"), name=plan.contract, interfaces=interfaces
            )
        except ContractRefused:
            return  # It is refused when it is agreed, where everybody can read why.

    async def _ask(self, view: str, number: int) -> Value | None:
        call = Call.create(CONTRACTS_CONTRACT, view, {"number": number})
        try:
            receipt = await self._execution.view(call, time_ms=self._execution.tip_time_ms)
        except Unavailable:
            return None  # It is compiled in its block.
        return receipt.value if receipt.succeeded else None
