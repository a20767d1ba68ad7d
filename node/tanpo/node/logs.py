"""JSON logs on stderr: one object a line, with what it is about (height, term, tx_id, peer) as fields.

Never log keys, payloads or bytes of a peer. The level can be changed while the node runs.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, MutableMapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor, WrappedLogger
from tanpo.ledger.errors import Reason, UsageError


class LogLevel(StrEnum):
    """How much is logged; each level includes those after it."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


_SHARED: Final[tuple[Processor, ...]] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    structlog.processors.format_exc_info,
)


def get_logger(component: str) -> FilteringBoundLogger:
    """Return a logger whose lines name the component. It may be made before `start_logging`."""
    return cast(FilteringBoundLogger, structlog.get_logger(component=component))


class Milestones:
    """Which of many alike occurrences deserve a line: the 1st, 2nd, 4th, 8th, ... of each key.

    A peer that sends garbage all day must not fill the disk. Keys must be few, as validators are.
    """

    def __init__(self) -> None:
        self._counts: Counter[Hashable] = Counter()

    def note(self, key: Hashable) -> int:
        """Count one more; return how many there have been if that is worth a line, else 0."""
        self._counts[key] += 1
        count = self._counts[key]
        return count if count & (count - 1) == 0 else 0


class LogStream:
    """Where lines go: to a stream and, once there is one, to a file besides.

    The file may be moved away by whoever rotates logs: the next line makes a new one. It is a convenience, so
    a disk that refuses a line stops nobody.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._path: Path | None = None
        self._file: TextIO | None = None

    def open_file(self, path: Path) -> None:
        """Write to a file too from now on. Raises `OSError` if it cannot be opened."""
        self._path = path
        self._file = _open_log(path)

    def write(self, text: str) -> int:
        """Write a line, or a part of it."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._write_file(self._path, text)
        return self._stream.write(text)

    def flush(self) -> None:
        """Let what was written be read."""
        self._stream.flush()

    def close_file(self) -> None:
        """Write to the stream alone from now on."""
        if self._file is not None:
            self._file.close()
        self._path = self._file = None

    def _write_file(self, path: Path, text: str) -> None:
        if self._file is None or not _is_same(self._file, path):
            stale, self._file = self._file, None
            if stale is not None:
                stale.close()
            self._file = _open_log(path)
        self._file.write(text)


class LogControl:
    """The level of this process' logs, what every line tells besides, and the file they go to."""

    def __init__(self, level: LogLevel, stream: LogStream) -> None:
        self._stream = stream
        self._level = level
        self._read_position: Callable[[], Mapping[str, int]] = dict

    def log_to(self, path: Path) -> None:
        """Write to a file too.

        Raises:
            UsageError: it cannot be written.
        """
        try:
            self._stream.open_file(path)
        except OSError as error:
            raise _unwritable(path, error.strerror) from None

    def close(self) -> None:
        """Close the file; lines go on to the stream."""
        self._stream.close_file()

    def tell_position(self, read: Callable[[], Mapping[str, int]]) -> None:
        """Add to every line where the node stands, unless the line tells of another place itself."""
        self._read_position = read

    def _add_position(
        self, _logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        return {**self._read_position(), **event}

    @property
    def level(self) -> LogLevel:
        """The level now."""
        return self._level

    def set_level(self, level: LogLevel) -> LogLevel:
        """Change the level of every logger. Returns the previous one."""
        previous = self._level
        self._level = level
        number = logging.getLevelNamesMapping()[level.upper()]
        structlog.configure(
            processors=[*_SHARED, self._add_position, structlog.processors.JSONRenderer(default=str)],
            wrapper_class=structlog.make_filtering_bound_logger(number),
            logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, self._stream)),
            # Loggers look their level up at each line, so that this call reaches all of them.
            cache_logger_on_first_use=False,
        )
        # Libraries: asyncio's debug lines would drown ours.
        logging.getLogger().setLevel(max(number, logging.WARNING))
        return previous


def start_logging(level: LogLevel, stream: TextIO | None = None) -> LogControl:
    """Send this process' logs, and those of its libraries, to `stream` (stderr)."""
    chosen = LogStream(stream or sys.stderr)
    control = LogControl(level, chosen)
    handler = logging.StreamHandler(chosen)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    control.set_level(level)
    return control


def find_log_error(path: Path) -> UsageError | None:
    """Return the error that `LogControl.log_to` would raise for a file, which is neither made nor changed."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK))
    except FileNotFoundError as error:
        if not path.parent.is_dir():
            return _unwritable(path, error.strerror)
        if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
            return _unwritable(path, os.strerror(errno.EACCES))
    except OSError as error:
        # A pipe that nobody reads yet is waited for.
        if error.errno != errno.ENXIO:
            return _unwritable(path, error.strerror)
    return None


def _unwritable(path: Path, why: str | None) -> UsageError:
    return UsageError(
        Reason.CONFIGURATION,
        f"log_file: cannot write {path}: {why}",
        value=path,
        limit="a file in a folder that this user may write to",
        remedy="correct log_file, or leave it out: the log goes to stderr",
    )


def _open_log(path: Path) -> TextIO:
    # Line by line, so that whoever follows it sees each line when it is written.
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "w", 1)


def _is_same(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def parse_level(name: str) -> LogLevel:
    """Return a level by its name. Raises `UsageError` for any other."""
    if name not in tuple(LogLevel):
        raise UsageError(
            Reason.CONFIGURATION,
            "there is no such log level",
            value=name,
            limit=", ".join(LogLevel),
            remedy="choose one of them",
        )
    return LogLevel(name)
