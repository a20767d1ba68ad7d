"""What `tanpo debug bundle` does: it finds the log, and waits for the archive."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tanpo.cli.node_logs import find_log
from tanpo.ledger.errors import LedgerError
from tanpo.node.bundle import Bundle, write_bundle
from tanpo.node.clock import Clock
from tanpo.node.config import load_config


def write_bundle_here(target: Path, config_path: Path) -> Bundle:
    """Write the archive. A configuration that is wrong, or a log that is not to be found, is no hindrance."""
    log: Path | None = None
    try:
        log = find_log(config_path, load_config(config_path))
    except LedgerError:
        beside = config_path.parent / "node.log"
        log = beside if beside.is_file() else None
    return asyncio.run(write_bundle(target, config_path, log, Clock.system()))
