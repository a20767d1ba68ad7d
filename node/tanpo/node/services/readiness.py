"""Whether a node can do its work, and if not, why: for readiness probes, health and operators."""

from __future__ import annotations

from tanpo.ledger.certificate import compute_quorum
from tanpo.ledger.types import MemberId
from tanpo.ledger.validators import ValidatorSet
from tanpo.node.services.ports import PeerSource, StatusSource


class Readiness:
    """Answers "ready?" from the state of the core and the links."""

    def __init__(
        self, *, core: StatusSource, peers: PeerSource, validators: ValidatorSet, member: MemberId, node: str
    ) -> None:
        self._core = core
        self._peers = peers
        others = validators.validator_count - (validators.find_index(member, node) is not None)
        # Our own vote is one of the quorum, if we have one.
        self._peers_needed = compute_quorum(validators.validator_count) - (
            validators.validator_count - others
        )
        self._refusing = ""

    def refuse(self, why: str) -> None:
        """Answer that this node admits nothing any more, and why."""
        self._refusing = why

    def find_obstacles(self) -> list[str]:
        """Return why this node is not ready; empty when it is."""
        if self._refusing:
            return [self._refusing]
        obstacles: list[str] = []
        states = self._peers.peers()
        connected = sum(state.is_connected for state in states)
        if connected < self._peers_needed:
            missing = ", ".join(
                f"{state.member}/{state.node} ({state.last_error or 'not tried yet'})"
                for state in states
                if not state.is_connected
            )
            obstacles.append(
                f"no quorum: {connected} validators connected, {self._peers_needed} needed; missing {missing}"
            )
        stalled = self._core.status().stalled_reason
        if stalled:
            obstacles.append(stalled)
        return obstacles

    @property
    def is_ready(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.find_obstacles()
