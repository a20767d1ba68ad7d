"""A stream of swaps through which the leader dies: no swap is lost, none happens twice, the rest go on.

Swaps go to the nodes that survive. One whose answer is lost with the leader is sent again, the same bytes to
another node: the ledger remembers the request and answers with the first outcome.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from tanpo.cli.demo.desk import Desk
from tanpo.cli.demo.journal import check, run_all
from tanpo.cli.demo.trading import BOND, BUYER, CASH, SELLER, compute_consideration, swap
from tanpo.cli.samples import Catalog
from tanpo.client import Committed, NodeStatus
from tanpo.ledger.transaction import Envelope

STREAM_CHAPTER: Final = "Leader killed in a stream of swaps"
SWAP_UNITS: Final = 50_000
"""Nominal of one swap of the stream: the bond's denomination."""
WORKERS: Final = 16
"""Swaps under way at once."""
KILL_AFTER: Final = 3
"""The leader dies when one in so many swaps of the stream is committed."""
DEADLINE_S: Final = 60.0
"""How long one swap may take, a change of leader included."""
CATCH_UP_S: Final = 60.0
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamResult:
    """What the stream did."""

    leader: str
    killed_at_height: int
    swaps: tuple[Committed, ...]
    latencies_ms: tuple[float, ...]
    seconds_to_commit: float
    """From the kill to the first outcome of a swap sent after it: what was under way does not count."""

    @property
    def committed_after_kill(self) -> int:
        """How many swaps are in blocks above the one at which the leader died."""
        return sum(one.height > self.killed_at_height for one in self.swaps)


class _Stream:
    """The swaps still to be sent and those committed, shared by the workers and by who kills the leader."""

    def __init__(self, desk: Desk, envelopes: list[Envelope], through: list[str]) -> None:
        self._desk = desk
        self._envelopes = envelopes
        self._through = through
        self._has_news = asyncio.Event()
        self.committed: list[Committed] = []
        self.latencies_ms: list[float] = []
        self.times: list[tuple[float, float]] = []

    async def work(self, number: int) -> None:
        """Send swaps through one node until none is left."""
        client = self._desk.clients[self._through[number % len(self._through)]]
        while self._envelopes:
            envelope = self._envelopes.pop()
            started = time.perf_counter()
            (outcome,) = await client.submit_envelope(envelope, deadline_s=DEADLINE_S)
            ended = time.perf_counter()
            committed = outcome.raise_for_failure()
            self._desk.saw(committed)
            self.latencies_ms.append((ended - started) * 1000)
            self.times.append((started, ended))
            self.committed.append(committed)
            self._has_news.set()

    async def wait_committed(self, count: int) -> None:
        """Wait until so many swaps are committed."""
        while len(self.committed) < count:
            self._has_news.clear()
            await self._has_news.wait()


async def play_stream(desk: Desk, catalog: Catalog, swap_count: int) -> StreamResult:
    """Send swaps, kill the leader among them, see the rest committed, restart it and wait for it."""
    desk.journal.begin(STREAM_CHAPTER)
    before = await _read_balances(desk)
    leader = await _find_leader(desk)
    survivors = [member for member in desk.network.members if member != leader]
    stream = _Stream(desk, _prepare(desk, catalog, swap_count), survivors)
    killed_at_height, killed_at = 0, 0.0
    async with asyncio.TaskGroup() as group:
        for number in range(WORKERS):
            group.create_task(stream.work(number))
        await stream.wait_committed(swap_count // KILL_AFTER)
        killed_at_height = max(one.height for one in stream.committed)
        # In a thread: a kill waits for the process to end, and the stream must not wait with it.
        await asyncio.to_thread(desk.network.kill, leader)
        killed_at = time.perf_counter()
    result = StreamResult(
        leader=leader,
        killed_at_height=killed_at_height,
        swaps=tuple(stream.committed),
        latencies_ms=tuple(stream.latencies_ms),
        seconds_to_commit=min((end for begin, end in stream.times if begin > killed_at), default=killed_at)
        - killed_at,
    )
    await _check_stream(desk, catalog, result, swap_count, before)
    slowest = max(stream.latencies_ms)
    last = max(stream.committed, key=lambda one: (one.height, one.index))
    desk.note(f"{swap_count} swaps while the leader dies, the slowest and the last", last, slowest)
    desk.journal.note(
        f"{leader} killed at height {killed_at_height}; {result.committed_after_kill} of {swap_count} swaps "
        f"committed after it, none lost, none twice"
    )
    return result


async def restart_leader(desk: Desk, result: StreamResult) -> None:
    """Start the killed node again and wait until it has caught up."""
    desk.journal.begin("Restart and catch up")
    started = time.perf_counter()
    await asyncio.to_thread(desk.network.start, [result.leader])
    statuses = await wait_agreed(desk)
    seconds = time.perf_counter() - started
    desk.journal.note(
        f"{result.leader} is back at height {statuses[result.leader].height} after {seconds:.1f} s"
    )


async def wait_agreed(desk: Desk) -> dict[str, NodeStatus]:
    """Wait until all nodes are at one height with one block and one state root; return their statuses."""
    deadline = time.monotonic() + CATCH_UP_S
    while True:
        found = await run_all(desk.read_status(member) for member in desk.network.members)
        if (
            len({(one.height, one.block_hash, one.state_root, one.pending_transactions) for one in found})
            == 1
        ):
            return dict(zip(desk.network.members, found, strict=True))
        heights = {one.member: one.height for one in found}
        check(
            time.monotonic() < deadline, "the nodes do not agree", value=heights, limit=f"{CATCH_UP_S:.0f} s"
        )
        await asyncio.sleep(_POLL_S)


def _prepare(desk: Desk, catalog: Catalog, swap_count: int) -> list[Envelope]:
    """Sign the swaps of the stream: bonds one way, then the other, so that neither party runs out."""
    cash = compute_consideration(catalog, BOND, SWAP_UNITS)
    calls = (
        swap((SELLER, BUYER, BOND, SWAP_UNITS), (BUYER, SELLER, CASH, cash)),
        swap((BUYER, SELLER, BOND, SWAP_UNITS), (SELLER, BUYER, CASH, cash)),
    )
    return [
        desk.sign(calls[position % 3 == 0], (SELLER, BUYER), request_id=f"stream-{position}")
        for position in range(swap_count)
    ]


async def _find_leader(desk: Desk) -> str:
    status = await desk.read_status(desk.network.members[0])
    return status.leader.partition("/")[0]


async def _read_balances(desk: Desk) -> tuple[int, int, int, int]:
    places = ((SELLER, BOND), (BUYER, BOND), (SELLER, CASH), (BUYER, CASH))
    found = [await desk.get_position(account, instrument) for account, instrument in places]
    return (found[0].free, found[1].free, found[2].free, found[3].free)


async def _check_stream(
    desk: Desk, catalog: Catalog, result: StreamResult, swap_count: int, before: tuple[int, int, int, int]
) -> None:
    """Check that every swap took effect exactly once, by the receipts and by the balances."""
    tx_ids = {one.tx_id for one in result.swaps}
    check(len(tx_ids) == swap_count, "swaps are missing", value=len(tx_ids), limit=swap_count)
    places = {(one.height, one.index) for one in result.swaps}
    check(len(places) == swap_count, "two swaps are in one place", value=len(places), limit=swap_count)
    check(result.committed_after_kill > 0, "nothing was committed after the kill", value=0, limit="1 or more")
    back = -(-swap_count // 3)
    bonds = (swap_count - 2 * back) * SWAP_UNITS
    cash = (swap_count - 2 * back) * compute_consideration(catalog, BOND, SWAP_UNITS)
    wanted = (before[0] - bonds, before[1] + bonds, before[2] + cash, before[3] - cash)
    found = await _read_balances(desk)
    check(found == wanted, "the balances do not add up after the stream", value=found, limit=wanted)
