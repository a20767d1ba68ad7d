"""Seeded clusters: nothing forks, nothing durable is forgotten, everything submitted commits after healing.

A failing seed replays exactly: `python tests/simulation/conftest.py SEED`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SEEDS = 160
"""Enough for every kind of fault at every size in well under a minute; longer runs happen outside."""


@pytest.mark.parametrize("first", range(0, SEEDS, 20))
def test_faulty_clusters_agree_and_make_progress_once_healed(new_cluster: Any, first: int) -> None:
    for seed in range(first, first + 20):
        try:
            new_cluster(seed).run(chaos_ms=2500)
        except AssertionError as error:
            pytest.fail(f"seed {seed}: {error}")


@pytest.mark.parametrize("count", [4, 5, 6, 7, 8, 9, 10, 13, 16])
def test_every_size_survives_its_greatest_number_of_hostile_validators(new_cluster: Any, count: int) -> None:
    cluster = new_cluster(1000 + count, count=count, hostile="puppets")

    cluster.run(chaos_ms=800)

    assert cluster.chain


def test_an_idle_network_commits_without_waiting_for_a_timer(new_cluster: Any) -> None:
    """P5: submit to commit takes two and a half round trips, plus the disk and execution."""
    cluster = new_cluster(3, count=4, hostile="")
    cluster.is_calm = True
    cluster.swarm = cluster.swarm._replace(sync_ms=0, execution_ms=0, delay_ms=1)
    cluster.run_until(100)
    cluster.submit()
    before = cluster.now_ms
    leader = cluster.nodes[0]

    cluster.run_until(before + 60)
    stored = [block.header.height for block, _, _ in leader.disk.chain]

    assert stored == [1, 2], "the transaction and the empty block that seals its results"
    assert leader.disk.chain[0][0].envelopes == (b"tx 0",)
    assert leader.disk.chain[1][0].header.tx_count == 0
    assert all(len(node.disk.chain) == 2 for node in cluster.nodes)


def test_a_dead_leader_is_replaced_within_three_base_timeouts(new_cluster: Any) -> None:
    """T2: after the leader's death the next commit comes within three base timeouts."""
    cluster = new_cluster(11, count=4, hostile="")
    cluster.is_calm = True
    cluster.swarm = cluster.swarm._replace(sync_ms=2, execution_ms=3, delay_ms=5)
    cluster.submit()
    cluster.run_until(200)
    height = len(cluster.chain)
    cluster.nodes[0].crash()
    cluster.submit()

    assert cluster.run_until(200 + 3 * 200, lambda: len(cluster.chain) > height)


def test_a_run_does_not_depend_on_the_hash_seed() -> None:
    """Determinism: the same seed gives the same messages under two values of PYTHONHASHSEED."""
    script = Path(__file__).with_name("conftest.py")

    digests = {
        subprocess.run(
            [sys.executable, str(script), "5"],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1")
    }

    assert len(digests) == 1
