"""The demo from beginning to end: make the network, play every chapter, audit, report, clean up."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tanpo.cli.demo.audit import audit
from tanpo.cli.demo.desk import Desk
from tanpo.cli.demo.journal import Journal
from tanpo.cli.demo.margining import play_margin, redeem
from tanpo.cli.demo.progress import DemoProgress
from tanpo.cli.demo.report import DemoReport, print_report
from tanpo.cli.demo.stream import play_stream, restart_leader
from tanpo.cli.demo.trading import deliver_against_payment, refuse_uncovered, swap_among_three, tokenise
from tanpo.cli.network import LocalNetwork, hold_lock
from tanpo.cli.networks import Network, open_network
from tanpo.cli.output import Format, print_json
from tanpo.cli.provision import plan_network
from tanpo.cli.readiness import find_obstacles
from tanpo.cli.samples import Annex, Catalog, load_annex, load_catalog
from tanpo.ledger.errors import Reason, UsageError

MEMBER_COUNT: Final = 4
KEPT_FOLDER: Final = Path(".net")


def run_demo(*, directory: Path | None, keep: bool, swaps: int, output: Format) -> None:
    """Play the demo and print what it found; every error stops it and the network it made."""
    catalog, annex = load_catalog(), load_annex()
    with DemoProgress() as progress:
        journal = Journal(progress.on_change)
        journal.begin("Start four nodes")
        with _make_network(directory, keep=keep) as network:
            report = asyncio.run(_play(network, journal, catalog, annex, swaps))
    _print(report, catalog, output)
    if keep:
        sys.stderr.write(f"The network runs on: tanpo net status --dir {network.folder.root}\n")


def play_on(directory: Path, *, swaps: int, output: Format) -> None:
    """Play the demo on a network that runs, and leave it running; no other command may change it meanwhile.

    Raises:
        UsageError: there is no such network, a node of it is not ready, or it has instruments already.
    """
    catalog, annex = load_catalog(), load_annex()
    with _terminable(), hold_lock(directory), DemoProgress() as progress:
        network = open_network(directory)
        journal = Journal(progress.on_change)
        journal.begin("Look at four nodes")
        _check_ready(network)
        report = asyncio.run(_play(network, journal, catalog, annex, swaps))
    _print(report, catalog, output)


def _print(report: DemoReport, catalog: Catalog, output: Format) -> None:
    if output is Format.JSON:
        print_json(report.to_json())
    else:
        print_report(report, catalog)


def _check_ready(network: Network) -> None:
    for node in network.nodes:
        obstacles = find_obstacles(node.ops_address)
        if obstacles != "":
            raise UsageError(
                Reason.UNREACHABLE,
                f"the node of {node.member} is not ready: {obstacles or 'it does not answer'}",
                value=network.folder.root,
                limit="a network whose nodes are all ready",
                remedy="start it with `tanpo net up`",
            )


async def _check_unused(desk: Desk) -> None:
    """Refuse a ledger that has instruments: the demo defines its own, and counts all there is of them."""
    found = await desk.ask("instruments", "list_instruments", after="", limit=1)
    if found:
        raise UsageError(
            Reason.MISUSE,
            "this ledger is in use: it has instruments already",
            value=desk.network.folder.root,
            limit="a network that is new",
            remedy="remove it with `tanpo net down --delete` and make it anew, or make another with --dir",
        )


async def _play(network: Network, journal: Journal, catalog: Catalog, annex: Annex, swaps: int) -> DemoReport:
    async with Desk(network, journal) as desk:
        await _check_unused(desk)
        await tokenise(desk, catalog)
        await deliver_against_payment(desk, catalog)
        await swap_among_three(desk)
        await refuse_uncovered(desk)
        await play_margin(desk, catalog, annex)
        await redeem(desk, catalog)
        stream = await play_stream(desk, catalog, swaps)
        await restart_leader(desk, stream)
        statuses, sums = await audit(desk, catalog, stream)
    return DemoReport(statuses=statuses, journal=journal, stream=stream, conservation=sums)


@contextlib.contextmanager
def _make_network(directory: Path | None, *, keep: bool) -> Iterator[LocalNetwork]:
    """Make and start a network, and stop it unless it is kept.

    A folder of our own making goes with it, but not after a failure: its logs say what happened.
    """
    is_scratch = directory is None and not keep
    folder = directory or (Path(tempfile.mkdtemp(prefix="tanpo-demo-")) if is_scratch else KEPT_FOLDER)
    with _terminable(), hold_lock(folder):
        network = LocalNetwork.create(folder, plan_network(MEMBER_COUNT))
        try:
            network.start()
            yield network
        except BaseException:
            network.stop()
            sys.stderr.write(f"The network's files and logs are in {network.folder.root}\n")
            raise
        if not keep:
            network.stop()
    if is_scratch:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does, so that the nodes are stopped then too."""

    def interrupt(_number: int, _frame: object) -> None:
        # Not KeyboardInterrupt from here: it could strike in the middle of gRPC. For SIGINT asyncio cancels
        # its main task, and raises only then.
        signal.raise_signal(signal.SIGINT)

    # A shell that starts us in the background has SIGINT ignored.
    previous = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGTERM: signal.signal(signal.SIGTERM, interrupt),
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
