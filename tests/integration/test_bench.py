"""`tanpo bench` measures what it names, and prints one object. Its figures are judged elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tanpo.cli.bench import probes, run
from tanpo.testing.commands import run_tanpo_here

pytestmark = pytest.mark.timeout(400)

IDLE_SAMPLES = 20
STAGES = {
    "decode",
    "verify",
    "execute",
    "tree",
    "store",
    "consensus",
    "rpc_and_loop",
    "cpu",
    "cpu_us_per_swap",
}


def test_an_offer_that_is_over_before_it_is_measured_is_refused(tmp_path: Path) -> None:
    refused = run_tanpo_here("bench", "--seconds", "2", "--dir", str(tmp_path / "net"))
    assert refused.returncode == 2
    assert "'--seconds'" in refused.stderr
    assert "greater than or equal to 3; value: 2" in refused.stderr
    assert not (tmp_path / "net").exists()


@pytest.fixture
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure each figure less often than a bench whose figures are to be judged."""
    assert run.IDLE_SAMPLES >= 100
    monkeypatch.setattr(run, "IDLE_SAMPLES", IDLE_SAMPLES)
    monkeypatch.setattr(run, "FAILOVER_ROUNDS", 1)
    monkeypatch.setattr(probes, "HELP_RUNS", 1)


@pytest.mark.usefixtures("few_samples")
def test_the_bench_prints_every_figure(tmp_path: Path) -> None:
    done = run_tanpo_here("bench", "--rate", "40", "--seconds", "3", "--dir", str(tmp_path / "net"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["nodes"] == 4
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["packages"]["tanpo"]
    assert found["transaction_mix"]["legs"] == found["transaction_mix"]["signatures"] == 2
    assert found["help_seconds"] > 0
    assert found["net_up_seconds"] > 0
    assert found["idle_latency_ms"]["samples"] == IDLE_SAMPLES
    assert 0 < found["idle_latency_ms"]["p50"] <= found["idle_latency_ms"]["p99"]
    assert all(megabytes > 0 for megabytes in found["resident_mb_idle"].values())
    assert found["leader_killed_to_next_commit_seconds"]["max"] > 0
    (offer,) = found["offers"]
    assert (offer["offered"], offer["succeeded"], offer["refused"]) == (120, 120, {})
    stages = found["cpu_seconds_by_stage_at_sustained_rate"]
    assert len(stages) == 4
    assert all(set(seconds) == STAGES for seconds in stages.values())
    assert not any((tmp_path / "net").glob("*/node.pid"))
