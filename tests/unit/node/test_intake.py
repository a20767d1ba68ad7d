"""The intake: bounded whatever a validator sends, and fair to the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.types import ValidatorIndex
from tanpo.node.clock import Clock
from tanpo.node.intake import SHARED_BATCH, SHARED_BYTES_MAX, Intake
from tanpo.node.metrics import Metrics

LIAR, HONEST = ValidatorIndex(0), ValidatorIndex(1)


class FakeDriver:
    """Notes whether the link was held back."""

    def __init__(self) -> None:
        self.waits = 0

    def post(self, _event: object) -> None:
        raise AssertionError("nothing well-formed was sent")

    async def wait_for_room(self) -> None:
        self.waits += 1


def _make(
    take: Callable[[Sequence[bytes]], Awaitable[None]], driver: FakeDriver | None = None
) -> tuple[Intake, Metrics]:
    metrics = Metrics()
    intake = Intake(
        driver=driver or FakeDriver(),  # type: ignore[arg-type]  # a fake: the intake asks no more of it
        names=("liar/n1", "honest/n1"),
        clock=Clock(wall_ms=lambda: 0, monotonic_ms=lambda: 0),
        metrics=metrics,
        take_shared=take,
        take_evidence=lambda _encoded, _source: False,
    )
    return intake, metrics


async def _run_until_idle(intake: Intake, is_done: Callable[[], bool]) -> None:
    run = asyncio.create_task(intake.run())
    async with asyncio.timeout(5):
        while not is_done():  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


async def test_a_bad_message_does_not_spare_its_sender_the_wait() -> None:
    driver = FakeDriver()

    async def take(_: Sequence[bytes]) -> None:
        raise AssertionError("nothing was shared")

    intake, _ = _make(take, driver)
    with pytest.raises(PeerFault):
        await intake.receive(LIAR, [b"\xff"], [])
    assert driver.waits == 1


async def test_what_a_validator_shares_is_held_up_to_a_number_of_bytes() -> None:
    taken: list[bytes] = []

    async def take(envelopes: Sequence[bytes]) -> None:
        taken.extend(envelopes)

    intake, _ = _make(take)
    large = bytes(SHARED_BYTES_MAX // 4)
    for _ in range(100):
        await intake.receive(LIAR, [], [large] * 10)
    await intake.receive(HONEST, [], [b"good"])
    await _run_until_idle(intake, lambda: b"good" in taken)
    assert len(taken) == 4
    await intake.receive(LIAR, [], [b"later"])
    await _run_until_idle(intake, lambda: b"later" in taken)


async def test_one_that_floods_neither_delays_nor_discredits_the_others() -> None:
    batches: list[list[bytes]] = []

    async def take(envelopes: Sequence[bytes]) -> None:
        batches.append(list(envelopes))
        if b"bad" in envelopes:
            raise PeerFault(Reason.MALFORMED, "no envelope")

    intake, metrics = _make(take)
    await intake.receive(LIAR, [], [b"bad"] * (SHARED_BATCH * 5))
    await intake.receive(HONEST, [], [b"good"])
    await _run_until_idle(intake, lambda: len(batches) == 6)
    assert batches.index([b"good"]) == 1
    faults: Any = metrics.peer_faults
    assert faults.labels("liar/n1")._value.get() == 5
    assert faults.labels("honest/n1")._value.get() == 0
