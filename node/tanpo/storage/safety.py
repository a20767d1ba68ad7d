"""What a validator must never forget: the promises it signed, and the blocks it voted for.

A LevelDB of its own and an independent guard file (CONSENSUS.md section 6). A write is in LevelDB, synced,
before the guard counts it, and both are on disk before `save` returns; only then may a signature leave the
node. At opening, LevelDB one write ahead of the guard is a crash between the two, and fine: nothing had been
sent. Anything else that does not fit means that a promise may have been forgotten, and the node must not
vote.

    lock    live/db/    live/guard    (new/ while being created, then renamed)
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import CorruptState, LedgerError, Reason, Unavailable, UsageError
from tanpo.ledger.types import BlockHash
from tanpo.storage.database import Database
from tanpo.storage.files import corrupt, guarded_io, lock_folder, sync_folder
from tanpo.storage.guard import SLOTS, GuardFile, GuardImage

REMEDY: Final = (
    "this node must not vote: promises it signed may be forgotten. Run it as an observer that follows its "
    "peers, and bring it back as a validator with a new key"
)

_DIGEST_BYTES: Final = 16
_RECORD_KEY: Final = b"record"
_BLOCK_PREFIX: Final = b"block/"
_BLOCK_STOP: Final = b"block0"
_HAS_RECORD: Final = b"\x01"
_CACHE_BYTES: Final = 1 << 20
_WRITE_BUFFER_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyWrite:
    """One step of the replica: its record, blocks to add, and blocks it no longer needs."""

    record: bytes
    blocks: Mapping[BlockHash, bytes] = field(default_factory=dict)
    dropped: tuple[BlockHash, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyImage:
    """What the last write left behind; `record` is `None` if there has been none."""

    record: bytes | None
    blocks: dict[BlockHash, bytes]


class SafetyStore:
    """The replica's memory across crashes. After a failed write every call refuses: stop the process."""

    def __init__(self, path: Path, *, lock: int, database: Database, guard: GuardFile) -> None:
        self._path = path
        self._lock = lock
        self._database = database
        self._guard = guard
        self._sequence = 0
        self._hashes: set[BlockHash] = set()
        self._failure: LedgerError | None = None

    @classmethod
    def open(cls, path: Path) -> SafetyStore:
        """Open or create the store in the folder `path`.

        Raises:
            UsageError: it is in use by another process. CorruptState: the node must not vote.
        """
        live = path / "live"
        with ExitStack() as opened:
            lock = lock_folder(path)
            opened.callback(os.close, lock)
            with guarded_io(path):
                if not live.exists():
                    _create(path, live)
                if not (live / "guard").exists() or not (live / "db" / "CURRENT").exists():
                    raise corrupt(live, "one of database and guard file is missing", remedy=REMEDY)
            guard, image = GuardFile.open(live / "guard")
            opened.callback(guard.close)
            database = _open_database(live / "db")
            opened.callback(database.close)
            store = cls(path, lock=lock, database=database, guard=guard)
            store._recover(image)
            opened.pop_all()
        return store

    def save(self, write: SafetyWrite) -> None:
        """Store one step; it is in LevelDB and in the guard, on disk, when this returns.

        Raises:
            CorruptState, Unavailable: the write failed; stop the process and send nothing.
        """
        self._check_usable()
        hashes = (self._hashes | set(write.blocks)) - set(write.dropped)
        sequence = self._sequence + 1
        puts = {
            _BLOCK_PREFIX + block_hash: _seal(block_hash, block) for block_hash, block in write.blocks.items()
        }
        deletes = [_BLOCK_PREFIX + block_hash for block_hash in write.dropped]
        for key in deletes:
            puts.pop(key, None)
        puts[_RECORD_KEY] = _encode_record(sequence, hashes, _HAS_RECORD + write.record)
        try:
            self._database.write(puts, deletes)
            self._guard.write(_summary(puts[_RECORD_KEY]), sequence=sequence, synced=True)
        except (CorruptState, Unavailable) as error:
            self._failure = error
            raise
        self._sequence = sequence
        self._hashes = hashes

    def load(self) -> SafetyImage:
        """Return what the last write left behind.

        Raises:
            CorruptState: a checksum is wrong or a block is missing; the node must not vote.
        """
        self._check_usable()
        _, digest, record = self._read_record()
        blocks: dict[BlockHash, bytes] = {}
        for key, value in self._database.scan_raw(_BLOCK_PREFIX, _BLOCK_STOP):
            block_hash = BlockHash(key[len(_BLOCK_PREFIX) :])
            blocks[block_hash] = self._unseal(block_hash, value)
        if _digest_hashes(set(blocks)) != digest:
            raise corrupt(self._path, "the stored blocks are not those of the last write", remedy=REMEDY)
        return SafetyImage(record=record[1:] if record else None, blocks=blocks)

    def close(self) -> None:
        """Close the files and unlock the folder. Closing twice does nothing."""
        if self._lock < 0:
            return
        self._database.close()
        self._guard.close()
        os.close(self._lock)
        self._lock = -1
        if self._failure is None:
            self._failure = UsageError(
                Reason.MISUSE, "the store is closed", value=self._path, remedy="open it again"
            )

    def _check_usable(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _recover(self, image: GuardImage | None) -> None:
        """Refuse unless guard and database show that no write was forgotten."""
        if image is None:
            raise corrupt(self._path / "live" / "guard", "neither slot verifies", remedy=REMEDY)
        self._sequence, _, _ = self._read_record()
        behind = self._sequence - image.sequence
        if behind not in (0, 1):
            raise corrupt(
                self._path,
                f"the database is at write {self._sequence}, the guard at write {image.sequence}",
                value=self._sequence,
                limit=f"{image.sequence} or one more",
                remedy=REMEDY,
            )
        # A torn slot is the one of the write that LevelDB has and the guard has not. A damaged slot otherwise
        # may have held a later write.
        if behind == 0 and image.valid_slots != SLOTS:
            raise corrupt(self._path / "live" / "guard", "a slot does not verify", remedy=REMEDY)
        record = self._database.get(_RECORD_KEY)
        if behind == 0 and record is not None and _summary(record) != image.payload:
            raise corrupt(self._path, "the guard counts another write than the database holds", remedy=REMEDY)
        if behind == 1:
            self._guard.write(_summary(record or b""), sequence=self._sequence, synced=True)
        self._hashes = set(self.load().blocks)

    def _read_record(self) -> tuple[int, bytes, bytes]:
        value = self._database.get(_RECORD_KEY)
        if value is None:
            raise corrupt(self._path, "the record of the last write is missing", remedy=REMEDY)
        payload = self._unseal(_RECORD_KEY, value)
        return int.from_bytes(payload[:8], "big"), payload[8:24], payload[24:]

    def _unseal(self, key: bytes, value: bytes) -> bytes:
        payload = value[4 + _DIGEST_BYTES :]
        if value != _seal(key, payload):
            raise corrupt(self._path, "the checksum of a record is wrong", value=key.hex(), remedy=REMEDY)
        return payload


def _create(path: Path, live: Path) -> None:
    """Build a whole store under another name, then rename it: there is never half a one to open."""
    new = path / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    database = _open_database(new / "db")
    record = _encode_record(0, set(), b"")
    database.write({_RECORD_KEY: record}, [])
    database.close()
    GuardFile.create(new / "guard", _summary(record))
    sync_folder(new / "db")
    sync_folder(new)
    new.rename(live)
    sync_folder(path)
    sync_folder(path.parent)


def _open_database(path: Path) -> Database:
    return Database.open(
        path, remedy=REMEDY, cache_bytes=_CACHE_BYTES, write_buffer_bytes=_WRITE_BUFFER_BYTES
    )


def _encode_record(sequence: int, hashes: set[BlockHash], record: bytes) -> bytes:
    return _seal(_RECORD_KEY, sequence.to_bytes(8, "big") + _digest_hashes(hashes) + record)


def _digest_hashes(hashes: set[BlockHash]) -> bytes:
    return blake2b(b"".join(sorted(hashes)), digest_size=_DIGEST_BYTES).digest()


def _seal(key: bytes, payload: bytes) -> bytes:
    """Return length, digest over key and payload, payload."""
    digest = blake2b(key + payload, digest_size=_DIGEST_BYTES).digest()
    return len(payload).to_bytes(4, "big") + digest + payload


def _summary(record: bytes) -> bytes:
    return blake2b(record, digest_size=_DIGEST_BYTES).digest()
