"""What can be wrong with a data directory and the ports, looked at from outside: nothing is changed."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import LedgerError, Reason
from tanpo.ledger.genesis import Genesis
from tanpo.node.backup_record import RECORD_NAME, find_record, is_unusable
from tanpo.node.binding import explain_bind, find_bind_error
from tanpo.node.config import NodeConfig
from tanpo.node.evidence import EVIDENCE_NAME
from tanpo.node.findings import Finding, fault, warning
from tanpo.node.promises import CONSENSUS_NAME
from tanpo.storage import SafetyStore
from tanpo.storage.files import DISK_FULL_ERRORS, LOCK_NAME, disk_full, is_locked, refused
from tanpo.storage.kept import SNAPSHOTS_NAME
from tanpo.storage.layout import BLOCKS_NAME, GUARD_NAME, NETWORK_NAME, STATE_NAME, read_progress

_OWN_FOLDERS: Final = (BLOCKS_NAME, STATE_NAME, CONSENSUS_NAME, EVIDENCE_NAME, SNAPSHOTS_NAME)

ROOM_BYTES_MIN: Final = 16 << 20
"""Two of LevelDB's write buffers: with less a node could not even finish opening its stores."""

ROOM_BYTES_LOW: Final = 1 << 30
"""Below this an operator should make room: some days of blocks on a busy network."""


def find_record_path(config: NodeConfig) -> Path:
    """Return where the node remembers its latest backup."""
    return config.backup_record or config.data_dir / RECORD_NAME


def check_folder(config: NodeConfig) -> Iterator[Finding]:
    """Find what keeps the node from writing into its data directory."""
    path = config.data_dir
    try:
        if not path.exists() and path.is_symlink():
            yield fault(
                "data_dir",
                f"is a link that leads nowhere: {path}",
                value=path,
                limit="a folder",
                remedy="mount what it leads to, or correct data_dir",
            )
            return
        if path.exists() and not path.is_dir():
            yield fault("data_dir", f"is no folder: {path}", value=path, limit="a folder")
            return
        if not path.exists():
            # It is made at the first start: in the nearest folder that there is.
            path = next(parent for parent in path.absolute().parents if parent.exists())
        with tempfile.TemporaryFile(dir=path) as probe:
            probe.write(bytes(4096))
            probe.flush()
    except OSError as error:
        yield _explain_write(config.data_dir, error)
        return
    wrong = _find_inaccessible(config.data_dir)
    if wrong is not None:
        yield Finding(key="data_dir", error=refused(wrong, os.strerror(errno.EACCES)))
        return
    room = os.statvfs(path)
    free = room.f_bavail * room.f_frsize
    if free < ROOM_BYTES_MIN:
        yield Finding(key="data_dir", error=disk_full(config.data_dir))
    elif free < ROOM_BYTES_LOW:
        yield warning(
            "data_dir",
            f"has little room left: {config.data_dir}",
            value=f"{free >> 20} MiB",
            limit=f"{ROOM_BYTES_LOW >> 20} MiB or more",
            remedy="make room, or grow the disk",
        )


def check_content(config: NodeConfig, genesis: Genesis) -> Iterator[Finding]:
    """Find what is wrong with what the data directory holds, as far as that shows without opening it."""
    if config.data_dir.exists() and not config.data_dir.is_dir():
        return
    try:
        progress = read_progress(config.data_dir, genesis.network_id)
    except LedgerError as error:
        if error.reason is not Reason.NOT_FOUND:
            yield Finding(key="data_dir", error=error)
            return
        height = 0
    else:
        height = max(progress.segment_height, progress.executed_height)
    path = find_record_path(config)
    record = find_record(path)
    if is_unusable(path):
        yield warning(
            "backup_record",
            "cannot be read, so this node does not know whether its data is older than its latest backup",
            value=path,
            limit="the file that the node wrote at that backup",
            remedy="correct backup_record or the file's permissions, or remove it and make a backup",
        )
    if record is not None and record.height > height:
        # After a crash the guard may be behind the blocks: only the start can tell for sure.
        yield warning(
            "data_dir",
            "may be older than the latest backup of this node",
            value=f"block {height}",
            limit=f"block {record.height} or later",
            remedy="see that the right volume is mounted; the node does not start if the data is older",
        )
    if config.signing_key is not None and not SafetyStore.is_present(config.data_dir / CONSENSUS_NAME):
        yield warning(
            "data_dir",
            "has no consensus/: the validator will follow and sign nothing",
            value=config.data_dir / CONSENSUS_NAME,
            limit="made once by `tanpo node init`",
            remedy="run `tanpo node init` if the key never voted; else put consensus/ back, or rejoin",
        )


def is_in_use(config: NodeConfig) -> bool:
    """Return whether a process, most likely the node itself, uses the data directory now."""
    return is_locked(config.data_dir)


def check_ports(config: NodeConfig, keys: tuple[str, ...]) -> Iterator[Finding]:
    """Find which of the ports cannot be listened on."""
    for key in keys:
        address = getattr(config, key)
        error = find_bind_error(address)
        if error is not None:
            yield Finding(key=key, error=explain_bind(key, address, error))


def _find_inaccessible(data_dir: Path) -> Path | None:
    """Return a file or folder of the node's own that it may not use: most likely another user made it."""
    unlisted: list[OSError] = []
    for name in _OWN_FOLDERS:
        for folder, _, files in os.walk(data_dir / name, onerror=unlisted.append):
            if not _may_use(Path(folder), os.R_OK | os.W_OK | os.X_OK):
                return Path(folder)
            paths = (Path(folder, file) for file in files)
            found = next((path for path in paths if not _may_use(path, os.R_OK)), None)
            if found is not None:
                return found
    refusals = [error for error in unlisted if not isinstance(error, FileNotFoundError | NotADirectoryError)]
    if refusals:
        return Path(refusals[0].filename)
    paths = (data_dir / name for name in (NETWORK_NAME, GUARD_NAME, LOCK_NAME))
    return next((path for path in paths if path.exists() and not _may_use(path, os.R_OK | os.W_OK)), None)


def _may_use(path: Path, mode: int) -> bool:
    # Whatever went away meanwhile is nobody's to use: a node may be running, and the check is done beside it.
    return os.access(path, mode, effective_ids=True) or not path.exists()


def _explain_write(path: Path, error: OSError) -> Finding:
    if error.errno in DISK_FULL_ERRORS:
        return Finding(key="data_dir", error=disk_full(path))
    is_read_only = error.errno == errno.EROFS
    return fault(
        "data_dir",
        f"cannot be written: {path}: {error.strerror}",
        value=path,
        limit="a folder that this user may write to",
        remedy="mount the volume for writing; if its file system failed, see the kernel's log first"
        if is_read_only
        else f"let user {os.geteuid()} write there, or correct data_dir",
        reason=Reason.DATA_UNWRITABLE,
    )
