"""The admission window: how many transactions may wait, given how fast the network commits them.

A longer queue adds only latency, never throughput (PIPELINE.md); beyond the window clients are told to come
back, with the same request id.
"""

from __future__ import annotations

from typing import Final

from tanpo.ledger.errors import Reason, Unavailable
from tanpo.ledger.transaction import Envelope

WINDOW_MS: Final = 1_000
"""How much of the network's measured work may wait: about one block cycle under load more than needed."""

WINDOW_TRANSACTIONS_MIN: Final = 1_000
"""Always allowed: two full blocks, so that a burst on an idle network is taken whole."""

QUEUE_MS_MAX: Final = 10_000
"""The longest wait in the queue that is put down to the queue; beyond it the leader answers for it."""

_RATE_SPAN_MS: Final = 4_000


class AdmissionWindow:
    """Measures the commit rate and says when the queue is long enough."""

    def __init__(self) -> None:
        self._rate_per_ms = 0.0
        self._measured_ms = 0

    def note_committed(self, transaction_count: int, now_ms: int) -> None:
        """Take a committed block into the rate, a mean that forgets over `_RATE_SPAN_MS`."""
        elapsed = min(max(now_ms - self._measured_ms, 1), _RATE_SPAN_MS)
        self._measured_ms = now_ms
        weight = elapsed / _RATE_SPAN_MS
        self._rate_per_ms += weight * (transaction_count / elapsed - self._rate_per_ms)

    @property
    def limit(self) -> int:
        """How many transactions may wait now."""
        return max(WINDOW_TRANSACTIONS_MIN, int(self._rate_per_ms * WINDOW_MS))

    def compute_queue_ms(self, waiting: int) -> int:
        """Return how long so many transactions take at the measured rate, 0 while it is unknown.

        Whoever waits that long is not passed over. Without this, a full queue would have every validator
        suspect an honest leader again and again, and the changes of leader would keep the queue full.
        """
        if self._rate_per_ms <= 0:
            return 0
        return min(QUEUE_MS_MAX, int(waiting / self._rate_per_ms))

    def check(self, waiting: int, envelope: Envelope) -> None:
        """Raise `Unavailable` when an envelope would make the queue longer than the window."""
        if waiting and waiting + len(envelope.transactions) > self.limit:
            raise Unavailable(
                Reason.MEMPOOL_FULL,
                "more transactions are waiting than the network commits in a second",
                value=waiting,
                limit=self.limit,
                remedy="wait and send again with the same request id",
            )
