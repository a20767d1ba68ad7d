"""New files, which are never put in the place of others."""

from __future__ import annotations

import os
from pathlib import Path

from tanpo.ledger.errors import Reason, UsageError

SECRET_MODE = 0o600
PUBLIC_MODE = 0o644


def create_file(path: Path, content: bytes, mode: int = PUBLIC_MODE) -> None:
    """Write a new file, durably.

    Raises:
        UsageError: there is such a file already; it is not touched.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise refuse_existing(path) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def refuse_existing(path: Path) -> UsageError:
    """Return the error for a file that a command would have to overwrite."""
    return UsageError(
        Reason.CONFIGURATION,
        "there is such a file already",
        value=path,
        limit="a new file: nothing is overwritten",
        remedy="name another, or move this one away",
    )
