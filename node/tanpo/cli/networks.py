"""Local networks of either kind: processes of this machine, or containers. Commands do not care which."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Protocol, TypeAlias

from tanpo.cli.compose.network import ComposeNetwork, take_down, undo
from tanpo.cli.compose.network import delete as delete_containers
from tanpo.cli.layout import NetworkFolder, NodePlace
from tanpo.cli.logs import follow_lines, tail_lines
from tanpo.cli.network import LocalNetwork, launch
from tanpo.cli.readiness import Forgetful, Goal, LacksQuorum
from tanpo.ledger.errors import LedgerError, Reason, UsageError


class Network(Protocol):
    """What both kinds have in common."""

    folder: NetworkFolder
    nodes: tuple[NodePlace, ...]

    @property
    def members(self) -> tuple[str, ...]:
        """The members, in the order of their validators."""
        ...

    def get_node(self, name: str) -> NodePlace:
        """Return the node of a member. Raises `UsageError` when there is none."""
        ...

    def start(self, names: Iterable[str] | None = None) -> None:
        """Start nodes, all by default, and wait until each is ready."""
        ...

    def wait_ready(self, names: Iterable[str] | None = None, *, goal: Goal = Goal.READY) -> None:
        """Wait until nodes, all by default, are ready, or as far as `goal` says."""
        ...

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> bool:
        """Send a node a signal; return False when it did not run."""
        ...

    def stop(self, names: Iterable[str] | None = None) -> list[str]:
        """Stop nodes, all by default; return those that had to be killed."""
        ...


AnyNetwork: TypeAlias = LocalNetwork | ComposeNetwork


def open_network(directory: Path) -> AnyNetwork:
    """Return the network of a folder, whatever runs it.

    Raises:
        UsageError: the folder holds none, or there is no engine for its containers.
    """
    if NetworkFolder(root=directory.absolute()).compose.exists():
        return ComposeNetwork.open(directory)
    return LocalNetwork.open(directory)


def undo_half(directory: Path) -> bool:
    """Remove what is there of a network whose making was broken off; return whether there was any.

    Raises:
        Unavailable: there are containers, and the engine does not answer.
    """
    folder = NetworkFolder(root=directory.absolute())
    if not folder.unfinished.exists():
        return False
    undo(folder)
    return True


def find_run(network: AnyNetwork, name: str) -> int | str | None:
    """Return what runs a node: its process' id or its container's, None when it does not run."""
    if isinstance(network, ComposeNetwork):
        return network.find_container(name)
    record = network.find_process(name)
    return record.pid if record is not None else None


def bring_up(network: AnyNetwork, rejoining: Sequence[str] = ()) -> None:
    """Start all nodes; those of the members that are rejoining last, and one after the other (D8).

    They may vote again though they lost what they signed, in later terms: they are waited for until they have
    rejoined, not until they are ready. Who has forgotten and may not rejoin is stopped again: the others run,
    without it. In all other cases everything comes up, or nothing that was started is left.

    Raises:
        Forgetful: validators lost what they signed.
        UsageError: there is no such node, or too many are to rejoin.
        Unavailable: a node ended, or was not ready in time.
    """
    late = list(dict.fromkeys(network.get_node(name).member for name in rejoining))
    early = [member for member in network.members if member not in late]
    started = [member for member in network.members if find_run(network, member) is None]
    forgetful: Forgetful | None = None
    try:
        try:
            network.start(early)
        except Forgetful as error:
            forgetful = error
            # They may have been ready by a link to the node that is stopped again.
            network.wait_ready([one for one in early if one not in error.members], goal=Goal.SETTLED)
        for member in late:
            restart(network, member, may_rejoin=True)
            network.wait_ready([member], goal=Goal.SETTLED)
    except BaseException as error:
        # Once more than the start itself: an engine may just have been about to start one. A container that
        # is told to stop before its node listens to signals does not hear it, so it is not waited for.
        network.stop(started, grace_seconds=1)
        if late and isinstance(error, LacksQuorum):
            raise _too_many(late, error) from None
        raise
    if forgetful is not None:
        raise forgetful.retell(f"{forgetful.message}; its node is stopped again, and the others go on")


def restart(network: AnyNetwork, name: str, *, may_rejoin: bool) -> None:
    """Start one node again and wait until it is ready, or with `may_rejoin` only until it serves.

    Raises:
        Unavailable: it ended, or was not ready in time. LacksQuorum: it runs, and too few others do.
        UsageError: it runs, and should rejoin.
    """
    if isinstance(network, ComposeNetwork):
        network.start([name], may_rejoin=may_rejoin)
    elif may_rejoin:
        launch(network, name, may_rejoin=True)
    else:
        network.start([name])


def end(network: AnyNetwork, *, is_deleting: bool) -> list[str]:
    """Stop a network, and remove its data if told so; return the nodes that had to be killed."""
    killed = network.stop()
    if isinstance(network, ComposeNetwork):
        if is_deleting:
            delete_containers(network)
        else:
            take_down(network)
    elif is_deleting:
        network.delete()
    return killed


def read_log(network: AnyNetwork, name: str, lines: int, *, is_following: bool) -> Iterator[str]:
    """Yield the last lines of a node's log, and what is added to it if following.

    Raises:
        UsageError: the node has not written any.
    """
    if isinstance(network, ComposeNetwork):
        return network.read_log(name, lines, is_following=is_following)
    path = network.folder.get_member(network.get_node(name).member).log
    last, offset = tail_lines(path, lines)
    return chain(last, follow_lines(path, offset) if is_following else ())


def _too_many(late: Sequence[str], error: LacksQuorum) -> LedgerError:
    """Say that the validators that are not to rejoin are no quorum, on which each that does depends."""
    forgetful = () if error.shortage is None else error.shortage.forgetful
    return UsageError(
        Reason.NO_QUORUM,
        "too many validators are to rejoin: each needs a quorum of others that remember what they signed",
        value=", ".join(dict.fromkeys((*late, *forgetful))),
        limit=error.limit,
        remedy="name only those that have forgotten; if too many have, put consensus/ of one back if it was "
        "only moved, or begin a new network, in another --dir",
    )
