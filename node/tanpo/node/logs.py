"""JSON logs on stderr: one object a line, with what it is about (height, term, tx_id, peer) as fields.

Never log keys, payloads or bytes of a peer. The level can be changed while the node runs.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Hashable
from enum import StrEnum
from typing import Final, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor
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


class LogControl:
    """The level of this process' logs."""

    def __init__(self, level: LogLevel, stream: TextIO) -> None:
        self._stream = stream
        self._level = level

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
            processors=[*_SHARED, structlog.processors.JSONRenderer(default=str)],
            wrapper_class=structlog.make_filtering_bound_logger(number),
            logger_factory=structlog.WriteLoggerFactory(file=self._stream),
            # Loggers look their level up at each line, so that this call reaches all of them.
            cache_logger_on_first_use=False,
        )
        # Libraries: asyncio's debug lines would drown ours.
        logging.getLogger().setLevel(max(number, logging.WARNING))
        return previous


def start_logging(level: LogLevel, stream: TextIO | None = None) -> LogControl:
    """Send this process' logs, and those of its libraries, to `stream` (stderr)."""
    chosen = stream or sys.stderr
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
