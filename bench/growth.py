"""What a large state costs a network, and how long a new node takes to join it: prints one JSON object.

Run it as `python bench/growth.py [--keys 10000,1000000] [--rate 1500] [--seconds 10]`. A local network
of four is filled to each number of keys by transactions, and then offered more swaps than it commits: what
it commits is its throughput, and what a node's folder grows by is the disk that a swap takes. At the end a
fifth node, which has never run, joins by a snapshot of the last state. All share this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from measuring import print_figures
from tanpo.cli.bench.book import SwapPress, open_book
from tanpo.cli.bench.load import run_offer
from tanpo.cli.bench.probes import describe_machine, read_stages, subtract_stages
from tanpo.cli.demo.desk import Desk
from tanpo.cli.demo.stream import wait_agreed
from tanpo.cli.layout import NodePlace
from tanpo.cli.network import LocalNetwork
from tanpo.cli.provision import plan_network
from tanpo.cli.samples import load_catalog
from tanpo.client import load_profile
from tanpo.ledger.genesis import InstalledContract
from tanpo.ledger.values import Value

FILLER: Final = "filler"
SOURCE: Final = """
rows: Map[str, str]

@entry
def fill(first: int, count: int, text: str) -> None:
    for number in range(first, first + count):
        rows[str(number)] = text
"""
TEXT: Final = "x" * 80
"""About as much as a balance or a pledge takes."""
ROWS_A_CALL: Final = 800
"""What the largest gas limit pays for."""
CALLS_AT_ONCE: Final = 16
GAS: Final = 1_000_000
WAIT_S: Final = 600.0
IDLE_S: Final = 3.0
IDLE_CPU_S: Final = 0.4
"""A node that computes less than this in that time is idle."""
EVERY_BLOCKS: Final = 20
"""How often a snapshot is taken once the state is large."""


async def fill(desk: Desk, first: int, stop: int) -> float:
    """Commit rows of these numbers; return the seconds that it took."""
    client = desk.clients[desk.network.members[0]]
    started = time.perf_counter()
    turns = asyncio.Semaphore(CALLS_AT_ONCE)

    async def fill_some(number: int) -> None:
        arguments: dict[str, Value] = {
            "first": number,
            "count": min(ROWS_A_CALL, stop - number),
            "text": TEXT,
        }
        async with turns:
            committed = await client.submit(FILLER, "fill", arguments, gas_limit=GAS, deadline_s=WAIT_S)
        committed.raise_for_failure()

    async with asyncio.TaskGroup() as group:
        for number in range(first, stop, ROWS_A_CALL):
            group.create_task(fill_some(number))
    await wait_agreed(desk)
    return time.perf_counter() - started


def measure_folder(folder: Path) -> int:
    """Return the bytes that the files of a folder take on the disk; what vanishes meanwhile takes none."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).stat().st_blocks * 512
            except FileNotFoundError:
                continue
    return total


async def wait_idle(network: LocalNetwork) -> None:
    """Wait until LevelDB has put in order what it was filled with: until then its threads take the cores."""
    deadline = time.monotonic() + WAIT_S
    before = await asyncio.to_thread(read_stages, network)
    while time.monotonic() < deadline:
        await asyncio.sleep(IDLE_S)
        after = await asyncio.to_thread(read_stages, network)
        if all(after[one]["cpu"] - before[one]["cpu"] < IDLE_CPU_S for one in after):
            return
        before = after
    raise SystemExit("the nodes were not idle in time")


async def offer_swaps(desk: Desk, press: SwapPress, rate: int, seconds: float) -> dict[str, Any]:
    """Offer more swaps than the network takes, and return what it committed and what that cost a node."""
    network = desk.network
    members = network.members[:4]
    configs = [load_profile(network.folder.get_member(member).profile) for member in members]
    data = network.folder.get_member(members[0]).data
    envelopes = press.sign(int(rate * seconds))
    await wait_agreed(desk)
    await wait_idle(network)
    taken = await asyncio.to_thread(measure_folder, data)
    before = await asyncio.to_thread(read_stages, network)
    offer = await run_offer(configs, envelopes, rate, seconds)
    after = await asyncio.to_thread(read_stages, network)
    await wait_agreed(desk)
    await wait_idle(network)
    swaps = len(offer.receipts)
    return {
        "committed_per_second": round(offer.compute_achieved(), 1),
        "committed": swaps,
        "disk_bytes_per_swap": round((await asyncio.to_thread(measure_folder, data) - taken) / max(swaps, 1)),
        "cpu_by_stage": subtract_stages(after, before, swaps),
    }


async def measure_growth(
    network: LocalNetwork, sizes: list[int], rounds: int, rate: int, seconds: float
) -> list[dict[str, Any]]:
    """Return the throughput at each number of keys."""
    figures = []
    async with Desk(network) as desk:
        await open_book(desk, load_catalog())
        press, rows = SwapPress(desk), 0
        for size in sizes:
            filled = await fill(desk, rows, size)
            say(f"{size} keys after {filled:.0f} s")
            figures.append(
                {
                    "keys": size,
                    "fill_seconds": round(filled, 1),
                    "offers": [await offer_swaps(desk, press, rate, seconds) for _ in range(rounds)],
                }
            )
            rows = size
    return figures


async def take_snapshot(network: LocalNetwork, first: int) -> int:
    """Commit single rows until every node has a snapshot of the state; return its height."""
    async with Desk(network) as desk:
        begun = (await desk.read_status(network.members[0])).height
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            heights = {await asyncio.to_thread(read_snapshot_height, node) for node in network.nodes}
            if len(heights) == 1 and heights != {0} and min(heights) >= begun:
                return heights.pop()
            if (await desk.read_status(network.members[0])).height <= begun + 2 * EVERY_BLOCKS:
                await fill(desk, first, first + 1)
                first += 1
            else:
                await asyncio.sleep(0.2)
    raise SystemExit("no snapshot was taken in time")


def read_snapshot_height(node: NodePlace) -> int:
    """Return the height of the newest snapshot that a node offers, 0 for none."""
    with urllib.request.urlopen(f"http://{node.ops_address}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return int(float(next(line.split()[-1] for line in lines if line.startswith("tanpo_snapshot_height "))))


def join(network: LocalNetwork, member: str) -> dict[str, Any]:
    """Let a node join that has never run, start it, and wait until it is ready."""
    config = network.folder.get_member(member).config
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "tanpo.cli", "node", "join", str(config), "-o", "json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    if done.returncode:
        raise SystemExit(f"the node did not join: {done.stderr}")
    joined = time.perf_counter() - started
    network.start([member], ready_seconds=WAIT_S)
    answer = json.loads(done.stdout)
    return {
        "height": answer["height"],
        "chunks": answer["chunks"],
        "join_seconds": round(joined, 1),
        "ready_seconds": round(time.perf_counter() - started, 1),
    }


def main() -> None:
    """Run as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", default="10000,1000000", help="numbers of keys, ascending")
    parser.add_argument("--rounds", type=int, default=3, help="offers at each number of keys")
    parser.add_argument("--rate", type=int, default=1500, help="swaps offered a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    sizes = [int(size) for size in options.keys.split(",")]
    plan = plan_network(5, 4)
    filler = InstalledContract(name=FILLER, source=SOURCE, arguments=())
    os.environ["TANPO_SNAPSHOTS__EVERY_BLOCKS"] = "0"
    with tempfile.TemporaryDirectory(prefix="tanpo-growth-") as folder:
        whole = LocalNetwork.create(Path(folder) / "net", replace(plan, contracts=(*plan.contracts, filler)))
        validators = LocalNetwork(whole.folder, whole.nodes[:4])
        try:
            validators.start()
            growth = asyncio.run(
                measure_growth(validators, sizes, options.rounds, options.rate, options.seconds)
            )
            validators.stop()
            os.environ["TANPO_SNAPSHOTS__EVERY_BLOCKS"] = str(EVERY_BLOCKS)
            validators.start(ready_seconds=WAIT_S)
            say(f"snapshot at height {asyncio.run(take_snapshot(validators, sizes[-1]))}")
            joined = join(whole, whole.members[4])
        finally:
            whole.stop()
    rates = [statistics.median(one["committed_per_second"] for one in size["offers"]) for size in growth]
    print_figures(
        {
            "host": describe_machine(),
            "growth": growth,
            "committed_per_second_median": rates,
            "throughput_of_last_to_first": round(rates[-1] / rates[0], 2) if rates[0] else None,
            "join": joined,
        }
    )


def say(text: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


if __name__ == "__main__":
    main()
