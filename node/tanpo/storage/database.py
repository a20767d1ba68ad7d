"""LevelDB with its sharp edges covered.

Every write is one synced transactional batch (a bare batch commits half of itself on an exception), every
read checks LevelDB's block checksums, and no iterator runs backwards (plyvel 1.5.1 loses keys there).
Values carry a checksum of their own over key and value: LevelDB's covers the file, not the block cache, and
not a value that turns up under another key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import plyvel
from tanpo.ledger.errors import LedgerError, Reason, UsageError
from tanpo.storage.files import corrupt, disk_full, guarded_io, refused, sync_folder

CHECKSUM_BYTES: Final = 4

_DISK_FULL_TEXTS: Final = ("No space left on device", "Disk quota exceeded", "File too large")
_REFUSED_TEXTS: Final = ("Permission denied", "Operation not permitted", "Read-only file system")


class Database:
    """One LevelDB, in `folder`; `remedy` says what to do should it be damaged.

    After a failed write every later call refuses: the process must stop.
    """

    def __init__(self, path: Path, handle: plyvel.DB, remedy: str) -> None:
        self.folder = path
        self.remedy = remedy
        self._handle = handle
        self._failure: LedgerError | None = None

    @classmethod
    def open(cls, path: Path, *, remedy: str, cache_bytes: int, write_buffer_bytes: int) -> Database:
        """Open or create the database; `remedy` says what to do should it be damaged."""
        _refuse_headless(path, remedy)
        try:
            handle = plyvel.DB(
                str(path),
                create_if_missing=True,
                paranoid_checks=True,
                bloom_filter_bits=10,
                lru_cache_size=cache_bytes,
                write_buffer_size=write_buffer_bytes,
            )
        except plyvel.Error as error:
            raise _translate(error, path, remedy) from error
        # Opening writes another manifest and renames a file to point to it, which LevelDB leaves unsynced:
        # a power cut much later could bring back the old one, which knows of nothing that came since.
        with guarded_io(path):
            sync_folder(path)
        return cls(path, handle, remedy)

    def close(self) -> None:
        """Close the database."""
        self._handle.close()

    def get(self, key: bytes) -> bytes | None:
        """Return a stored value as it is, or `None`."""
        self._check_usable()
        try:
            value: bytes | None = self._handle.get(key, verify_checksums=True)
        except plyvel.Error as error:
            raise _translate(error, self.folder, self.remedy) from error
        return value

    def get_sealed(self, key: bytes) -> bytes | None:
        """Return the payload of a sealed value, or `None`. Raises `CorruptState` on a wrong checksum."""
        value = self.get(key)
        return None if value is None else self._unseal(key, value)

    def scan(self, start: bytes, stop: bytes, limit: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and sealed payloads with start <= key < stop in ascending order, at most `limit`."""
        for key, value in self.scan_raw(start, stop, limit):
            yield key, self._unseal(key, value)

    def scan_raw(self, start: bytes, stop: bytes, limit: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values as they are with start <= key < stop in ascending order, at most `limit`."""
        self._check_usable()
        try:
            with self._handle.iterator(start=start, stop=stop, verify_checksums=True) as rows:
                yield from islice(rows, limit)
        except plyvel.Error as error:
            raise _translate(error, self.folder, self.remedy) from error

    def write(self, puts: Mapping[bytes, bytes], deletes: Sequence[bytes]) -> None:
        """Apply everything in one synced batch, or nothing.

        Raises:
            Unavailable: the disk is full. CorruptState: anything else. Either way, stop the process.
        """
        self._check_usable()
        try:
            with self._handle.write_batch(transaction=True, sync=True) as batch:
                put, delete = batch.put, batch.delete
                for key in deletes:
                    delete(key)
                for key, value in puts.items():
                    put(key, value)
        except plyvel.Error as error:
            self._failure = _translate(error, self.folder, self.remedy)
            raise self._failure from error

    def refuse(self, failure: LedgerError) -> None:
        """Answer every later call with `failure`: what belongs with this database could not be written."""
        self._failure = failure

    def damaged(self, what: str, *, value: object = "", limit: object = "") -> LedgerError:
        """Return the error for content that contradicts itself."""
        return corrupt(self.folder, what, value=value, limit=limit, remedy=self.remedy)

    def _freeze(self) -> tuple[Any, int]:
        """Return LevelDB's handle on all that is there now, and about how many bytes the state takes."""
        self._check_usable()
        try:
            return self._handle.snapshot(), self._handle.approximate_size(b"S", b"T")
        except plyvel.Error as error:
            raise _translate(error, self.folder, self.remedy) from error

    def _scan_frozen(self, handle: Any, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        self._check_usable()
        try:
            with handle.iterator(start=start, stop=stop, verify_checksums=True, fill_cache=False) as rows:
                for key, value in rows:
                    yield key, self._unseal(key, value)
        except plyvel.Error as error:
            raise _translate(error, self.folder, self.remedy) from error

    def _unseal(self, key: bytes, value: bytes) -> bytes:
        payload = value[CHECKSUM_BYTES:]
        if crc32(payload, crc32(key)).to_bytes(CHECKSUM_BYTES, "big") != value[:CHECKSUM_BYTES]:
            raise self.damaged("checksum of a stored value is wrong", value=key[:64].hex())
        return payload

    def _check_usable(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._handle.closed:
            raise UsageError(Reason.MISUSE, "the store is closed", value=self.folder, remedy="open it again")


class FrozenView:
    """A database as it was when the view was made, whatever is written later.

    LevelDB keeps for it what later writes replace: close it before long, and before the database. `size` is
    about how many bytes of disk the state takes.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._handle, self.size = database._freeze()

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and sealed payloads with start <= key < stop in ascending order."""
        return self._database._scan_frozen(self._handle, start, stop)

    def close(self) -> None:
        """Let LevelDB drop what it kept for this view. Closing twice does nothing."""
        self._handle.close()


def scan_keys(database: Database, start: bytes, stop: bytes, limit: int | None = None) -> Iterator[bytes]:
    """Yield the keys with start <= key < stop in ascending order, at most `limit`."""
    return (key for key, _ in database.scan_raw(start, stop, limit))


def read_snapshot(database: Database) -> Iterator[tuple[bytes, bytes]]:
    """Return all keys and values as they are now, in ascending order, whatever is written meanwhile."""
    database._check_usable()
    # Taken now and not when the first row is asked for.
    return _read_rows(database, database._handle.snapshot())


def _read_rows(database: Database, snapshot: plyvel.Snapshot) -> Iterator[tuple[bytes, bytes]]:
    try:
        with snapshot.iterator(verify_checksums=True) as rows:
            yield from rows
    except plyvel.Error as error:
        raise _translate(error, database.folder, database.remedy) from error
    finally:
        snapshot.close()


def seal(key: bytes, payload: bytes) -> bytes:
    """Return `payload` with the checksum that `get_sealed` and `scan` verify."""
    return crc32(payload, crc32(key)).to_bytes(CHECKSUM_BYTES, "big") + payload


def _refuse_headless(path: Path, remedy: str) -> None:
    """Raise `CorruptState` for a database that lost `CURRENT`.

    LevelDB would begin a new one, and fold in the logs that lie there: a part of what was, that looks whole.
    When a database is made, that file is on disk before anything is written to it.
    """
    with guarded_io(path):
        if (path / "CURRENT").exists():
            return
        has_content = any(path.glob("*.ldb")) or any(log.stat().st_size for log in path.glob("*.log"))
    if has_content:
        raise corrupt(path, "LevelDB's file CURRENT is missing", value=path / "CURRENT", remedy=remedy)


def _translate(error: plyvel.Error, path: Path, remedy: str) -> LedgerError:
    text = error.args[0] if error.args else ""
    message = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    if any(part in message for part in _DISK_FULL_TEXTS):
        return disk_full(path)
    if any(part in message for part in _REFUSED_TEXTS):
        return refused(path, message)
    return corrupt(path, f"LevelDB reports: {message}", remedy=remedy)
