"""Bytes that a node takes as an archive and pruned, and what pruning costs, as one JSON object.

    python bench/retention.py [--blocks 600] [--transactions 100] [--kept 100]

The same blocks are committed twice, with transactions, receipts and positions of about the size that swaps
have. The second time those before the last `--kept` are pruned beside them, as a node does it: `hold` is how
long nothing else got its turn, by the processor and by the clock, and `write_ms_mean` is of the writes, syncs
included.
The state is left small: it is the same for both. Bytes are those of the files after a restart.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from measuring import print_figures
from tanpo.ledger.block import (
    EMPTY_ROOT,
    Block,
    BlockFlags,
    Header,
    compute_body_hash,
    compute_tx_root,
    encode_block,
)
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.transaction import Call, Envelope, build_transaction, sign_envelope
from tanpo.ledger.types import (
    BlockHash,
    Epoch,
    Height,
    MemberId,
    MerkleRoot,
    NetworkId,
    StateRoot,
    Term,
    ValidatorIndex,
)
from tanpo.node.finality import EpochSteps
from tanpo.node.metrics import Metrics
from tanpo.node.retention import Retention, RetentionPolicy
from tanpo.storage import BlockCommit, LedgerStore, StoredBlock
from tanpo.storage.files import measure_folder

NETWORK = NetworkId(sha256(b"bench").digest())
KEY = PrivateKey.generate()
SEGMENT_BYTES = 1 << 20
PROOF = bytes(600)
MEMBERS = ("trust-bank", "custody-bank", "dealer-a")
FAR = 1 << 30
"""The height of a snapshot that is always recent enough."""


@dataclass
class Costs:
    """Seconds of committing and pruning, and how long the loop was held at most while pruning."""

    commit: float = 0.0
    prune: float = 0.0
    holds: list[tuple[float, float]] = field(default_factory=list)


def make_envelope(number: int) -> Envelope:
    """Return a signed transaction of about 400 bytes."""
    transaction = build_transaction(
        network_id=NETWORK,
        member=MemberId(MEMBERS[0]),
        request_id=f"request-{number}",
        valid_until_ms=1_800_000_000_000,
        gas_limit=100_000,
        signers=[KEY.key_id],
        call=Call.create("settlement", "swap", {"terms": "x" * 120, "number": number}),
    )
    return sign_envelope(NETWORK, [transaction], [KEY])


def make_block(height: int, envelopes: list[Envelope]) -> Block:
    """Return a block of these transactions; its roots are made up."""
    encoded = [envelope.encoded for envelope in envelopes]
    tx_ids = [transaction.tx_id for envelope in envelopes for transaction in envelope.transactions]
    header = Header(
        network_id=NETWORK,
        epoch=Epoch(0),
        term=Term(1),
        height=Height(height),
        parent_hash=BlockHash(bytes(32)),
        parent_term=Term(1),
        time_ms=1_700_000_000_000 + height,
        proposer=ValidatorIndex(0),
        tx_root=compute_tx_root(tx_ids),
        tx_count=len(tx_ids),
        body_hash=compute_body_hash(encoded),
        state_root=StateRoot(bytes(32)),
        receipts_root=MerkleRoot(bytes(32)),
        valset_hash=bytes(32),
        next_valset_hash=bytes(32),
        flags=BlockFlags.NONE,
        evidence_root=EMPTY_ROOT,
    )
    return Block.create(header, encoded)


def make_blocks(blocks: int, transactions: int) -> Iterator[tuple[Block, list[Envelope]]]:
    """Yield the blocks of the chain."""
    for height in range(1, blocks + 1):
        envelopes = [make_envelope(height * transactions + index) for index in range(transactions)]
        yield make_block(height, envelopes), envelopes


def commit(store: LedgerStore, block: Block, envelopes: list[Envelope]) -> None:
    """Store and commit a block, as an execution does."""
    height, transactions = block.header.height, [envelope.transactions[0] for envelope in envelopes]
    source = random.Random(height)
    receipts = tuple(source.randbytes(400) for _ in transactions)
    changes: dict[bytes, bytes | None] = {
        b"balance %d" % (height * 7 + number & 255): receipts[0][:80] for number in range(50)
    }
    store.append_block(
        StoredBlock(height=height, block_hash=block.block_hash, block=encode_block(block), proof=PROOF)
    )
    store.commit(
        BlockCommit(
            height=height,
            block_hash=block.block_hash,
            changes=changes,
            plan=store.tree.begin(height, changes),
            receipts=receipts,
            receipts_root=MerkleRoot(bytes(32)),
            tx_ids=tuple(transaction.tx_id for transaction in transactions),
            request_digests=tuple(transaction.request_digest for transaction in transactions),
            parties=tuple(MEMBERS for _ in transactions),
        )
    )


async def prune(retention: Retention, costs: Costs) -> None:
    """Prune what may go, and note for how long nobody else got a turn."""
    work = asyncio.ensure_future(retention.prune())
    started = time.perf_counter()
    while not work.done():
        turn, used = time.perf_counter(), time.thread_time()
        await asyncio.sleep(0)
        costs.holds.append((time.thread_time() - used, time.perf_counter() - turn))
    costs.prune += time.perf_counter() - started
    work.result()


def run(
    folder: Path, policy: RetentionPolicy, blocks: int, transactions: int
) -> tuple[Costs, dict[str, Any]]:
    """Commit the chain in a folder under a policy. Return what it cost, and what it left on the disk."""
    costs, metrics = Costs(), Metrics()

    def open_store() -> LedgerStore:
        return LedgerStore.open(
            folder, network_id=NETWORK, window=policy.state_window, segment_bytes=SEGMENT_BYTES
        )

    store = open_store()
    store.initialise({}, block_hash=BlockHash(NETWORK), receipts_root=EMPTY_ROOT)
    retention = Retention(
        store=store,
        data_dir=folder,
        network_id=NETWORK,
        policy=policy,
        find_needed=lambda: Height(FAR),
        steps=EpochSteps(store, lambda _epoch: None),
        metrics=metrics,
    )
    with asyncio.Runner() as runner:
        for block, envelopes in make_blocks(blocks, transactions):
            started = time.process_time()
            commit(store, block, envelopes)
            costs.commit += time.process_time() - started
            runner.run(prune(retention, costs))
    first = retention.first_height
    store.close()
    open_store().close()
    left = {
        "first_height": first,
        "blocks_bytes": measure_folder(folder / "blocks"),
        "state_bytes": measure_folder(folder / "state"),
    }
    return costs, left | {"writes": _count_writes(metrics)}


def _count_writes(metrics: Metrics) -> dict[str, float]:
    found = {
        sample.name.removeprefix("tanpo_prune_seconds_"): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name in ("tanpo_prune_seconds_sum", "tanpo_prune_seconds_count")
    }
    return {"count": found["count"], "sum": found["sum"]}


def main() -> None:
    """Run the benchmark and print its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=600)
    parser.add_argument("--transactions", type=int, default=100)
    parser.add_argument("--kept", type=int, default=100)
    given = parser.parse_args()
    # As a node does: a collection of everything would be taken for pruning.
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    with tempfile.TemporaryDirectory() as folder:
        work = (given.blocks, given.transactions)
        archive_policy = RetentionPolicy(state_window=50)
        archive_costs, archive = run(Path(folder) / "archive", archive_policy, *work)
        pruned_policy = RetentionPolicy(blocks=given.kept, state_window=50)
        costs, pruned = run(Path(folder) / "pruned", pruned_policy, *work)
    writes = pruned.pop("writes")
    archive.pop("writes")
    gone = max(1, pruned["first_height"] - 1)
    print_figures(
        {
            "blocks": given.blocks,
            "transactions_per_block": given.transactions,
            "kept_blocks": given.kept,
            "archive": archive,
            "pruned": pruned,
            "archive_bytes_per_transaction": round(
                (archive["blocks_bytes"] + archive["state_bytes"]) / given.blocks / given.transactions
            ),
            "commit_processor_ms_per_block": {
                "archive": round(archive_costs.commit / given.blocks * 1e3, 2),
                "pruned": round(costs.commit / given.blocks * 1e3, 2),
            },
            "prune_clock_ms_per_pruned_block": round(costs.prune / gone * 1e3, 2),
            "write_ms_mean": round(writes["sum"] / max(1, writes["count"]) * 1e3, 2),
            "writes": int(writes["count"]),
            "longest_hold_processor_ms": round(max(used for used, _ in costs.holds) * 1e3, 1),
            "longest_hold_clock_ms": round(max(clock for _, clock in costs.holds) * 1e3, 1),
        }
    )


if __name__ == "__main__":
    main()
