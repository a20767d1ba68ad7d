"""Whether a node can do its work, and if not, why: for readiness probes, health and operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tanpo.consensus.status import OWN_REASONS
from tanpo.ledger.certificate import compute_quorum
from tanpo.node.peer_link import PeerState
from tanpo.node.roster import Roster, compute_name
from tanpo.node.services.ports import PeerSource, StatusSource


class Readiness:
    """Answers "ready?" from the state of the core and the links.

    `explain_own` tells what is the matter with this node itself, its certificate or its clock: no obstacle,
    but a likely cause of those there are.
    """

    def __init__(
        self,
        *,
        core: StatusSource,
        peers: PeerSource,
        roster: Roster,
        silence_s: float,
        explain_own: Callable[[], Sequence[str]],
    ) -> None:
        self._core = core
        self._peers = peers
        self._roster = roster
        self._silence_s = silence_s
        self._explain_own = explain_own
        self._refusing = self._lag = ""

    def note_lag(self, why: str) -> None:
        """Hear why this node cannot get to where the others are; "" when nothing is in the way."""
        self._lag = why

    def refuse(self, why: str) -> None:
        """Answer that this node admits nothing any more, and why."""
        self._refusing = why

    def find_obstacles(self) -> list[str]:
        """Return why this node is not ready; empty when it is.

        Links that are down or silent are named only when something is amiss: a quorum can do without them.
        """
        known = {_name(state): state for state in self._peers.peers()}
        states = [known[name] for name in self._roster.others if name in known]
        missing = [name for name in self._roster.others if name not in known or not known[name].is_connected]
        obstacles = self._explain_missing(missing)
        if self._lag:
            obstacles.append(self._lag)
        stalled = self._core.status().stalled_reason
        if stalled:
            obstacles.append(stalled)
        if obstacles:
            obstacles += [_explain_link(name, known.get(name)) for name in missing]
            obstacles += self._explain_own()
        if stalled and not stalled.startswith(OWN_REASONS):
            obstacles += [silence for state in states if (silence := self._find_silence(state))]
        # Apart from the rest: that an operator drained the node is no reason to name links, and hides none.
        return [self._refusing, *obstacles] if self._refusing else obstacles

    @property
    def is_ready(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.find_obstacles()

    def _explain_missing(self, missing: Sequence[str]) -> list[str]:
        """Return that too few validators can be reached; nothing when there are enough."""
        roster = self._roster
        connected = len(roster.others) - len(missing)
        # Our own vote is one of the quorum, if we have one; whoever only follows needs one to follow.
        needed = 1 if roster.own is None else compute_quorum(len(roster.names)) - 1
        if connected >= needed:
            return []
        what = "no quorum" if roster.own is not None else "no validator to follow"
        return [f"{what}: {connected} validators connected, {needed} needed; missing {', '.join(missing)}"]

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


def _explain_link(name: str, state: PeerState | None) -> str:
    if state is None:
        return f"no link to {name}: it has no address in peers, and has not connected to this node"
    return f"no link to {name} at {state.address}: {state.last_error or 'not tried yet'}"


def _name(state: PeerState) -> str:
    return compute_name(state.member, state.node)
