"""Starts a worker: `python -I -m tanpo.node.worker FD PID`, for the node PID, over the open file FD."""

from __future__ import annotations

import gc
import os
import sys
from typing import Final

from tanpo.node.worker import wire
from tanpo.node.worker.sandbox import lock_in
from tanpo.node.worker.serving import Pipe, Server
from tanpo.node.worker.warming import warm_up
from tanpo.node.worker.wire import Kind

GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Blocks are many short-lived objects without cycles: collect seldom."""


def main() -> None:
    """Lock the process in, and serve until the node closes the pipe."""
    fd, parent_pid = int(sys.argv[1]), int(sys.argv[2])
    pipe = Pipe(fd)
    code = 1
    try:
        warm_up()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        lock_in(fd, parent_pid)
        pipe.send(Kind.READY, b"")
        Server(pipe).serve()
        code = 0
    except Exception as error:
        pipe.send(Kind.FAULT, f"{type(error).__name__}: {error}".encode()[: wire.FAULT_BYTES_MAX])
        raise
    finally:
        # What Python does at its end needs calls that are gone.
        os._exit(code)


main()
