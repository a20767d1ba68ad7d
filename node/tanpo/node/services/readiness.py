"""Whether a node can do its work, and if not, why: for readiness probes, health and operators."""

from __future__ import annotations

from collections.abc import Callable

from tanpo.consensus.status import OWN_REASONS
from tanpo.ledger.certificate import compute_quorum
from tanpo.ledger.types import MemberId
from tanpo.ledger.validators import ValidatorSet
from tanpo.node.services.ports import PeerSource, StatusSource
from tanpo.node.transport import PeerState


class Readiness:
    """Answers "ready?" from the state of the core and the links."""

    def __init__(
        self,
        *,
        core: StatusSource,
        peers: PeerSource,
        validators: ValidatorSet,
        member: MemberId,
        node: str,
        silence_s: float,
        certificate_until_s: float,
        read_clock_s: Callable[[], float],
    ) -> None:
        self._core = core
        self._peers = peers
        others = validators.validator_count - (validators.find_index(member, node) is not None)
        # Our own vote is one of the quorum, if we have one.
        self._peers_needed = compute_quorum(validators.validator_count) - (
            validators.validator_count - others
        )
        self._silence_s = silence_s
        self._certificate_until_s = certificate_until_s
        self._read_clock_s = read_clock_s
        self._refusing = ""

    def refuse(self, why: str) -> None:
        """Answer that this node admits nothing any more, and why."""
        self._refusing = why

    def find_obstacles(self) -> list[str]:
        """Return why this node is not ready; empty when it is.

        Links that are down or silent are named only when something is amiss: a quorum can do without them.
        """
        if self._refusing:
            return [self._refusing]
        states = self._peers.peers()
        connected = sum(state.is_connected for state in states)
        obstacles: list[str] = []
        if connected < self._peers_needed:
            missing = ", ".join(_name(state) for state in states if not state.is_connected)
            obstacles.append(
                f"no quorum: {connected} validators connected, {self._peers_needed} needed; missing {missing}"
            )
        stalled = self._core.status().stalled_reason
        if stalled:
            obstacles.append(stalled)
        if obstacles:
            obstacles += [_explain_link(state) for state in states if not state.is_connected]
            if (expired_s := self._read_clock_s() - self._certificate_until_s) > 0:
                obstacles.append(f"our TLS certificate expired {expired_s:.0f} s ago: peers refuse it")
        if stalled and not stalled.startswith(OWN_REASONS):
            obstacles += [silence for state in states if (silence := self._find_silence(state))]
        return obstacles

    @property
    def is_ready(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.find_obstacles()

    def _find_silence(self, state: PeerState) -> str | None:
        """Return that a peer to which the link stands says nothing: in a stall whoever lives complains."""
        if not state.is_connected:
            return None
        if state.silent_s is None:
            return f"nothing came from {_name(state)} yet: its link to this node was never up"
        if state.silent_s <= self._silence_s:
            return None
        return (
            f"nothing came from {_name(state)} for {state.silent_s:.0f} s: "
            "it is stopped or overloaded, or its link to this node is broken"
        )


def _explain_link(state: PeerState) -> str:
    return f"no link to {_name(state)} at {state.address}: {state.last_error or 'not tried yet'}"


def _name(state: PeerState) -> str:
    return f"{state.member}/{state.node}"
