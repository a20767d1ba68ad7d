"""Long work on a node's files: what it shows while it goes on, and how it ends when it is interrupted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tanpo.cli.output import print_error

if TYPE_CHECKING:
    from tanpo.ledger.genesis import Genesis
    from tanpo.node.auditing import Audit
    from tanpo.node.config import NodeConfig
    from tanpo.node.replaying import Diverged, Progress, Watch
    from tanpo.node.scratch import Replayed

INTERRUPTED: Final = 130
TERMINAL_INTERVAL_S: Final = 0.25
LINES_INTERVAL_S: Final = 2.0
"""How often progress is shown on a terminal, where it overwrites itself, and elsewhere."""


def load_node(config_path: Path) -> tuple[NodeConfig, Genesis]:
    """Return a node's configuration and genesis. Raises `UsageError` when they cannot be read."""
    from tanpo.node.config import load_config
    from tanpo.node.dialling import load_genesis
    from tanpo.node.logs import LogLevel, start_logging

    # What the node's parts have to say goes to stderr, below what a person is shown.
    start_logging(LogLevel.WARNING)
    config = load_config(config_path)
    return config, load_genesis(config.genesis)


@contextmanager
def watched(what: str) -> Iterator[Watch]:
    """Show progress on stderr; exit with 130 when the work is interrupted, having said how to go on."""
    from tanpo.node.replaying import Watch
    from tanpo.node.stopping import Stopped, StopRequest

    is_terminal = sys.stderr.isatty()
    latest: Progress | None = None

    def show(progress: Progress) -> None:
        nonlocal latest
        latest = progress
        line = f"{what}: {progress.describe()}"
        sys.stderr.write(f"\r{line}\x1b[K" if is_terminal else f"{line}\n")
        sys.stderr.flush()

    stop = StopRequest()
    interval_s = TERMINAL_INTERVAL_S if is_terminal else LINES_INTERVAL_S
    try:
        with stop.caught():
            yield Watch(show, stop, interval_s=interval_s)
    except Stopped:
        raise SystemExit(INTERRUPTED) from None
    finally:
        if is_terminal and latest is not None:
            sys.stderr.write("\n")
        if stop.is_asked:
            print_error(f"{what} was interrupted: run the command again, and it goes on where it was")


def describe_replayed(replayed: Replayed) -> dict[str, object]:
    """Return what re-execution came to, as commands print it."""
    return {
        "began_with": replayed.began_with,
        "height": replayed.height,
        "resumed_from": max(0, replayed.began_at),
        "block_hash": replayed.block_hash.hex(),
        "state_root": replayed.state_root.hex(),
        "receipts_root": replayed.receipts_root.hex(),
        "seconds": round(replayed.seconds, 3),
    }


def describe_audit(audit: Audit) -> dict[str, object]:
    """Return what an audit found, as commands print it."""
    is_whole = audit.stored_height is not None
    found: dict[str, object] = {
        "equal": audit.difference is None,
        "began_with": audit.began_with,
        "height": audit.height,
        "proved_height": audit.proved_height,
        "stored_height": audit.stored_height,
        "compared": ["blocks", "commit proofs", *(["receipts", "positions", "state"] if is_whole else ())],
    }
    if audit.replayed is not None:
        found |= describe_replayed(audit.replayed)
    found["difference"] = None if audit.difference is None else describe_difference(audit.difference)
    return found


def describe_difference(difference: Diverged) -> dict[str, object]:
    """Return a difference between what is stored and what execution gives, as commands print it."""
    return {
        "height": difference.height,
        "part": difference.part,
        "place": difference.place,
        "stored": difference.value,
        "executed": difference.limit,
        "remedy": difference.remedy,
    }
