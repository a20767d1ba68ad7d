"""The driver: what a batch makes durable, what it does when a part of it fails, whom it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tanpo.consensus import (
    Broadcast,
    CheckBlock,
    Effect,
    Event,
    Halt,
    Persist,
    Send,
    ServeCommitted,
    Ticked,
)
from tanpo.consensus.messages import GetCommitted, Message, Suspect
from tanpo.consensus.wire import decode_message
from tanpo.ledger.block import EMPTY_ROOT, Block, BlockFlags, Header, compute_body_hash, encode_block
from tanpo.ledger.errors import CorruptState, InvariantViolation, Reason
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.types import (
    BlockHash,
    Epoch,
    Height,
    MemberId,
    NetworkId,
    StateRoot,
    Term,
    ValidatorIndex,
)
from tanpo.ledger.validators import Validator, ValidatorSet
from tanpo.node.agenda import merge_writes
from tanpo.node.clock import Clock
from tanpo.node.driver import Driver
from tanpo.node.metrics import Metrics
from tanpo.node.roster import Roster

NETWORK = NetworkId(bytes(32))
BLOCK = Block.create(
    Header(
        network_id=NETWORK,
        epoch=Epoch(0),
        term=Term(1),
        height=Height(1),
        parent_hash=BlockHash(NETWORK),
        parent_term=Term(0),
        time_ms=1,
        proposer=ValidatorIndex(0),
        tx_root=EMPTY_ROOT,
        tx_count=0,
        body_hash=compute_body_hash(()),
        state_root=StateRoot(bytes(32)),
        receipts_root=EMPTY_ROOT,
        valset_hash=bytes(32),
        next_valset_hash=bytes(32),
        flags=BlockFlags.NONE,
        evidence_root=EMPTY_ROOT,
    ),
    (),
)
OTHER = Block.create(replace(BLOCK.header, time_ms=2), ())
TICK = Ticked(now_ms=0, wall_ms=0, has_pending=False, has_overdue=False)


class FakeReplica:
    """Answers each event with the next effects of a script."""

    wake_ms = None
    has_amnesia = False

    def __init__(self, *script: Sequence[Effect]) -> None:
        self._script: Iterator[Sequence[Effect]] = iter(script)

    @property
    def term(self) -> Term:
        return Term(1)

    @property
    def leader(self) -> ValidatorIndex:
        return ValidatorIndex(0)

    @property
    def epoch(self) -> Epoch:
        return Epoch(0)

    def step(self, _event: Event) -> list[Effect]:
        return list(next(self._script, ()))


class FailingBodies:
    """Cannot check a body."""

    async def check(self, _block: Block, _ancestors: Sequence[Block]) -> str | None:
        raise InvariantViolation("a certified ancestor cannot be decoded")


class FakeBeginning:
    """Of a ledger that begins with its genesis."""

    height = Height(0)


class FakeStore:
    """Counts how often somebody reads from it; holds one damaged block."""

    executed_height = 1
    beginning = FakeBeginning()

    def __init__(self, on_read: Callable[[], None]) -> None:
        self._on_read = on_read

    def read_block(self, _height: Height) -> Any:
        self._on_read()
        raise CorruptState(Reason.DATA_CORRUPT, "the block is damaged")


class FakeExecution:
    """Only a store."""

    def __init__(self, on_read: Callable[[], None] = lambda: None) -> None:
        self.store = FakeStore(on_read)


def make_roster(*members: str) -> Roster:
    """Return a roster of one node each, the first of them ours."""
    keys = [PrivateKey.generate().public_key.encoded for _ in members]
    validators = tuple(
        Validator(member=MemberId(member), node="n1", public_key=key)
        for member, key in zip(members, keys, strict=True)
    )
    return Roster(
        own_name=f"{members[0]}/n1", public_key=keys[0], epoch=Epoch(0), validators=ValidatorSet(validators)
    )


def _make(**parts: Any) -> Driver:
    given: dict[str, Any] = {
        "execution": FakeExecution(),
        "promises": None,
        "bodies": FailingBodies(),
        "links": None,
        "roster": make_roster("alpha", "beta"),
        "metrics": Metrics(),
        "clock": Clock(wall_ms=lambda: 0, monotonic_ms=lambda: 0),
        "on_committed": lambda _: None,
        "on_evidence": lambda _: None,
        "begin_epoch": FakeReplica,
    }
    return Driver(**{**given, **parts})


def _persist(record: bytes, *blocks: Block, dropped: tuple[BlockHash, ...] = ()) -> Persist:
    return Persist(record=record, blocks=blocks, dropped=dropped)


def test_of_several_writes_the_latest_word_on_record_and_block_counts() -> None:
    one, other = BLOCK.block_hash, OTHER.block_hash
    merged = merge_writes(
        [
            _persist(b"1", OTHER),
            _persist(b"2", dropped=(one,)),
            _persist(b"3", BLOCK, dropped=(other,)),
        ]
    )
    assert merged.record == b"3"
    assert merged.blocks == {one: encode_block(BLOCK)}
    assert merged.dropped == (other,)


async def test_a_check_that_fails_ends_the_driver_rather_than_leave_the_replica_waiting() -> None:
    driver = _make()
    driver.post(TICK)
    check = CheckBlock(block=BLOCK, parent_time_ms=0, ancestors=())
    async with asyncio.timeout(60):
        with pytest.raises(InvariantViolation, match="cannot be decoded"):
            await driver.run(FakeReplica([check]))  # type: ignore[arg-type]  # a fake: the driver asks no more


async def test_damage_found_while_serving_a_peer_ends_the_driver_after_one_read_a_peer() -> None:
    reads = []
    driver = _make(execution=FakeExecution(lambda: reads.append(1)))
    driver.post(TICK)
    ask = ServeCommitted(to=ValidatorIndex(1), from_height=Height(1))
    async with asyncio.timeout(60):
        with pytest.raises(CorruptState, match="damaged"):
            await driver.run(FakeReplica([ask] * 1000))  # type: ignore[arg-type]  # a fake: the driver asks no more
    assert len(reads) == 1


class FakeLinks:
    """Says who can be reached, and keeps what is sent."""

    def __init__(self, *connected: str) -> None:
        self._connected = connected
        self.sent: list[tuple[str, Message]] = []

    def connected(self) -> Sequence[str]:
        return self._connected

    def send(self, to: str, message: bytes) -> None:
        self.sent.append((to, decode_message(message)[1]))


async def _run_script(driver: Driver, *effects: Effect) -> None:
    """Let a replica ask for these, and then for the end."""
    driver.post(TICK)
    async with asyncio.timeout(60):
        with pytest.raises(InvariantViolation, match="the end"):
            await driver.run(FakeReplica([*effects, Halt(reason="the end")]))  # type: ignore[arg-type]  # a fake


@pytest.mark.parametrize(
    ("connected", "asked"),
    [
        (("beta/n1", "gamma/n1"), "beta/n1"),
        (("gamma/n1", "late/n1"), "late/n1"),
        ((), "beta/n1"),
    ],
    ids=["the one meant", "another", "nobody is there"],
)
async def test_committed_blocks_are_asked_for_wherever_somebody_is_reached(
    connected: tuple[str, ...], asked: str
) -> None:
    links = FakeLinks(*connected)
    driver = _make(links=links, roster=make_roster("alpha", "beta", "gamma"))
    message = GetCommitted(from_height=Height(1))
    await _run_script(driver, Send(to=ValidatorIndex(1), message=message))
    assert links.sent == [(asked, message)]


@pytest.mark.parametrize("connected", [("old/n1", "b/n1", "c/n1", "d/n1"), ("b/n1", "c/n1", "d/n1", "e/n1")])
async def test_who_gets_no_further_asks_everybody_it_reaches(connected: tuple[str, ...]) -> None:
    """The one validator of an old epoch is gone, or connected and useless; so may others be."""
    links = FakeLinks(*connected)
    driver = _make(links=links, roster=make_roster("old"))
    message = GetCommitted(from_height=Height(1))
    await _run_script(driver, *[Send(to=ValidatorIndex(0), message=message)] * 8)
    assert {to for to, _ in links.sent} == set(connected)


async def test_promises_go_to_the_validator_meant_and_to_no_guest() -> None:
    links = FakeLinks("gamma/n1")
    driver = _make(links=links, roster=make_roster("alpha", "beta", "gamma"))
    suspect = Suspect(term=Term(1))
    await _run_script(
        driver,
        Send(to=ValidatorIndex(1), message=suspect),
        Broadcast(message=suspect),
        Send(to=ValidatorIndex(9), message=suspect),
    )
    assert [to for to, _ in links.sent] == ["beta/n1", "beta/n1", "gamma/n1"]


class RestingReplica(FakeReplica):
    """Has nothing to do for ever, until it is told of something."""

    def __init__(self, rest_until_ms: int | None) -> None:
        super().__init__()
        self.rest_until_ms = rest_until_ms

    def step(self, _event: Event) -> list[Effect]:
        self.rest_until_ms = None
        return []


async def test_rest_ends_as_soon_as_there_is_work() -> None:
    driver = _make()
    run = asyncio.create_task(driver.run(RestingReplica(10**9)))  # type: ignore[arg-type]  # a fake
    await asyncio.sleep(0)
    rest = asyncio.create_task(driver.rest())
    for _ in range(10):
        await asyncio.sleep(0)
    was_resting = not rest.done()

    driver.post(TICK)
    async with asyncio.timeout(60):
        await rest
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    assert was_resting


@pytest.mark.parametrize("until_ms", [None, 0])
async def test_there_is_no_rest_at_work_or_when_a_duty_is_due(until_ms: int | None) -> None:
    driver = _make()
    run = asyncio.create_task(driver.run(RestingReplica(until_ms)))  # type: ignore[arg-type]  # a fake
    await asyncio.sleep(0)
    rest = driver.rest()
    with pytest.raises(StopIteration):
        rest.send(None)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
