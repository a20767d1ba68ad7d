"""Cost of a snapshot, from the pairs of one state to the same state in another ledger, as one JSON object.

    python bench/snapshot.py [--keys 100000]

`make` is cutting the chunks, which a node does in the background in short steps; `serve` is reading each of
them from disk for others; `verify` and `insert` are what a node does that joins, and `open` is its first
start after. The network is left out. Times are of the processor and by the clock; a machine with other work
has the second longer.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from measuring import print_figures
from tanpo.ledger.types import BlockHash, Height, MerkleRoot, NetworkId
from tanpo.storage import LedgerStore, StoredBlock
from tanpo.storage.ledger_store import freeze
from tanpo.storage.manifest import ChunkPlace, Manifest
from tanpo.storage.snapshot_building import JOINING_NAME, Arrival, SnapshotBuilder
from tanpo.storage.snapshots import Draft, SnapshotStore

HASH = bytes(32)
NETWORK = NetworkId(HASH)
HEIGHT = Height(1)


@dataclass(slots=True)
class Times:
    """Seconds of each part, by the processor and by the clock, and the longest step of the background
    work."""

    processor: dict[str, float] = field(default_factory=dict)
    clock: dict[str, float] = field(default_factory=dict)
    longest_step: float = 0.0

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Add the time that the block takes to a part."""
        cpu, started = time.process_time(), time.perf_counter()
        yield
        self.processor[part] = self.processor.get(part, 0.0) + time.process_time() - cpu
        self.clock[part] = self.clock.get(part, 0.0) + time.perf_counter() - started


def open_source(folder: Path, keys: int) -> LedgerStore:
    """Return a ledger of so many keys of about the length that contract data has."""
    source = random.Random(7)
    state: dict[bytes, bytes | None] = {
        b"\x01\x00balances/%016d" % number: source.randbytes(80) for number in range(keys)
    }
    store = LedgerStore.open(folder, network_id=NETWORK)
    store.initialise(state, block_hash=BlockHash(HASH), receipts_root=MerkleRoot(HASH))
    store.close()
    return LedgerStore.open(folder, network_id=NETWORK)


def make(store: LedgerStore, snapshots: SnapshotStore, times: Times) -> Manifest:
    """Make a snapshot and return its manifest."""
    draft = Draft(height=HEIGHT, state_root=store.state_root)
    steps = snapshots.make(draft, freeze(store))
    chunks: tuple[ChunkPlace, ...] | None = None
    with times.measure("make"):
        while chunks is None:
            started = time.perf_counter()
            try:
                next(steps)
            except StopIteration as end:
                chunks = end.value
            times.longest_step = max(times.longest_step, time.perf_counter() - started)
    return snapshots.publish(draft, BlockHash(HASH), chunks, b"")


def join(target: Path, snapshots: SnapshotStore, manifest: Manifest, times: Times) -> None:
    """Build a ledger from the chunks and open it."""
    with times.measure("insert"):
        builder = SnapshotBuilder.open(target / JOINING_NAME, manifest)
    for position in builder.missing:
        with times.measure("serve"):
            encoded = snapshots.read_chunk(manifest.digest, position)
        with times.measure("verify"):
            builder.check_copy(position, encoded)
            chunk = builder.verify(position, encoded)
        with times.measure("insert"):
            builder.insert(position, chunk)
    block = StoredBlock(height=HEIGHT, block_hash=BlockHash(HASH), block=b"", proof=b"")
    with times.measure("insert"):
        builder.finish(NETWORK, Arrival(block=block, receipts_root=MerkleRoot(HASH), links=()))
    with times.measure("open"):
        LedgerStore.open(target, network_id=NETWORK).close()


def main() -> None:
    """Run the benchmark and print its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=100_000)
    keys = parser.parse_args().keys
    times = Times()
    with tempfile.TemporaryDirectory() as folder:
        store = open_source(Path(folder) / "source", keys)
        snapshots = SnapshotStore.open(Path(folder) / "snapshots")
        manifest = make(store, snapshots, times)
        store.close()
        join(Path(folder) / "target", snapshots, manifest, times)
    print_figures(
        {
            "keys": keys,
            "chunks": len(manifest.chunks),
            "chunk_bytes_per_key": round(manifest.size / keys, 1),
            "processor_us_per_key": {
                part: round(seconds / keys * 1e6, 1) for part, seconds in times.processor.items()
            },
            "clock_seconds": {part: round(seconds, 2) for part, seconds in times.clock.items()},
            "longest_step_ms": round(times.longest_step * 1e3, 1),
            "join_seconds": round(
                sum(times.clock[part] for part in ("serve", "verify", "insert", "open")), 1
            ),
        }
    )


if __name__ == "__main__":
    main()
