"""The nodes of one local network, whatever runs them: where they are, and how far they have come."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

from tanpo.cli.layout import NetworkFolder, NodePlace, select_node
from tanpo.cli.ports import PortSlot
from tanpo.cli.quorum import find_shortage
from tanpo.cli.readiness import POLL_SECONDS, READY_SECONDS, Goal, Shortage, wait_nodes


class NodeGroup(ABC):
    """What networks of processes and of containers have in common. `slot` holds the ports until they run."""

    poll_seconds: ClassVar[float] = POLL_SECONDS
    """How often a node is looked at that is waited for."""

    def __init__(
        self, folder: NetworkFolder, nodes: tuple[NodePlace, ...], slot: PortSlot | None = None
    ) -> None:
        self.folder = folder
        self.nodes = nodes
        self._slot = slot

    @property
    def members(self) -> tuple[str, ...]:
        """The members, in the order of their validators."""
        return tuple(node.member for node in self.nodes)

    def get_node(self, name: str) -> NodePlace:
        """Return the node of a member. Raises `UsageError` when there is none."""
        return select_node(self.nodes, name)

    def wait_ready(
        self,
        names: Iterable[str] | None = None,
        *,
        ready_seconds: float = READY_SECONDS,
        goal: Goal = Goal.READY,
    ) -> None:
        """Wait until each of the nodes, all by default, is ready, or as far as `goal` says.

        Raises:
            Forgetful: validators lost what they signed. LacksQuorum: it is to settle, and cannot.
            Unavailable: a node ended, or was not ready in time.
        """
        wait_nodes(
            [self.get_node(name) for name in (self.members if names is None else names)],
            directory=self.folder.root,
            is_running=self._is_running,
            explain=self._explain_end,
            ready_seconds=ready_seconds,
            goal=goal,
            poll_seconds=self.poll_seconds,
            # Whoever waits for no more than this may start the others meanwhile.
            find_shortage=self._find_shortage if goal is Goal.SETTLED else None,
        )

    @abstractmethod
    def _is_running(self, node: NodePlace) -> bool:
        """Return whether something runs a node."""

    @abstractmethod
    def _explain_end(self, node: NodePlace) -> str:
        """Return how a node ended, or what it said last."""

    def _find_shortage(self, waiting: Sequence[str], forgetful: Sequence[str]) -> Shortage | None:
        return find_shortage(self.folder, self.nodes, self._is_running, waiting, forgetful)

    def _release(self) -> None:
        if self._slot is not None:
            self._slot.release()
            self._slot = None
