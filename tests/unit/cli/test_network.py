"""Networks of processes: what is left of one that was interrupted while it was made."""

from __future__ import annotations

from pathlib import Path

import pytest
from tanpo.cli import provision
from tanpo.cli.founding.settings import write_config
from tanpo.cli.network import LocalNetwork, hold_lock
from tanpo.cli.provision import plan_network


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
