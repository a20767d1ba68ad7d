"""Folders, locks and synced writes: the few operating system calls that durability rests on.

Rule: an error of the operating system leaves this layer only as one of ours. A full disk is
`Unavailable(DISK_FULL)`, a refusal `CorruptState(DATA_UNWRITABLE)`, all else `CorruptState(DATA_CORRUPT)`;
after each the process must stop, because the kernel may have marked pages clean that never reached the disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import CorruptState, LedgerError, Reason, Unavailable, UsageError

DISK_FULL_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No space, quota used up, or a file above the process's size limit: the operator frees or grants room."""

_REFUSALS: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})

_FILES_USED_UP_ERRORS: Final = frozenset({errno.EMFILE, errno.ENFILE})

LOCK_NAME: Final = "lock"

LEAVING_FILES_MAX: Final = 4

LEAVING_BYTES: Final = 4 << 20
"""A piece of a removed file: a block that gives one back does not feel it, and writes less."""


def disk_full(path: Path) -> Unavailable:
    """Return the error for a disk without room; the process that meets it must stop."""
    return Unavailable(
        Reason.DISK_FULL,
        f"the disk that holds {path} is full; nothing was half-applied, and the node stops",
        value=path,
        limit="16 MiB free at a start, and room for what is written",
        remedy="free space or grow the disk, then start the node again",
    )


def refused(path: Path, why: str) -> CorruptState:
    """Return the error for what this user may not read or write: nothing says that it is damaged."""
    return CorruptState(
        Reason.DATA_UNWRITABLE,
        f"{path}: the operating system refused: {why}",
        value=path,
        limit="files that the node's user may read and write",
        remedy=f"let user {os.geteuid()} read and write all that lies there (another may have run a command "
        "on it), or mount the volume for writing; if its file system failed, see the kernel's log first",
    )


def corrupt(path: Path, what: str, *, value: object = "", limit: object = "", remedy: str) -> CorruptState:
    """Return the error for a file or database that contradicts itself."""
    return CorruptState(
        Reason.DATA_CORRUPT,
        f"{path}: {what}",
        value=value if value != "" else path,
        limit=limit,
        remedy=remedy,
    )


def system_error(error: OSError, path: Path) -> LedgerError:
    """Return our error for an operating system error met while reading or writing `path`."""
    if error.errno in DISK_FULL_ERRORS:
        return disk_full(path)
    if error.errno in _REFUSALS:
        return refused(path, error.strerror or str(error))
    if error.errno in _FILES_USED_UP_ERRORS:
        return corrupt(
            path,
            f"no more files can be opened: {error.strerror}; nothing is damaged, and the node stops",
            limit=f"{resource.getrlimit(resource.RLIMIT_NOFILE)[0]} open files",
            remedy="let the node open 4096 or more (`ulimit -n`, `LimitNOFILE=`), then start it again",
        )
    return corrupt(
        path,
        f"the operating system refused: {error.strerror or error}",
        remedy="check disk and permissions, then start again: this process cannot know what was stored",
    )


@contextmanager
def guarded_io(path: Path) -> Iterator[None]:
    """Turn every `OSError` of the block into one of our errors that names `path`."""
    try:
        yield
    except OSError as error:
        raise system_error(error, path) from error


def lock_folder(path: Path) -> int:
    """Create `path` if need be and lock it against every other opening; closing the result unlocks.

    Raises:
        UsageError: it is open already, in this process or in another (DATA_LOCKED).
    """
    with guarded_io(path):
        path.mkdir(parents=True, exist_ok=True)
        lock_file = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock_file)
        raise UsageError(
            Reason.DATA_LOCKED,
            f"{path} is in use by another process",
            value=path,
            limit="one process per data directory",
            remedy="stop the other node, or give this one a data directory of its own",
        ) from None
    except OSError as error:
        os.close(lock_file)
        raise system_error(error, path) from error
    return lock_file


def is_locked(path: Path) -> bool:
    """Return whether a process holds the folder's lock now. It changes nothing, and makes no folder."""
    try:
        lock_file = os.open(path / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock_file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock_file)
    return False


def sync_folder(path: Path) -> None:
    """Make the creation, removal or renaming of files in `path` survive a power cut."""
    sync_file(path)


def sync_file(path: Path) -> None:
    """Put on disk what was written into a file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_synced(path: Path, content: bytes) -> None:
    """Create a file that did not exist, with its content and its name on disk when this returns."""
    _write(path, content, os.O_EXCL)
    sync_folder(path.parent)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file anew, whatever an attempt before left of it. Its name is for the caller to sync."""
    _write(path, content, os.O_TRUNC)


def _write(path: Path, content: bytes, how: int) -> None:
    created = os.open(path, os.O_WRONLY | os.O_CREAT | how | os.O_CLOEXEC, 0o600)
    try:
        write_at(created, content, 0)
        os.fsync(created)
    finally:
        os.close(created)


class Leaving:
    """Files without a name whose room is given back a few mebibytes at a time.

    To remove 64 MiB at once takes the kernel up to 50 ms. A crash gives back all that is left.
    """

    def __init__(self) -> None:
        self._files: list[int] = []

    def add(self, path: Path, opened: int | None) -> None:
        """Remove a file by its name. `opened` is a descriptor of it to write with, if there is one: it is
        closed here in the end."""
        self._files.append(os.open(path, os.O_RDWR | os.O_CLOEXEC) if opened is None else opened)
        path.unlink()

    @property
    def has_room(self) -> bool:
        """Whether few are waiting: another one may be added."""
        return len(self._files) < LEAVING_FILES_MAX

    def shrink(self, least_bytes: int = 0) -> None:
        """Give back one piece, of so many bytes at least."""
        piece = max(LEAVING_BYTES, least_bytes)
        while self._files and piece > 0:
            size = os.fstat(self._files[0]).st_size
            if size > piece:
                os.ftruncate(self._files[0], size - piece)
            else:
                os.close(self._files.pop(0))
            piece -= size

    def close(self) -> None:
        """Give back all that is left."""
        while self._files:
            os.close(self._files.pop())


def measure_folder(path: Path) -> int:
    """Return how many bytes the files in a folder hold. Some may come and go meanwhile."""
    total = 0
    with guarded_io(path), os.scandir(path) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                total += entry.stat().st_size
    return total


def write_at(descriptor: int, content: bytes, offset: int) -> None:
    """Write all of `content` at `offset`; the kernel may take it in several pieces."""
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Return up to `size` bytes from `offset`, fewer only at the end of the file."""
    parts: list[bytes] = []
    while size:
        part = os.pread(descriptor, size, offset)
        if not part:
            break
        parts.append(part)
        size -= len(part)
        offset += len(part)
    return b"".join(parts)
