"""Submitting over real gRPC: exactly once, never lost in silence, never believing the wrong answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from tanpo.api.v1 import ledger_pb2
from tanpo.client import (
    AsyncClient,
    Client,
    ClientConfig,
    Committed,
    ContractFailed,
    OutcomeUnknown,
    Pending,
    Unknown,
    Unreachable,
)
from tanpo.ledger.errors import PeerFault, Reason, TransactionRejected, Unavailable, UsageError
from tanpo.ledger.receipt import encode_receipt
from tanpo.ledger.transaction import Call
from tanpo.node.status import build_status

MakeConfig = Callable[..., ClientConfig]


def raising(error: Exception) -> Callable[..., Any]:
    def fault(request: Any, context: Any, honest: Any) -> Any:
        raise error

    return fault


def breaking(code: grpc.StatusCode) -> Callable[..., Any]:
    """Commit, then lose the answer."""

    def fault(request: Any, context: Any, honest: Any) -> Any:
        honest(request, context)
        context.abort(code, "lost")

    return fault


def pending(request: Any, context: Any, honest: Any) -> Any:
    response = honest(request, context)
    for outcome in response.outcomes:
        outcome.state = ledger_pb2.Outcome.PENDING
        outcome.receipt = b""
    return response


def test_submitting_returns_the_receipt(client: Client) -> None:
    result = client.submit("notes", "write", {"text": "x"})

    assert result.succeeded
    assert result.raise_for_failure() is result
    assert (result.height, result.index, result.value) == (1, 0, "write")
    assert [event.name for event in result.events] == ["Written"]


async def test_both_clients_behave_alike(make_config: MakeConfig) -> None:
    async with AsyncClient(make_config()) as client:
        result = await client.submit(Call.create("notes", "write", {"text": "x"}))
        again = await client.outcome(result.request_id)

    assert again == result


def test_a_failed_contract_is_a_result_that_names_code_and_place(client: Client) -> None:
    result = client.submit("notes", "fail", {"text": "x"})

    assert not result.succeeded
    with pytest.raises(ContractFailed, match="INSUFFICIENT at instruments:42: leg=1, needed=500") as caught:
        result.raise_for_failure()
    assert (caught.value.code, caught.value.line) == ("INSUFFICIENT", 42)
    assert caught.value.details == {"leg": 1, "needed": 500}
    assert caught.value.tx_id == result.tx_id


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL])
def test_a_lost_answer_is_asked_for_again_with_the_same_bytes(
    node: Any, other_node: Any, make_config: MakeConfig, code: grpc.StatusCode
) -> None:
    node.faults["Submit"].append(breaking(code))
    with Client(make_config(node.address, other_node.address)) as client:
        result = client.submit("notes", "write", {"text": "x"})

    assert result.succeeded
    assert node.chain.height == 1
    assert node.submitted == other_node.submitted


def test_an_overloaded_node_is_asked_again_with_the_same_bytes(client: Client, node: Any) -> None:
    node.faults["Submit"] += [raising(Unavailable(Reason.MEMPOOL_FULL, "full"))] * 3

    client.submit("notes", "write", {"text": "x"})

    assert len(node.submitted) == 4
    assert len(set(node.submitted)) == 1


def test_a_pending_outcome_is_waited_for(client: Client, node: Any) -> None:
    node.faults["Submit"] += [pending, pending]

    assert client.submit("notes", "write", {"text": "x"}).succeeded


def test_no_answer_by_the_deadline_leaves_everything_needed_to_find_out(
    make_config: MakeConfig, node: Any
) -> None:
    node.faults["Submit"] += [pending] * 1000
    with Client(make_config()) as client:
        client.network.status()  # Connected: it is the answer that does not come, not the node.
        with pytest.raises(OutcomeUnknown) as caught:
            client.submit("notes", "write", {"text": "x"}, request_id="once", deadline_s=3.0)
        node.faults["Submit"].clear()
        known = client.outcome("once")
        (repeated,) = client.submit_envelope(caught.value.envelope)

    assert caught.value.request_id == "once"
    assert caught.value.member == "alpha"
    assert caught.value.valid_until_ms > 0
    assert isinstance(known, Committed)
    assert known == repeated
    assert known.tx_id == caught.value.tx_id
    assert node.chain.height == 1


async def test_a_silent_node_ends_with_the_deadline(make_config: MakeConfig, node: Any) -> None:
    answered = threading.Event()

    def hang(request: Any, context: Any, honest: Any) -> Any:
        answered.wait(60)
        return honest(request, context)

    node.faults["Submit"].append(hang)
    async with AsyncClient(make_config()) as client:
        await client.network.status()
        with pytest.raises(OutcomeUnknown):
            await client.submit("notes", "write", {"text": "x"}, deadline_s=3.0)
    answered.set()


def test_a_silent_node_is_left_for_another(node: Any, other_node: Any, make_config: MakeConfig) -> None:
    answered = threading.Event()
    node.faults["Submit"].append(lambda request, context, honest: answered.wait(60))
    with Client(make_config(node.address, other_node.address, deadline_s=8.0)) as client:
        assert client.submit("notes", "write", {"text": "x"}).succeeded
    answered.set()


def test_a_node_that_is_not_there_is_left_for_another(
    node: Any, other_node: Any, make_config: MakeConfig
) -> None:
    node.stop()
    with Client(make_config(node.address, other_node.address)) as client:
        assert client.submit("notes", "write", {"text": "x"}).succeeded
        assert client.submit("notes", "write", {"text": "x"}).succeeded
    assert len(other_node.submitted) == 2


def test_nothing_sent_means_no_doubt(node: Any, make_config: MakeConfig) -> None:
    node.stop()
    with Client(make_config(deadline_s=0.2)) as client, pytest.raises(Unreachable):
        client.submit("notes", "write", {"text": "x"})


def test_a_node_that_comes_back_is_found_again(client: Client, node: Any) -> None:
    client.submit("notes", "write", {"text": "x"})
    node.stop()
    node.start()

    assert client.submit("notes", "write", {"text": "x"}).height == 2


def test_a_refusal_keeps_reason_value_limit_and_remedy(client: Client, node: Any) -> None:
    refusal = TransactionRejected(Reason.EXPIRED, "too late", value=1, limit=2, remedy="hurry")
    node.faults["Submit"].append(raising(refusal))

    with pytest.raises(TransactionRejected, match="too late") as caught:
        client.submit("notes", "write", {"text": "x"})

    assert (caught.value.reason, caught.value.value, caught.value.limit) == (Reason.EXPIRED, "1", "2")
    assert caught.value.remedy == "hurry"


def test_a_refusal_after_a_lost_answer_proves_nothing(client: Client, node: Any) -> None:
    node.faults["Submit"] += [
        breaking(grpc.StatusCode.UNAVAILABLE),
        raising(TransactionRejected(Reason.EXPIRED, "too late")),
    ]

    with pytest.raises(OutcomeUnknown) as caught:
        client.submit("notes", "write", {"text": "x"})

    assert isinstance(client.outcome(caught.value.request_id), Committed)


def test_a_final_rejection_is_raised(client: Client, node: Any) -> None:
    def reject(request: Any, context: Any, honest: Any) -> Any:
        response = honest(request, context)
        response.outcomes[0].state = ledger_pb2.Outcome.REJECTED
        response.outcomes[0].error.CopyFrom(build_status(TransactionRejected(Reason.EXPIRED, "too late")))
        return response

    node.faults["Submit"].append(reject)

    with pytest.raises(TransactionRejected) as caught:
        client.submit("notes", "write", {"text": "x"})
    assert caught.value.reason is Reason.EXPIRED


def test_an_envelope_returns_each_outcome_in_order(client: Client, chain: Any) -> None:
    envelope = chain.envelope(count=3)

    results = client.submit_envelope(envelope.encoded)

    assert [result.tx_id for result in results] == [tx.tx_id for tx in envelope.transactions]


def _alter(**fields: Any) -> Callable[..., Any]:
    def fault(request: Any, context: Any, honest: Any) -> Any:
        response = honest(request, context)
        for name, value in fields.items():
            setattr(response.outcomes[0], name, value)
        return response

    return fault


@pytest.mark.parametrize(
    "fields",
    [
        {"tx_id": bytes(32)},
        {"request_id": "another"},
        {"member": "beta"},
        {"height": 9},
        {"receipt": b"garbage"},
        {"state": 0},
    ],
)
def test_a_lying_answer_is_never_taken_for_an_outcome(client: Client, node: Any, fields: Any) -> None:
    node.faults["Submit"].append(_alter(**fields))

    with pytest.raises(OutcomeUnknown) as caught:
        client.submit("notes", "write", {"text": "x"})

    assert isinstance(caught.value.__cause__, PeerFault)


def test_the_receipt_of_another_transaction_is_refused(client: Client, node: Any, chain: Any) -> None:
    other = client.submit("notes", "write", {"text": "x"})
    node.faults["Submit"].append(_alter(receipt=encode_receipt(other.receipt), height=1))

    with pytest.raises(OutcomeUnknown, match="receipt of another transaction"):
        client.submit("notes", "write", {"text": "x"})


def test_too_few_or_too_many_outcomes_are_refused(client: Client, node: Any) -> None:
    def drop(request: Any, context: Any, honest: Any) -> Any:
        honest(request, context)
        return ledger_pb2.SubmitResponse()

    node.faults["Submit"].append(drop)

    with pytest.raises(OutcomeUnknown, match="outcomes of another envelope"):
        client.submit("notes", "write", {"text": "x"})


def test_a_lying_node_is_left_for_an_honest_one(node: Any, other_node: Any, make_config: MakeConfig) -> None:
    node.faults["Submit"].append(_alter(tx_id=bytes(32)))
    with Client(make_config(node.address, other_node.address)) as client:
        assert client.submit("notes", "write", {"text": "x"}).succeeded


def test_outcomes_of_requests_say_how_far_the_node_has_seen(client: Client, node: Any) -> None:
    client.submit("notes", "write", {"text": "x"})

    unknown = client.outcome("never-sent")

    assert isinstance(unknown, Unknown)
    assert unknown.as_of_height == 1
    assert unknown.has_expired(unknown.as_of_time_ms - 1)
    assert not unknown.has_expired(unknown.as_of_time_ms)


def test_a_pending_request_is_reported_as_such(client: Client, node: Any) -> None:
    result = client.submit("notes", "write", {"text": "x"})

    def wait(request: Any, context: Any, honest: Any) -> Any:
        outcome = honest(request, context)
        outcome.state = ledger_pb2.Outcome.PENDING
        return outcome

    node.faults["GetOutcome"].append(wait)

    assert isinstance(client.outcome(result.request_id), Pending)


def test_a_closed_client_says_so(make_config: MakeConfig) -> None:
    client = Client(make_config())
    client.close()
    client.close()

    with pytest.raises(UsageError, match="closed"):
        client.submit("notes", "write", {"text": "x"})


async def test_a_closed_async_client_says_so(make_config: MakeConfig) -> None:
    client = AsyncClient(make_config())
    await client.network.status()
    await client.close()

    with pytest.raises(UsageError, match="closed"):
        await client.network.status()


def test_closing_cuts_off_a_call_that_waits(make_config: MakeConfig, node: Any) -> None:
    arrived, answered = threading.Event(), threading.Event()

    def hang(request: Any, context: Any, honest: Any) -> Any:
        arrived.set()
        answered.wait(60)
        return honest(request, context)

    node.faults["Submit"].append(hang)
    client = Client(make_config())

    def close_when_it_waits() -> None:
        arrived.wait(60)
        client.close()

    closer = threading.Thread(target=close_when_it_waits)
    closer.start()

    with pytest.raises(OutcomeUnknown, match="closed"):
        client.submit("notes", "write", {"text": "x"})
    answered.set()
    closer.join()


def test_threads_may_share_a_client(client: Client, node: Any) -> None:
    results: list[Committed] = []
    threads = [
        threading.Thread(target=lambda: results.append(client.submit("notes", "write", {"text": "x"})))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(result.height for result in results) == list(range(1, 9))
