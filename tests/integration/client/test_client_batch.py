"""Batches over real gRPC: one result for every transaction, whatever happens to the stream."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import grpc
import pytest
from tanpo.api.v1 import ledger_pb2
from tanpo.client import (
    AsyncClient,
    BatchResult,
    Client,
    ClientConfig,
    Committed,
    Rejected,
    Unreachable,
    Unresolved,
)
from tanpo.ledger.errors import LedgerError, PeerFault, Reason, TransactionRejected, Unavailable, UsageError
from tanpo.ledger.transaction import Envelope
from tanpo.node.status import build_status

MakeConfig = Callable[..., ClientConfig]


def make_envelopes(chain: Any, count: int) -> list[Envelope]:
    return [chain.envelope(request_id=f"b{number}") for number in range(count)]


async def submit_batch(
    config: ClientConfig, envelopes: Iterable[Envelope], *, is_async: bool
) -> list[BatchResult]:
    """Submit with either client, in the order of arrival."""
    if is_async:
        async with AsyncClient(config) as client:
            return [result async for result in client.submit_batch(envelopes)]
    with Client(config) as blocking:
        return await asyncio.to_thread(lambda: list(blocking.submit_batch(envelopes)))


def refusing(*offsets: int, error: LedgerError) -> Callable[..., Any]:
    """Refuse the envelopes at these places of a message, and take the others."""

    def fault(request: Any, context: Any, honest: Any) -> Any:
        position, message = request
        kept = [e for offset, e in enumerate(message.envelopes) if offset not in offsets]
        response = honest(ledger_pb2.SubmitBatchRequest(envelopes=kept), context)
        for offset in offsets:
            response.refusals.add(position=position + offset, error=build_status(error))
        return response

    return fault


def losing(request: Any, context: Any, honest: Any) -> Any:
    """Commit, then break the stream before answering."""
    honest(request[1], context)
    context.abort(grpc.StatusCode.UNAVAILABLE, "lost")


def test_every_transaction_gets_one_result(client: Client, chain: Any, node: Any) -> None:
    envelopes = make_envelopes(chain, 250)

    results = list(client.submit_batch(envelopes, window=120))

    assert all(isinstance(result, Committed) for result in results)
    assert sorted(result.request_id for result in results) == sorted(f"b{n}" for n in range(250))
    assert len(node.submitted) == 250


async def test_both_clients_batch_alike(make_config: MakeConfig, chain: Any) -> None:
    async with AsyncClient(make_config()) as client:
        results = await client.submit_many(make_envelopes(chain, 30))

    assert [result.request_id for result in results] == [f"b{number}" for number in range(30)]


def test_many_envelopes_travel_in_few_messages(client: Client, chain: Any, node: Any) -> None:
    sizes: list[int] = []

    def count(request: Any, context: Any, honest: Any) -> Any:
        sizes.append(len(request[1].envelopes))
        return honest(request[1], context)

    node.faults["SubmitBatch"].append(count)

    client.submit_many(make_envelopes(chain, 200))

    assert sum(sizes) == 200
    assert max(sizes) == 100


def test_nothing_to_submit_opens_no_stream(client: Client, node: Any) -> None:
    node.stop()

    assert client.submit_many([]) == ()


def test_results_come_in_the_order_asked_for(client: Client, chain: Any) -> None:
    envelopes = [chain.envelope(request_id="two", count=2), chain.envelope(request_id="one")]

    results = client.submit_many(envelopes)

    assert [result.request_id for result in results] == ["two.0", "two.1", "one"]


def test_a_refused_envelope_does_not_hold_up_the_others(client: Client, chain: Any, node: Any) -> None:
    refusal = TransactionRejected(Reason.KEY_UNKNOWN, "unknown key", value="abc")
    node.faults["SubmitBatch"].append(refusing(1, error=refusal))

    first, second, third = client.submit_many(make_envelopes(chain, 3))

    assert isinstance(first, Committed)
    assert isinstance(third, Committed)
    assert isinstance(second, Rejected)
    with pytest.raises(TransactionRejected, match="unknown key"):
        second.raise_for_failure()


@pytest.mark.parametrize("reason", [Reason.MEMPOOL_FULL, Reason.NO_QUORUM])
def test_an_overloaded_node_gets_it_again_later(
    client: Client, chain: Any, node: Any, reason: Reason
) -> None:
    once = iter([refusing(0, error=Unavailable(reason, "later"))])

    def first_time_only(request: Any, context: Any, honest: Any) -> Any:
        fault = next(once, None)
        return honest(request[1], context) if fault is None else fault(request, context, honest)

    node.faults["SubmitBatch"].append(first_time_only)

    results = client.submit_many(make_envelopes(chain, 3))

    assert all(isinstance(result, Committed) for result in results)
    assert len(node.submitted) == 4
    assert len(set(node.submitted)) == 3


def test_a_lost_stream_is_taken_up_again_without_a_second_effect(
    client: Client, chain: Any, node: Any
) -> None:
    node.faults["SubmitBatch"] += [losing, losing]

    results = client.submit_many(make_envelopes(chain, 20))

    assert all(isinstance(result, Committed) for result in results)
    assert chain.height == 20


async def test_a_killed_node_is_left_for_another(
    make_config: MakeConfig, chain: Any, node: Any, other_node: Any
) -> None:
    """While envelopes keep coming; each is committed once."""

    async def source() -> AsyncIterator[Envelope]:
        for number, envelope in enumerate(make_envelopes(chain, 60)):
            if number == 30:
                await asyncio.to_thread(node.stop)
            yield envelope
            await asyncio.sleep(0)

    async with AsyncClient(make_config(node.address, other_node.address)) as client:
        results = [result async for result in client.submit_batch(source())]

    assert all(isinstance(result, Committed) for result in results)
    assert len(results) == 60
    assert chain.height == 60


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_node_that_hangs_is_left_for_another(
    make_config: MakeConfig, chain: Any, node: Any, other_node: Any, is_async: bool
) -> None:
    answered = threading.Event()

    def hang(request: Any, context: Any, honest: Any) -> Any:
        answered.wait(60)
        return ledger_pb2.SubmitBatchResponse()

    node.faults["SubmitBatch"].append(hang)
    config = make_config(node.address, other_node.address, deadline_s=8.0)
    results = await submit_batch(config, make_envelopes(chain, 3), is_async=is_async)
    answered.set()

    assert all(isinstance(result, Committed) for result in results)


def test_what_has_no_answer_in_time_is_reported_as_unresolved(
    make_config: MakeConfig, chain: Any, node: Any
) -> None:
    def forget_the_second(request: Any, context: Any, honest: Any) -> Any:
        response = honest(request[1], context)
        del response.outcomes[1]
        return response

    node.faults["SubmitBatch"].append(forget_the_second)
    with Client(make_config(deadline_s=6.0)) as client:
        client.network.status()  # Connected: what has an answer has it in time.
        first, second, third = client.submit_many(make_envelopes(chain, 3))
        assert isinstance(second, Unresolved)
        found = client.outcome(second.request_id)

    assert isinstance(first, Committed)
    assert isinstance(third, Committed)
    assert isinstance(found, Committed)
    assert found.tx_id == second.tx_id == second.error.tx_id


def test_duplicate_and_foreign_answers_are_dropped(client: Client, chain: Any, node: Any) -> None:
    def repeat(request: Any, context: Any, honest: Any) -> Any:
        response = honest(request[1], context)
        response.outcomes.extend(list(response.outcomes))
        response.outcomes.add(state=ledger_pb2.Outcome.COMMITTED, tx_id=bytes(32))
        return response

    node.faults["SubmitBatch"].append(repeat)

    assert len(list(client.submit_batch(make_envelopes(chain, 5)))) == 5


def test_a_wrong_receipt_ends_the_stream_and_loses_nothing(
    make_config: MakeConfig, chain: Any, node: Any, other_node: Any
) -> None:
    def swap(request: Any, context: Any, honest: Any) -> Any:
        response = honest(request[1], context)
        response.outcomes[2].receipt = response.outcomes[0].receipt
        return response

    node.faults["SubmitBatch"].append(swap)
    with Client(make_config(node.address, other_node.address)) as client:
        results = client.submit_many(make_envelopes(chain, 5))

    assert all(isinstance(result, Committed) for result in results)
    assert len({result.tx_id for result in results}) == 5


def test_when_no_node_is_honest_everything_open_is_reported(client: Client, chain: Any, node: Any) -> None:
    def swap(request: Any, context: Any, honest: Any) -> Any:
        response = honest(request[1], context)
        response.outcomes[1].receipt = response.outcomes[0].receipt
        return response

    node.faults["SubmitBatch"].append(swap)
    results: list[BatchResult] = []
    with pytest.raises(PeerFault, match="receipt of another transaction"):
        results.extend(client.submit_batch(make_envelopes(chain, 3)))

    assert [type(result) for result in results] == [Committed, Unresolved, Unresolved]


def test_no_node_at_all_ends_with_the_deadline(make_config: MakeConfig, chain: Any, node: Any) -> None:
    node.stop()
    results: list[BatchResult] = []
    with Client(make_config(deadline_s=0.2)) as client, pytest.raises(Unreachable):
        results.extend(client.submit_batch(make_envelopes(chain, 3)))

    assert [type(result) for result in results] == [Unresolved] * 3


def test_the_same_envelope_twice_in_flight_is_misuse(client: Client, chain: Any) -> None:
    envelope = chain.envelope()

    with pytest.raises(UsageError, match="already"):
        client.submit_many([envelope, envelope])


@pytest.mark.parametrize("is_async", [False, True])
async def test_what_the_source_raises_reaches_the_caller(
    make_config: MakeConfig, chain: Any, is_async: bool
) -> None:
    def source() -> Iterator[Envelope]:
        yield chain.envelope()
        raise RuntimeError("the file ended early")

    with pytest.raises(RuntimeError, match="ended early"):
        await submit_batch(make_config(), source(), is_async=is_async)


def test_stopping_early_leaves_nothing_behind(client: Client, chain: Any) -> None:
    stream = client.submit_batch(make_envelopes(chain, 50))
    next(stream)
    stream.close()  # type: ignore[attr-defined]  # it is a generator

    assert client.network.status().height >= 1
