"""What a check found amiss: all of it, not the first alone, so that an operator corrects a file once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tanpo.ledger.errors import LedgerError, Reason, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something amiss: where (a key of the configuration), what, and the remedy.

    A fault keeps the node from starting; whatever else is found ought to be seen to.
    """

    key: str
    error: LedgerError
    is_fault: bool = True


def fault(
    key: str,
    why: str,
    *,
    value: object = "",
    limit: object = "",
    remedy: str = "",
    reason: Reason = Reason.CONFIGURATION,
) -> Finding:
    """Return a finding that keeps the node from starting. `why` goes on from the name of the key."""
    return Finding(key=key, error=_describe(key, why, value, limit, remedy, reason))


def warning(key: str, why: str, *, value: object = "", limit: object = "", remedy: str = "") -> Finding:
    """Return a finding that the node can start with."""
    error = _describe(key, why, value, limit, remedy, Reason.CONFIGURATION)
    return Finding(key=key, error=error, is_fault=False)


def raise_first(findings: Iterable[Finding]) -> None:
    """Raise the error of the first fault, if there is one."""
    for found in findings:
        if found.is_fault:
            raise found.error


def _describe(key: str, why: str, value: object, limit: object, remedy: str, reason: Reason) -> LedgerError:
    return UsageError(reason, f"{key} {why}", value=value, limit=limit, remedy=remedy or f"correct {key}")
