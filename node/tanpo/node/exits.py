"""Why a node's process ended, as the one number that a service manager sees.

deploy/README.md explains each code to operators; a test holds the two against each other. A code is never
given another meaning: restart policies and runbooks name them.
"""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import Final

from tanpo.ledger.errors import (
    CorruptState,
    InvariantViolation,
    LedgerError,
    PeerFault,
    Reason,
    Unavailable,
)


class ExitCode(IntEnum):
    """Why a node's process ended; each row of the table in deploy/README.md begins with one."""

    OK = 0
    INTERNAL = 1
    CONFIGURATION = 2
    DATA_LOCKED = 3
    DATA_CORRUPT = 4
    DISK_FULL = 5
    GENESIS_MISMATCH = 6
    PORT_IN_USE = 7
    HALTED = 8
    DATA_UNWRITABLE = 9
    DATA_NEWER = 10
    DATA_OLDER = 11
    CLOCK_WRONG = 12


_CODE_BY_REASON: Final = {
    Reason.DATA_LOCKED: ExitCode.DATA_LOCKED,
    Reason.DATA_CORRUPT: ExitCode.DATA_CORRUPT,
    Reason.DISK_FULL: ExitCode.DISK_FULL,
    Reason.GENESIS_MISMATCH: ExitCode.GENESIS_MISMATCH,
    Reason.PORT_IN_USE: ExitCode.PORT_IN_USE,
    Reason.DATA_UNWRITABLE: ExitCode.DATA_UNWRITABLE,
    Reason.DATA_NEWER: ExitCode.DATA_NEWER,
    Reason.DATA_OLDER: ExitCode.DATA_OLDER,
    Reason.CLOCK_WRONG: ExitCode.CLOCK_WRONG,
}


def compute_exit_code(error: BaseException) -> ExitCode:
    """Return the exit code for what ended a node."""
    if isinstance(error, InvariantViolation):
        return ExitCode.HALTED
    if isinstance(error, LedgerError):
        if error.reason in _CODE_BY_REASON:
            return _CODE_BY_REASON[error.reason]
        if isinstance(error, CorruptState):
            return ExitCode.DATA_CORRUPT
        return ExitCode.INTERNAL if isinstance(error, Unavailable | PeerFault) else ExitCode.CONFIGURATION
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ExitCode.DISK_FULL
    return ExitCode.INTERNAL
