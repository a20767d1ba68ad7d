"""`tanpo demo` does what it says, proves it in its object, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tanpo.cli.processes import load_record

pytestmark = pytest.mark.timeout(400)

TIMEOUT_S = 380
KEYS = {
    "nodes",
    "height",
    "state_roots",
    "steps",
    "finality_ms",
    "swaps_committed",
    "leader_killed_at_height",
    "committed_after_kill",
    "conservation",
}


def test_the_demo_holds_every_check(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tanpo.cli", "demo", "-o", "json"),
            *("--dir", str(folder), "--swaps", "90"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == KEYS
    assert len(found["nodes"]) == 4
    assert set(found["state_roots"]) == set(found["nodes"])
    assert len(set(found["state_roots"].values())) == 1
    assert found["swaps_committed"] == 92
    assert 0 < found["committed_after_kill"] <= 90
    assert 0 < found["leader_killed_at_height"] < found["height"]
    assert 0 < found["finality_ms"]["p50"] <= found["finality_ms"]["p99"]
    assert len(found["conservation"]) >= 12
    for sums in found["conservation"].values():
        assert sums["minted"] - sums["burned"] == sums["held"]
    assert any(sums["burned"] for sums in found["conservation"].values())
    steps = found["steps"]
    assert all(set(step) == {"name", "tx_id", "status", "latency_ms"} for step in steps)
    assert len({step["tx_id"] for step in steps}) == len(steps)
    assert [step["name"] for step in steps if step["status"] == "refused"] == [
        "mint JP1103741Q44 without the custodian's confirmation",
        "swap shares against cash that is not there",
    ]
    assert "Leader killed" in done.stderr
    assert not any(folder.glob("*/node.pid"))


def test_an_interrupted_demo_stops_its_nodes(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    process = subprocess.Popen(
        [sys.executable, "-m", "tanpo.cli", "demo", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        text=True,
    )
    assert process.stderr is not None
    with process.stderr as progress:
        for line in progress:
            if line.startswith("Define and tokenise"):
                break
        records = [load_record(path) for path in folder.glob("*/node.pid")]
        process.send_signal(signal.SIGTERM)
        progress.read()
    assert process.wait(timeout=TIMEOUT_S) != 0
    assert len(records) == 4
    assert not any(record is not None and record.is_running for record in records)
