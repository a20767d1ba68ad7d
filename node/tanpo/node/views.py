"""Queries of views on the committed state, with a runner of their own: they never hold up a block."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from tanpo.ledger.receipt import Receipt, decode_receipt
from tanpo.ledger.transaction import Call
from tanpo.node.contract_sets import ContractSet
from tanpo.node.running import BlockRun, Runner, Scene, Steps, play, play_blocking
from tanpo.node.tasks import Task, TaskKind
from tanpo.storage import LedgerStore

ATTEMPTS_MAX: Final = 8
"""How often a view is begun anew because a block was committed meanwhile; then the block has to wait."""


class Views:
    """Runs views one at a time, each on one state."""

    def __init__(self, store: LedgerStore, runner: Runner) -> None:
        self._store = store
        self._runner = runner
        self._lock = asyncio.Lock()

    async def run(self, call: Call, get_contracts: Callable[[], ContractSet], time_ms: int) -> Receipt:
        """Return what a view returns on the state after the latest committed block, as a receipt.

        `get_contracts` is asked for the contracts of that state as often as a view is begun: a block may have
        put others in force.

        Raises:
            Unavailable: the worker that ran it was lost, and another one too.
        """
        async with self._lock:
            for _ in range(ATTEMPTS_MAX):
                scene = self._make_scene(get_contracts(), time_ms)
                receipt = await play(self._begin(scene, call))
                # While it waited for a worker, a block may have changed what it was about to read.
                if scene.parent_hash == self._store.executed_hash:
                    return receipt
            return play_blocking(self._begin(self._make_scene(get_contracts(), time_ms), call))

    async def run_scene(self, call: Call, scene: Scene) -> Receipt:
        """Return what a view returns in a scene that no block changes, as a receipt.

        Raises:
            Unavailable: the worker that ran it was lost, and another one too.
        """
        async with self._lock:
            return await play(self._begin(scene, call))

    def close(self) -> None:
        """End the runner."""
        self._runner.close()

    def _begin(self, scene: Scene, call: Call) -> Steps[Receipt]:
        def script(run: BlockRun) -> Steps[Receipt]:
            (encoded,) = yield from run.execute([Task.of_node(TaskKind.VIEW, call)])
            return decode_receipt(encoded)

        return self._runner.run(scene, script)

    def _make_scene(self, contracts: ContractSet, time_ms: int) -> Scene:
        tip = self._store.executed_hash
        return Scene(
            block_hash=tip,
            parent_hash=tip,
            committed_hash=tip,
            height=self._store.executed_height,
            time_ms=time_ms,
            contracts=contracts,
            state=self._store,
        )
