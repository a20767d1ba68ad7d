"""An open-loop load: swaps leave at their scheduled times whether or not earlier ones have come back.

Latency counts from the scheduled time: a network that falls behind cannot hide it by being asked less.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc.aio
from tanpo.api.v1 import ledger_pb2, ledger_pb2_grpc
from tanpo.cli.demo.journal import compute_percentile
from tanpo.client import ClientConfig
from tanpo.client.channel import compute_channel_options, load_credentials
from tanpo.ledger.receipt import decode_receipt
from tanpo.ledger.transaction import Envelope

TICK_S: Final = 0.01
MESSAGE_ENVELOPES_MAX: Final = 100
DRAIN_S: Final = 20.0
"""How long to wait, after the last swap was sent, for what is still open."""
ACHIEVED_MIN: Final = 0.97
BACKLOG_MAX_S: Final = 0.5
WARM_UP_S: Final = 2.0
SUSTAINED: Final = (
    f"Every swap offered was committed with success and none was refused; from {WARM_UP_S:.0f} s after the "
    f"start to the end of the offer, at least {ACHIEVED_MIN:.0%} of the offered rate was committed; and the "
    f"swaps open at that end were at most {BACKLOG_MAX_S} s of the offered rate."
)


@dataclass(slots=True, kw_only=True)
class Offer:
    """One rate offered for a time, and what came of it. Times are seconds since the offer began."""

    rate: int
    seconds: float
    sent: int = 0
    lag_max_s: float = 0.0
    """How late the generator itself was at worst: above a tick or two, it was the bottleneck."""
    done_at: dict[int, float] = field(default_factory=dict)
    receipts: dict[int, bytes] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many swaps are offered."""
        return int(self.rate * self.seconds)

    def count_succeeded(self) -> int:
        """Return how many swaps have a committed receipt that says success."""
        return sum(decode_receipt(receipt).succeeded for receipt in self.receipts.values())

    def compute_achieved(self) -> float:
        """Return swaps a second committed after the warm-up and before the offer ended."""
        committed = sum(WARM_UP_S <= at < self.seconds for at in self.done_at.values())
        return committed / (self.seconds - WARM_UP_S)

    def count_backlog(self) -> int:
        """Return how many swaps were open when the offer ended."""
        return self.total - sum(at <= self.seconds for at in self.done_at.values())

    def list_latencies_ms(self) -> list[float]:
        """Return the latencies of the swaps that were due after the warm-up."""
        return [
            (at - number / self.rate) * 1000
            for number, at in self.done_at.items()
            if number / self.rate >= WARM_UP_S
        ]

    def is_sustained(self) -> bool:
        """Return whether the rate was sustained, as `SUSTAINED` defines it."""
        return (
            not self.refusals
            and not self.failures
            and self.count_succeeded() == self.total
            and self.compute_achieved() >= ACHIEVED_MIN * self.rate
            and self.count_backlog() <= BACKLOG_MAX_S * self.rate
        )

    def to_json(self) -> dict[str, Any]:
        """Return the offer and its result."""
        latencies = self.list_latencies_ms()
        return {
            "offered_per_second": self.rate,
            "seconds": self.seconds,
            "offered": self.total,
            "succeeded": self.count_succeeded(),
            "refused": dict(self.refusals),
            "stream_failures": self.failures,
            "committed_per_second": round(self.compute_achieved(), 1),
            "backlog_at_end": self.count_backlog(),
            "latency_ms": {
                "p50": round(compute_percentile(latencies, 50), 1),
                "p99": round(compute_percentile(latencies, 99), 1),
            },
            "generator_lag_max_ms": round(self.lag_max_s * 1000, 1),
            "sustained": self.is_sustained(),
        }


class Lane:
    """One stream to one node, as the client's own batches use it, and nothing between."""

    def __init__(self, config: ClientConfig) -> None:
        self._channel = grpc.aio.secure_channel(
            config.addresses[0],
            load_credentials(config.identity),
            options=compute_channel_options(config.identity),
        )
        self._outbox: asyncio.Queue[ledger_pb2.SubmitBatchRequest | None] = asyncio.Queue()
        self._call = ledger_pb2_grpc.LedgerStub(self._channel).SubmitBatch(self._send())

    def send(self, envelopes: Sequence[Envelope]) -> None:
        """Send one message."""
        self._outbox.put_nowait(
            ledger_pb2.SubmitBatchRequest(envelopes=[envelope.encoded for envelope in envelopes])
        )

    def finish(self) -> None:
        """Say that no more will be sent."""
        self._outbox.put_nowait(None)

    async def receive(self, offer: Offer, number_of: Mapping[bytes, int], began: float) -> None:
        """Note outcomes and refusals until the node ends the stream."""
        async for response in self._call:
            at = time.perf_counter() - began
            for outcome in response.outcomes:
                if outcome.state == ledger_pb2.Outcome.COMMITTED:
                    number = number_of[outcome.tx_id]
                    offer.done_at[number] = at
                    offer.receipts[number] = outcome.receipt
                else:
                    offer.refusals[ledger_pb2.Outcome.State.Name(outcome.state)] += 1
            for refusal in response.refusals:
                offer.refusals[refusal.error.message] += 1

    async def close(self) -> None:
        """Close the connection."""
        self._call.cancel()
        await self._channel.close(None)

    async def _send(self) -> AsyncIterator[ledger_pb2.SubmitBatchRequest]:
        while (message := await self._outbox.get()) is not None:
            yield message


async def run_offer(
    configs: Sequence[ClientConfig], envelopes: Sequence[Envelope], rate: int, seconds: float
) -> Offer:
    """Offer signed swaps at a rate, spread evenly over the nodes, and wait for what came of them."""
    offer = Offer(rate=rate, seconds=seconds)
    number_of: dict[bytes, int] = {
        envelope.transactions[0].tx_id: number for number, envelope in enumerate(envelopes)
    }
    lanes = [Lane(config) for config in configs]
    began = time.perf_counter()
    receivers = [asyncio.create_task(lane.receive(offer, number_of, began)) for lane in lanes]
    try:
        await _send_all(offer, lanes, envelopes, began)
        for lane in lanes:
            lane.finish()
        await asyncio.wait(receivers, timeout=DRAIN_S)
        offer.failures += [str(task.exception()) for task in receivers if task.done() and task.exception()]
    finally:
        for lane in lanes:
            await lane.close()
        await asyncio.gather(*receivers, return_exceptions=True)
    return offer


async def _send_all(offer: Offer, lanes: list[Lane], envelopes: Sequence[Envelope], began: float) -> None:
    turn = 0
    while offer.sent < offer.total:
        now = time.perf_counter() - began
        due = min(int(now * offer.rate) + 1, offer.total)
        if due > offer.sent:
            offer.lag_max_s = max(offer.lag_max_s, now - offer.sent / offer.rate)
        while offer.sent < due:
            end = min(due, offer.sent + MESSAGE_ENVELOPES_MAX)
            lanes[turn % len(lanes)].send(envelopes[offer.sent : end])
            offer.sent, turn = end, turn + 1
        await asyncio.sleep(max(TICK_S - (time.perf_counter() - began - now), 0))
