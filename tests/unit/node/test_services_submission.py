from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tanpo.ledger.errors import LedgerError, Reason, TransactionRejected
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.transaction import Call, build_transaction, sign_envelope
from tanpo.ledger.types import MemberId, NetworkId, TxId
from tanpo.node.outcome import Outcome, OutcomeState
from tanpo.node.services.ledger import ANSWER_MARGIN_S, WAIT_MAX_S, compute_wait
from tanpo.node.services.submission import (
    RESPONSE_BYTES_MAX,
    UNREAD_MAX,
    UNREAD_PAUSE,
    BatchSession,
    EnvelopeWaiter,
    list_tx_ids,
)

NETWORK_ID = NetworkId(b"n" * 32)
REFUSED = TransactionRejected(Reason.EXPIRED, "too late")


def outcome(tx_id: bytes, receipt: bytes = b"") -> Outcome:
    return Outcome(
        state=OutcomeState.COMMITTED,
        tx_id=tx_id,
        member="alpha",
        request_id="r",
        receipt=receipt,
        as_of_height=1,
        as_of_time_ms=1,
    )


def ids(count: int) -> list[TxId]:
    return [TxId(number.to_bytes(32, "big")) for number in range(count)]


def test_ids_are_those_of_the_envelope() -> None:
    key = PrivateKey.generate()
    transactions = [
        build_transaction(
            network_id=NETWORK_ID,
            member=MemberId("alpha"),
            request_id=f"r{number}",
            valid_until_ms=1,
            gas_limit=1,
            signers=[key.key_id],
            call=Call.create("notes", "write", {}),
        )
        for number in range(3)
    ]
    envelope = sign_envelope(NETWORK_ID, transactions, [key])
    assert list_tx_ids(NETWORK_ID, envelope.encoded) == tuple(tx.tx_id for tx in transactions)


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01\x00\x05", b"\x01\x00\x01\xff\xff\xff\xff"])
def test_bytes_that_are_no_envelope_have_no_ids(data: bytes) -> None:
    assert list_tx_ids(NETWORK_ID, data) == ()


async def test_waiter_is_done_when_every_transaction_has_its_outcome() -> None:
    first, second = ids(2)
    waiter = EnvelopeWaiter([first, second])
    waiter.deliver([outcome(first)])
    await waiter.wait(0)
    assert not waiter.is_done
    waiter.deliver([outcome(second), outcome(first)])
    await waiter.wait(1)
    assert waiter.is_done
    assert set(waiter.outcomes) == {first, second}


async def test_session_ends_only_when_nothing_is_awaited() -> None:
    session = BatchSession()
    first, second = ids(2)
    session.expect([first, second])
    session.end_input()
    session.deliver([outcome(first)])
    response = await session.next_response()
    assert response is not None
    assert [told.tx_id for told in response.outcomes] == [first]
    waiting = asyncio.create_task(session.next_response())
    await asyncio.sleep(0)
    assert not waiting.done()
    session.deliver([outcome(second)])
    assert await waiting is not None
    assert await session.next_response() is None
    assert session.is_settled


async def test_refused_repeat_leaves_the_first_envelope_awaited() -> None:
    session = BatchSession()
    (tx_id,) = ids(1)
    session.expect([tx_id])
    session.expect([tx_id])
    session.refuse(1, [tx_id], REFUSED)
    session.end_input()
    response = await session.next_response()
    assert response is not None
    assert [refusal.position for refusal in response.refusals] == [1]
    assert not session.is_settled
    session.deliver([outcome(tx_id)])
    assert await session.next_response() is not None
    assert await session.next_response() is None


async def test_outcome_that_came_before_a_refusal_is_settled() -> None:
    session = BatchSession()
    (tx_id,) = ids(1)
    session.expect([tx_id])
    session.deliver([outcome(tx_id)])
    session.refuse(0, [tx_id], REFUSED)
    assert session.is_settled


async def test_large_outcomes_are_told_in_several_responses() -> None:
    session = BatchSession()
    session.deliver([outcome(tx_id, bytes(100_000)) for tx_id in ids(40)])
    session.end_input()
    sizes: list[int] = []
    while (response := await session.next_response()) is not None:
        sizes.append(len(response.outcomes))
        assert response.ByteSize() < 2 * RESPONSE_BYTES_MAX
    assert sum(sizes) == 40


async def test_stream_that_is_not_read_is_given_no_more_and_then_ended() -> None:
    session = BatchSession()
    session.deliver([outcome(tx_id) for tx_id in ids(UNREAD_PAUSE)])
    waiting = asyncio.create_task(session.wait_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    session.deliver([outcome(tx_id) for tx_id in ids(UNREAD_MAX)])
    with pytest.raises(LedgerError) as caught:
        await session.next_response()
    assert (caught.value.reason, caught.value.retriable) == (Reason.SLOW_READER, True)
    waiting.cancel()


async def test_reading_makes_room() -> None:
    session = BatchSession()
    session.deliver([outcome(tx_id) for tx_id in ids(UNREAD_PAUSE)])
    waiting = asyncio.create_task(session.wait_room())
    await asyncio.sleep(0)
    assert await session.next_response() is not None
    await waiting


@pytest.mark.parametrize(
    ("remaining", "expected"),
    [
        (None, WAIT_MAX_S),
        (10_000.0, WAIT_MAX_S),
        (5.0, 5.0 - ANSWER_MARGIN_S),
        (0.4, 0.3),
        (0.0, 0.0),
        (-1.0, 0.0),
    ],
)
def test_calls_are_answered_before_their_deadline(remaining: Any, expected: float) -> None:
    assert compute_wait(remaining) == pytest.approx(expected)
