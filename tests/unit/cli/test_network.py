"""What is left of a network that was interrupted, or killed, while it was made."""

from __future__ import annotations

from pathlib import Path

import pytest
from tanpo.cli import network as network_module
from tanpo.cli import provision
from tanpo.cli.founding.settings import write_config
from tanpo.cli.network import LocalNetwork, hold_lock
from tanpo.cli.networks import undo_half
from tanpo.cli.provision import plan_network
from tanpo.testing.commands import read_json_here, run_tanpo_here


def test_a_network_that_is_interrupted_while_it_is_made_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def interrupt(*arguments: object) -> None:
        write_config(*arguments)  # type: ignore[arg-type]  # handed through as it came
        written.append(arguments)
        if len(written) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(provision, "write_config", interrupt)
    folder = tmp_path / "net"
    with hold_lock(folder):
        with pytest.raises(KeyboardInterrupt):
            LocalNetwork.create(folder, plan_network(4))
        assert [one.name for one in folder.iterdir()] == ["lock"]

        made = LocalNetwork.create(folder, plan_network(4))

    assert len(made.members) == 4
    made.stop()  # It holds its ports.


@pytest.fixture
def half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a network whose making was interrupted, and then the undoing of it too."""
    folder = tmp_path / "net"

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(provision, "write_config", interrupt)
        patched.setattr(network_module, "clear", interrupt)
        with pytest.raises(KeyboardInterrupt):
            LocalNetwork.create(folder, plan_network(4))
    assert (folder / "genesis.json").exists()
    return folder


def test_half_a_network_is_removed_and_a_whole_one_is_not(half: Path) -> None:
    with hold_lock(half):
        assert undo_half(half)
        assert [one.name for one in half.iterdir()] == ["lock"]
        LocalNetwork.create(half, plan_network(4)).stop()
        assert not undo_half(half)
    assert len(LocalNetwork.open(half).members) == 4


def test_down_deletes_half_a_network_too(half: Path) -> None:
    stopping = run_tanpo_here("net", "down", "--dir", str(half))
    assert stopping.stderr.startswith("tanpo: NOT_FOUND: there is no network in this folder")

    assert read_json_here("net", "down", "--delete", "--dir", str(half))["deleted"]
    assert not half.exists()
