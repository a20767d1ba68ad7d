"""The envelopes in flight: sent once a stream, answered once each, never forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tanpo.api.v1 import ledger_pb2
from tanpo.client import Committed, Rejected, Unresolved
from tanpo.client.batch import Batch
from tanpo.ledger.errors import LedgerError, PeerFault, Reason, TransactionRejected, Unavailable
from tanpo.node.status import build_status

LOST = Unavailable(Reason.UNREACHABLE, "lost")
Response = ledger_pb2.SubmitBatchResponse


def refusal(position: int, error: LedgerError) -> ledger_pb2.SubmitBatchResponse:
    return Response(refusals=[ledger_pb2.Refusal(position=position, error=build_status(error))])


def take_all(batch: Batch) -> list[bytes]:
    taken: list[bytes] = []
    while (message := batch.take_message()) is not None:
        taken += message.envelopes
    return taken


@pytest.fixture
def batch(make_context: Any) -> Batch:
    return Batch(make_context(), deadline_s=10.0, window=300)


@pytest.fixture
def pair(make_context: Any) -> Batch:
    """A batch with two nodes to turn to."""
    return Batch(make_context(2), deadline_s=10.0, window=300)


def test_an_idle_stream_is_given_envelopes_at_once(batch: Batch, make_envelope: Any) -> None:
    envelope = make_envelope()
    batch.add(envelope)

    assert take_all(batch) == [envelope.encoded]
    assert take_all(batch) == []


def test_a_busy_stream_waits_a_little_for_more(batch: Batch, make_envelope: Any, clock: Any) -> None:
    batch.add(make_envelope("a"))
    take_all(batch)
    batch.add(make_envelope("b"))

    assert take_all(batch) == []
    assert batch.compute_wait() == pytest.approx(0.005)
    clock.now += 0.005
    assert len(take_all(batch)) == 1


def test_a_full_message_does_not_wait(batch: Batch, make_envelope: Any) -> None:
    batch.add(make_envelope("first"))
    take_all(batch)
    for number in range(100):
        batch.add(make_envelope(f"r{number}"))

    message = batch.take_message()

    assert message is not None
    assert len(message.envelopes) == 100


def test_the_window_bounds_what_is_in_flight(
    make_context: Any, make_envelope: Any, answer_committed: Any
) -> None:
    batch = Batch(make_context(), deadline_s=10.0, window=1)
    envelope = make_envelope()
    batch.add(envelope)
    assert not batch.has_room

    take_all(batch)
    batch.on_response(Response(outcomes=[answer_committed(envelope.transactions[0])]))

    assert batch.has_room
    assert batch.is_idle


def test_a_lost_stream_sends_everything_open_again_in_order(
    batch: Batch, make_envelope: Any, answer_committed: Any
) -> None:
    envelopes = [make_envelope(f"r{number}") for number in range(4)]
    for envelope in envelopes:
        batch.add(envelope)
    take_all(batch)
    batch.on_response(Response(outcomes=[answer_committed(envelopes[1].transactions[0])]))
    batch.on_stream_end(LOST)
    batch.open_stream()

    assert take_all(batch) == [envelopes[n].encoded for n in (0, 2, 3)]


def test_positions_count_anew_on_each_stream(batch: Batch, make_envelope: Any) -> None:
    first, second = make_envelope("a"), make_envelope("b")
    batch.add(first)
    batch.add(second)
    take_all(batch)
    batch.on_stream_end(Unavailable(Reason.STARTING, "starting"))
    batch.open_stream()
    take_all(batch)

    (result,) = batch.on_response(refusal(1, TransactionRejected(Reason.KEY_UNKNOWN, "who")))

    assert isinstance(result, Rejected)
    assert result.request_id == "b"


def test_a_refusal_after_a_lost_stream_proves_nothing(batch: Batch, make_envelope: Any) -> None:
    batch.add(make_envelope())
    take_all(batch)
    batch.on_stream_end(LOST)
    batch.open_stream()
    take_all(batch)

    (result,) = batch.on_response(refusal(0, TransactionRejected(Reason.EXPIRED, "expired")))

    assert isinstance(result, Unresolved)


def test_a_refusal_covers_every_transaction_of_its_envelope(batch: Batch, make_envelope: Any) -> None:
    batch.add(make_envelope(count=3))
    take_all(batch)

    results = batch.on_response(refusal(0, TransactionRejected(Reason.KEY_UNKNOWN, "who")))

    assert [type(result) for result in results] == [Rejected] * 3
    assert batch.is_idle


def test_a_full_node_gets_the_envelope_again_after_a_pause(
    batch: Batch, make_envelope: Any, clock: Any
) -> None:
    envelope = make_envelope()
    batch.add(envelope)
    take_all(batch)
    batch.on_response(refusal(0, Unavailable(Reason.MEMPOOL_FULL, "full")))

    assert take_all(batch) == []
    assert batch.compute_wait() == pytest.approx(1.0)
    clock.now += 1.0
    assert take_all(batch) == [envelope.encoded]


def test_a_refusal_of_what_was_never_sent_is_a_fault(batch: Batch, make_envelope: Any) -> None:
    batch.add(make_envelope())
    take_all(batch)
    batch.on_response(refusal(1, TransactionRejected(Reason.EXPIRED, "expired")))

    assert isinstance(batch.find_fault(), PeerFault)
    assert not batch.is_idle


def test_results_before_a_fault_are_kept(batch: Batch, make_envelope: Any, answer_committed: Any) -> None:
    first, second = make_envelope("a"), make_envelope("b")
    batch.add(first)
    batch.add(second)
    take_all(batch)
    wrong = answer_committed(second.transactions[0])
    wrong.receipt = b"?"

    results = batch.on_response(Response(outcomes=[answer_committed(first.transactions[0]), wrong]))

    assert [result.request_id for result in results] == ["a"]
    assert isinstance(batch.find_fault(), PeerFault)


def test_each_envelope_has_its_own_deadline(batch: Batch, make_envelope: Any, clock: Any) -> None:
    batch.add(make_envelope("a"))
    clock.now += 6.0
    batch.add(make_envelope("b"))
    clock.now += 4.0

    (late,) = batch.expire()

    assert isinstance(late, Unresolved)
    assert late.request_id == "a"
    assert batch.expire() == []


def test_an_answer_after_the_deadline_is_dropped(
    batch: Batch, make_envelope: Any, answer_committed: Any, clock: Any
) -> None:
    envelope = make_envelope()
    batch.add(envelope)
    take_all(batch)
    clock.now += 10.0
    batch.expire()

    assert batch.on_response(Response(outcomes=[answer_committed(envelope.transactions[0])])) == []


def test_a_node_that_says_nothing_is_left_where_there_is_another(
    pair: Batch, make_envelope: Any, clock: Any
) -> None:
    pair.open_stream()
    pair.add(make_envelope())
    take_all(pair)
    assert pair.find_fault() is None
    assert pair.compute_wait() == pytest.approx(5.0)

    clock.now += 5.0

    assert isinstance(pair.find_fault(), Unavailable)


def test_the_only_node_is_waited_for(batch: Batch, make_envelope: Any, clock: Any) -> None:
    batch.add(make_envelope())
    take_all(batch)
    clock.now += 9.0

    assert batch.find_fault() is None
    assert batch.compute_wait() == pytest.approx(1.0)


def test_abandoning_reports_everything_in_flight(batch: Batch, make_envelope: Any) -> None:
    batch.add(make_envelope("a"))
    batch.add(make_envelope("b", count=2))

    results = batch.abandon(LOST)

    assert [type(result) for result in results] == [Unresolved] * 3
    assert all(result.error.__cause__ is LOST for result in results if isinstance(result, Unresolved))
    assert batch.is_idle


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # they only make things
@given(data=st.data())
def test_every_transaction_has_exactly_one_result(
    data: Any, make_context: Any, make_envelope: Any, answer_committed: Any, clock: Any
) -> None:
    """Whatever the node answers, in whichever order, however often the stream breaks."""
    envelopes = [make_envelope(f"p{number}", count=1 + number % 2) for number in range(4)]
    batch = Batch(make_context(), deadline_s=1000.0, window=300)
    for envelope in envelopes:
        batch.add(envelope)
    results = []
    sent = 0
    for _ in range(30):
        clock.now += data.draw(st.sampled_from([0.0, 0.01, 5.0]))
        sent += len(take_all(batch))
        match data.draw(st.integers(0, 4)):
            case 0 | 1:
                tx = data.draw(st.sampled_from([tx for e in envelopes for tx in e.transactions]))
                results += batch.on_response(Response(outcomes=[answer_committed(tx)]))
            case 2 if sent:
                error = data.draw(
                    st.sampled_from(
                        [
                            TransactionRejected(Reason.EXPIRED, "late"),
                            Unavailable(Reason.MEMPOOL_FULL, "full"),
                        ]
                    )
                )
                results += batch.on_response(refusal(data.draw(st.integers(0, sent - 1)), error))
            case 3:
                batch.on_stream_end(LOST)
                batch.open_stream()
                sent = 0
            case _:
                results += batch.expire()
        assert batch.find_fault() is None
        assert batch.compute_wait() >= 0
    results += batch.abandon(LOST)

    assert sorted(result.tx_id for result in results) == sorted(
        tx.tx_id for e in envelopes for tx in e.transactions
    )
    assert all(isinstance(result, Committed | Rejected | Unresolved) for result in results)
