from __future__ import annotations

from dataclasses import dataclass

import pytest
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.types import MemberId
from tanpo.ledger.validators import Validator, ValidatorSet
from tanpo.node.services.readiness import Readiness
from tanpo.node.transport import PeerState


@dataclass
class Status:
    height: int = 0
    block_hash: bytes = b""
    state_root: bytes = b""
    time_ms: int = 0
    epoch: int = 0
    term: int = 1
    leader: int = 0
    is_leader: bool = False
    pending_transactions: int = 0
    stalled_reason: str = ""


class Node:
    """A core and its links, as far as readiness sees them."""

    def __init__(self, connected: int, others: int, stalled: str = "") -> None:
        self._connected, self._others, self._stalled = connected, others, stalled

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
            )
            for number in range(self._others)
        ]


def make(node: Node, validator_count: int, member: str = "m0") -> Readiness:
    validators = ValidatorSet(
        tuple(
            Validator(
                member=MemberId(f"m{number}"), node="n1", public_key=PrivateKey.generate().public_key.encoded
            )
            for number in range(validator_count)
        )
    )
    return Readiness(core=node, peers=node, validators=validators, member=MemberId(member), node="n1")


@pytest.mark.parametrize(("connected", "is_ready"), [(0, False), (1, False), (2, True), (3, True)])
def test_validator_is_ready_with_a_quorum_counting_itself(connected: int, is_ready: bool) -> None:
    assert make(Node(connected, 3), 4).is_ready is is_ready


def test_single_validator_is_ready_alone() -> None:
    assert make(Node(0, 0), 1).is_ready


@pytest.mark.parametrize(("connected", "is_ready"), [(2, False), (3, True)])
def test_observer_has_no_vote_of_its_own(connected: int, is_ready: bool) -> None:
    assert make(Node(connected, 4), 4, member="observer").is_ready is is_ready


def test_obstacles_name_who_is_missing_and_why() -> None:
    (obstacle,) = make(Node(1, 3), 4).find_obstacles()
    assert obstacle == (
        "no quorum: 1 validators connected, 2 needed; missing m2/n1 (refused), m3/n1 (refused)"
    )


def test_stall_and_stop_are_obstacles() -> None:
    stalled = make(Node(3, 3, stalled="no progress in term 4"), 4)
    assert stalled.find_obstacles() == ["no progress in term 4"]
    stalled.refuse("the node is stopping")
    assert stalled.find_obstacles() == ["the node is stopping"]
