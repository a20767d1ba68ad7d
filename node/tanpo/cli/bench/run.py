"""The bench from beginning to end. Every figure is measured in this run; counts are committed receipts."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tanpo.cli.bench.book import MIX, SwapPress, open_book
from tanpo.cli.bench.load import SUSTAINED, Offer, run_offer
from tanpo.cli.bench.probes import (
    describe_machine,
    measure_command,
    measure_failover,
    measure_help,
    measure_idle,
    read_resident_mb,
    read_stages,
    subtract_stages,
)
from tanpo.cli.demo.desk import Desk
from tanpo.cli.demo.stream import wait_agreed
from tanpo.cli.network import LocalNetwork
from tanpo.cli.output import Format, print_fields, print_json
from tanpo.cli.samples import load_catalog
from tanpo.client import ClientConfig, load_profile

RATES: Final = (200, 400, 500, 600, 700, 800, 900, 1000, 1200, 1400, 1600, 1800, 2000, 2500, 3000)
IDLE_SAMPLES: Final = 120
FAILOVER_ROUNDS: Final = 3


def run_bench(*, seconds: float, rate: int | None, directory: Path | None, output: Format) -> None:
    """Make a network, measure it, print the figures, remove it."""
    figures: dict[str, Any] = {"machine": describe_machine(), "help_seconds": round(measure_help(), 3)}
    with _make_network(directory) as (network, up_seconds):
        figures |= {
            "nodes": len(network.nodes),
            "processes": "every validator is one process; the load generator is another on the same cores",
            "transaction_mix": MIX,
            "net_up_seconds": round(up_seconds, 2),
        }
        figures |= asyncio.run(_measure(network, rate, seconds))
    if output is Format.JSON:
        print_json(figures)
    else:
        print_fields(output, figures)


async def _measure(network: LocalNetwork, rate: int | None, seconds: float) -> dict[str, Any]:
    configs = [load_profile(network.folder.get_member(member).profile) for member in network.members]
    async with Desk(network) as desk:
        _say("opening the book")
        await open_book(desk, load_catalog())
        press = SwapPress(desk)
        resident = read_resident_mb(network)
        _say("idle latency")
        idle = await measure_idle(desk, press, IDLE_SAMPLES)
        offers, best, stages = await _search(desk, press, configs, (rate,) if rate else RATES, seconds)
        await wait_agreed(desk)
        loaded = read_resident_mb(network)
        _say("leader killed")
        failover = await measure_failover(desk, press, FAILOVER_ROUNDS)
        await wait_agreed(desk)
    return {
        "resident_mb_idle": resident,
        "resident_mb_after_load": loaded,
        "idle_latency_ms": idle,
        "swaps_per_second_sustained": round(best.compute_achieved(), 1) if best else 0.0,
        "sustained_means": SUSTAINED,
        "latency_under_load_ms": best.to_json()["latency_ms"] if best else None,
        "leader_killed_to_next_commit_seconds": failover,
        "offers": offers,
        "cpu_seconds_by_stage_at_sustained_rate": stages,
    }


async def _search(
    desk: Desk, press: SwapPress, configs: list[ClientConfig], rates: tuple[int, ...], seconds: float
) -> tuple[list[dict[str, Any]], Offer | None, dict[str, dict[str, float]]]:
    """Offer higher and higher rates until one is not sustained twice; return the highest that was."""
    offers: list[dict[str, Any]] = []
    best: Offer | None = None
    stages: dict[str, dict[str, float]] = {}
    for rate in rates:
        offer, spent = await _offer(desk, press, configs, rate, seconds)
        offers.append(offer.to_json())
        if not offer.is_sustained() and len(rates) > 1:
            # Once may be the neighbours' noise; twice is the network's limit.
            offer, spent = await _offer(desk, press, configs, rate, seconds)
            offers.append(offer.to_json())
        if not offer.is_sustained():
            stages = stages or spent
            break
        best, stages = offer, spent
    return offers, best, stages


async def _offer(
    desk: Desk, press: SwapPress, configs: list[ClientConfig], rate: int, seconds: float
) -> tuple[Offer, dict[str, dict[str, float]]]:
    envelopes = press.sign(int(rate * seconds))
    await wait_agreed(desk)
    before = await asyncio.to_thread(read_stages, desk.network)
    offer = await run_offer(configs, envelopes, rate, seconds)
    after = await asyncio.to_thread(read_stages, desk.network)
    _say(f"offered {rate}/s: committed {offer.compute_achieved():.0f}/s, sustained: {offer.is_sustained()}")
    return offer, subtract_stages(after, before, len(offer.receipts))


@contextlib.contextmanager
def _make_network(directory: Path | None) -> Iterator[tuple[LocalNetwork, float]]:
    """Make and start a network with the command itself, timed; stop it afterwards."""
    folder = directory or Path(tempfile.mkdtemp(prefix="tanpo-bench-"))
    up_seconds = measure_command("net", "up", "--dir", str(folder), "-o", "json")
    network = LocalNetwork.open(folder)
    try:
        yield network, up_seconds
    except BaseException:
        network.stop()
        _say(f"the network's files and logs are in {network.folder.root}")
        raise
    network.stop()
    if directory is None:
        shutil.rmtree(folder)


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
