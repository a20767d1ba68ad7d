"""Blocks over a store, as the measurements of this folder execute and commit them."""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path

from tanpo.ledger.block import EMPTY_ROOT
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.transaction import Call, encode_call
from tanpo.ledger.types import BlockHash, Height, NetworkId, TxId
from tanpo.node.contract_sets import ContractSet
from tanpo.node.running import BlockRun, Runner, Scene, Steps, play
from tanpo.node.tasks import Task, TaskKind
from tanpo.node.worker.runner import WorkerRunner
from tanpo.storage import BlockCommit, LedgerStore, Plan, StoredBlock

TIME_MS = 1_767_225_600_001
NETWORK_ID = NetworkId(bytes(32))
GAS_LIMIT = 1_000_000
Changes = dict[bytes, bytes | None]


def open_store(folder: Path, state: Changes) -> LedgerStore:
    """Return a new store that begins with a state."""
    store = LedgerStore.open(folder, network_id=NETWORK_ID)
    store.initialise(state, block_hash=BlockHash(NETWORK_ID), receipts_root=EMPTY_ROOT)
    return store


def make_task(number: int, call: Call, members: tuple[str, ...]) -> Task:
    """Return a call as a transaction that these members signed, the first of them its sender."""
    return Task(
        kind=TaskKind.ENTRY,
        call=call,
        encoded_call=encode_call(call),
        sender=members[0],
        signers=members,
        tx_id=TxId(number.to_bytes(32, "big")),
        gas_limit=GAS_LIMIT,
    )


def make_scene(store: LedgerStore, contracts: ContractSet, name: bytes = b"") -> Scene:
    """Return the scene of the block after the latest one; blocks of the same height differ by name."""
    height = Height(store.executed_height + 1)
    return Scene(
        block_hash=BlockHash(sha256(height.to_bytes(8, "big") + name).digest()),
        parent_hash=store.executed_hash,
        committed_hash=store.executed_hash,
        height=height,
        time_ms=TIME_MS,
        contracts=contracts,
        state=store,
    )


async def run_block(runner: Runner, scene: Scene, tasks: list[Task]) -> tuple[list[bytes], Changes]:
    """Return the receipts and changes of a block."""

    def script(run: BlockRun) -> Steps[tuple[list[bytes], Changes]]:
        receipts = yield from run.execute(tasks, is_last=True)
        return receipts, (yield from run.collect())

    return await play(runner.run(scene, script))


def commit_block(
    store: LedgerStore, scene: Scene, tasks: list[Task], receipts: list[bytes], changes: Changes, plan: Plan
) -> None:
    """Make a block final."""
    store.append_block(
        StoredBlock(height=scene.height, block_hash=scene.block_hash, block=b"block", proof=b"proof")
    )
    store.commit(
        BlockCommit(
            height=scene.height,
            block_hash=scene.block_hash,
            changes=changes,
            plan=plan,
            receipts=tuple(receipts),
            receipts_root=compute_merkle_root(tuple(receipts)),
            tx_ids=tuple(task.tx_id for task in tasks),
            parties=((),) * len(tasks),
            request_digests=tuple(sha256(task.tx_id).digest() for task in tasks),
        )
    )


def read_cpu_s(runner: Runner) -> float:
    """Return the processor time of this process and of the runner's worker, if it has one."""
    pid = runner.pid if isinstance(runner, WorkerRunner) else None
    # The clock of another process, as clock_getcpuclockid(3) numbers it on Linux.
    return time.process_time() + (time.clock_gettime(~pid << 3 | 2) if pid else 0.0)
