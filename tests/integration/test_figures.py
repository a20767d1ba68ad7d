"""The measurements of `bench/` run, and leave out nothing that has a price."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from tanpo.vm import ir
from tanpo.vm.closures.expressions import OPERATIONS

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 380
pytestmark = pytest.mark.timeout(400)


def run(script: str, *arguments: str) -> Any:
    """Run one measurement and return what it prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "bench" / script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_row_of_the_gas_table_is_measured_and_the_worst_comes_first() -> None:
    figures = run("gas.py", "300")
    measured = {row for one in figures["measurements"] for row in one["rows"]}
    kinds = {kind.__name__ for union in (ir.Statement, ir.Expr) for kind in get_args(union)}
    text = (ROOT / "contracts" / "README.md").read_text(encoding="utf-8")
    table = text.partition("| What | Gas |\n| --- | --- |\n")[2].partition("\n\n")[0]
    listed = {line.split(" | ")[0].removeprefix("| ") for line in table.split("\n")}
    assert len(listed) > 15
    assert measured == (kinds - {"Op"}) | {*OPERATIONS} | listed
    dearest = [one["ns_per_gas"] for one in figures["measurements"]]
    assert dearest == sorted(dearest, reverse=True)
    assert figures["worst"] == figures["measurements"][0]


def test_proofs_of_a_state_are_small() -> None:
    figures = run("proofs.py", "--keys", "3000", "--proofs", "50")
    for kind in ("inclusion", "absence"):
        assert 0 < figures["tree"][kind]["bytes_max"] <= 1_500
    assert set(figures["files"]) == {"receipt", "balance", "absence"}


def test_what_a_block_lifts_is_measured() -> None:
    sizes = ("--keys", "1000", "--touched", "400", "--blocks", "5", "--window", "2", "--file-bytes", "300000")
    figures = run("lifting.py", *sizes)
    assert figures["blocks_that_lifted"] > 0
    assert figures["with"]["lifted_bytes"]["worst"] >= figures["with"]["lifted_bytes"]["mean"] > 0
    assert 0 < figures["with"]["dead_share"]["mean"] < 1


def test_deploy_of_a_shape_is_measured_on_each_engine() -> None:
    figures = run("deploy.py", "texts", "large_types")
    assert {one["shape"] for one in figures["shapes"]} == {"texts", "large_types"}
    assert all(one["bytes"] > 64_000 for one in figures["shapes"])
    assert all(
        one[name] > 0 for one in figures["shapes"] for name in ("check_ms", "codegen_ms", "closures_ms")
    )


def test_reads_of_every_shape_are_measured_in_a_worker_with_what_their_gas_buys() -> None:
    figures = run("reads.py", "1")
    assert len({one["shape"] for one in figures["shapes"]}) == 8
    assert figures["worst"] == max(figures["shapes"], key=lambda one: one["worker"]["ns_per_gas"])
    for costs in [one[where] for one in figures["shapes"] for where in ("in_process", "worker")]:
        assert 0.9 * figures["setting"]["gas_limit"] < costs["gas"] <= figures["setting"]["gas_limit"]
        assert costs["reads"] > 100


def test_a_snapshot_is_measured_from_its_making_to_the_ledger_that_joined() -> None:
    figures = run("snapshot.py", "--keys", "3000")
    assert figures["keys"] == 3000
    assert set(figures["clock_seconds"]) == {"make", "serve", "verify", "insert", "open"}
    assert 1.0 < figures["chunk_bytes_per_key"] / (26 + 80 + 6) < 1.3


def test_a_pruned_node_is_measured_beside_an_archive() -> None:
    figures = run("retention.py", "--blocks", "130", "--transactions", "10", "--kept", "50")
    assert (figures["archive"]["first_height"], figures["pruned"]["first_height"]) == (1, 51)
    assert figures["writes"] >= 2
    assert figures["archive_bytes_per_transaction"] > 500


def test_a_network_is_measured_as_its_state_grows_until_a_node_joins_it() -> None:
    figures = run("growth.py", "--keys", "1000", "--rounds", "1", "--rate", "40", "--seconds", "3")
    [first] = figures["growth"]
    assert first["keys"] == 1000
    [offer] = first["offers"]
    assert offer["committed"] == 120
    assert figures["throughput_of_last_to_first"] == 1.0
    assert offer["disk_bytes_per_swap"] > 500
    assert figures["join"]["chunks"] >= 1


def test_a_chain_is_executed_again_and_audited_whole() -> None:
    figures = run("replay.py", "--rate", "40", "--seconds", "3")
    assert figures["live"]["committed"] == 120
    assert figures["transactions"] > 120
    assert figures["rebuild"]["transactions_per_second"] > 0
    assert figures["audit"]["transactions_per_second"] > 0
