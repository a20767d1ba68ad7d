"""`tanpo node backup restore`: a ledger out of a backup, checked as it is read, whole or not at all.

All is made in a folder of its own inside the data directory. Its files move up when the whole backup has been
checked, `network` last: without it no node starts on what a crash left half moved.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.types import Height, NetworkId
from tanpo.node.backups import KEYS_NAME
from tanpo.node.evidence import EVIDENCE_NAME
from tanpo.node.inspecting import inspect_backup
from tanpo.node.promises import CONSENSUS_NAME, mark_forgotten
from tanpo.storage import LedgerStore
from tanpo.storage.backup import BackupReader, Manifest
from tanpo.storage.copying import ROWS_NAME, RowReader
from tanpo.storage.database import Database
from tanpo.storage.files import LOCK_NAME, guarded_io, lock_folder, sync_folder
from tanpo.storage.guard import GuardFile
from tanpo.storage.layout import (
    BLOCKS_NAME,
    GUARD_NAME,
    NETWORK_NAME,
    STATE_NAME,
    Progress,
    create_folder,
    encode_progress,
)
from tanpo.storage.sealing import SealedFile

WORK_NAME: Final = "restoring"
BATCH_BYTES: Final = 4 << 20
_IGNORED: Final = frozenset({LOCK_NAME, WORK_NAME, "lost+found"})
_MOVED: Final = (EVIDENCE_NAME, BLOCKS_NAME, STATE_NAME, GUARD_NAME, CONSENSUS_NAME, NETWORK_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoration:
    """Where a backup goes: a node's empty data directory, and the key that is to sign there, if any.

    `keys_dir` takes the secret files that the backup may hold; without it they are left out.
    """

    data_dir: Path
    network_id: NetworkId
    signing_key: PrivateKey | None
    keys_dir: Path | None = None


def restore_backup(file: SealedFile, to: Restoration) -> Manifest:
    """Restore a ledger, and mark its validator as one that has forgotten what it signed.

    Raises:
        UsageError: the folder holds something, or the backup is of another network or cannot be read.
        CorruptState: the backup is damaged. Unavailable: the disk is full. Either way nothing is left.
    """
    lock = lock_folder(to.data_dir)
    work = to.data_dir / WORK_NAME
    try:
        _refuse_content(to.data_dir)
        with guarded_io(work):
            shutil.rmtree(work, ignore_errors=True)
            try:
                return _restore(file, to, work)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    finally:
        os.close(lock)


def _restore(file: SealedFile, to: Restoration, work: Path) -> Manifest:
    create_folder(work, to.network_id)
    extractor = _Extractor(work, to.keys_dir)
    try:
        manifest = inspect_backup(
            BackupReader(file), str(file.path), extractor.take, network_id=to.network_id
        )
        extractor.finish()
    finally:
        extractor.close()
    height = Height(manifest.origin.height)
    guard, _ = GuardFile.open(work / GUARD_NAME)
    guard.write(encode_progress(Progress(segment_height=height, executed_height=height)), synced=True)
    guard.close()
    LedgerStore.open(work, network_id=to.network_id).close()
    mark_forgotten(work, to.signing_key)
    for name in _MOVED:
        if (work / name).exists():
            (work / name).rename(to.data_dir / name)
            sync_folder(to.data_dir)
    return manifest


class _Extractor:
    """Writes the parts of a backup to where a ledger has them."""

    def __init__(self, work: Path, keys_dir: Path | None) -> None:
        self._work = work
        self._keys_dir = keys_dir
        self._name = ""
        self._file: BinaryIO | None = None
        self._rows = RowReader()
        self._database: Database | None = None
        self._puts: dict[bytes, bytes] = {}
        self._size = 0
        self._folders: set[Path] = set()

    def take(self, name: str, data: bytes) -> None:
        """Write one part."""
        if name == ROWS_NAME:
            self._take_rows(data)
            return
        if name != self._name:
            self._end_file()
            self._name, self._file = name, self._create(name)
        if self._file is not None:
            self._file.write(data)

    def finish(self) -> None:
        """Put what is left on disk."""
        self._end_file()
        self._put_rows()
        for folder in sorted(self._folders):
            sync_folder(folder)

    def close(self) -> None:
        """Close what is open."""
        if self._file is not None:
            self._file.close()
        if self._database is not None:
            self._database.close()

    def _create(self, name: str) -> BinaryIO | None:
        folder, _, rest = name.partition("/")
        root = {name: self._work / name for name in (BLOCKS_NAME, STATE_NAME, EVIDENCE_NAME)}.get(folder)
        if folder == KEYS_NAME:
            root = self._keys_dir
        if root is None or not rest:
            return None
        path = root / rest
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folders.add(path.parent)
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")

    def _end_file(self) -> None:
        if self._file is None:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None

    def _take_rows(self, data: bytes) -> None:
        for key, value in self._rows.feed(data):
            self._puts[key] = value
            self._size += len(key) + len(value)
            if self._size >= BATCH_BYTES:
                self._put_rows()

    def _put_rows(self) -> None:
        if self._database is None:
            self._database = Database.open(
                self._work / STATE_NAME,
                remedy="restore the backup again",
                cache_bytes=BATCH_BYTES,
                write_buffer_bytes=2 * BATCH_BYTES,
            )
        self._database.write(self._puts, ())
        self._puts, self._size = {}, 0


def _refuse_content(data_dir: Path) -> None:
    with guarded_io(data_dir):
        found = sorted(path.name for path in data_dir.iterdir() if path.name not in _IGNORED)
    if found:
        raise UsageError(
            Reason.CONFIGURATION,
            f"{data_dir} is not empty",
            value=", ".join(found),
            limit="a data directory with nothing in it",
            remedy="move what is there aside, `consensus/` above all: it may be needed; then restore again",
        )
