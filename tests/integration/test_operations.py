"""The day of the person who operates a node, on a network of real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tanpo.cli.network import LocalNetwork
from tanpo.cli.provision import plan_network
from tanpo.node.exits import ExitCode

WAIT_S = 60
FAULTY_NODE = Path(__file__).parents[1] / "chaos" / "faulty_node.py"

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNetwork]:
    network = LocalNetwork.create(tmp_path_factory.mktemp("operations") / "net", plan_network(4))
    try:
        network.start()
        yield network
    finally:
        network.stop()


def test_a_node_whose_clock_is_wrong_by_minutes_does_not_start(network: LocalNetwork) -> None:
    config = network.folder.get_member("dealer-b").config
    network.stop(["dealer-b"])
    # A clock that is behind is before the network's genesis here: that alone shows it.
    for skew_ms, side in ((180_000, "ahead of the peers'"), (-180_000, "behind the network's")):
        ended = subprocess.run(
            [sys.executable, FAULTY_NODE, "--skew-ms", str(skew_ms), config],
            capture_output=True,
            timeout=WAIT_S,
            check=False,
        )
        (line,) = [one for one in map(json.loads, ended.stderr.splitlines()) if one["level"] == "error"]

        assert (ended.returncode, line["reason"]) == (ExitCode.CLOCK_WRONG, "CLOCK_WRONG")
        assert f" s {side} " in line["why"]
        assert "NTP" in line["remedy"]
    network.start(["dealer-b"])
