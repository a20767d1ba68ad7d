"""What can go wrong, sorted by what the caller should do about it.

A contract that fails inside a block is not here: that is a receipt, the same on every node.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Self


class Reason(StrEnum):
    """Why something was refused: wire format, added to, never renamed, never reused."""

    MALFORMED = "MALFORMED"
    TOO_LARGE = "TOO_LARGE"
    VERSION_UNKNOWN = "VERSION_UNKNOWN"
    SIGNATURE_INVALID = "SIGNATURE_INVALID"
    SIGNATURE_MISSING = "SIGNATURE_MISSING"
    SIGNATURE_FOREIGN = "SIGNATURE_FOREIGN"
    SIGNATURE_DUPLICATE = "SIGNATURE_DUPLICATE"
    KEY_UNKNOWN = "KEY_UNKNOWN"
    KEY_REVOKED = "KEY_REVOKED"
    MEMBER_UNKNOWN = "MEMBER_UNKNOWN"
    CONTRACT_UNKNOWN = "CONTRACT_UNKNOWN"
    CONTRACT_REFUSED = "CONTRACT_REFUSED"
    CONTRACT_FAILED = "CONTRACT_FAILED"
    ENTRY_UNKNOWN = "ENTRY_UNKNOWN"
    ARGUMENT_UNKNOWN = "ARGUMENT_UNKNOWN"
    ARGUMENT_MISSING = "ARGUMENT_MISSING"
    ARGUMENT_TYPE = "ARGUMENT_TYPE"
    ARGUMENT_RANGE = "ARGUMENT_RANGE"
    GAS_LIMIT = "GAS_LIMIT"
    EXPIRED = "EXPIRED"
    VALID_UNTIL_TOO_FAR = "VALID_UNTIL_TOO_FAR"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    MEMPOOL_FULL = "MEMPOOL_FULL"
    MEMBER_QUOTA = "MEMBER_QUOTA"
    GUESTS_FULL = "GUESTS_FULL"
    CALLER_UNKNOWN = "CALLER_UNKNOWN"
    CALLER_FORBIDDEN = "CALLER_FORBIDDEN"
    HEIGHT_UNKNOWN = "HEIGHT_UNKNOWN"
    NOT_FOUND = "NOT_FOUND"
    VIEW_FAILED = "VIEW_FAILED"
    NO_QUORUM = "NO_QUORUM"
    STOPPING = "STOPPING"
    STARTING = "STARTING"
    DEADLINE = "DEADLINE"
    UNREACHABLE = "UNREACHABLE"
    SLOW_READER = "SLOW_READER"
    MISUSE = "MISUSE"
    GENESIS_MISMATCH = "GENESIS_MISMATCH"
    DATA_CORRUPT = "DATA_CORRUPT"
    DATA_LOCKED = "DATA_LOCKED"
    DISK_FULL = "DISK_FULL"
    PROTOCOL = "PROTOCOL"
    EQUIVOCATION = "EQUIVOCATION"
    PROOF_INVALID = "PROOF_INVALID"
    EPOCH_UNKNOWN = "EPOCH_UNKNOWN"
    CONFIGURATION = "CONFIGURATION"
    PORT_IN_USE = "PORT_IN_USE"
    VALIDATORS_REFUSED = "VALIDATORS_REFUSED"
    WORKER_LOST = "WORKER_LOST"
    HEIGHT_PRUNED = "HEIGHT_PRUNED"
    DATA_UNWRITABLE = "DATA_UNWRITABLE"
    DATA_NEWER = "DATA_NEWER"
    DATA_OLDER = "DATA_OLDER"
    CLOCK_WRONG = "CLOCK_WRONG"


class LedgerError(Exception):
    """Base of every error that correct code can meet.

    `value` is the offending value, `limit` what is allowed, `remedy` what to do: each a short text, empty
    when it does not apply. All of them reach the caller over gRPC.
    """

    retriable: bool = False

    def __init__(
        self, reason: Reason, message: str, *, value: object = "", limit: object = "", remedy: str = ""
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.value = clip(str(value))
        self.limit = clip(str(limit))
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message

    def retell(self, message: str) -> Self:
        """Return the same error in other words."""
        return type(self)(self.reason, message, value=self.value, limit=self.limit, remedy=self.remedy)


class TransactionRejected(LedgerError):
    """The sender must change the request; it was not and will not be ordered as it stands."""


class PeerFault(LedgerError):
    """Bytes or a message that break the protocol: drop them, keep evidence, never crash."""


class Unavailable(LedgerError):
    """Try again, here or at another node: no quorum, overloaded, stopping, deadline passed."""

    retriable = True


class UsageError(LedgerError):
    """The caller misused this API: a closed client, a bad order of calls, wrong configuration."""


class CorruptState(LedgerError):
    """Local data contradicts itself: stop, and recover from peers or a backup."""


class InvariantViolation(Exception):
    """We are wrong. Stop the process; nothing below the top level catches this."""


CLIP_MAX: Final = 200
"""Longest value quoted in an error: enough to recognise it, too little to flood a log."""


def clip(text: str) -> str:
    """Return `text`, shortened to `CLIP_MAX` characters and free of control characters."""
    shown = text if len(text) <= CLIP_MAX else text[: CLIP_MAX - 1] + "…"
    return shown if shown.isprintable() else "".join(c if c.isprintable() else "?" for c in shown)


def invariant(condition: bool, message: str) -> None:
    """Raise `InvariantViolation` unless `condition` holds. Unlike `assert`, it survives `python -O`."""
    if not condition:
        raise InvariantViolation(message)
