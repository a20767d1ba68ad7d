"""Seeded networks: nothing forks, nothing durable is forgotten, and a healed core always makes progress.

A failing seed replays exactly: `tanpo sim --seed SEED --mode MODE`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from tanpo.ledger.certificate import compute_faulty_max
from tanpo.simulator import Cluster, HostileValidator, Mode, Settings, draw_settings, run_seed

SEEDS = 40
"""Enough for every kind of fault in well under a minute; `make sim` and `tanpo sim` run more."""


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("first", range(0, SEEDS, 5))
def test_no_seed_breaks_a_rule(mode: Mode, first: int) -> None:
    for seed in range(first, first + 5):
        report = run_seed(seed, draw_settings(seed, mode))

        assert report.violation is None, f"seed {seed}, mode {mode}: {report.violation}"


@pytest.mark.parametrize("count", range(4, 17))
def test_every_size_survives_its_greatest_number_of_hostile_validators(count: int) -> None:
    """S1, at every size: f hostile validators that collude and equivocate stop nobody."""
    behaviours = ("collude", "equivocate", "lie-in-timeouts", "vote-for-everything")
    hostile = tuple(
        HostileValidator(node=f"{index}", behaviours=behaviours) for index in range(compute_faulty_max(count))
    )
    settings = Settings(
        seed=count,
        mode=Mode.LIVENESS,
        reigns=(tuple(map(str, range(count))),),
        hostile=hostile,
        chaos_ms=3_000,
        submit_ms=500,
    )

    report = run_seed(count, settings)

    assert report.violation is None
    assert report.transactions > 3


def test_a_run_is_the_same_in_every_process() -> None:
    """Determinism: the same seeds give the same digests under two values of PYTHONHASHSEED."""
    script = """
from tanpo.simulator import Mode, draw_settings, run_seed
for seed in range(200, 204):
    print([run_seed(seed, draw_settings(seed, mode)).digest for mode in Mode])
"""

    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1")
    }

    assert len(digests) == 1
    assert digests.pop().count("\n") == 4


def test_a_run_cut_short_is_the_beginning_of_the_whole() -> None:
    settings = draw_settings(5, Mode.SAFETY)

    short = run_seed(5, settings, step_max=500, is_traced=True)
    again = run_seed(5, settings, step_max=500, is_traced=True)

    assert short.steps == 500
    assert short.digest == again.digest


def test_a_seed_is_the_same_however_it_is_watched() -> None:
    settings = draw_settings(7, Mode.SAFETY)

    assert run_seed(7, settings, is_traced=True).digest == run_seed(7, settings).digest


def test_an_idle_network_commits_without_waiting_for_a_timer() -> None:
    """P5: submit to commit takes two and a half round trips, plus the disk and execution."""
    cluster = Cluster(Settings(seed=3, latency_ms=1, sync_ms=0, submit_ms=1_000_000))
    cluster.begin()
    while cluster.clock.step(400) and not cluster.clients.open:
        pass
    submitted_ms = cluster.clock.now_ms

    while cluster.clock.step(submitted_ms + 30):
        pass

    assert [process.chain.height for process in cluster.processes] == [2, 2, 2, 2]
    first, second = (stored.block.header for stored in cluster.processes[0].chain.blocks)
    assert (first.tx_count, second.tx_count) == (1, 0), (
        "the transaction, and the block that seals its results"
    )


def test_a_dead_leader_is_replaced_within_three_base_timeouts() -> None:
    """T2: after the leader's death the next commit comes within three base timeouts."""
    settings = Settings(seed=11, submit_ms=200)
    cluster = Cluster(settings)
    cluster.begin()
    while cluster.clock.step(2_000):
        pass
    height = cluster.checks.agreement.height
    cluster.dead.add("0")
    cluster.processes[0].crash()

    while cluster.checks.agreement.height < height + 2:
        assert cluster.clock.step(2_000 + 3 * settings.timing.base_timeout_ms), "no commit"

    assert height > 0


def test_validators_change_while_the_network_runs() -> None:
    """E1 to E6: a newcomer, a new key, and one that leaves; everybody honest follows."""
    reigns = (
        ("0", "1", "2", "3"),
        ("0", "1", "2", "3", "4"),
        ("0", "1#2", "2", "3", "4"),
        ("1#2", "2", "3", "4"),
    )
    settings = Settings(seed=1, mode=Mode.LIVENESS, reigns=reigns, chaos_ms=30_000, submit_ms=500)

    report = run_seed(1, settings)

    assert report.violation is None
    assert report.epochs == 4


def test_partitions_can_be_given_as_data() -> None:
    """Twins: in terms with a partition nobody commits across it; afterwards everybody does."""
    split = (("0", "1"), ("2", "3"))
    settings = Settings(seed=2, mode=Mode.LIVENESS, term_partitions=(split, split), chaos_ms=9_000)
    cut = replace(settings, mode=Mode.SAFETY, term_partition_ms=99_000)

    assert run_seed(2, cut).commits == 0
    healed = run_seed(2, settings)
    assert healed.violation is None
    assert healed.commits > 0
