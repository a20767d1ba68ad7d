"""What the nodes of a local network say of themselves, asked all at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final

from tanpo.cli.compose.network import ComposeNetwork
from tanpo.cli.networks import AnyNetwork, find_run
from tanpo.client import Client, NodeStatus, load_profile
from tanpo.ledger.errors import LedgerError

_DEADLINE_S: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """One node: its process or its container, and its status or why there is none."""

    member: str
    address: str
    is_container: bool
    run: int | str | None
    status: NodeStatus | None
    problem: str

    @property
    def ready(self) -> bool:
        """Whether it admits transactions."""
        return self.status is not None and self.status.is_ready

    def to_row(self) -> dict[str, Any]:
        """Return the node as commands print it."""
        row: dict[str, Any] = {
            "node": self.member,
            "container" if self.is_container else "pid": self.run,
            "address": self.address,
            "ready": self.ready,
            "problem": self.problem or self._explain_silence(),
        }
        return row if self.status is None else row | _describe_chain(self.status)

    def _explain_silence(self) -> str:
        """Return why a node that should vote does not; one that only follows has no problem."""
        status = self.status
        is_named = status is not None and f"{status.member}/{status.node}" in status.validators
        return status.observer_reason if status is not None and is_named else ""


def read_reports(network: AnyNetwork) -> list[NodeReport]:
    """Ask every node how it is; one that does not answer is reported as such."""
    with ThreadPoolExecutor(max_workers=len(network.nodes)) as pool:
        return list(pool.map(lambda member: _read_report(network, member), network.members))


def describe_status(status: NodeStatus) -> dict[str, Any]:
    """Return everything a node says of itself, ready for JSON."""
    return {
        "network": status.network,
        "network_id": status.network_id.hex(),
        "member": status.member,
        "node": status.node,
        "version": status.version,
        "time_ms": status.time_ms,
        "block_hash": status.block_hash.hex(),
        "connected_peers": list(status.connected_peers),
        "ready": status.is_ready,
        "stalled_reason": status.stalled_reason,
        "observer_reason": status.observer_reason,
        "retention": status.retention,
        "blocks_bytes": status.blocks_bytes,
        "state_bytes": status.state_bytes,
        **_describe_chain(status),
    }


def _describe_chain(status: NodeStatus) -> dict[str, Any]:
    return {
        "height": status.height,
        "first_height": status.first_height,
        "state_root": status.state_root.hex(),
        "role": "observer" if status.observer_reason else "validator",
        "epoch": status.epoch,
        "validators": list(status.validators),
        "term": status.term,
        "leader": status.leader,
        "is_leader": status.is_leader,
        "pending": status.pending_transactions,
    }


def _read_report(network: AnyNetwork, member: str) -> NodeReport:
    node = network.get_node(member)
    run = find_run(network, member)
    status: NodeStatus | None = None
    problem = "" if run is not None else "not running"
    if run is not None:
        try:
            config = load_profile(network.folder.get_member(member).operator_profile)
            with Client(replace(config, deadline_s=_DEADLINE_S)) as client:
                status = client.network.status()
                problem = status.stalled_reason
        except LedgerError as error:
            problem = f"{error.reason}: {error.message}"
    return NodeReport(
        member=member,
        address=node.address,
        is_container=isinstance(network, ComposeNetwork),
        run=run,
        status=status,
        problem=problem,
    )
