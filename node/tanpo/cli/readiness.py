"""Wait until nodes are ready, and say why one is not: by its own word, or by the end of its log.

Who waits may not wait for what cannot come: for a validator that forgot what it signed, or for a quorum whose
nodes nobody has started.
"""

from __future__ import annotations

import http.client
import json
import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeAlias

from tanpo.cli.layout import NodePlace
from tanpo.ledger.errors import Reason, Unavailable

READY_SECONDS: Final = 90.0
"""How long a start may take; on an idle machine it takes two or three. A node that ends is not waited for."""
POLL_SECONDS: Final = 0.05
REJOIN: Final = "--rejoin"
"""What a node's words name when its validator must not vote without the operator's word (D6, D8)."""
SILENT: Final = "rejoined: silent"
"""How a node's words begin when its validator has rejoined: further terms are all that it lacks."""
_SHORTAGE_SECONDS: Final = 2.0
"""How often it is asked whether a quorum can come: it takes a client, and most starts are sooner over."""
_PROBE_SECONDS: Final = 1.0
_LOG_LINE_MAX: Final = 400


class Goal(StrEnum):
    """How far a node is waited for."""

    ALIVE = "alive"
    """It serves."""
    READY = "ready"
    """It admits transactions."""
    SETTLED = "settled"
    """It is ready, or silent since it rejoined: then no wait brings the terms that it lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """Too few validators can vote: the members whose nodes do not run, and those who have forgotten."""

    validator_count: int
    needed: int
    stopped: tuple[str, ...]
    forgetful: tuple[str, ...]

    @property
    def is_final(self) -> bool:
        """Whether a quorum would be lacking if every node ran."""
        return self.validator_count - len(self.forgetful) < self.needed


FindShortage: TypeAlias = Callable[[Sequence[str], Sequence[str]], Shortage | None]
"""Tells what a quorum lacks, from the members that wait for one and those known to have forgotten."""


class Forgetful(Unavailable):
    """Nodes need their operator's word: their validators lack what they signed. All others are settled."""

    members: tuple[str, ...] = ()


class LacksQuorum(Unavailable):
    """Nodes wait for a quorum that cannot come: too few validators run, or too many have forgotten."""

    shortage: Shortage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sight:
    """What one look at a node showed: its own words, None while it has none, and whether that is all."""

    node: NodePlace
    words: str | None
    is_there: bool
    is_forgetful: bool


def wait_nodes(
    nodes: Sequence[NodePlace],
    *,
    directory: Path,
    is_running: Callable[[NodePlace], bool],
    explain: Callable[[NodePlace], str],
    ready_seconds: float = READY_SECONDS,
    goal: Goal = Goal.READY,
    poll_seconds: float = POLL_SECONDS,
    find_shortage: FindShortage | None = None,
) -> None:
    """Wait until each of the nodes has come as far as `goal` says.

    `directory` is that of their network, and `explain` says how a node ended, or what it said last. Once one
    node has ended, or the wait is interrupted, no other is waited for. With `find_shortage` a quorum that
    cannot come is not waited for either.

    Raises:
        Forgetful: these nodes' validators lost what they signed; all others are as far as they should.
        LacksQuorum: there is no quorum, and none can come.
        Unavailable: a node ended, or did not get so far in time.
    """

    def look(node: NodePlace) -> _Sight:
        words = find_obstacles(node.ops_address, "/healthz" if goal is Goal.ALIVE else "/readyz")
        # Whoever answers runs; to ask the engine of containers takes as much of a core as a node's start.
        if words is None and not is_running(node):
            words = explain(node)
            if REJOIN not in words:
                raise _unavailable(Reason.UNREACHABLE, node, f"ended: {words}", "a running node", directory)
        return _Sight(
            node=node,
            words=words,
            is_there=words == "" or (goal is Goal.SETTLED and (words or "").startswith(SILENT)),
            is_forgetful=REJOIN in (words or ""),
        )

    now = time.monotonic()
    deadline, asking = now + ready_seconds, now + _SHORTAGE_SECONDS
    forgetful: list[_Sight] = []
    with ThreadPoolExecutor(max_workers=max(1, len(nodes))) as pool:
        while True:
            waiting, lost = _sift(pool.map(look, nodes))
            forgetful += lost
            if not waiting:
                break
            now = time.monotonic()
            if now >= deadline:
                raise _late(waiting[0], forgetful, explain, directory)
            if now >= asking and all(sight.words for sight in waiting):
                _check_quorum(waiting, forgetful, directory, find_shortage)
                asking = time.monotonic() + _SHORTAGE_SECONDS
            nodes = [sight.node for sight in waiting]
            time.sleep(poll_seconds)
    _check_memory(forgetful, directory, find_shortage)


def find_obstacles(ops_address: str, path: str = "/readyz") -> str | None:
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
    """Return what the end of a node's log says last, with the remedy if it names one, in a line."""
    lines = [line for line in log.splitlines() if line.strip()]
    if not lines:
        return "it wrote no log"
    try:
        entry = json.loads(lines[-1])
        told = [str(entry.get("why") or entry.get("event") or lines[-1]), str(entry.get("remedy") or "")]
    except (ValueError, AttributeError):
        told = [lines[-1]]
    return "; ".join(one[:_LOG_LINE_MAX] for one in told if one)


def _sift(sights: Iterable[_Sight]) -> tuple[list[_Sight], list[_Sight]]:
    """Return those who are still waited for, and the forgetful, for whom it is no use."""
    short = [sight for sight in sights if not sight.is_there]
    waiting = [sight for sight in short if not sight.is_forgetful]
    return waiting, [sight for sight in short if sight.is_forgetful]


def _check_quorum(
    waiting: Sequence[_Sight],
    forgetful: Sequence[_Sight],
    directory: Path,
    find_shortage: FindShortage | None,
) -> None:
    """Raise `LacksQuorum` when those who wait would wait for ever."""
    names = [sight.node.member for sight in waiting]
    forgotten = [sight.node.member for sight in forgetful]
    shortage = None if find_shortage is None else find_shortage(names, forgotten)
    if shortage is not None:
        raise _lacks_quorum(names, shortage, directory)


def _check_memory(forgetful: Sequence[_Sight], directory: Path, find_shortage: FindShortage | None) -> None:
    """Raise `Forgetful` if one has forgotten, or `LacksQuorum` if so many have that none may rejoin."""
    if not forgetful:
        return
    names = [sight.node.member for sight in forgetful]
    shortage = None if find_shortage is None else find_shortage(names, names)
    if shortage is not None and shortage.is_final:
        raise _lacks_quorum(names, shortage, directory)
    told = (forgetful[0].words or "").split("; ")
    raise _forgetful(names, next((one for one in told if "amnesia" in one), told[0]), directory)


def _forgetful(members: Sequence[str], why: str, directory: Path) -> Forgetful:
    named = " ".join(f"{REJOIN} {member}" for member in members)
    error = Forgetful(
        Reason.DATA_CORRUPT,
        f"the validator of {' and '.join(members)} must not vote: {why}",
        value=", ".join(members),
        limit="what it signed, or your word that it may rejoin",
        remedy=f"`tanpo net up {named} --dir {shlex.quote(str(directory))}`, unless its consensus/ was only "
        "moved: then put that back",
    )
    error.members = tuple(members)
    return error


def _lacks_quorum(waiting: Sequence[str], shortage: Shortage, directory: Path) -> LacksQuorum:
    if shortage.is_final:
        what = f"too many validators have forgotten what they signed: {', '.join(shortage.forgetful)}"
        remedy = "put consensus/ of one back if it was only moved; else begin a new network, in another --dir"
    else:
        what = f"the node of {' and '.join(waiting)} runs, and waits for a quorum"
        remedy = f"`tanpo net start {shortage.stopped[0]} --dir {shlex.quote(str(directory))}`"
    error = LacksQuorum(
        Reason.NO_QUORUM,
        what,
        value=f"not running: {', '.join(shortage.stopped) or 'none'}",
        limit=f"{shortage.needed} of {shortage.validator_count} validators",
        remedy=remedy,
    )
    error.shortage = shortage
    return error


def _late(
    sight: _Sight, forgetful: Sequence[_Sight], explain: Callable[[NodePlace], str], directory: Path
) -> Unavailable:
    why = f"is not ready: {sight.words or explain(sight.node)}"
    if forgetful:
        # This may be all that is in the way, and what the one that waits knows of it is silence.
        why += f"; {' and '.join(one.node.member for one in forgetful)} forgot what they signed"
    return _unavailable(Reason.DEADLINE, sight.node, why, "a ready node in time", directory)


def _unavailable(reason: Reason, node: NodePlace, why: str, limit: str, directory: Path) -> Unavailable:
    return Unavailable(
        reason,
        f"the node of {node.member} {why}",
        value=node.member,
        limit=limit,
        remedy=f"read more with `tanpo net logs {node.member} --dir {shlex.quote(str(directory))}`",
    )
