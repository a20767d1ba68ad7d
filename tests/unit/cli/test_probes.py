"""Where the time went, between two readings."""

from __future__ import annotations

from tanpo.cli.bench.probes import describe_machine, subtract_stages


def test_stages_are_subtracted_node_by_node() -> None:
    before = {"dealer-a": {"verify": 1.0, "cpu": 2.0}}
    after = {"dealer-a": {"verify": 1.5, "cpu": 3.0}}
    assert subtract_stages(after, before, 1000) == {
        "dealer-a": {"verify": 0.5, "cpu": 1.0, "cpu_us_per_swap": 1000.0}
    }


def test_no_swaps_cost_nothing_each() -> None:
    reading = {"dealer-a": {"cpu": 2.0}}
    assert subtract_stages(reading, reading, 0)["dealer-a"]["cpu_us_per_swap"] == 0.0


def test_the_machine_is_described() -> None:
    machine = describe_machine()
    assert machine["cores"] >= 1
    assert machine["memory_mb"] > 0
    assert set(machine["packages"]) >= {"tanpo", "grpcio", "cryptography"}
