from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from tanpo.testing.chaos.damage import flip_bit
from tanpo.testing.chaos.nemesis import Nemesis
from tanpo.testing.chaos.network import ChaosNetwork
from tanpo.testing.chaos.run import describe
from tanpo.testing.chaos.steps import TurnByzantine


def draw(network: ChaosNetwork, seed: int, count: int) -> list[str]:
    nemesis = Nemesis(network=network, chance=Random(seed), faulty_node=Path("faulty_node.py"))
    return [" and ".join(describe(step) for step in nemesis.choose("dealer-a")) for _ in range(count)]


async def test_a_seed_draws_the_same_faults_again(
    network: ChaosNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "is_running", lambda member: True)
    drawn = draw(network, 1, 60)
    assert drawn == draw(network, 1, 60)
    assert drawn != draw(network, 2, 60)
    assert len({one.split()[0] for one in drawn}) >= 8


async def test_no_more_nodes_lie_than_the_network_can_bear(
    network: ChaosNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "is_running", lambda member: True)
    for seed in range(60):
        network.faulty.clear()
        nemesis = Nemesis(network=network, chance=Random(seed), faulty_node=Path("faulty_node.py"))
        for _ in range(40):
            for step in nemesis.choose("dealer-a"):
                if isinstance(step, TurnByzantine):
                    network.faulty.update(step.victims)
        assert len(network.faulty) == network.faulty_max == 1


def test_one_bit_of_one_file_is_flipped(tmp_path: Path) -> None:
    before = {tmp_path / name: bytes(size) for name, size in (("a", 10), ("b", 1000), ("empty", 0))}
    for path, content in before.items():
        path.write_bytes(content)
    where = flip_bit(before, Random(3))
    changed = [path for path, content in before.items() if path.read_bytes() != content]
    assert len(changed) == 1
    assert sum(byte.bit_count() for byte in changed[0].read_bytes()) == 1
    assert changed[0].name in where
