"""How the programs of the test bench end when somebody wants them to: with one line, not a traceback."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Final, NoReturn

INTERRUPTED: Final = 130
UNREAD: Final = 141
"""The exit code of what SIGPIPE ends, in a shell: whether all is well is not known, as nobody reads it."""


def run_to_end(main: Callable[[], int]) -> NoReturn:
    """Run a program and exit with the code it returns, or as Ctrl-C, SIGTERM or a reader that left ask for.

    SIGTERM is as Ctrl-C: what `main` started is ended on the way out.
    """
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        code = main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.stderr.write("interrupted\n")
        code = INTERRUPTED
    except BrokenPipeError:
        # Python would complain when it flushes stdout at exit, so stdout leads nowhere from now on.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = UNREAD
    sys.exit(code)
