"""The log of the tree's nodes: files beside LevelDB's that grow at the end and are dropped at the front.

A file is named by the position of its first byte in the whole log, so each ends where the next one begins.
Records have no frame and no checksum: whoever reads one knows its position, its length and its hash.

Rules that keep it honest: records are on disk before the batch of LevelDB that leads to them; what lies
behind the end that LevelDB knows of is of no block and is written over; a file goes only when no root that
LevelDB holds leads into it, after the batch that let go of the last one.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import CorruptState, Reason, UsageError
from tanpo.storage.files import Leaving, corrupt, guarded_io, read_at, sync_folder, write_at

LOG_FILE_BYTES: Final = 64 << 20
"""Past this size the next block opens a new file. They are dropped whole."""

LOG_SUFFIX: Final = ".nodes"

FILES_OPEN_MAX: Final = 64
"""Files held open at once; a large state has hundreds, and a process may be allowed a thousand."""

_WRITE_BYTES: Final = 1 << 20


class NodeLog:
    """The files of one log, open. One process and one thread at a time."""

    def __init__(self, folder: Path, remedy: str, file_bytes: int) -> None:
        self._folder = folder
        self._remedy = remedy
        self._file_bytes = file_bytes
        self._starts: list[int] = []
        self._opened: dict[int, int] = {}
        self._leaving = Leaving()
        self._holds = 0
        self._appended = 0
        self._is_closed = False

    @classmethod
    def open(
        cls, folder: Path, *, low: int, end: int, remedy: str, file_bytes: int = LOG_FILE_BYTES
    ) -> NodeLog:
        """Open the log in `folder`, which need not have one yet, and cut off what lies behind `end`.

        Files below `low`, where no root leads to, go too: a crash may bring back some that were removed.

        Raises:
            CorruptState: bytes between `low` and `end` are missing; `remedy` says what to do.
        """
        log = cls(folder, remedy, file_bytes)
        with guarded_io(folder):
            # Not by `Path.glob`, for which a folder that may not be read is empty.
            found = folder.iterdir() if folder.exists() else ()
            paths = sorted(path for path in found if path.name.endswith(LOG_SUFFIX))
            while len(paths) > 1 and (_parse_start(paths[1]) or end) <= low:
                paths.pop(0).unlink()
            for path in paths:
                log._take(path, end)
            log._cut(end)
        if low < end and (not log._starts or log._starts[0] > low):
            first = log._starts[0] if log._starts else end
            log.close()
            raise corrupt(
                folder, "the log of the tree begins too late", value=first, limit=low, remedy=remedy
            )
        return log

    def append(self, position: int, parts: Iterable[bytes]) -> None:
        """Write records from `position` on, the end of the log; they are on disk when this returns.

        Raises:
            CorruptState: the disk refuses. Unavailable: it is full. Either way, stop the process.
        """
        self._check_open()
        with guarded_io(self._folder):
            if not self._starts or position - self._starts[-1] >= self._file_bytes:
                self._create(position)
            file, at = self._open_file(self._starts[-1]), position - self._starts[-1]
            waiting = bytearray()
            for part in parts:
                waiting += part
                if len(waiting) >= _WRITE_BYTES:
                    write_at(file, bytes(waiting), at)
                    at += len(waiting)
                    waiting.clear()
            write_at(file, bytes(waiting), at)
            os.fdatasync(file)
        self._appended += at + len(waiting) - (position - self._starts[-1])

    def read(self, position: int, size: int) -> bytes | None:
        """Return `size` bytes, fewer only where a file ends; `None` if the log begins behind `position`."""
        self._check_open()
        which = bisect_right(self._starts, position) - 1
        if which < 0:
            return None
        with guarded_io(self._folder):
            start = self._starts[which]
            return read_at(self._open_file(start), size, position - start)

    def drop(self, low: int) -> None:
        """Remove the files whose records all lie below `low`, unless a copy of them is being made.

        Their room comes back piece by piece with the calls that follow, faster than blocks take it. Of many,
        as after a copy that took long, a few lose their names now, and the others in turn.
        """
        self._check_open()
        with guarded_io(self._folder):
            self._leaving.shrink(2 * self._appended)
            self._appended = 0
            while not self._holds and self._leaving.has_room and bisect_right(self._starts, low) > 1:
                start = self._starts.pop(0)
                self._leaving.add(self._name(start), self._opened.pop(start, None))

    def hold(self) -> Callable[[], None]:
        """Let no file be removed until what this returns is called."""
        self._holds += 1
        return self._release

    def find_stop(self, position: int) -> int | None:
        """Return where the file that holds a position ends, `None` if it is the last."""
        which = bisect_right(self._starts, position)
        return self._starts[which] if which < len(self._starts) else None

    def list_ends(self, end: int) -> list[tuple[Path, int]]:
        """Return the files and how many bytes of each are records, if the log ends at `end`."""
        stops = [*self._starts[1:], end]
        pairs = zip(self._starts, stops, strict=True) if self._starts else ()
        return [(self._name(start), stop - start) for start, stop in pairs]

    def close(self) -> None:
        """Close every file. Closing twice does nothing."""
        self._leaving.close()
        while self._opened:
            os.close(self._opened.popitem()[1])
        self._is_closed = True

    def _take(self, path: Path, end: int) -> None:
        """Open one file, which has to begin where the one before ends. One behind the end is of no block."""
        start = _parse_start(path)
        if start is None:
            raise self._damaged(path, "is not the name of a part of the tree's log", path.name, "")
        if start >= end:
            path.unlink()
            return
        self._check_last(start)
        self._starts.append(start)

    def _cut(self, end: int) -> None:
        if self._starts:
            self._check_last(end)
            os.ftruncate(self._open_file(self._starts[-1]), end - self._starts[-1])

    def _check_last(self, stop: int) -> None:
        """Raise `CorruptState` unless the last file reaches to `stop`."""
        if not self._starts:
            return
        start = self._starts[-1]
        size = self._name(start).stat().st_size
        if start + size < stop:
            raise self._damaged(self._name(start), "is too short", size, stop - start)

    def _damaged(self, path: Path, what: str, value: object, limit: object) -> CorruptState:
        self.close()
        return corrupt(path, what, value=value, limit=limit, remedy=self._remedy)

    def _create(self, position: int) -> None:
        os.close(os.open(self._name(position), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._starts.append(position)
        sync_folder(self._folder)

    def _open_file(self, start: int) -> int:
        """Return a descriptor of a file. The one opened longest ago makes room for another."""
        file = self._opened.get(start)
        if file is None:
            if len(self._opened) >= FILES_OPEN_MAX:
                os.close(self._opened.pop(next(iter(self._opened))))
            file = self._opened[start] = os.open(self._name(start), os.O_RDWR | os.O_CLOEXEC)
        return file

    def _name(self, start: int) -> Path:
        return self._folder / f"{start:016d}{LOG_SUFFIX}"

    def _release(self) -> None:
        self._holds -= 1

    def _check_open(self) -> None:
        if self._is_closed:
            raise UsageError(Reason.MISUSE, "the store is closed", value=self._folder, remedy="open it again")


def _parse_start(path: Path) -> int | None:
    name = path.name[: -len(LOG_SUFFIX)]
    return int(name) if len(name) == 16 and name.isascii() and name.isdigit() else None
