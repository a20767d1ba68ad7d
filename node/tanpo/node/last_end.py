"""Why a node that does not run has ended, as the end of its log tells.

An operator who is told to start it again must know first whether that is wise.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tanpo.node.config import NodeConfig
from tanpo.node.exits import ExitCode

LOG_NAME: Final = "node.log"
"""Beside the configuration, where `tanpo net` lets its nodes write."""

END_EVENT: Final = "cannot go on"
"""The last line of a node that ended by itself."""

_TAIL_BYTES: Final = 64 << 10
"""Room for the last line, which may hold a long traceback."""

_REMEDIES: Final = {
    ExitCode.HALTED: "do not start it in a loop: compare versions and state roots with other members first",
    ExitCode.INTERNAL: "keep the log, make a debug bundle and report it; then start it again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LastEnd:
    """How the latest run of a node ended by itself."""

    time: str
    code: ExitCode
    why: str
    remedy: str


def find_log(path: Path, config: NodeConfig) -> Path | None:
    """Return the file that a node logs to, None if the log goes where only what started it knows."""
    beside = path.parent / LOG_NAME
    log = config.log_file or beside
    try:
        is_there = log.exists()
        if is_there and not log.is_file():
            return None  # What went into a pipe is with whoever reads it.
    except OSError:
        return log  # In a folder that may not be entered: whoever reads it is told so.
    return log if config.log_file is not None or is_there else None


def find_last_end(path: Path, config: NodeConfig) -> LastEnd | None:
    """Return how a node ended, None if it was told to, was killed, or has no log that can be read."""
    log = find_log(path, config)
    if log is None:
        return None
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            last = json.loads(file.read(_TAIL_BYTES).splitlines()[-1])
        if last["event"] != END_EVENT:
            return None
        code = ExitCode(last["exit_code"])
        return LastEnd(
            time=str(last["time"])[:19],
            code=code,
            why=str(last["why"]),
            remedy=str(last.get("remedy") or explain_remedy(code)),
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None


def explain_remedy(code: ExitCode) -> str:
    """Return what to do about an end whose error names no remedy; empty if its code says nothing either."""
    return _REMEDIES.get(code, "")
