"""Files that an operator names: read whole, but only what can be such a file at all.

A wrong name must not cost more than a message: a pipe would hold the start up for ever, a device would fill
the memory, and so would a file that is a hundred times what it could be.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

CONFIG_BYTES_MAX: Final = 1 << 20
"""A configuration of a hundred peers has 10 KB; a PEM file has less."""

GENESIS_BYTES_MAX: Final = 64 << 20
"""A genesis of the product's contracts has 110 KB; those of others may come to a few megabytes."""


def read_operator_file(path: Path, bytes_max: int = CONFIG_BYTES_MAX) -> bytes:
    """Return what a file holds.

    Raises:
        OSError: it cannot be read, is no regular file, or is longer than `bytes_max`; `strerror` says so.
    """
    # A pipe that nobody writes to would block the opening itself.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise OSError(errno.EINVAL, f"it is longer than {bytes_max} bytes", path)
    return data
