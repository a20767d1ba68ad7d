"""The folder of a local network says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tanpo.cli.layout import NetworkFolder, NodePlace
from tanpo.cli.network import LocalNetwork, hold_lock
from tanpo.cli.provision import plan_network
from tanpo.ledger.errors import Reason, UsageError

NODE = NodePlace(
    member="dealer-a",
    node="node-1",
    address="127.0.0.1:1",
    peer_address="127.0.0.1:2",
    ops_address="127.0.0.1:3",
)


def test_the_manifest_reads_back(tmp_path: Path) -> None:
    folder = NetworkFolder(root=tmp_path)
    folder.save_manifest((NODE,))
    assert folder.load_manifest() == (NODE,)


def test_a_folder_without_a_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        LocalNetwork.open(tmp_path)
    assert refused.value.reason is Reason.NOT_FOUND
    assert "tanpo net up" in refused.value.remedy


@pytest.mark.parametrize("text", ["", "[]", '{"version": 2, "nodes": []}', '{"version": 1, "nodes": [{}]}'])
def test_a_manifest_we_cannot_use_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "network.json").write_text(text)
    with pytest.raises(UsageError) as refused:
        LocalNetwork.open(tmp_path)
    assert refused.value.reason is Reason.CONFIGURATION


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(UsageError, match="not empty"):
        LocalNetwork.create(tmp_path, plan_network(4))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_node_that_is_not_there_is_named(tmp_path: Path) -> None:
    network = LocalNetwork(NetworkFolder(root=tmp_path), (NODE,))
    assert network.get_node("dealer-a/node-1") == NODE
    with pytest.raises(UsageError) as refused:
        network.get_node("dealer-z")
    assert (refused.value.value, refused.value.limit) == ("dealer-z", "dealer-a")


def test_only_one_command_at_a_time_changes_a_network(tmp_path: Path) -> None:
    with hold_lock(tmp_path), pytest.raises(UsageError) as refused, hold_lock(tmp_path):
        pass
    assert refused.value.reason is Reason.DATA_LOCKED
    with hold_lock(tmp_path):
        pass


def test_a_plan_adds_participants_beyond_the_samples() -> None:
    plan = plan_network(6)
    assert [one.member for one in plan.members][4:] == ["participant-5", "participant-6"]
    assert [one.name for one in plan.contracts] == [
        "members",
        "validators",
        "contracts",
        "instruments",
        "settlement",
        "collateral",
    ]
