from __future__ import annotations

from dataclasses import dataclass

import pytest
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.types import Epoch, MemberId
from tanpo.ledger.validators import Validator, ValidatorSet
from tanpo.node.peer_link import PeerState
from tanpo.node.roster import Roster
from tanpo.node.services.readiness import Readiness


@dataclass
class Status:
    height: int = 0
    block_hash: bytes = b""
    state_root: bytes = b""
    time_ms: int = 0
    epoch: int = 0
    term: int = 1
    leader: str = "m0/n1"
    is_leader: bool = False
    pending_transactions: int = 0
    stalled_reason: str = ""
    observer_reason: str = ""
    retention: str = "archive"
    blocks_bytes: int = 0
    state_bytes: int = 0


class Node:
    """A core and its links, as far as readiness sees them."""

    def __init__(self, connected: int, others: int, stalled: str = "", silent_s: float | None = 0.0) -> None:
        self._connected, self._others, self._stalled, self._silent_s = connected, others, stalled, silent_s

    def status(self) -> Status:
        return Status(stalled_reason=self._stalled)

    def peers(self) -> list[PeerState]:
        return [
            PeerState(
                member=MemberId(f"m{number + 1}"),
                node="n1",
                address="x:1",
                is_connected=number < self._connected,
                queued_bytes=0,
                dropped_messages=0,
                last_error="refused",
                silent_s=self._silent_s,
            )
            for number in range(self._others)
        ]


NOW_S = 1000.0


def make(node: Node, validator_count: int, member: str = "m0", own: tuple[str, ...] = ()) -> Readiness:
    validators = ValidatorSet(
        tuple(
            Validator(
                member=MemberId(f"m{number}"), node="n1", public_key=PrivateKey.generate().public_key.encoded
            )
            for number in range(validator_count)
        )
    )
    index = validators.find_index(MemberId(member), "n1")
    roster = Roster(
        own_name=f"{member}/n1",
        public_key=None if index is None else validators.validators[index].public_key,
        epoch=Epoch(0),
        validators=validators,
    )
    return Readiness(
        core=node,
        peers=node,
        roster=roster,
        silence_s=2.0,
        explain_own=lambda: own,
    )


@pytest.mark.parametrize(("connected", "is_ready"), [(0, False), (1, False), (2, True), (3, True)])
def test_validator_is_ready_with_a_quorum_counting_itself(connected: int, is_ready: bool) -> None:
    assert make(Node(connected, 3), 4).is_ready is is_ready


def test_single_validator_is_ready_alone() -> None:
    assert make(Node(0, 0), 1).is_ready


@pytest.mark.parametrize(("connected", "is_ready"), [(0, False), (1, True)])
def test_observer_needs_one_validator_to_follow(connected: int, is_ready: bool) -> None:
    assert make(Node(connected, 4), 4, member="observer").is_ready is is_ready


def test_a_validator_without_an_address_is_named() -> None:
    assert make(Node(1, 2), 4).find_obstacles() == [
        "no quorum: 1 validators connected, 2 needed; missing m2/n1, m3/n1",
        "no link to m2/n1 at x:1: refused",
        "no link to m3/n1: it has no address in peers, and has not connected to this node",
    ]


def test_only_validators_count() -> None:
    # Of the peers m1 to m5, two are no validators of this epoch.
    assert make(Node(2, 5), 4).is_ready
    assert make(Node(5, 5, stalled="nothing commits", silent_s=60), 4).find_obstacles()[1:] == [
        f"nothing came from m{number}/n1 for 60 s: "
        "it is stopped or overloaded, or its link to this node is broken"
        for number in (1, 2, 3)
    ]


def test_obstacles_name_who_is_missing_and_why() -> None:
    assert make(Node(1, 3), 4).find_obstacles() == [
        "no quorum: 1 validators connected, 2 needed; missing m2/n1, m3/n1",
        "no link to m2/n1 at x:1: refused",
        "no link to m3/n1 at x:1: refused",
    ]


def test_links_that_are_down_are_named_only_when_something_is_amiss() -> None:
    assert make(Node(2, 3), 4).find_obstacles() == []
    assert make(Node(2, 3, stalled="nothing commits"), 4).find_obstacles() == [
        "nothing commits",
        "no link to m3/n1 at x:1: refused",
    ]


def test_what_is_the_matter_with_this_node_is_named_when_something_is_amiss() -> None:
    own = ("our TLS certificate expired 60 s ago: peers refuse it",)
    assert own[0] in make(Node(0, 3), 4, own=own).find_obstacles()
    assert make(Node(3, 3), 4, own=own).find_obstacles() == []


def test_nobody_is_called_silent_while_blocks_are_fetched() -> None:
    stalled = "catching up from height 3, asking m1/n1"
    assert make(Node(3, 3, stalled=stalled, silent_s=60), 4).find_obstacles() == [stalled]


@pytest.mark.parametrize(("silent_s", "is_named"), [(1.9, False), (2.1, True), (None, True)])
def test_peers_from_which_nothing_comes_are_named_in_a_stalled_network(
    silent_s: float | None, is_named: bool
) -> None:
    obstacles = make(Node(3, 3, stalled="nothing commits", silent_s=silent_s), 4).find_obstacles()
    named = [obstacle for obstacle in obstacles if "nothing came from m2/n1" in obstacle]
    assert bool(named) is is_named


def test_stall_and_stop_are_obstacles() -> None:
    stalled = make(Node(3, 3, stalled="no progress in term 4"), 4)
    assert stalled.find_obstacles() == ["no progress in term 4"]
    stalled.refuse("the node is stopping")
    assert stalled.find_obstacles() == ["the node is stopping", "no progress in term 4"]


def test_a_drained_node_says_what_else_is_amiss_and_no_more() -> None:
    cut_off, well = make(Node(1, 3), 4), make(Node(2, 3), 4)
    for node in (cut_off, well):
        node.refuse("drained")

    assert well.find_obstacles() == ["drained"]
    assert cut_off.find_obstacles() == [
        "drained",
        "no quorum: 1 validators connected, 2 needed; missing m2/n1, m3/n1",
        "no link to m2/n1 at x:1: refused",
        "no link to m3/n1 at x:1: refused",
    ]
