"""Watches a network while it is being broken: heights, terms, gaps without a commit, why it was stalled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from tanpo.cli.processes import read_resident_bytes
from tanpo.client import NodeStatus
from tanpo.testing.chaos.audit import Sighting
from tanpo.testing.chaos.checks import Violation
from tanpo.testing.chaos.network import ChaosNetwork
from tanpo.testing.chaos.probes import Probes

SAMPLE_S: Final = 0.25
STALLED_S: Final = 4.0
"""How long nothing commits before the nodes are asked why: longer than a change of term takes."""
ASK_AGAIN_S: Final = 5.0
SAMPLES_MAX: Final = 40
NAMED_S: Final = 3.0
"""How long a node must have been missing before others ought to name it: a paused one is called silent after
two base timeouts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StallSample:
    """What a node said of a stall, and what the bench had done. `missing` are the nodes it ought to name."""

    faults: tuple[str, ...]
    missing: tuple[str, ...]
    node: str
    seconds: float
    reasons: tuple[str, ...]

    @property
    def names_all(self) -> bool:
        """Whether all that are missing are named."""
        text = "\n".join(self.reasons)
        return all(f"{member}/" in text for member in self.missing)


@dataclass(slots=True, kw_only=True)
class Sightings:
    """What was seen so far."""

    height: int = 0
    term: int = 0
    leader: str = ""
    first_term: int = 0
    progress_at: float = field(default_factory=time.monotonic)
    longest_gap_s: float = 0.0
    longest_gap_faults: tuple[str, ...] = ()
    resident_bytes_max: int = 0
    tips: dict[tuple[str, int], Sighting] = field(default_factory=dict)
    stalls: list[StallSample] = field(default_factory=list)


class Missing:
    """Which nodes do not run now, and since when; whoever breaks and mends notes it."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def note_broken(self, members: Iterable[str], now_s: float) -> None:
        """Note that nodes stopped running."""
        for member in members:
            self._since.setdefault(member, now_s)

    def note_mended(self) -> None:
        """Note that all nodes run again, or soon will."""
        self._since.clear()

    def list_due(self, now_s: float) -> tuple[str, ...]:
        """Return the nodes that have been missing for long enough that the others ought to name them."""
        return tuple(member for member, since in self._since.items() if now_s - since >= NAMED_S)


def check_stalls(stalls: Iterable[StallSample]) -> list[Violation]:
    """Check that whoever was asked in a stall named all nodes that did not run."""
    return [
        Violation(check="why stalled", what=f"not all of {one.missing} are named: {one}")
        for one in stalls
        if not one.names_all
    ]


class Observer:
    """Samples every node in a task of its own, so that a stopped one holds up nobody.

    `faults` is what is broken just now and `missing` which nodes do not run, for the samples; whoever breaks
    and mends keeps them.
    """

    def __init__(self, network: ChaosNetwork, probes: Probes) -> None:
        self._network = network
        self._probes = probes
        self._tasks: list[asyncio.Task[None]] = []
        self._has_news = asyncio.Event()
        self.seen = Sightings()
        self.faults: list[str] = []
        self.missing = Missing()

    async def __aenter__(self) -> Self:
        self.seen.progress_at = time.monotonic()
        self._tasks = [asyncio.create_task(self._watch(member)) for member in self._network.members]
        self._tasks.append(asyncio.create_task(self._ask_why()))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def wait_height(self, height: int, seconds: float) -> bool:
        """Wait until a node has committed a height; return whether one did in time."""
        try:
            async with asyncio.timeout(seconds):
                while self.seen.height < height:
                    self._has_news.clear()
                    await self._has_news.wait()
        except TimeoutError:
            return False
        return True

    async def _watch(self, member: str) -> None:
        while True:
            status = await self._probes.find_status(member)
            record = self._network.local.find_process(member)
            if record is not None:
                resident = read_resident_bytes(record.pid)
                self.seen.resident_bytes_max = max(self.seen.resident_bytes_max, resident)
            if status is not None and member in self._network.honest:
                self._note(
                    Sighting(
                        member=member,
                        height=status.height,
                        block_hash=status.block_hash,
                        state_root=status.state_root,
                    ),
                    status,
                )
            await asyncio.sleep(SAMPLE_S)

    def _note(self, sighting: Sighting, status: NodeStatus) -> None:
        seen = self.seen
        seen.tips[sighting.member, sighting.height] = sighting
        if status.term >= seen.term:
            seen.term, seen.leader = status.term, status.leader.partition("/")[0]
        seen.first_term = seen.first_term or status.term
        if sighting.height > seen.height:
            self._note_gap()
            seen.height, seen.progress_at = sighting.height, time.monotonic()
            self._has_news.set()

    def _note_gap(self) -> None:
        gap_s = time.monotonic() - self.seen.progress_at
        if gap_s > self.seen.longest_gap_s:
            self.seen.longest_gap_s, self.seen.longest_gap_faults = gap_s, tuple(self.faults)

    async def _ask_why(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_S)
            seconds = time.monotonic() - self.seen.progress_at
            if seconds < STALLED_S or len(self.seen.stalls) >= SAMPLES_MAX:
                continue
            faults, missing = tuple(self.faults), self.missing.list_due(time.monotonic())
            running = [member for member in self._network.honest if self._network.is_running(member)]
            answers = await asyncio.gather(*(self._probes.why_stalled(member) for member in running))
            if not set(missing) <= set(self.missing.list_due(time.monotonic())):
                continue  # Mended meanwhile: who was asked may have seen it already.
            self.seen.stalls += [
                StallSample(
                    faults=faults, missing=missing, node=member, seconds=round(seconds, 1), reasons=reasons
                )
                for member, reasons in zip(running, answers, strict=True)
                if reasons
            ]
            await asyncio.sleep(ASK_AGAIN_S)
