"""What the consortium costs in containers: prints one JSON object. It needs an engine and an image of a node.

Run it as `python bench/containers.py [--image tanpo:0.1.0] [--idle 60] [--rate 50]`. A consortium of four is
made and started, timed; left idle, while the kernel counts what each node takes; and every node is upgraded
in its turn under a steady load. Afterwards nothing of it is left.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import print_figures
from tanpo.cli.bench.book import SwapPress, open_book
from tanpo.cli.bench.probes import describe_machine
from tanpo.cli.compose import ComposeNetwork
from tanpo.cli.compose.engine import Engine
from tanpo.cli.compose.network import delete, upgrade
from tanpo.cli.compose.rendering import get_default_image
from tanpo.cli.demo.desk import Desk
from tanpo.cli.demo.journal import compute_percentile
from tanpo.cli.demo.stream import wait_agreed
from tanpo.cli.provision import plan_network
from tanpo.cli.samples import load_catalog
from tanpo.testing.paced_load import PacedLoad, count_settled, is_conserved

SETTLE_S = 5.0
"""How long nodes that have just started are left alone before they count as idle."""


def read_usage(network: ComposeNetwork, member: str) -> tuple[float, float]:
    """Return the processor seconds that a container has used so far, and its memory in MB, without cache."""
    container = network.find_container(member)
    command = ["docker", "inspect", "--format", "{{.Id}} {{.State.Pid}}", container or ""]
    _, pid = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    groups = {
        kind: path
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        for _, kinds, path in [line.split(":", 2)]
        for kind in kinds.split(",")
    }
    if "cpuacct" in groups:
        seconds = int(Path(f"/sys/fs/cgroup/cpuacct{groups['cpuacct']}/cpuacct.usage").read_text()) / 1e9
        stat = Path(f"/sys/fs/cgroup/memory{groups['memory']}/memory.stat").read_text()
        return seconds, _read_stat(stat, "rss") / 1e6
    folder = Path(f"/sys/fs/cgroup{groups['']}")
    seconds = _read_stat((folder / "cpu.stat").read_text(), "usage_usec") / 1e6
    return seconds, _read_stat((folder / "memory.stat").read_text(), "anon") / 1e6


def measure_idle(network: ComposeNetwork, seconds: float) -> dict[str, Any]:
    """Return what each node takes while nobody asks it for anything, its health check included."""
    time.sleep(SETTLE_S)
    before = {member: read_usage(network, member) for member in network.members}
    began = time.monotonic()
    time.sleep(seconds)
    spent = time.monotonic() - began
    after = {member: read_usage(network, member) for member in network.members}
    return {
        member: {
            "core_percent": round((after[member][0] - before[member][0]) / spent * 100, 2),
            "memory_mb": round(after[member][1], 1),
        }
        for member in network.members
    }


async def measure_upgrade(network: ComposeNetwork, image: str, rate: float) -> dict[str, Any]:
    """Upgrade every node under load, and return what clients saw of it."""
    async with Desk(network) as desk:
        await open_book(desk, load_catalog())
        load = PacedLoad(desk=desk, press=SwapPress(desk), members=network.members, rate=rate)
        is_over = asyncio.Event()
        gaps, seconds = {}, {}
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(is_over))
            await asyncio.sleep(SETTLE_S)
            steps = upgrade(network, image)
            try:
                began = time.monotonic()
                while (member := await asyncio.to_thread(next, steps, None)) is not None:
                    ended = time.monotonic()
                    gaps[member] = round(load.find_gap(began, ended), 2)
                    seconds[member], began = round(ended - began, 1), ended
                await asyncio.sleep(SETTLE_S)
            finally:
                is_over.set()
        await wait_agreed(desk)
        settled, conserved = await count_settled(desk), await is_conserved(desk)
    return {
        "offered_per_second": rate,
        "sent": load.sent,
        "acknowledged": len(load.acknowledged),
        "settled_by_the_balances": settled,
        "is_conserved": conserved,
        "twice": load.sent - len({one.tx_id for one in load.acknowledged}),
        "calls_sent_again": load.retried,
        "seconds_by_node": seconds,
        "throughput_gap_s_by_node": gaps,
        "latency_ms": {
            "p50": round(compute_percentile(load.latencies_ms, 50), 1),
            "p99": round(compute_percentile(load.latencies_ms, 99), 1),
            "max": round(max(load.latencies_ms), 1),
        },
    }


def make_newer(image: str) -> str:
    """Return another image of a node, as the next version is: the same with another label."""
    name = f"{image}-next"
    text = f"FROM {image}\nLABEL org.tanpo.bench=next\n"
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", name, "-"],
        input=text,
        text=True,
        check=True,
        capture_output=True,
    )
    return name


def read_image(image: str) -> dict[str, Any]:
    """Return the size of an image."""
    asked = subprocess.run(["docker", "image", "inspect", image], capture_output=True, text=True, check=True)
    return {"name": image, "megabytes": round(json.loads(asked.stdout)[0]["Size"] / 1e6, 1)}


def _read_stat(text: str, name: str) -> int:
    return next(int(line.split()[1]) for line in text.splitlines() if line.split()[0] == name)


def main() -> None:
    """Make a consortium, measure it, remove it, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", default=get_default_image())
    parser.add_argument("--idle", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--rate", type=float, default=50.0, metavar="SWAPS_A_SECOND")
    options = parser.parse_args()
    Engine.find()
    newer = make_newer(options.image)
    figures: dict[str, Any] = {"machine": describe_machine(), "image": read_image(options.image)}
    with tempfile.TemporaryDirectory(prefix="tanpo-bench-") as scratch:
        began = time.monotonic()
        network = ComposeNetwork.create(Path(scratch) / "net", plan_network(4), image=options.image)
        try:
            made = time.monotonic()
            network.start()
            figures["seconds_to_make"] = round(made - began, 1)
            figures["seconds_to_start"] = round(time.monotonic() - made, 1)
            figures["idle"] = measure_idle(network, options.idle)
            figures["upgrade"] = asyncio.run(measure_upgrade(network, newer, options.rate))
        finally:
            delete(network)
            subprocess.run(["docker", "rmi", newer], capture_output=True, check=False)
    print_figures(figures)


if __name__ == "__main__":
    main()
