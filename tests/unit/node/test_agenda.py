"""What the driver decides: batches, the queue of jobs, and who is served next."""

from __future__ import annotations

from typing import Any, cast

from tanpo.consensus import (
    Broadcast,
    CommitStored,
    DiscardBlocks,
    Effect,
    Event,
    ExecuteBlock,
    Persist,
    Replica,
    ServeCommitted,
    StepDownAsked,
    Ticked,
    TransactionsPending,
)
from tanpo.consensus.messages import Suspect
from tanpo.ledger.types import BlockHash, Height, Term, ValidatorIndex
from tanpo.node.agenda import BACKLOG_MAX, STEPS_PER_BATCH, Agenda

TICK = Ticked(now_ms=0, wall_ms=0, has_pending=False, has_overdue=False)
MESSAGE = Broadcast(message=Suspect(term=Term(1)))


class FakeReplica:
    """Answers each event with the same effects, and remembers the events."""

    def __init__(self, *effects: Effect) -> None:
        self.effects = effects
        self.events: list[Event] = []

    def step(self, event: Event) -> list[Effect]:
        self.events.append(event)
        return list(self.effects)


class FakeBlock:
    """Only a hash."""

    def __init__(self, name: bytes) -> None:
        self.block_hash = BlockHash(name)


def _step(agenda: Agenda, replica: FakeReplica) -> Any:
    return agenda.step_batch(cast(Replica, replica))


def _job(name: bytes) -> ExecuteBlock:
    return ExecuteBlock(block=cast(Any, FakeBlock(name)))


def test_a_batch_makes_one_write_that_comes_before_all_effects() -> None:
    agenda, replica = Agenda(), FakeReplica(Persist(record=b"r", blocks=(), dropped=()), MESSAGE)
    agenda.post(TICK)
    agenda.post(TICK)

    turn = _step(agenda, replica)

    assert turn.write is not None
    assert turn.write.record == b"r"
    assert turn.effects == (MESSAGE, MESSAGE)
    assert not agenda.has_events


def test_a_batch_without_a_promise_writes_nothing() -> None:
    agenda, replica = Agenda(), FakeReplica(MESSAGE)
    agenda.post(TICK)

    assert _step(agenda, replica).write is None


def test_a_batch_is_bounded_and_a_backlog_is_noticed() -> None:
    agenda, replica = Agenda(), FakeReplica()
    for _ in range(BACKLOG_MAX + 1):
        agenda.post(TICK)
    assert agenda.is_crowded

    _step(agenda, replica)

    assert len(replica.events) == STEPS_PER_BATCH
    assert not agenda.is_crowded


def test_pending_transactions_are_told_of_once_until_heard() -> None:
    agenda, replica = Agenda(), FakeReplica()

    assert agenda.post_pending(1, 2)
    assert not agenda.post_pending(1, 2)
    _step(agenda, replica)
    assert agenda.post_pending(3, 4)
    assert replica.events == [TransactionsPending(now_ms=1, wall_ms=2)]


def test_jobs_come_in_order_and_dead_blocks_drop_theirs() -> None:
    agenda = Agenda()
    for name in (b"a", b"b", b"c"):
        agenda.add_job(_job(name))
    first = agenda.take_job()
    assert first is not None
    assert agenda.is_running(BlockHash(b"a"))

    agenda.discard(DiscardBlocks(block_hashes=(BlockHash(b"a"), BlockHash(b"b"))))

    assert not agenda.is_running(BlockHash(b"a"))
    last = agenda.take_job()
    assert last is not None
    assert last.block.block_hash == b"c"
    assert agenda.take_job() is None


def test_who_catches_up_is_served_in_turn_with_the_latest_wish() -> None:
    agenda = Agenda()
    for to, height in ((2, 5), (1, 7), (2, 9)):
        agenda.ask(ServeCommitted(to=ValidatorIndex(to), from_height=Height(height)))

    assert [agenda.take_asked() for _ in range(3)] == [(2, 9), (1, 7), None]


def test_an_epoch_begins_without_what_was_for_the_last_one() -> None:
    agenda, replica = Agenda(), FakeReplica()
    agenda.post(TICK)
    agenda.post(CommitStored(height=Height(1), now_ms=0, wall_ms=0))
    agenda.post_pending(0, 0)
    agenda.add_job(_job(b"a"))
    agenda.ask(ServeCommitted(to=ValidatorIndex(1), from_height=Height(1)))

    agenda.begin_epoch()

    _step(agenda, replica)
    assert [type(event) for event in replica.events] == [Ticked, TransactionsPending]
    assert (agenda.take_job(), agenda.take_asked()) == (None, None)


def test_whoever_leads_no_more_tells_the_next_epochs_replica_too() -> None:
    agenda, replica = Agenda(), FakeReplica()
    agenda.post(StepDownAsked(now_ms=0, wall_ms=0))
    _step(agenda, replica)

    for _ in range(2):
        replica.events.clear()
        agenda.begin_epoch()
        _step(agenda, replica)
        assert [type(event) for event in replica.events] == [StepDownAsked]
