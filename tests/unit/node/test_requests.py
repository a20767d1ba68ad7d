"""The exactly-once memory (D5): in the state, bounded, and a function of the chain alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tanpo.ledger.errors import PeerFault
from tanpo.node.requests import (
    PRUNED_PER_BLOCK_MAX,
    RequestMemory,
    RequestRecord,
    RequestStep,
    decode_record,
    encode_record,
)


def _commit(memory: RequestMemory, height: int, time_ms: int, *transactions: Any) -> RequestStep:
    step = memory.compute_step(height, time_ms, transactions, ())
    memory.apply_step(step)
    return step


def test_an_executed_request_is_held_until_its_block_expires(parties: Any) -> None:
    memory = RequestMemory()
    tx = parties.transaction("r1", valid_for_ms=1_000)
    _commit(memory, 1, parties.time_ms, tx)
    assert memory.holds(tx.request_digest)
    _commit(memory, 2, tx.valid_until_ms)
    assert memory.holds(tx.request_digest), "at valid_until itself it might still be replayed"
    step = _commit(memory, 3, tx.valid_until_ms + 1)
    assert not memory.holds(tx.request_digest)
    assert list(step.changes.values()) == [None]


def test_a_block_without_transactions_writes_nothing() -> None:
    assert RequestMemory().compute_step(1, 1, (), ()).changes == {}


def test_computing_a_step_changes_nothing(parties: Any) -> None:
    memory = RequestMemory()
    tx = parties.transaction("r1")
    memory.compute_step(1, parties.time_ms, [tx], ())
    assert not memory.holds(tx.request_digest)


def test_pruning_is_bounded_and_catches_up(parties: Any) -> None:
    memory = RequestMemory()
    for height in range(1, 21):
        _commit(memory, height, parties.time_ms, parties.transaction(f"r{height}", valid_for_ms=10))
    late = parties.time_ms + 1_000
    pruned = [_commit(memory, height, late).pruned_count for height in range(21, 25)]
    assert pruned == [PRUNED_PER_BLOCK_MAX, PRUNED_PER_BLOCK_MAX, 20 - 2 * PRUNED_PER_BLOCK_MAX, 0]
    assert len(memory) == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400), st.integers(1, 300)), max_size=30))
def test_a_step_depends_on_the_chain_and_not_on_what_is_committed(
    parties: Any, blocks: list[tuple[int, int, int]]
) -> None:
    """Two nodes, one committing at once and one three blocks behind, write the same state."""
    prompt, lagging = RequestMemory(), RequestMemory()
    waiting: list[RequestStep] = []
    time_ms = parties.time_ms
    for height, (count, elapsed_ms, valid_for_ms) in enumerate(blocks, start=1):
        time_ms += elapsed_ms
        validity_ms = time_ms - parties.time_ms + valid_for_ms
        transactions = [
            parties.transaction(f"{height}-{number}", valid_for_ms=validity_ms) for number in range(count)
        ]
        at_once = _commit(prompt, height, time_ms, *transactions)
        later = lagging.compute_step(height, time_ms, transactions, waiting)
        assert later.changes == at_once.changes
        waiting.append(later)
        if len(waiting) > 3:
            lagging.apply_step(waiting.pop(0))


@given(st.integers(0, 2**63), st.integers(0, 2**63), st.sets(st.binary(min_size=32, max_size=32)))
def test_a_record_survives_encoding(height: int, expires_ms: int, digests: set[bytes]) -> None:
    record = RequestRecord(height=height, expires_ms=expires_ms, digests=frozenset(digests))
    assert decode_record(encode_record(record)) == record


def test_a_truncated_record_is_refused() -> None:
    encoded = encode_record(RequestRecord(height=1, expires_ms=2, digests=frozenset({bytes(32)})))
    with pytest.raises(PeerFault):
        decode_record(encoded[:-1])
