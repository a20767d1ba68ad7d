"""Files of exported blocks: written whole or not at all, and checked before they get their name."""

from __future__ import annotations

import os
from pathlib import Path

from tanpo.client import Client
from tanpo.ledger.blockcheck import BlocksVerdict, verify_block_file
from tanpo.ledger.errors import Reason, UsageError


def save_blocks(client: Client, first: int, last: int, out: Path) -> BlocksVerdict:
    """Fetch the blocks from one height to another, 0 for the latest that can be proved, into a new file.

    Raises:
        UsageError: the file exists, or the node does not hold them all. LinkBroken: what it sent is no proof.
    """
    if out.exists():
        raise UsageError(
            Reason.CONFIGURATION,
            f"{out} exists already",
            value=out,
            limit="a file that does not exist",
            remedy="choose another name",
        )
    # What the last block did is in the header above it.
    last = last or client.chain.block().height - 1
    partial = out.with_name(f"{out.name}.partial")
    try:
        with partial.open("w+b") as file:
            client.chain.export_blocks(first, last, file.write)
            file.flush()
            os.fsync(file.fileno())
            verdict = verify_block_file(file, client.config.genesis, client.config.pin)
        partial.rename(out)
    finally:
        partial.unlink(missing_ok=True)
    return verdict
