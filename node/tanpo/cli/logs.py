"""Read the end of a log file, and what is added to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import Reason, UsageError

_POLL_SECONDS: Final = 0.1
_CHUNK_BYTES: Final = 64 * 1024
_LINE_BYTES_MAX: Final = 64 * 1024


def tail_lines(path: Path, count: int) -> tuple[list[str], int]:
    """Return the last whole lines of a file, and the offset after them.

    Raises:
        UsageError: there is no such file.
    """
    try:
        with path.open("rb") as stream:
            end = stream.seek(0, 2)
            data = b""
            while len(data) < end and data.count(b"\n") <= count:
                size = min(_CHUNK_BYTES, end - len(data))
                stream.seek(end - len(data) - size)
                data = stream.read(size) + data
    except OSError as error:
        raise UsageError(
            Reason.NOT_FOUND,
            f"the log cannot be read: {error.strerror}",
            value=path,
            limit="a node that was started",
            remedy="start it with `tanpo net up`",
        ) from None
    whole = data[: data.rfind(b"\n") + 1]
    lines = whole.decode("utf-8", "replace").splitlines()[-count:]
    return lines, end - (len(data) - len(whole))


def follow_lines(path: Path, offset: int) -> Iterator[str]:
    """Yield whole lines as they are added after `offset`, until the caller stops asking."""
    pending = b""
    with path.open("rb") as stream:
        stream.seek(offset)
        while True:
            added = stream.read(_CHUNK_BYTES)
            if not added:
                time.sleep(_POLL_SECONDS)
                continue
            *lines, pending = (pending + added).split(b"\n")
            pending = pending[-_LINE_BYTES_MAX:]
            for line in lines:
                yield line.decode("utf-8", "replace")
