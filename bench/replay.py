"""How fast a node executes its chain again, against how fast the network made it: prints one JSON object.

Run it as `python bench/replay.py [--rate 1500] [--seconds 10]`. A local network of four is offered more swaps
than it commits, so what it commits is its live rate on this machine. Then one node's state is rebuilt from
its blocks, by the code of `tanpo node rebuild`, and audited. The four share the machine while they are live;
the processor time of one node for each swap hardly depends on that, and is in the figures too.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import print_figures
from tanpo.cli.bench.book import SwapPress, open_book
from tanpo.cli.bench.load import run_offer
from tanpo.cli.bench.probes import describe_machine, read_stages, subtract_stages
from tanpo.cli.demo.desk import Desk
from tanpo.cli.demo.stream import wait_agreed
from tanpo.cli.network import LocalNetwork
from tanpo.cli.provision import plan_network
from tanpo.cli.samples import load_catalog
from tanpo.client import load_genesis, load_profile
from tanpo.ledger.block import decode_block
from tanpo.ledger.types import Height
from tanpo.node.auditing import audit_node
from tanpo.node.config import ExecutionMode
from tanpo.node.rebuilding import rebuild_state
from tanpo.node.replaying import Watch
from tanpo.storage.segments import BlockSegments

QUIET = Watch(lambda _: None)


async def run_live(network: LocalNetwork, rate: int, seconds: float) -> dict[str, Any]:
    """Offer swaps, and return what was committed and what it cost a node."""
    configs = [load_profile(network.folder.get_member(member).profile) for member in network.members]
    async with Desk(network) as desk:
        await open_book(desk, load_catalog())
        envelopes = SwapPress(desk).sign(int(rate * seconds))
        await wait_agreed(desk)
        before = await asyncio.to_thread(read_stages, network)
        offer = await run_offer(configs, envelopes, rate, seconds)
        after = await asyncio.to_thread(read_stages, network)
        await wait_agreed(desk)
    return {
        "offered_per_second": rate,
        "committed_per_second": round(offer.compute_achieved(), 1),
        "committed": len(offer.receipts),
        "cpu_us_by_stage": subtract_stages(after, before, len(offer.receipts)),
    }


def count_transactions(blocks: Path, network_id: Any) -> int:
    """Return how many transactions a chain holds."""
    segments = BlockSegments.open(blocks, network_id=network_id, synced=Height(0), is_read_only=True)
    heights = range(1, segments.height + 1)
    count = sum(decode_block(segments.read(Height(number)).block).header.tx_count for number in heights)
    segments.close()
    return count


def measure(network: LocalNetwork) -> dict[str, Any]:
    """Rebuild and audit one node of a stopped network."""
    genesis = load_genesis(network.folder.genesis)
    data = network.folder.get_member(network.members[0]).data
    transactions = count_transactions(data / "blocks", genesis.network_id)
    figures: dict[str, Any] = {"transactions": transactions}
    for name, work in (
        ("rebuild", lambda: rebuild_state(data, genesis, ExecutionMode.IN_PROCESS, QUIET)),
        ("audit", lambda: audit_node(data, genesis, ExecutionMode.IN_PROCESS, QUIET)),
    ):
        started, spent = time.perf_counter(), _read_cpu()
        work()
        seconds, cpu = time.perf_counter() - started, _read_cpu() - spent
        figures[name] = {
            "seconds": round(seconds, 2),
            "transactions_per_second": round(transactions / seconds, 1),
            "cpu_us_per_transaction": round(cpu / transactions * 1e6, 1),
        }
    return figures


def main() -> None:
    """Run as the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=int, default=1500, help="swaps offered a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tanpo-replay-") as folder:
        network = LocalNetwork.create(Path(folder) / "net", plan_network(4))
        try:
            network.start()
            live = asyncio.run(run_live(network, options.rate, options.seconds))
        finally:
            network.stop()
        again = measure(network)
    rate = live["committed_per_second"]
    ratio = round(again["rebuild"]["transactions_per_second"] / rate, 2) if rate else None
    print_figures({"host": describe_machine(), "live": live, **again, "rebuild_times_live": ratio})


def _read_cpu() -> float:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime


if __name__ == "__main__":
    main()
