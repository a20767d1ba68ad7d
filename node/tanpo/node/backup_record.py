"""What a node knows of its latest backup: a small file, written when a backup has been read to its end.

It tells how old the backup is, and it shows a data directory that is older than it: the wrong volume, or one
that was rolled back. It shows that best where it lies on another disk than the data (`backup_record`).
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import Reason, UsageError
from tanpo.storage.files import guarded_io

RECORD_NAME: Final = "last-backup.json"
"""Its name in the data directory, unless the configuration says otherwise."""

RECORD_BYTES_MAX: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupRecord:
    """The block that the latest backup is of, and when it was made, Unix ms."""

    height: int
    block_hash: str
    created_ms: int


def save_record(path: Path, record: BackupRecord) -> None:
    """Write the record: the new one or the old one is there, whatever happens.

    Raises:
        CorruptState, Unavailable: it cannot be written.
    """
    scratch = path.with_name(f"{path.name}.new")
    with guarded_io(path):
        scratch.write_text(json.dumps(asdict(record)) + "\n")
        scratch.replace(path)


def find_record(path: Path) -> BackupRecord | None:
    """Return what the record says, None if there is none or it is no record."""
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(RECORD_BYTES_MAX))
        record = BackupRecord(**document)
    except (OSError, ValueError, TypeError):
        return None
    is_sound = type(record.height) is int and type(record.created_ms) is int
    return record if is_sound else None


def is_unusable(path: Path) -> bool:
    """Return whether there is something that should be the record, and is none or cannot be read."""
    return os.path.lexists(path) and find_record(path) is None


def verify_not_older(path: Path, height: int) -> None:
    """Raise `UsageError` if a ledger that has got to `height` is older than the latest backup of it."""
    record = find_record(path)
    if record is None or record.height <= height:
        return
    raise UsageError(
        Reason.DATA_OLDER,
        "the data is older than the latest backup of this node",
        value=f"block {height}",
        limit=f"block {record.height} or later, as {path} says",
        remedy="mount the right volume, or restore that backup; if older data is meant, remove that file, "
        "and the node fetches the blocks it lacks from the others",
    )
