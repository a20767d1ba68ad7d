"""Wait until nodes are ready, and say why one is not: by its own word, or by the end of its log."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event
from typing import Final

from tanpo.cli.layout import NodePlace
from tanpo.ledger.errors import Reason, Unavailable

READY_SECONDS: Final = 90.0
"""How long a start may take; on an idle machine it takes two or three. A node that ends is not waited for."""
READY_PATH: Final = "/readyz"
ALIVE_PATH: Final = "/healthz"
POLL_SECONDS: Final = 0.05
_PROBE_SECONDS: Final = 1.0
_LOG_LINE_MAX: Final = 400


def wait_nodes(
    nodes: Sequence[NodePlace],
    *,
    directory: Path,
    is_running: Callable[[NodePlace], bool],
    explain: Callable[[NodePlace], str],
    ready_seconds: float = READY_SECONDS,
    path: str = READY_PATH,
    poll_seconds: float = POLL_SECONDS,
) -> None:
    """Wait until each of the nodes says that it is ready, or with `ALIVE_PATH` alive.

    `directory` is that of their network, and `explain` says how a node ended, or what it said last. Once one
    node has ended, or the wait is interrupted, no other is waited for.

    Raises:
        Unavailable: a node ended, or was not ready in time.
    """
    deadline, is_over = time.monotonic() + ready_seconds, Event()

    def wait(node: NodePlace) -> None:
        while not is_over.is_set() and (obstacles := find_obstacles(node.ops_address, path)) != "":
            # Whoever answers runs; to ask the engine of containers takes as much of a core as a node's start.
            if obstacles is None and not is_running(node):
                why = f"ended: {explain(node)}"
                raise _unavailable(Reason.UNREACHABLE, node, why, "a running node", directory)
            if time.monotonic() >= deadline:
                why = f"is not ready: {obstacles or explain(node)}"
                raise _unavailable(Reason.DEADLINE, node, why, "a ready node in time", directory)
            is_over.wait(poll_seconds)

    with ThreadPoolExecutor(max_workers=max(1, len(nodes))) as pool:
        try:
            for one in as_completed([pool.submit(wait, node) for node in nodes]):
                one.result()
        finally:
            # The others may lack the one that ended, and would be waited for to the end.
            is_over.set()


def find_obstacles(ops_address: str, path: str = READY_PATH) -> str | None:
    """Return what a node says is in its way, "" for nothing; None when it does not answer."""
    connection = http.client.HTTPConnection(ops_address, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        if response.status == http.client.OK:
            return ""
        return "; ".join(json.loads(response.read())["obstacles"]) or None
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()


def explain_end(log: str) -> str:
    """Return what the end of a node's log says last, in a line."""
    lines = [line for line in log.splitlines() if line.strip()]
    if not lines:
        return "it wrote no log"
    try:
        entry = json.loads(lines[-1])
        return str(entry.get("why") or entry.get("event") or lines[-1])[:_LOG_LINE_MAX]
    except (ValueError, AttributeError):
        return lines[-1][:_LOG_LINE_MAX]


def _unavailable(reason: Reason, node: NodePlace, why: str, limit: str, directory: Path) -> Unavailable:
    return Unavailable(
        reason,
        f"the node of {node.member} {why}",
        value=node.member,
        limit=limit,
        remedy=f"read more with `tanpo net logs {node.member} --dir {directory}`",
    )
