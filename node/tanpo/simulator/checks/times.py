"""A vote for a block says that its time was plausible when it came (V3), by the voter's own clock."""

from __future__ import annotations

from tanpo.consensus import Timing
from tanpo.consensus.config import DOUBLINGS_MAX
from tanpo.ledger.block import Header
from tanpo.ledger.types import BlockHash
from tanpo.simulator.violation import Violation


class Times:
    """What honest clocks showed, and when each proposal came. Clocks may jump: the kindest reading counts."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._latest_ms: dict[str, int] = {}
        self._arrivals: dict[tuple[str, BlockHash], tuple[int, int]] = {}

    def note_clock(self, name: str, wall_ms: int) -> None:
        """Note what a clock shows."""
        self._latest_ms[name] = max(self._latest_ms.get(name, 0), wall_ms)

    def note_arrival(self, name: str, block_hash: BlockHash, wall_ms: int, tip_term: int) -> None:
        """Note that a proposal came; `tip_term` is that of the receiver's stored tip."""
        key = (name, block_hash)
        known_ms, known_term = self._arrivals.get(key, (wall_ms, tip_term))
        self._arrivals[key] = (min(known_ms, wall_ms), min(known_term, tip_term))

    def check_vote(
        self, name: str, header: Header, block_hash: BlockHash, parent_time_ms: int | None
    ) -> None:
        """Check the time of a block that an honest process votes for, its parent's if that is known.

        Raises:
            Violation: the block was not later than its parent, too far ahead of the voter's clock, or too old
                when it came.
        """
        timing = self._timing
        if parent_time_ms is not None and header.time_ms <= parent_time_ms:
            raise Violation(
                "time", f"votes for height {header.height}, which is no later than its parent", name
            )
        latest_ms = self._latest_ms.get(name, header.time_ms)
        if header.time_ms > latest_ms + timing.precision_ms:
            raise Violation("time", f"votes for height {header.height}, which is ahead of its clock", name)
        arrived_ms, tip_term = self._arrivals.get((name, block_hash), (header.time_ms, 0))
        attempts = min(max(0, header.term - tip_term), DOUBLINGS_MAX)
        earliest_ms = arrived_ms - (timing.message_delay_ms << attempts) - timing.precision_ms
        if header.time_ms < earliest_ms:
            raise Violation("time", f"votes for height {header.height}, which came too late", name)
