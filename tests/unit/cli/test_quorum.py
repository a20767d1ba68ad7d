"""What a local network lacks for a quorum: by who runs, who has forgotten, and who waits."""

from __future__ import annotations

from pathlib import Path

import pytest
from tanpo.cli import quorum
from tanpo.cli.layout import NetworkFolder, NodePlace
from tanpo.cli.quorum import find_shortage
from tanpo.cli.readiness import Shortage

NAMES = ("a", "b", "c", "d", "follower")
NODES = tuple(
    NodePlace(member=name, node="node-1", address="x:1", peer_address="x:2", ops_address="127.0.0.1:1")
    for name in NAMES
)


@pytest.fixture(autouse=True)
def validators(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four validators of this folder and one of elsewhere; nobody answers, but one could be asked."""
    found = (*(f"{name}/node-1" for name in "abcd"), "elsewhere/node-1")
    monkeypatch.setattr(quorum, "_read_validators", lambda folder, nodes: found)


def find(running: str, *, waiting: str = "a", forgetful: str = "") -> Shortage | None:
    folder = NetworkFolder(root=Path("net"))
    waiters = [name for name in NAMES if name[0] in waiting]
    return find_shortage(folder, NODES, lambda node: node.member[0] in running, waiters, list(forgetful))


def test_a_network_that_runs_lacks_nothing() -> None:
    assert find("abcdf") is None


def test_a_validator_of_elsewhere_counts_as_one_that_can_vote() -> None:
    assert find("abcf") is None
    lacking = find("abf")
    assert lacking == Shortage(validator_count=5, needed=4, stopped=("c", "d"), forgetful=())
    assert not lacking.is_final


def test_those_who_forgot_count_like_those_that_do_not_run() -> None:
    assert find("abcdf", forgetful="b") is None
    lacking = find("abdf", forgetful="b")
    assert lacking == Shortage(validator_count=5, needed=4, stopped=("c",), forgetful=("b",))
    assert not lacking.is_final
    final = find("abdf", forgetful="bd")
    assert final == Shortage(validator_count=5, needed=4, stopped=("c",), forgetful=("b", "d"))
    assert final.is_final


def test_who_only_follows_needs_one_to_follow_even_one_that_forgot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quorum, "_read_validators", lambda folder, nodes: ("a/node-1", "b/node-1"))
    assert find("af", waiting="f", forgetful="a") is None
    assert find("f", waiting="f") == Shortage(validator_count=2, needed=1, stopped=("a", "b"), forgetful=())


def test_nothing_is_said_while_nobody_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quorum, "_read_validators", lambda folder, nodes: ())
    assert find("a") is None
