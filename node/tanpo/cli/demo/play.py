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
from tanpo.cli.output import Format, print_json
from tanpo.cli.provision import plan_network
from tanpo.cli.samples import Annex, Catalog, load_annex, load_catalog

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
    if output is Format.JSON:
        print_json(report.to_json())
    else:
        print_report(report, catalog)
    if keep:
        sys.stderr.write(f"The network runs on: tanpo net status --dir {network.folder.root}\n")


async def _play(
    network: LocalNetwork, journal: Journal, catalog: Catalog, annex: Annex, swaps: int
) -> DemoReport:
    async with Desk(network, journal) as desk:
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
