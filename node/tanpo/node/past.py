"""Views on the state of a past height, with the contracts that were in force then."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import Final

from tanpo.ledger.block import decode_block
from tanpo.ledger.receipt import Receipt
from tanpo.ledger.transaction import Call
from tanpo.ledger.types import BlockHash, Height
from tanpo.node.contract_sets import Programs
from tanpo.node.running import Scene
from tanpo.node.versions import InstalledContracts, list_versions
from tanpo.node.views import Views
from tanpo.storage import LedgerStore, PastState

SETS_KEPT_MAX: Final = 4
"""Sets of contracts that are no longer in force, kept for the next view that asks for one."""


class PastViews:
    """Runs views as they would have run when a height was the latest."""

    def __init__(self, store: LedgerStore, views: Views, programs: Programs) -> None:
        self._store = store
        self._views = views
        self._programs = programs
        self._sets: dict[tuple[tuple[str, int], ...], InstalledContracts] = {}
        self._lock = asyncio.Lock()

    async def run(self, call: Call, height: Height, current: InstalledContracts) -> Receipt:
        """Return what a view returns on the state after the block of a height, as a receipt.

        Raises:
            UsageError: the height is not there yet, or has left the window, perhaps meanwhile.
            TransactionRejected: there was no such view then, or it took other arguments.
            Unavailable: it could not be run now.
        """
        past = self._store.history.at(height)
        contracts = await self._find_contracts(past, height, current)
        contracts.machine.check_view(call)
        stored = self._store.read_block(height)
        # A name of its own: what a worker knows of this state it must not take for the latest.
        name = BlockHash(sha256(b"as it was after" + stored.block_hash).digest())
        scene = Scene(
            block_hash=name,
            parent_hash=name,
            committed_hash=name,
            height=height,
            time_ms=decode_block(stored.block).header.time_ms,
            contracts=contracts.sources,
            state=past,
        )
        receipt = await self._views.run_scene(call, scene)
        past.check()
        return receipt

    async def _find_contracts(
        self, past: PastState, height: Height, current: InstalledContracts
    ) -> InstalledContracts:
        if all(version.height <= height for version in current.versions.values()):
            return current
        async with self._lock:
            versions = list_versions(past)
            past.check()
            key = tuple((version.name, version.version) for version in versions)
            if key not in self._sets:
                contracts = InstalledContracts()
                for version in versions:
                    # A source of 64 KiB takes half a second: in a thread, as when it was proposed.
                    compiled = await asyncio.to_thread(
                        self._programs.compile_source,
                        version.source,
                        name=version.name,
                        interfaces=contracts.list_interfaces(version.name),
                    )
                    contracts = contracts.replace(version, compiled)
                while len(self._sets) >= SETS_KEPT_MAX:
                    del self._sets[next(iter(self._sets))]
                self._sets[key] = contracts
            return self._sets[key]
