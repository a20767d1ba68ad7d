"""Submissions, reads, events and refusals over real connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tanpo.api.v1 import ledger_pb2, ledger_pb2_grpc, network_pb2, network_pb2_grpc
from tanpo.ledger.errors import CorruptState, InvariantViolation, Reason, Unavailable
from tanpo.ledger.stateproof import PathRange
from tanpo.node.services.ledger import BATCH_ENVELOPES_MAX
from tanpo.node.tls import CLIENT_MESSAGE_BYTES_MAX

TIMEOUT_S = 60


@pytest.fixture
async def ledger(world: Any, start_node: Any) -> AsyncIterator[Any]:
    """A node and a client's stub: (node, stub)."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        async with (
            start_node("alpha") as node,
            node.channel(world.issue("alpha", "client")) as channel,
        ):
            yield node, ledger_pb2_grpc.LedgerStub(channel), channel

    async with opened() as parts:
        yield parts


async def test_submit_waits_for_the_outcome(world: Any, ledger: Any) -> None:
    node, stub, _ = ledger
    envelope = world.envelope("a", count=3)
    call = stub.Submit(ledger_pb2.SubmitRequest(envelope=envelope.encoded), timeout=TIMEOUT_S)
    submitting = asyncio.ensure_future(call)
    await node.core.gateway.submitted.wait()
    node.core.gateway.commit(height=9)
    response = await submitting
    assert [outcome.tx_id for outcome in response.outcomes] == [tx.tx_id for tx in envelope.transactions]
    assert {(o.state, o.height, o.receipt) for o in response.outcomes} == {
        (ledger_pb2.Outcome.COMMITTED, 9, b"receipt")
    }
    assert node.core.gateway.forgotten == []


async def test_submit_without_waiting_says_pending(world: Any, ledger: Any) -> None:
    node, stub, _ = ledger
    request = ledger_pb2.SubmitRequest(envelope=world.envelope("a").encoded, no_wait=True)
    response = await stub.Submit(request, timeout=TIMEOUT_S)
    assert [(o.state, o.request_id) for o in response.outcomes] == [(ledger_pb2.Outcome.PENDING, "a.0")]
    assert len(node.core.gateway.forgotten) == 1


async def test_submit_answers_pending_before_its_deadline(world: Any, ledger: Any) -> None:
    _, stub, _ = ledger
    await stub.GetOutcome(outcome_request("a"), timeout=TIMEOUT_S)  # Connected: what is left is the waiting.
    request = ledger_pb2.SubmitRequest(envelope=world.envelope("a").encoded)
    response = None
    for seconds in (
        2.0,
        8.0,
        40.0,
    ):  # A machine may stand still for longer than the first leaves for the way back.
        try:
            response = await stub.Submit(request, timeout=seconds)
            break
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
    assert response is not None
    assert [o.state for o in response.outcomes] == [ledger_pb2.Outcome.PENDING]
    assert response.outcomes[0].as_of_height == 7


async def test_malformed_envelope_is_refused_with_a_code(ledger: Any, refused: Any) -> None:
    _, stub, _ = ledger
    with refused() as refusal:
        await stub.Submit(ledger_pb2.SubmitRequest(envelope=b"\xff" * 40), timeout=TIMEOUT_S)
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "MALFORMED")
    assert set(refusal.metadata) == {"value", "limit", "remedy", "retry"}


async def test_full_mempool_says_try_again(world: Any, ledger: Any, refused: Any) -> None:
    node, stub, _ = ledger
    node.core.gateway.refuse_with = Unavailable(Reason.MEMPOOL_FULL, "full", value=20_000, limit=20_000)
    with refused() as refusal:
        await stub.Submit(ledger_pb2.SubmitRequest(envelope=world.envelope("a").encoded), timeout=TIMEOUT_S)
    assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "MEMPOOL_FULL")
    assert (refusal.metadata["limit"], refusal.metadata["retry"]) == ("20000", "true")


async def test_bytes_that_are_no_protobuf_are_refused_with_a_code(ledger: Any, refused: Any) -> None:
    _, _, channel = ledger
    raw = channel.unary_unary("/tanpo.api.v1.Ledger/Submit")
    with refused() as refusal:
        await raw(b"\xff\xff\xff\xff", timeout=TIMEOUT_S)
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "MALFORMED")


async def test_bytes_that_are_no_protobuf_end_a_stream_with_a_code(ledger: Any, refused: Any) -> None:
    _, _, channel = ledger
    call = channel.stream_stream("/tanpo.api.v1.Ledger/SubmitBatch")(timeout=TIMEOUT_S)
    await call.write(b"\xff\xff\xff\xff")
    with refused() as refusal:
        await call.read()
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "MALFORMED")


async def test_message_above_the_limit_is_refused_and_the_node_goes_on(world: Any, ledger: Any) -> None:
    _, stub, _ = ledger
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Submit(
            ledger_pb2.SubmitRequest(envelope=bytes(CLIENT_MESSAGE_BYTES_MAX + 1)), timeout=TIMEOUT_S
        )
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await stub.GetOutcome(outcome_request("a"), timeout=TIMEOUT_S)).as_of_height == 7


async def test_a_question_for_a_proof_and_its_answer_come_across_whole(ledger: Any) -> None:
    node, stub, _ = ledger
    request = ledger_pb2.GetStateProofRequest(height=3, keys=[b"a", b"b"], hashed_keys=[b"c"], group=b"g")

    answer = await stub.GetStateProof(request, timeout=TIMEOUT_S)

    (question,) = node.core.proofs.questions
    assert (question.height, question.keys, question.hashed_keys) == (3, (b"a", b"b"), (b"c",))
    assert (question.group, list(answer.group_keys)) == (b"g", [b"g"])
    assert (answer.height, answer.partial_tree, answer.header) == (3, b"tree", b"header")
    assert [(one.key, one.value) for one in answer.entries] == [(b"a", b"value"), (b"b", b"value")]
    assert (list(answer.descendants), answer.commit_proof) == ([b"above"], b"proof")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"keys": [b"k"] * 1_001},
        {"keys": [bytes(1_025)]},
        {"group": bytes(1_025)},
        {"ranges": [ledger_pb2.PathRange(first=bytes(31), last=bytes(32))]},
        {"ranges": [ledger_pb2.PathRange(first=b"\x01" * 32, last=bytes(32))]},
    ],
)
async def test_a_question_that_no_proof_answers_is_refused(
    ledger: Any, refused: Any, fields: dict[str, Any]
) -> None:
    node, stub, _ = ledger
    with refused() as refusal:
        await stub.GetStateProof(ledger_pb2.GetStateProofRequest(**fields), timeout=TIMEOUT_S)
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "MALFORMED")
    assert node.core.proofs.questions == []


async def test_ranges_reach_to_their_last_path(ledger: Any) -> None:
    node, stub, _ = ledger
    wanted = ledger_pb2.PathRange(first=bytes(32), last=b"\xff" * 32)

    await stub.GetStateProof(ledger_pb2.GetStateProofRequest(ranges=[wanted]), timeout=TIMEOUT_S)

    assert node.core.proofs.questions[0].ranges == (PathRange(start=0, stop=1 << 256),)


async def test_the_lineage_comes_across_whole(world: Any, ledger: Any) -> None:
    _, stub, _ = ledger

    answer = await stub.GetLineage(ledger_pb2.GetLineageRequest(from_epoch=1), timeout=TIMEOUT_S)

    assert [one.member for one in answer.validators] == [one.member for one in world.genesis.validators]
    assert [(step.header, step.commit_proof) for step in answer.steps] == [(b"end", b"proof")] * 2
    assert answer.steps[1].validators == answer.validators


async def test_batch_answers_refusals_by_position_and_outcomes_by_block(world: Any, ledger: Any) -> None:
    node, stub, _ = ledger
    call = stub.SubmitBatch(timeout=TIMEOUT_S)
    good = [world.envelope(name, count=2) for name in ("a", "b")]
    await call.write(ledger_pb2.SubmitBatchRequest(envelopes=[good[0].encoded]))
    await call.write(ledger_pb2.SubmitBatchRequest(envelopes=[b"bad", good[1].encoded]))
    await call.done_writing()
    first = await call.read()
    assert [(refusal.position, refusal.error.code) for refusal in first.refusals] == [(1, 3)]
    node.core.gateway.commit(height=4)
    outcomes: list[ledger_pb2.Outcome] = []
    while len(outcomes) < 4:
        outcomes += (await call.read()).outcomes
    expected = [tx.tx_id for envelope in good for tx in envelope.transactions]
    assert [outcome.tx_id for outcome in outcomes] == expected
    assert await call.code() is grpc.StatusCode.OK


async def test_batch_whose_outcomes_come_at_once_ends_by_itself(world: Any, ledger: Any) -> None:
    node, stub, _ = ledger
    node.core.gateway.is_instant = True
    call = stub.SubmitBatch(timeout=TIMEOUT_S)
    encoded = [world.envelope(f"r{number}").encoded for number in range(50)]
    await call.write(ledger_pb2.SubmitBatchRequest(envelopes=encoded))
    await call.done_writing()
    assert sum([len(response.outcomes) async for response in call]) == 50
    assert node.core.gateway.forgotten == []


async def test_batch_message_of_too_many_envelopes_ends_the_stream_after_what_came_before(
    world: Any, ledger: Any
) -> None:
    node, stub, _ = ledger
    node.core.gateway.is_instant = True
    call = stub.SubmitBatch(timeout=TIMEOUT_S)
    await call.write(ledger_pb2.SubmitBatchRequest(envelopes=[world.envelope("a").encoded]))
    await call.write(ledger_pb2.SubmitBatchRequest(envelopes=[b""] * (BATCH_ENVELOPES_MAX + 1)))
    first = await call.read()
    assert (len(first.outcomes), len(first.refusals)) == (1, 0)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "too many envelopes" in (caught.value.details() or "")


async def test_batch_of_a_client_that_left_is_forgotten(world: Any, ledger: Any, wait_until: Any) -> None:
    node, stub, _ = ledger
    call = stub.SubmitBatch(timeout=TIMEOUT_S)
    await call.write(ledger_pb2.SubmitBatchRequest(envelopes=[world.envelope("a").encoded]))
    await node.core.gateway.submitted.wait()
    call.cancel()
    await wait_until(lambda: node.core.gateway.forgotten)


@pytest.mark.parametrize(
    ("method", "request_message", "reason"),
    [
        ("GetReceipt", ledger_pb2.GetReceiptRequest(tx_id=b"short"), "MALFORMED"),
        ("GetProof", ledger_pb2.GetProofRequest(tx_id=b""), "MALFORMED"),
        ("GetTransaction", ledger_pb2.GetTransactionRequest(tx_id=bytes(33)), "MALFORMED"),
        ("GetReceipt", ledger_pb2.GetReceiptRequest(tx_id=bytes(32)), "NOT_FOUND"),
        ("GetBlock", ledger_pb2.GetBlockRequest(height=2**64 - 1), "HEIGHT_UNKNOWN"),
        ("ListTransactions", ledger_pb2.ListTransactionsRequest(limit=1), "MALFORMED"),
        ("ListTransactions", ledger_pb2.ListTransactionsRequest(member="alpha"), "MALFORMED"),
        ("ListTransactions", ledger_pb2.ListTransactionsRequest(member="alpha", limit=1_001), "MALFORMED"),
        (
            "ListTransactions",
            ledger_pb2.ListTransactionsRequest(member="alpha", limit=1, before_height=2**32),
            "MALFORMED",
        ),
        ("GetOutcome", ledger_pb2.GetOutcomeRequest(member="alpha", request_id="x" * 100_000), "MALFORMED"),
        ("GetOutcome", ledger_pb2.GetOutcomeRequest(request_id="x"), "MALFORMED"),
        ("Query", ledger_pb2.QueryRequest(contract="", view="v"), "MALFORMED"),
        ("Query", ledger_pb2.QueryRequest(contract="c", view="v" * 65), "MALFORMED"),
    ],
)
async def test_reads_refuse_what_cannot_be(
    ledger: Any, refused: Any, method: str, request_message: Any, reason: str
) -> None:
    _, stub, _ = ledger
    with refused() as refusal:
        await getattr(stub, method)(request_message, timeout=TIMEOUT_S)
    assert refusal.reason == reason


async def test_unexpected_failure_shows_a_reference_and_not_its_text(ledger: Any, refused: Any) -> None:
    node, stub, _ = ledger
    node.core.reads.fail_with = RuntimeError("the password is swordfish")
    with refused() as refusal:
        await stub.GetOutcome(outcome_request("a"), timeout=TIMEOUT_S)
    assert (refusal.code, refusal.reason) == ("INTERNAL", "INTERNAL")
    assert "swordfish" not in refusal.message
    line = next(json.loads(line) for line in node.logs.getvalue().splitlines() if "reference" in line)
    assert line["reference"] == refusal.metadata["value"]
    assert "swordfish" in line["exception"]
    assert node.fatal == []


@pytest.mark.parametrize(
    "error", [InvariantViolation("two blocks at height 4"), CorruptState(Reason.DATA_CORRUPT, "bad checksum")]
)
async def test_what_must_stop_the_process_reaches_the_supervisor(
    ledger: Any, refused: Any, error: Exception
) -> None:
    node, stub, _ = ledger
    node.core.reads.fail_with = error
    with refused():
        await stub.GetOutcome(outcome_request("a"), timeout=TIMEOUT_S)
    assert node.fatal == [error]


async def test_events_are_read_no_faster_than_the_client_reads(ledger: Any, wait_until: Any) -> None:
    node, stub, _ = ledger
    call = stub.StreamEvents(ledger_pb2.StreamEventsRequest(from_height=3), timeout=TIMEOUT_S)
    first = await call.read()
    assert (first.height, first.next_height, first.events[0].name) == (3, 4, "Written")
    events = node.core.events
    async with asyncio.timeout(TIMEOUT_S):
        before = -1
        while before != events.yielded:  # until flow control holds the stream
            before = events.yielded
            for _ in range(200):
                await asyncio.sleep(0.0005)
    held = events.yielded
    assert held < 2_000
    call.cancel()
    await wait_until(lambda: not events.is_open)


async def test_event_positions_ahead_of_the_chain_are_refused(ledger: Any, refused: Any) -> None:
    _, stub, _ = ledger
    with refused() as soon:
        await stub.StreamEvents(ledger_pb2.StreamEventsRequest(from_height=9), timeout=TIMEOUT_S).read()
    with refused() as never:
        await stub.StreamEvents(ledger_pb2.StreamEventsRequest(from_height=10**9), timeout=TIMEOUT_S).read()
    assert (soon.code, soon.reason, soon.metadata["retry"]) == ("UNAVAILABLE", "HEIGHT_UNKNOWN", "true")
    assert (never.code, never.reason, never.metadata["retry"]) == ("OUT_OF_RANGE", "HEIGHT_UNKNOWN", "false")


async def test_streams_end_with_stopping_when_the_node_stops(ledger: Any, refused: Any) -> None:
    node, stub, _ = ledger
    events = stub.StreamEvents(ledger_pb2.StreamEventsRequest(), timeout=TIMEOUT_S)
    batch = stub.SubmitBatch(timeout=TIMEOUT_S)
    await batch.write(ledger_pb2.SubmitBatchRequest())
    await events.read()
    stopping = asyncio.create_task(node.servers.stop())
    with refused() as refusal:
        await batch.read()
    assert (refusal.code, refusal.reason, refusal.metadata["retry"]) == ("UNAVAILABLE", "STOPPING", "true")
    await stopping
    events.cancel()


async def test_network_service_tells_members_validators_and_limits(ledger: Any, world: Any) -> None:
    _, _, channel = ledger
    stub: Any = network_pb2_grpc.NetworkStub(channel)
    members = await stub.GetMembers(network_pb2.GetMembersRequest(), timeout=TIMEOUT_S)
    validators = await stub.GetValidators(network_pb2.GetValidatorsRequest(), timeout=TIMEOUT_S)
    parameters = await stub.GetParameters(network_pb2.GetParametersRequest(), timeout=TIMEOUT_S)
    status = await stub.GetStatus(network_pb2.GetStatusRequest(), timeout=TIMEOUT_S)
    assert [member.member for member in members.members] == ["alpha", "beta", "gamma", "delta"]
    assert members.members[0].ca_certificates[0].startswith("-----BEGIN CERTIFICATE-----")
    assert (validators.quorum, validators.faulty_max, validators.validators[2].node) == (3, 1, "n1")
    assert parameters.block_transactions_max == world.genesis.parameters.block_transactions_max
    assert (status.is_ready, status.network_id) == (False, world.genesis.network_id)
    assert "no quorum: 0 validators connected, 2 needed" in status.stalled_reason


async def test_reflection_lists_the_services(ledger: Any) -> None:
    _, _, channel = ledger
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(timeout=TIMEOUT_S)
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    answer = await call.read()
    call.cancel()
    names = {service.name for service in answer.list_services_response.service}
    assert {"tanpo.api.v1.Ledger", "tanpo.api.v1.Network", "tanpo.api.v1.Admin"} <= names


def outcome_request(request_id: str) -> ledger_pb2.GetOutcomeRequest:
    return ledger_pb2.GetOutcomeRequest(member="alpha", request_id=request_id)
