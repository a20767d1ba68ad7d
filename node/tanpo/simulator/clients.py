"""Clients: they submit transactions, and again until they see them committed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from tanpo.ledger.block import Block
from tanpo.simulator.faults import FaultKind
from tanpo.simulator.healing import can_go_on
from tanpo.simulator.hostile.proposing import is_passed_over
from tanpo.simulator.reigns import find_reign, make_reign_envelope

if TYPE_CHECKING:
    from tanpo.simulator.cluster import Cluster
    from tanpo.simulator.process import Process

RETRY_MS: Final = 1_000
REIGN_MAX_MS: Final = 6_000

COMPANY_MS: Final = 100
"""Between transactions that keep others company: well below a leader's patience."""

OPEN_MAX: Final = 24
"""Most transactions that wait at once: a network that stands still is given no more work."""


class Clients:
    """Who submits. `open` are the transactions that no honest node has stored, with when they were made."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._rng = cluster.streams.get("clients")
        self._loss = cluster.streams.get("gossip")
        self._count = 0
        self.open: dict[bytes, int] = {}
        self.committed = 0
        self.is_open_for_more = True
        self._closed_ms = 0
        self.reign_asked = 0
        """The number of the last validator set that was asked for."""

    def begin(self) -> None:
        """Submit the first transaction soon, and go on."""
        self._cluster.clock.after(self._rng.randrange(200), self._submit)
        self._cluster.clock.after(RETRY_MS, self._retry)
        self._plan_reign()

    def reopen(self) -> None:
        """Submit again, from now on."""
        self.is_open_for_more = True
        self._submit()

    def close(self) -> None:
        """Submit no more."""
        self.is_open_for_more = False
        self._closed_ms = self._cluster.clock.now_ms

    def accompany(self) -> None:
        """Beside a censor, submit what it does not mind until all that waits when we close is committed.

        Where nothing commits, a leader is suspected for that, and not for passing over a transaction (T2).
        """
        if any(self._cluster.is_censor(node) for node in self._cluster.well):
            self._keep_company()

    def note_stored(self, block: Block) -> None:
        """See transactions committed."""
        for envelope in block.envelopes:
            if self.open.pop(envelope, None) is not None:
                self.committed += 1
                if find_reign(envelope) is not None:
                    self._plan_reign()

    def _submit(self) -> None:
        if not self.is_open_for_more:
            return
        if len(self.open) < OPEN_MAX:
            self._hand_in(self._make_envelope())
        delay_ms = 1 + int(self._rng.expovariate(1 / self._cluster.settings.submit_ms))
        self._cluster.clock.after(delay_ms, self._submit)

    def _keep_company(self) -> None:
        is_waiting = any(made_ms <= self._closed_ms for made_ms in self.open.values())
        if not (self.is_open_for_more or is_waiting):
            return
        envelope = self._make_envelope()
        while is_passed_over(envelope):
            del self.open[envelope]
            envelope = self._make_envelope()
        self._hand_in(envelope)
        self._cluster.clock.after(COMPANY_MS, self._keep_company)

    def _make_envelope(self) -> bytes:
        envelope = self._cluster.application.make_envelope(self._count)
        self._count += 1
        self.open[envelope] = self._cluster.clock.now_ms
        return envelope

    def _plan_reign(self) -> None:
        """Ask for the next validator set some time after the one before was agreed."""
        if self.reign_asked + 1 < len(self._cluster.reigns):
            self._cluster.clock.after(self._rng.randrange(200, REIGN_MAX_MS), self._ask_reign)

    def _ask_reign(self) -> None:
        if self.is_open_for_more and can_go_on(self._cluster, self.reign_asked + 1):
            self.reign_asked += 1
            envelope = make_reign_envelope(self.reign_asked)
            self.open[envelope] = self._cluster.clock.now_ms
            self._hand_in(envelope)

    def _retry(self) -> None:
        now_ms = self._cluster.clock.now_ms
        for envelope, made_ms in list(self.open.items()):
            if now_ms - made_ms >= RETRY_MS:
                self._hand_in(envelope)
        self._cluster.clock.after(RETRY_MS, self._retry)

    def _hand_in(self, envelope: bytes) -> None:
        """Give a transaction to one node, which shares it with the others."""
        cluster = self._cluster
        ready = [process for process in cluster.processes if process.is_up]
        healed = [process for process in ready if cluster.is_healed(process)]
        if not ready:
            return
        first = self._rng.choice(healed or ready)
        first.submit(envelope)
        for other in cluster.processes:
            if other is not first and self._passes(first, other):
                delay_ms = 1 + self._loss.randrange(cluster.settings.latency_ms + 10)
                cluster.clock.after(delay_ms, partial(self._deliver, other, envelope))

    def _passes(self, first: Process, other: Process) -> bool:
        cluster = self._cluster
        if cluster.is_calm(first, other):
            return True
        return (
            cluster.links.is_open(first, other) and self._loss.random() >= cluster.luck.rates[FaultKind.LOSS]
        )

    def _deliver(self, process: Process, envelope: bytes) -> None:
        if process.is_up:
            process.submit(envelope)
