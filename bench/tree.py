"""Cost of the state tree per touched key, as one JSON object on stdout.

    python bench/tree.py [--keys 100000] [--touched 1000] [--blocks 60]

The mix is that of STATE.md section 8: 90 % updates, of which 80 % go to 5 % of the keys, and 10 % inserts.
`update` is planning alone, `commit` everything else that a block costs in storage (state, tree, pruning,
one synced batch); segments and receipts are left out.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import plyvel
from tanpo.ledger.types import BlockHash, Height, MerkleRoot, NetworkId
from tanpo.storage import BlockCommit, LedgerStore, StoredBlock

HASH = bytes(32)


@dataclass(slots=True, kw_only=True)
class Totals:
    """Seconds and keys of the measured blocks."""

    touched: int = 0
    update_seconds: float = 0.0
    append_seconds: float = 0.0
    commit_seconds: float = 0.0
    cpu_seconds: float = 0.0


def key_of(number: int) -> bytes:
    """Return a key of about the length that contract data has."""
    return b"\x01\x00balances/%016d" % number


def draw_changes(source: random.Random, keys: int, touched: int) -> dict[bytes, bytes | None]:
    """Return one block's changes, distinct keys."""
    hot = max(1, keys // 20)
    changes: dict[bytes, bytes | None] = {}
    inserts = touched // 10
    while len(changes) < touched - inserts:
        number = source.randrange(hot) if source.random() < 0.8 else source.randrange(keys)
        changes[key_of(number)] = source.randbytes(80)
    for number in range(keys, keys + inserts):
        changes[key_of(number)] = source.randbytes(80)
    return changes


def run_block(store: LedgerStore, height: int, changes: dict[bytes, bytes | None], totals: Totals) -> None:
    """Execute one block in the store and add its times."""
    cpu = time.process_time()
    started = time.perf_counter()
    plan = store.tree.begin(Height(height), changes)
    planned = time.perf_counter()
    block_hash = BlockHash(height.to_bytes(32, "big"))
    store.append_block(
        StoredBlock(height=Height(height), block_hash=block_hash, block=bytes(100_000), proof=b"")
    )
    appended = time.perf_counter()
    store.commit(
        BlockCommit(
            height=Height(height),
            block_hash=block_hash,
            changes=changes,
            plan=plan,
            receipts=(),
            receipts_root=MerkleRoot(HASH),
            tx_ids=(),
            request_digests=(),
            parties=(),
        )
    )
    totals.touched += len(changes)
    totals.update_seconds += planned - started
    totals.append_seconds += appended - planned
    totals.commit_seconds += time.perf_counter() - appended
    totals.cpu_seconds += time.process_time() - cpu


def main() -> None:
    """Run the benchmark and print its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--touched", type=int, default=1_000)
    parser.add_argument("--blocks", type=int, default=60)
    parser.add_argument("--window", type=int, default=10)
    options = parser.parse_args()
    source = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        store = LedgerStore.open(Path(folder), network_id=NetworkId(HASH), window=options.window)
        genesis: dict[bytes, bytes | None] = {key_of(n): source.randbytes(80) for n in range(options.keys)}
        started = time.perf_counter()
        store.initialise(genesis, block_hash=BlockHash(HASH), receipts_root=MerkleRoot(HASH))
        build_seconds = time.perf_counter() - started
        totals, keys, warm_up = Totals(), options.keys, options.window + 2
        for height in range(1, options.blocks + warm_up + 1):
            if height == warm_up + 1:
                totals = Totals()
            run_block(store, height, draw_changes(source, keys, options.touched), totals)
            keys += options.touched // 10
        store.close()
    print(json.dumps(report(options, totals, build_seconds), indent=2))


def report(options: argparse.Namespace, totals: Totals, build_seconds: float) -> dict[str, object]:
    """Return the figures."""

    def per_key_us(seconds: float) -> float:
        return round(seconds / totals.touched * 1e6, 1)

    return {
        "python": platform.python_version(),
        "leveldb": plyvel.__leveldb_version__,
        "machine": platform.machine(),
        "keys": options.keys,
        "touched_per_block": options.touched,
        "blocks": options.blocks,
        "build_us_per_key": round(build_seconds / options.keys * 1e6, 1),
        "update_us_per_key": per_key_us(totals.update_seconds),
        "commit_us_per_key": per_key_us(totals.commit_seconds),
        "all_cpu_us_per_key": per_key_us(totals.cpu_seconds),
        "append_ms_per_block": round(totals.append_seconds / options.blocks * 1e3, 2),
        "commit_ms_per_block": round(totals.commit_seconds / options.blocks * 1e3, 2),
    }


if __name__ == "__main__":
    main()
