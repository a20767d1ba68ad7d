"""Swaps at a steady rate through the clients of members, while something happens to their nodes.

Swaps leave at their scheduled times whether or not earlier ones have come back, so a network that falls
silent shows it. One whose outcome is not known in time is sent again, the same bytes, until it is: in the end
each has one outcome, or the load fails.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from typing import Final

from tanpo.cli.bench.book import DOLLARS, FUND, PAIRS, SWAP_UNITS, SwapPress
from tanpo.cli.demo.desk import Desk
from tanpo.cli.demo.journal import run_all
from tanpo.cli.demo.trading import BUYER, SELLER
from tanpo.client import Committed, OutcomeUnknown
from tanpo.ledger.errors import invariant
from tanpo.ledger.transaction import Envelope

CALL_DEADLINE_S: Final = 10.0
"""How long a client tries before it says that it does not know."""
RETRIES_MAX: Final = 6
_PAIRS_AT_ONCE: Final = 20


@dataclass(slots=True, kw_only=True)
class PacedLoad:
    """Swaps of one press, sent to the nodes of `members` in turn, `rate` a second."""

    desk: Desk
    press: SwapPress
    members: tuple[str, ...]
    rate: float
    sent: int = 0
    retried: int = 0
    """How often a client said that it did not know an outcome; sending the swap again settled it."""
    acknowledged: list[Committed] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """When each acknowledgement came, by `time.monotonic`."""
    latencies_ms: list[float] = field(default_factory=list)
    """From the sending of each swap to its acknowledgement, however often it was sent."""

    async def run(self, is_over: asyncio.Event) -> None:
        """Send until it is over, and wait for every outcome. Raises whatever refuses a swap."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            while not is_over.is_set():
                pause = began + self.sent / self.rate - time.monotonic()
                if pause > 0:
                    await asyncio.sleep(pause)
                (envelope,) = self.press.sign(1)
                group.create_task(self._settle(envelope, self.members[self.sent % len(self.members)]))
                self.sent += 1

    def find_gap(self, after: float, before: float) -> float:
        """Return the longest time between two acknowledgements of those that came in a span of time."""
        inside = [after, *(at for at in sorted(self.times) if after < at < before), before]
        return max(late - early for early, late in itertools.pairwise(inside))

    async def _settle(self, envelope: Envelope, member: str) -> None:
        began = time.monotonic()
        for _ in range(RETRIES_MAX):
            try:
                (result,) = await self.desk.clients[member].submit_envelope(
                    envelope, deadline_s=CALL_DEADLINE_S
                )
            except OutcomeUnknown:
                self.retried += 1
                continue
            committed = result.raise_for_failure()
            self.times.append(time.monotonic())
            self.latencies_ms.append((self.times[-1] - began) * 1000)
            self.acknowledged.append(committed)
            self.desk.saw(committed)
            return
        invariant(False, f"a swap has no outcome after {RETRIES_MAX} times {CALL_DEADLINE_S:.0f} s")


async def count_settled(desk: Desk) -> int:
    """Return how many swaps of presses the balances of a book tell of, whoever acknowledged them."""
    found = 0
    for start in range(0, PAIRS, _PAIRS_AT_ONCE):
        accounts = [f"{BUYER}/{pair}" for pair in range(start, min(start + _PAIRS_AT_ONCE, PAIRS))]
        positions = await run_all(desk.get_position(account, FUND) for account in accounts)
        found += sum(position.held for position in positions)
    invariant(found % SWAP_UNITS == 0, f"{found} fund shares are no whole number of swaps")
    return found // SWAP_UNITS


async def is_conserved(desk: Desk) -> bool:
    """Return whether the first pair's balances are those of as many swaps on both sides."""
    bought = await desk.get_position(f"{BUYER}/0", FUND)
    paid = await desk.get_position(f"{SELLER}/0", DOLLARS)
    return bought.held == paid.held
