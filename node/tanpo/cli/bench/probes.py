"""What is measured beside the load: idle latency, failover, memory, start-up, and the metrics of nodes."""

from __future__ import annotations

import asyncio
import http.client
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from tanpo.cli.bench.book import SwapPress
from tanpo.cli.demo.desk import Desk
from tanpo.cli.demo.journal import check, compute_percentile
from tanpo.cli.demo.stream import wait_agreed
from tanpo.cli.network import LocalNetwork
from tanpo.cli.networks import Network
from tanpo.cli.processes import read_resident_bytes
from tanpo.client import AsyncClient
from tanpo.ledger.transaction import Envelope

STAGES: Final = ("decode", "verify", "execute", "tree", "store", "consensus")
"""Stages that nodes count themselves; what their CPU time has beyond these is RPC and the event loop."""
IDLE_PAUSE_S: Final = 0.05
HELP_RUNS: Final = 5
FAILOVER_DEADLINE_S: Final = 30.0
BACKGROUND_PER_S: Final = 20
_PACKAGES: Final = ("tanpo", "grpcio", "protobuf", "cryptography", "plyvel")
_SAMPLE: Final = re.compile(r"^([a-z_]+) ([0-9.eE+-]+)$", re.MULTILINE)
_HTTP_S: Final = 5.0


def describe_machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "cpu": _read_field(Path("/proc/cpuinfo"), "model name"),
        "cores": os.cpu_count(),
        "memory_mb": int(_read_field(Path("/proc/meminfo"), "MemTotal").split()[0]) // 1024,
        "os": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def measure_command(*arguments: str) -> float:
    """Return the seconds that a `tanpo` command takes, its interpreter's start included."""
    started = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - our own interpreter and module, with arguments from this module
        [sys.executable, "-m", "tanpo.cli", *arguments], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - started
    check(
        done.returncode == 0, f"`tanpo {arguments[0]}` failed: {done.stderr.strip()}", value=done.returncode
    )
    return seconds


def measure_help() -> float:
    """Return the median of some runs of `tanpo --help`."""
    return statistics.median(measure_command("--help") for _ in range(HELP_RUNS))


def read_resident_mb(network: LocalNetwork) -> dict[str, float]:
    """Return the resident memory of each node."""
    found = {}
    for member in network.members:
        record = network.find_process(member)
        found[member] = round(read_resident_bytes(record.pid) / 1e6, 1) if record is not None else 0.0
    return found


def read_stages(network: Network) -> dict[str, dict[str, float]]:
    """Return the CPU seconds that each node has spent so far, by stage."""
    return {node.member: _read_stages(node.ops_address) for node in network.nodes}


def subtract_stages(
    after: dict[str, dict[str, float]], before: dict[str, dict[str, float]], swaps: int
) -> dict[str, dict[str, float]]:
    """Return what was spent between two readings: seconds by stage, and microseconds a swap in all."""
    spent: dict[str, dict[str, float]] = {}
    for member, stages in after.items():
        seconds = {name: round(value - before[member][name], 2) for name, value in stages.items()}
        seconds["cpu_us_per_swap"] = round(seconds["cpu"] * 1e6 / swaps, 1) if swaps else 0.0
        spent[member] = seconds
    return spent


async def measure_idle(desk: Desk, press: SwapPress, count: int) -> dict[str, Any]:
    """Return the time from submission to outcome when nothing else is going on."""
    client = next(iter(desk.clients.values()))
    latencies = []
    for envelope in press.sign(count):
        latencies.append(await _time(client, envelope))
        await asyncio.sleep(IDLE_PAUSE_S)
    return {
        "samples": count,
        "p50": round(compute_percentile(latencies, 50) * 1000, 1),
        "p99": round(compute_percentile(latencies, 99) * 1000, 1),
    }


async def measure_failover(desk: Desk, press: SwapPress, rounds: int) -> dict[str, Any]:
    """Return the time from the leader's death to the outcome of a swap sent just after it, by round.

    A light background load goes on meanwhile, as it would; the killed node is restarted after each round.
    """
    seconds = [await _kill_once(desk, press) for _ in range(rounds)]
    return {
        "rounds": [round(one, 2) for one in seconds],
        "median": round(statistics.median(seconds), 2),
        "max": round(max(seconds), 2),
    }


async def _kill_once(desk: Desk, press: SwapPress) -> float:
    leader = (await desk.read_status(desk.network.members[0])).leader.partition("/")[0]
    survivor = desk.clients[next(member for member in desk.network.members if member != leader)]
    (probe,) = press.sign(1)
    background = asyncio.create_task(_keep_busy(survivor, press.sign(BACKGROUND_PER_S * 2)))
    await asyncio.sleep(1.0)
    await asyncio.to_thread(desk.network.kill, leader)
    seconds = await _time(survivor, probe)
    await background
    await asyncio.to_thread(desk.network.start, [leader])
    await wait_agreed(desk)
    return seconds


async def _keep_busy(client: AsyncClient, envelopes: Sequence[Envelope]) -> None:
    async with asyncio.TaskGroup() as group:
        for envelope in envelopes:
            group.create_task(_time(client, envelope))
            await asyncio.sleep(1 / BACKGROUND_PER_S)


async def _time(client: AsyncClient, envelope: Envelope) -> float:
    started = time.perf_counter()
    (outcome,) = await client.submit_envelope(envelope, deadline_s=FAILOVER_DEADLINE_S)
    seconds = time.perf_counter() - started
    outcome.raise_for_failure()
    return seconds


def _read_stages(ops_address: str) -> dict[str, float]:
    connection = http.client.HTTPConnection(ops_address, timeout=_HTTP_S)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode("utf-8")
    finally:
        connection.close()
    samples = {name: float(value) for name, value in _SAMPLE.findall(text)}
    stages = {stage: samples[f"tanpo_{stage}_seconds_total"] for stage in STAGES}
    cpu = samples["process_cpu_seconds_total"]
    return {**stages, "rpc_and_loop": cpu - sum(stages.values()), "cpu": cpu}


def _read_field(path: Path, name: str) -> str:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"
