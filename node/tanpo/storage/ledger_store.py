"""The ledger on disk: block segments, and LevelDB with state, tree, receipts and indexes.

A block is appended to the segments when it is committed and, once executed, applied: the new records of the
tree go to its log, then all else to LevelDB in one synced batch. The segments are the truth: a LevelDB that
fell behind, even to nothing, is brought up to date by executing their blocks again. Nobody may serve or sign
what a failed write was to store: after an error from a write every later call refuses, and the process must
stop.

A ledger that came from a snapshot begins with the block of that height, see `beginning`; `pruning` has it
begin later.

    network    the network the folder belongs to          blocks/   segments
    guard      how far both had got, a lower bound         state/    LevelDB, and the log of the tree's nodes
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import CorruptState, LedgerError, Reason, Unavailable, UsageError, invariant
from tanpo.ledger.stateproof import PROOF_BYTES_MAX, PathRange
from tanpo.ledger.types import BlockHash, Height, MerkleRoot, NetworkId, StateRoot, TxId
from tanpo.storage.beginning import Beginning
from tanpo.storage.blockfile import StoredBlock
from tanpo.storage.database import Database, FrozenView, read_snapshot, seal
from tanpo.storage.files import lock_folder
from tanpo.storage.groups import GroupTable
from tanpo.storage.guard import GuardFile
from tanpo.storage.history import History
from tanpo.storage.layout import (
    BLOCKS_NAME,
    STATE_NAME,
    Executed,
    Progress,
    decode_receipts,
    encode_executed,
    encode_position,
    encode_progress,
    encode_receipts,
    executed_key,
    open_folder,
    party_key,
    receipts_key,
    request_key,
    state_key,
    tx_key,
)
from tanpo.storage.listing import Listing
from tanpo.storage.nodelog import LOG_FILE_BYTES
from tanpo.storage.positions import PositionIndex
from tanpo.storage.proving import ShownTree, show_ranges
from tanpo.storage.pruning import Pruner
from tanpo.storage.recovery import count_logged_max, load_executed, verify_state
from tanpo.storage.segments import SEGMENT_BYTES_DEFAULT, BlockSegments
from tanpo.storage.snapshot_building import move_in
from tanpo.storage.tree import CACHE_RECORDS_DEFAULT, NO_HEIGHT, WINDOW_DEFAULT, Plan, StateTree

BLOCK_CACHE_BYTES_DEFAULT: Final = 64 << 20
WRITE_BUFFER_BYTES: Final = 32 << 20
"""LevelDB's log grows to this before it becomes a table. Each table is merged, level by level, with much of a
large state, so there should be few; a start reads the log in a second or two."""

STATE_REMEDY: Final = (
    "run `tanpo node rebuild`, or move the folder state/ aside and start the node again: either executes "
    "the blocks of blocks/ anew; "
    "if that fails too, put blocks/, state/, guard and network of another stopped node in place of these, "
    "and leave consensus/ as it is"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockCommit:
    """What executing a block produced. The tuples have one item per transaction, in block order."""

    height: Height
    block_hash: BlockHash
    changes: Mapping[bytes, bytes | None]
    plan: Plan
    receipts: tuple[bytes, ...]
    receipts_root: MerkleRoot
    tx_ids: tuple[TxId, ...]
    request_digests: tuple[bytes, ...]
    parties: tuple[tuple[str, ...], ...]


class LedgerStore:
    """Blocks, state, receipts and indexes of one node. Calls block; use it from one thread at a time.

    `segments` are for reading. `tree.begin` makes the plan that `commit` takes; `history.at` gives the state
    of a past height, `groups` those index groups that are proved together; `find_transaction`, `find_request`
    and `list_of_party` are of `PositionIndex`; `pruner` drops what is old. `rolled_back_from` is the executed
    height that the guard remembers if LevelDB came up behind it, else `None`: the state was then audited, and
    is right for the height it is at.
    """

    def __init__(
        self, *, lock: int, database: Database, tree: StateTree, segments: BlockSegments, guard: GuardFile
    ) -> None:
        index = PositionIndex(database)
        self.tree = tree
        self.history = History(database, tree)
        self.groups = GroupTable(database)
        self.segments = segments
        self.find_transaction = index.find_transaction
        self.find_request = index.find_request
        self.list_of_party = index.list_of_party
        self.beginning = Beginning(database)
        self.pruner = Pruner(database, self.beginning, segments)
        self.rolled_back_from: Height | None = None
        self._lock = lock
        self._database = database
        self._guard = guard
        self._executed: Executed | None = None
        self._executed_max = NO_HEIGHT
        self._failure: LedgerError | None = None
        self._listing = Listing()

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        network_id: NetworkId,
        window: int = WINDOW_DEFAULT,
        cache_records: int = CACHE_RECORDS_DEFAULT,
        block_cache_bytes: int = BLOCK_CACHE_BYTES_DEFAULT,
        segment_bytes: int = SEGMENT_BYTES_DEFAULT,
        log_file_bytes: int = LOG_FILE_BYTES,
        blocks: Path | None = None,
    ) -> LedgerStore:
        """Open or create the ledger in the folder `path`, and verify what a crash may have left behind.

        With `blocks`, the segments are those of that folder, read and never touched: they are executed anew
        beside the ledger that they belong to, and none can be appended.

        Raises:
            UsageError: the folder is in use (DATA_LOCKED) or of another network (GENESIS_MISMATCH).
            CorruptState: its content contradicts itself. Unavailable: the disk is full.
        """
        with ExitStack() as opened:
            lock = lock_folder(path)
            opened.callback(os.close, lock)
            move_in(path)
            guard, progress = open_folder(path, network_id)
            opened.callback(guard.close)
            logged_max = count_logged_max(path / STATE_NAME)
            database = Database.open(
                path / STATE_NAME,
                remedy=STATE_REMEDY,
                cache_bytes=block_cache_bytes,
                write_buffer_bytes=WRITE_BUFFER_BYTES,
            )
            opened.callback(database.close)
            tree = StateTree.open(
                database, window=window, cache_records=cache_records, file_bytes=log_file_bytes
            )
            opened.callback(tree.close)
            segments = BlockSegments.open(
                blocks or path / BLOCKS_NAME,
                network_id=network_id,
                synced=max(progress.segment_height, tree.height, Height(0)),
                segment_bytes=segment_bytes,
                is_read_only=blocks is not None,
                first=max(1, Beginning(database).height),
            )
            opened.callback(segments.close)
            store = cls(lock=lock, database=database, tree=tree, segments=segments, guard=guard)
            store._recover(progress, logged_max)
            opened.pop_all()
        return store

    @property
    def is_initialised(self) -> bool:
        """Whether the genesis state has been written."""
        return self._executed is not None

    @property
    def executed(self) -> Executed:
        """The last executed block: its hash, and the roots that the next header carries.

        Raises:
            UsageError: the store is not initialised.
        """
        self._check_usable()
        if self._executed is None:
            raise _misuse("the store holds no genesis state", self._executed, "initialise it first")
        return self._executed

    @property
    def executed_hash(self) -> BlockHash:
        """Hash of the last executed block."""
        return self.executed.block_hash

    @property
    def state_root(self) -> StateRoot:
        """State root after the last executed block."""
        return self.executed.state_root

    @property
    def receipts_root(self) -> MerkleRoot:
        """Receipts root of the last executed block."""
        return self.executed.receipts_root

    @property
    def executed_height(self) -> Height:
        """Height of the last executed block, -1 if not even genesis has been written."""
        return self.tree.height

    @property
    def segment_height(self) -> Height:
        """Height of the last block in the segments; those above `executed_height` must be executed again."""
        return self.segments.height

    def initialise(
        self, changes: Mapping[bytes, bytes | None], *, block_hash: BlockHash, receipts_root: MerkleRoot
    ) -> None:
        """Write the genesis state as height 0, once.

        Raises:
            UsageError: the store is initialised. Others: the write failed; stop the process.
        """
        if self.is_initialised:
            raise _misuse("the store is initialised", self.executed_height, "initialise a new store once")
        self._write(
            BlockCommit(
                height=Height(0),
                block_hash=block_hash,
                changes=changes,
                plan=self.tree.begin(Height(0), changes),
                receipts=(),
                receipts_root=receipts_root,
                tx_ids=(),
                request_digests=(),
                parties=(),
            )
        )

    def append_block(self, block: StoredBlock) -> None:
        """Add the next block to the segments; it is on disk when this returns.

        Raises:
            UsageError: its height is not the next. Others: the write failed; stop the process.
        """
        self._check_usable()
        try:
            self.segments.append(block)
            self._write_guard()
        except (CorruptState, Unavailable) as error:
            self._refuse(error)
            raise

    def commit(self, commit: BlockCommit) -> None:
        """Apply the next block's results in one synced batch, then to memory.

        Raises:
            UsageError: the block is not the next, or not in the segments.
            CorruptState, Unavailable: the write failed and nothing was applied; stop the process.
        """
        self._check_usable()
        height = commit.height
        if not self.is_initialised or height != self.executed_height + 1 or height > self.segment_height:
            raise _misuse(
                f"block {height} cannot be applied after block {self.executed_height}",
                height,
                "append blocks in order of height, and commit each once",
            )
        stored_hash = self.segments.read_hash(height)
        if stored_hash != commit.block_hash:
            raise _misuse(
                f"block {height} in the segments is another one", commit.block_hash.hex(), stored_hash.hex()
            )
        self._write(commit)

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a state key in the executed state, or `None`."""
        self._check_usable()
        return self._database.get_sealed(state_key(key))

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return the first `limit` state pairs with start <= key < stop, in ascending order of key."""
        self._check_usable()
        return self._listing.scan(start, stop, limit, self._load)

    def read_block(self, height: Height) -> StoredBlock:
        """Return a block from the segments.

        Raises:
            UsageError: there is no such height. CorruptState: its record is damaged.
        """
        self._check_usable()
        self.beginning.check(height)
        return self.segments.read(height)

    def get_receipts(self, height: Height) -> tuple[bytes, ...]:
        """Return the receipts of an executed block, in order of its transactions.

        Raises:
            UsageError: the height has not been executed. CorruptState: they are missing or damaged.
        """
        if not 0 <= height <= self.executed_height:
            raise UsageError(
                Reason.HEIGHT_UNKNOWN,
                f"block {height} has not been executed",
                value=height,
                limit=f"0..{self.executed_height}",
                remedy="ask for a height in that range",
            )
        self._check_usable()
        self.beginning.check_executed(height)
        record = self._database.get_sealed(receipts_key(height))
        if record is None:
            raise self._database.damaged("receipts are missing", value=f"height {height}")
        return decode_receipts(record)

    def prove(
        self, height: Height, ranges: Iterable[PathRange], bytes_max: int = PROOF_BYTES_MAX
    ) -> Generator[None, None, ShownTree]:
        """Return the partial tree that shows these ranges at a height of the window, pausing now and then.

        Blocks may be committed between two steps. Raises as `proving.prove_ranges`.
        """
        self._check_usable()
        return show_ranges(self.tree.source, height, ranges, bytes_max)

    def close(self) -> None:
        """Close every file and unlock the folder. Closing twice does nothing."""
        if self._lock < 0:
            return
        self.segments.close()
        self.tree.close()
        self._database.close()
        self._guard.close()
        os.close(self._lock)
        self._lock = -1
        if self._failure is None:
            self._failure = _misuse("the store is closed", "closed", "open it again")

    def _refuse(self, failure: LedgerError) -> None:
        self._failure = failure
        self._database.refuse(failure)

    def _check_usable(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _load(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        rows = self._database.scan(state_key(start), state_key(stop), limit)
        return [(key[1:], value) for key, value in rows]

    def _write(self, commit: BlockCommit) -> None:
        """Write one batch. All of it, or nothing and the store refuses from then on."""
        self._check_usable()
        per_transaction = (commit.receipts, commit.tx_ids, commit.request_digests, commit.parties)
        invariant(
            commit.plan.height == commit.height and len({len(part) for part in per_transaction}) == 1,
            f"the parts of the commit of height {commit.height} do not fit together",
        )
        executed = Executed(
            height=commit.height,
            block_hash=commit.block_hash,
            state_root=commit.plan.state_root,
            receipts_root=commit.receipts_root,
        )
        puts, deletes = _batch(commit, executed)
        self._listing.clear()
        try:
            self.history.stage(commit.height, commit.changes, puts, deletes)
            self.tree.stage(commit.plan, puts, deletes)
            self.groups.stage(commit.height, commit.changes, puts)
            self._database.write(puts, deletes)
            self.tree.publish(commit.plan)
            self._executed = executed
            self._write_guard()
        except (CorruptState, Unavailable) as error:
            self._refuse(error)
            raise

    def _write_guard(self) -> None:
        self._executed_max = max(self._executed_max, self.executed_height)
        progress = Progress(segment_height=self.segment_height, executed_height=self._executed_max)
        # Not synced: an older bound after a power cut still holds, and two syncs a block are enough.
        self._guard.write(encode_progress(progress), synced=False)

    def _recover(self, progress: Progress, logged_max: int) -> None:
        """Compare LevelDB with itself, with the segments and with the guard."""
        self._executed_max = progress.executed_height
        self._executed = load_executed(
            self._database, self.tree, self.segments, logged_max, self.beginning.height
        )
        if self.executed_height < progress.executed_height:
            self.rolled_back_from = progress.executed_height
            if self.is_initialised:
                audit(self)
        if self.is_initialised:
            self.groups.prepare()


def read_rows(store: LedgerStore) -> Iterator[tuple[bytes, bytes]]:
    """Return all that LevelDB holds now, in ascending order of key, whatever is written meanwhile."""
    store._check_usable()
    return read_snapshot(store._database)


def audit(store: LedgerStore) -> None:
    """Recompute the state root from the whole state: about 8 microseconds a key.

    Raises:
        CorruptState: it is not the root that the executed block left behind.
    """
    verify_state(store._database, store.executed)


def freeze(store: LedgerStore) -> FrozenView:
    """Return a view of the database as it is after the last executed block. Close it before the store."""
    return FrozenView(store._database)


def _batch(commit: BlockCommit, executed: Executed) -> tuple[dict[bytes, bytes], list[bytes]]:
    """Return all that a block writes and deletes, except for the tree."""
    height = commit.height
    puts: dict[bytes, bytes] = {}
    deletes: list[bytes] = []
    for key, value in commit.changes.items():
        stored = b"S" + key
        if value is None:
            deletes.append(stored)
        else:
            puts[stored] = seal(stored, value)
    _put_sealed(puts, executed_key(height), encode_executed(executed))
    _put_sealed(puts, receipts_key(height), encode_receipts(commit.receipts))
    places = zip(commit.tx_ids, commit.request_digests, commit.parties, strict=True)
    for index, (tx_id, digest, parties) in enumerate(places):
        position = encode_position(height, index)
        _put_sealed(puts, tx_key(tx_id), position)
        _put_sealed(puts, request_key(digest), position)
        for party in parties:
            _put_sealed(puts, party_key(party, height, index), tx_id)
    return puts, deletes


def _put_sealed(puts: dict[bytes, bytes], key: bytes, payload: bytes) -> None:
    puts[key] = seal(key, payload)


def _misuse(what: str, value: object, remedy: str) -> UsageError:
    return UsageError(Reason.MISUSE, what, value=value, remedy=remedy)
