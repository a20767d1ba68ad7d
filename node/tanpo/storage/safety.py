"""What a validator must never forget: the promises it signed, and the blocks it voted for.

A LevelDB of its own and an independent guard file (CONSENSUS.md section 6). A write is in LevelDB, synced,
before the guard counts it, and both are on disk before `save` returns; only then may a signature leave the
node. What is found at opening is judged by `recall.py`.

A store is made by an explicit act and never by opening it (ADR 8): a missing one looks like one that was
lost, and whoever lost it must not vote.

    lock    live/db/    live/guard    (new/ while being created, then renamed)    damaged-1/ ... set aside
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import CorruptState, LedgerError, Reason, Unavailable, UsageError
from tanpo.ledger.types import BlockHash
from tanpo.storage.database import Database
from tanpo.storage.files import corrupt, guarded_io, lock_folder, sync_folder
from tanpo.storage.guard import GuardFile, GuardImage
from tanpo.storage.recall import (
    BLOCK_PREFIX,
    BLOCK_STOP,
    RECORD_KEY,
    Forgotten,
    SafetyImage,
    SafetyWrite,
    build_batch,
    build_first_batch,
    is_guard_behind,
    read_image,
    read_record,
)

REMEDY: Final = (
    "this node must not vote: promises it signed may be forgotten. Start it with --rejoin, if no other "
    "validator is down or rejoining, or replace its key"
)

_CACHE_BYTES: Final = 1 << 20
_WRITE_BUFFER_BYTES: Final = 4 << 20


class SafetyStore:
    """The replica's memory across crashes. After a failed write every call refuses: stop the process."""

    def __init__(self, path: Path, *, lock: int, database: Database, guard: GuardFile) -> None:
        self._path = path
        self._lock = lock
        self._database = database
        self._guard = guard
        self._sequence = 0
        self._hashes: frozenset[BlockHash] = frozenset()
        self._failure: LedgerError | None = None

    @staticmethod
    def is_present(path: Path) -> bool:
        """Return whether there is a store in the folder `path`, sound or damaged."""
        with guarded_io(path):
            return (path / "live").exists()

    @staticmethod
    def create(path: Path, first: SafetyWrite | None = None) -> None:
        """Make a store in the folder `path`, with its first write: on disk whole, or not at all.

        Raises:
            UsageError: there is one, or it is in use by another process.
        """
        lock = lock_folder(path)
        try:
            with guarded_io(path):
                if (path / "live").exists():
                    raise UsageError(
                        Reason.MISUSE,
                        f"{path} holds a consensus store already",
                        value=path,
                        limit="one, made once",
                        remedy="start the node with it: what a validator promised is never begun anew",
                    )
                _create(path, first)
        finally:
            os.close(lock)

    @staticmethod
    def set_aside(path: Path) -> Path:
        """Keep a damaged store under the next free name `damaged-1`, `damaged-2`, ... and return that."""
        lock = lock_folder(path)
        try:
            with guarded_io(path):
                number = next(n for n in count(1) if not (path / f"damaged-{n}").exists())
                kept = path / f"damaged-{number}"
                (path / "live").rename(kept)
                sync_folder(path)
        finally:
            os.close(lock)
        return kept

    @classmethod
    def open(cls, path: Path) -> SafetyStore:
        """Open the store in the folder `path`.

        Raises:
            UsageError: it is in use by another process.
            CorruptState: it is missing or damaged; the node must not vote.
        """
        live = path / "live"
        with ExitStack() as opened:
            lock = lock_folder(path)
            opened.callback(os.close, lock)
            with guarded_io(path):
                if not live.exists():
                    raise corrupt(path, "there is no consensus store", remedy=REMEDY)
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
        batch = build_batch(self._sequence + 1, self._hashes, write)
        try:
            self._database.write(batch.puts, batch.deletes)
            self._guard.write(batch.guard_payload, sequence=batch.sequence, synced=True)
        except (CorruptState, Unavailable) as error:
            self._failure = error
            raise
        self._sequence = batch.sequence
        self._hashes = batch.hashes

    def load(self) -> SafetyImage:
        """Return what the last write left behind.

        Raises:
            CorruptState: a checksum is wrong or a block is missing; the node must not vote.
        """
        self._check_usable()
        try:
            rows = self._database.scan_raw(BLOCK_PREFIX, BLOCK_STOP)
            return read_image(read_record(self._database.get(RECORD_KEY)), rows)
        except Forgotten as finding:
            raise self._amnesia(finding) from None

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
        try:
            stored = read_record(self._database.get(RECORD_KEY))
            is_behind = is_guard_behind(stored, image)
        except Forgotten as finding:
            raise self._amnesia(finding) from None
        self._sequence = stored.sequence
        if is_behind:
            self._guard.write(stored.payload, sequence=stored.sequence, synced=True)
        self._hashes = frozenset(self.load().blocks)

    def _amnesia(self, finding: Forgotten) -> CorruptState:
        path = self._path / "live" / "guard" if finding.is_guard else self._path
        return corrupt(path, finding.what, value=finding.value, limit=finding.limit, remedy=REMEDY)


def _create(path: Path, first: SafetyWrite | None) -> None:
    """Build a whole store under another name, then rename it: there is never half a one to open."""
    new = path / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    database = _open_database(new / "db")
    batch = build_first_batch() if first is None else build_batch(0, frozenset(), first)
    database.write(batch.puts, batch.deletes)
    database.close()
    GuardFile.create(new / "guard", batch.guard_payload)
    sync_folder(new / "db")
    sync_folder(new)
    new.rename(path / "live")
    sync_folder(path)
    sync_folder(path.parent)


def _open_database(path: Path) -> Database:
    return Database.open(
        path, remedy=REMEDY, cache_bytes=_CACHE_BYTES, write_buffer_bytes=_WRITE_BUFFER_BYTES
    )
