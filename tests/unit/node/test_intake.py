"""The intake: bounded whatever a validator sends, and fair to the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from tanpo.consensus import Received
from tanpo.consensus.messages import GetCommitted
from tanpo.consensus.wire import encode_message
from tanpo.ledger.block import EVIDENCE_BYTES_MAX
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.types import Epoch, Height, MemberId
from tanpo.ledger.validators import Validator, ValidatorSet
from tanpo.node.clock import Clock
from tanpo.node.intake import (
    EVIDENCE_MAX,
    GUEST_BYTES_MAX,
    GUEST_MESSAGES_MAX,
    SHARED_BATCH,
    SHARED_BYTES_MAX,
    Intake,
)
from tanpo.node.metrics import Metrics
from tanpo.node.roster import Roster
from typing_extensions import override

LIAR, HONEST, GUEST = "liar/n1", "honest/n1", "stranger/n1"


class FakeDriver:
    """Notes whether the link was held back, and who sent what."""

    def __init__(self) -> None:
        self.waits = 0
        self.senders: list[int] = []
        self.evidence: list[tuple[bytes, str]] = []

    def post(self, event: Received) -> None:
        self.senders.append(event.sender)

    def take_evidence(self, encoded: bytes, source: str) -> bool:
        self.evidence.append((encoded, source))
        return True

    async def wait_for_room(self) -> None:
        self.waits += 1


def make_roster(*names: str) -> Roster:
    validators = tuple(
        Validator(
            member=MemberId(name.partition("/")[0]),
            node=name.partition("/")[2],
            public_key=PrivateKey.generate().public_key.encoded,
        )
        for name in names
    )
    return Roster(own_name="own/n1", public_key=None, epoch=Epoch(0), validators=ValidatorSet(validators))


def _make(
    take: Callable[[Sequence[bytes]], Awaitable[None]], driver: FakeDriver | None = None
) -> tuple[Intake, Metrics]:
    metrics = Metrics()
    intake = Intake(
        driver=driver or FakeDriver(),  # type: ignore[arg-type]  # a fake: the intake asks no more of it
        roster=make_roster(LIAR, HONEST),
        clock=Clock(wall_ms=lambda: 0, monotonic_ms=lambda: 0),
        metrics=metrics,
        take_shared=take,
        take_evidence=(driver or FakeDriver()).take_evidence,
    )
    return intake, metrics


async def _run_until_idle(intake: Intake, is_done: Callable[[], bool]) -> None:
    run = asyncio.create_task(intake.run())
    async with asyncio.timeout(60):
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
    assert (driver.waits, driver.senders) == (1, [])


async def test_of_a_guest_fewer_messages_count_and_no_evidence() -> None:
    async def take(_: Sequence[bytes]) -> None:
        raise AssertionError("nothing was shared")

    driver = FakeDriver()
    intake, _ = _make(take, driver)
    frame = [encode_message(GetCommitted(from_height=Height(1)), Epoch(0))] * (GUEST_MESSAGES_MAX + 1)
    await intake.receive(HONEST, frame, [], [b"proof"])
    assert driver.senders == [1] * (GUEST_MESSAGES_MAX + 1)
    driver.senders.clear()
    await intake.receive(GUEST, frame, [], [b"proof"])
    assert driver.senders == [2] * GUEST_MESSAGES_MAX
    await _run_until_idle(intake, lambda: bool(driver.evidence))
    assert driver.evidence == [(b"proof", HONEST)]


async def test_evidence_of_a_validator_is_bounded_and_what_does_not_stand_is_held_against_it() -> None:
    async def take(_: Sequence[bytes]) -> None:
        raise AssertionError("nothing was shared")

    class Checking(FakeDriver):
        @override
        def take_evidence(self, encoded: bytes, source: str) -> bool:
            super().take_evidence(encoded, source)
            if encoded == b"false":
                raise PeerFault(Reason.PROOF_INVALID, "no evidence")
            return True

    driver = Checking()
    intake, metrics = _make(take, driver)
    await intake.receive(LIAR, [], [], [b"false"] * 10 * EVIDENCE_MAX)
    await intake.receive(HONEST, [], [], [b"true"])
    with pytest.raises(PeerFault, match="too long"):
        await intake.receive(LIAR, [], [], [bytes(EVIDENCE_BYTES_MAX + 1)])
    await _run_until_idle(intake, lambda: len(driver.evidence) == EVIDENCE_MAX + 1)
    assert driver.evidence.index((b"true", HONEST)) == 1
    faults: Any = metrics.peer_faults
    assert faults.labels(LIAR)._value.get() == EVIDENCE_MAX
    assert faults.labels(HONEST)._value.get() == 0


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


async def test_a_guest_may_share_less_and_has_no_label_of_its_own() -> None:
    taken: list[bytes] = []

    async def take(envelopes: Sequence[bytes]) -> None:
        taken.extend(envelopes)
        raise PeerFault(Reason.MALFORMED, "no envelope")

    intake, metrics = _make(take)
    await intake.receive(GUEST, [], [bytes(GUEST_BYTES_MAX // 4)] * 10)
    await _run_until_idle(intake, lambda: bool(taken))
    assert len(taken) == 3
    faults: Any = metrics.peer_faults
    assert faults.labels("stranger/guest")._value.get() == 1
