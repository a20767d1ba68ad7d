"""Writes a ledger and a validator's promises, block by block, and says on stdout what it reported durable.

Now and then it takes a snapshot and forgets the blocks that none needs any more, as a pruned node does.

`python writer.py FOLDER`; with `--check HEIGHT` it checks instead that all up to there is on disk, and writes
the rest. All that it writes is a function of the height. The exit code is a node's: 0 when all is written, 4
and 5 for errors of the disk.
"""

from __future__ import annotations

import os
import random
import sys
from hashlib import sha256
from pathlib import Path

from tanpo.ledger.errors import CorruptState, LedgerError, Reason
from tanpo.ledger.statechunk import verify_chunk
from tanpo.ledger.statekey import path_of
from tanpo.ledger.types import BlockHash, Height, MerkleRoot, NetworkId, TxId
from tanpo.storage import BlockCommit, LedgerStore, SafetyStore, SafetyWrite, StoredBlock, audit
from tanpo.storage.kept import SNAPSHOTS_NAME, KeptSnapshot, list_kept
from tanpo.storage.layout import BLOCKS_NAME
from tanpo.storage.ledger_store import freeze
from tanpo.storage.pruning import Passing
from tanpo.storage.segments import read_first
from tanpo.storage.snapshots import Draft, SnapshotStore

NETWORK = NetworkId(sha256(b"network").digest())
BLOCKS = 32
VALUE_BYTES = int(os.environ.get("FAULT_VALUE_BYTES", "300000"))
"""By default so much that LevelDB's log becomes a table twice, and the segments are several."""
SEGMENT_BYTES = 7 * VALUE_BYTES
LOG_FILE_BYTES = 2_000
"""So little that the log of the tree opens files and removes them, and old records are lifted."""
SNAPSHOT_EVERY = 4


def name_keys(kind: bytes, digits: tuple[int, ...], count: int) -> list[bytes]:
    """Return keys whose paths begin with these digits, as many of each."""
    names = [kind + b" %d" % number for number in range(100)]
    found = [[name for name in names if path_of(name)[0] >> 6 == digit] for digit in digits]
    return [name for group in found for name in group[:count]]


LARGE = name_keys(b"large", (0, 1, 2), 2)
HOT = name_keys(b"hot", (0, 1, 2), 1)
COLD = name_keys(b"cold", (3,), 3)
"""Three of the root's four buckets change with every block, and one never does: it has to be lifted."""


def make_block(height: int) -> StoredBlock:
    """Return the block of a height."""
    return StoredBlock(
        height=Height(height),
        block_hash=BlockHash(sha256(b"block %d" % height).digest()),
        block=random.Random(height).randbytes(VALUE_BYTES // 2),
        proof=b"proof %d" % height,
    )


def make_changes(height: int) -> dict[bytes, bytes | None]:
    """Return what a block changes."""
    source = random.Random(-height)
    large = source.randbytes(VALUE_BYTES)
    changes: dict[bytes, bytes | None] = {LARGE[height % len(LARGE)]: large}
    changes.update(dict.fromkeys(HOT, b"value %d" % height))
    if height == 1:
        changes.update(dict.fromkeys(COLD, b"value of the first block"))
    return changes


def make_record(height: int) -> bytes:
    """Return what a validator remembers at a height."""
    return b"record %d" % height


def open_ledger(folder: Path) -> LedgerStore:
    """Open the ledger, and begin it if it is new."""
    store = LedgerStore.open(
        folder / "data",
        network_id=NETWORK,
        window=5,
        segment_bytes=SEGMENT_BYTES,
        log_file_bytes=LOG_FILE_BYTES,
    )
    if not store.is_initialised:
        store.initialise({}, block_hash=BlockHash(NETWORK), receipts_root=MerkleRoot(bytes(32)))
    return store


def open_promises(folder: Path) -> SafetyStore:
    """Open the promises, and make them if there are none."""
    path = folder / "data" / "consensus"
    if not SafetyStore.is_present(path):
        SafetyStore.create(path)
    return SafetyStore.open(path)


def write_block(folder: Path, store: LedgerStore, promises: SafetyStore, height: int) -> None:
    """Promise, append and apply one block, and take a snapshot if it is time."""
    block, changes = make_block(height), make_changes(height)
    promises.save(SafetyWrite(record=make_record(height), blocks={block.block_hash: b"body"}))
    if height > store.segment_height:
        store.append_block(block)
    if height > store.executed_height:
        apply_block(store, height, changes)
    if height % SNAPSHOT_EVERY == 0:
        needed = take_snapshot(store, folder)
        if needed > store.beginning.height:
            forget(store, needed)


def take_snapshot(store: LedgerStore, folder: Path) -> Height:
    """Offer the state as it is, and return above which height blocks are needed."""
    snapshots = SnapshotStore.open(folder / "data" / SNAPSHOTS_NAME, chunk_bytes=VALUE_BYTES)
    draft = Draft(height=store.executed_height, state_root=store.state_root)
    steps = snapshots.make(draft, freeze(store))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            chunks = end.value
            break
    require(chunks is not None, f"snapshot {draft.height}")
    snapshots.sync()
    snapshots.publish(draft, make_block(draft.height).block_hash, chunks, b"proof")
    return snapshots.needed


def forget(store: LedgerStore, height: Height) -> None:
    """Begin with a later block."""
    gone = range(store.beginning.height + 1, height + 1)
    store.pruner.advance(
        Passing(
            height=height,
            tx_ids=[make_tx_id(number) for number in gone],
            request_digests=[make_digest(number) for number in gone],
        )
    )


def make_tx_id(height: int) -> TxId:
    """Return the id of a block's transaction."""
    return TxId(sha256(b"tx %d" % height).digest())


def make_digest(height: int) -> bytes:
    """Return the digest of a block's request."""
    return sha256(b"request %d" % height).digest()


def apply_block(store: LedgerStore, height: int, changes: dict[bytes, bytes | None]) -> None:
    """Apply a block that is in the segments."""
    store.commit(
        BlockCommit(
            height=Height(height),
            block_hash=make_block(height).block_hash,
            changes=changes,
            plan=store.tree.begin(Height(height), changes),
            receipts=(b"receipt %d" % height,),
            receipts_root=MerkleRoot(bytes(32)),
            tx_ids=(make_tx_id(height),),
            request_digests=(make_digest(height),),
            parties=(("member",),),
        )
    )


def write_all(folder: Path) -> None:
    """Write all blocks, and start again half-way, as after a restart."""
    for first, last in ((1, BLOCKS // 2), (BLOCKS // 2 + 1, BLOCKS)):
        store, promises = open_ledger(folder), open_promises(folder)
        for height in range(first, last + 1):
            write_block(folder, store, promises, height)
            sys.stdout.write(f"{height}\n")
            sys.stdout.flush()
        promises.close()
        store.close()


def check(folder: Path, acknowledged: int) -> None:
    """Raise unless all that was reported durable is there, nothing else is, and writing goes on."""
    check_origin(folder / "data")
    store, promises = open_ledger(folder), open_promises(folder)
    if acknowledged:
        reached = int((promises.load().record or b"record 0").removeprefix(b"record "))
        require(acknowledged <= reached <= acknowledged + 1, f"promised {reached}")
    require(acknowledged <= store.segment_height <= acknowledged + 1, f"blocks to {store.segment_height}")
    require(store.executed_height >= 0, f"executed {store.executed_height}")
    begun = store.beginning.height
    for height in range(max(1, begun), store.segment_height + 1):
        require(store.read_block(Height(height)) == make_block(height), f"block {height}")
    for height in range(store.executed_height + 1, store.segment_height + 1):
        apply_block(store, height, make_changes(height))
    for height in range(begun + 1, store.executed_height + 1):
        require(store.get_receipts(Height(height)) == (b"receipt %d" % height,), f"receipts {height}")
    audit(store)
    for key, value in make_changes(store.executed_height).items() if store.executed_height else ():
        require(store.get(key) == value, f"value of {key!r}")
    for height in range(store.segment_height + 1, BLOCKS + 1):
        write_block(folder, store, promises, height)
    promises.close()
    store.close()


def check_origin(data: Path) -> None:
    """Raise unless the state can be made anew from what is on disk: from genesis, or from a snapshot.

    LevelDB is not looked at: it may be what the crash damaged.
    """
    first = read_first(data / BLOCKS_NAME)
    kept = list_kept(data / SNAPSHOTS_NAME)
    whole = [one.manifest.height for one in kept if is_whole(one)]
    require(
        first == 1 or any(height >= first for height in whole), f"blocks from {first} on, snapshots {whole}"
    )


def is_whole(kept: KeptSnapshot) -> bool:
    """Return whether every chunk of a snapshot is there and true."""
    try:
        for position, place in enumerate(kept.manifest.chunks):
            verify_chunk(kept.read_chunk(position), kept.manifest.state_root, place.start)
    except LedgerError:
        return False
    return True


def require(condition: bool, what: str) -> None:
    """Raise unless the condition holds."""
    if not condition:
        raise SystemExit(f"not what was reported durable: {what}")


def main() -> int:
    """Write or check; return what a node's exit code would be."""
    try:
        if sys.argv[2:3] == ["--check"]:
            check(Path(sys.argv[1]), int(sys.argv[3]))
        else:
            write_all(Path(sys.argv[1]))
    except LedgerError as error:
        sys.stderr.write(f"{error.reason} {error}\n")
        if error.reason is Reason.DISK_FULL:
            return 5
        return 4 if isinstance(error, CorruptState) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
