"""The mempool: bounded for all and for each member, first come first served, each request once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tanpo.ledger.errors import Reason, TransactionRejected, Unavailable
from tanpo.ledger.genesis import Parameters
from tanpo.ledger.transaction import Envelope
from tanpo.node.mempool import Mempool, MempoolLimits, has_expired

Maker = Callable[..., Envelope]
LIMITS = Parameters()


def _nothing_taken(_digest: bytes) -> bool:
    return False


def _fill(pool: Mempool, *envelopes: Envelope) -> None:
    for number, envelope in enumerate(envelopes):
        pool.add(envelope, number, is_own=True)


def test_envelopes_are_selected_in_order_of_arrival(parties: Any, make_envelope: Maker) -> None:
    pool = Mempool(MempoolLimits())
    envelopes = [make_envelope(f"r{number}") for number in range(5)]
    _fill(pool, *envelopes)
    assert pool.select(LIMITS, parties.time_ms, _nothing_taken) == envelopes


def test_selecting_removes_nothing(parties: Any, make_envelope: Maker) -> None:
    pool = Mempool(MempoolLimits())
    _fill(pool, make_envelope("r1"))
    pool.select(LIMITS, parties.time_ms, _nothing_taken)
    assert len(pool) == 1


def test_a_request_in_an_ancestor_is_passed_over(parties: Any, make_envelope: Maker) -> None:
    pool = Mempool(MempoolLimits())
    first, second = make_envelope("r1"), make_envelope("r2")
    _fill(pool, first, second)
    taken = {first.transactions[0].request_digest}
    assert pool.select(LIMITS, parties.time_ms, taken.__contains__) == [second]


def test_an_expired_transaction_is_passed_over(parties: Any, make_envelope: Maker) -> None:
    pool = Mempool(MempoolLimits())
    early, late = make_envelope("r1", valid_for_ms=10), make_envelope("r2", valid_for_ms=10_000)
    _fill(pool, early, late)
    assert pool.select(LIMITS, parties.time_ms + 11, _nothing_taken) == [late]


def test_a_block_holds_no_more_than_the_network_allows(parties: Any, make_envelope: Maker) -> None:
    envelopes = [make_envelope(f"r{number}", gas_limit=10) for number in range(9)]
    size = max(len(envelope.encoded) for envelope in envelopes) + 4  # a DER signature has 70 to 72 bytes
    for limits in (
        Parameters(block_transactions_max=3),
        Parameters(block_bytes_max=3 * size + 1),
        Parameters(block_gas_max=39),
    ):
        pool = Mempool(MempoolLimits())
        _fill(pool, *envelopes)
        assert pool.select(limits, parties.time_ms, _nothing_taken) == envelopes[:3]


def test_an_envelope_enters_a_block_whole_or_not_at_all(parties: Any, make_envelope: Maker) -> None:
    pool = Mempool(MempoolLimits())
    pair = parties.envelope(parties.transaction("p1"), parties.transaction("p2"))
    _fill(pool, make_envelope("r1"), make_envelope("r2"), pair)
    chosen = pool.select(Parameters(block_transactions_max=3), parties.time_ms, _nothing_taken)
    assert [len(envelope.transactions) for envelope in chosen] == [1, 1]


def test_a_full_pool_refuses_with_the_limit(make_envelope: Maker) -> None:
    pool = Mempool(MempoolLimits(transactions_max=2))
    _fill(pool, make_envelope("r1"), make_envelope("r2"))
    with pytest.raises(Unavailable) as refused:
        pool.check_room(make_envelope("r3"))
    assert (refused.value.reason, refused.value.limit) == (Reason.MEMPOOL_FULL, "2 transactions")
    assert refused.value.retriable


def test_bytes_are_bounded_too(make_envelope: Maker) -> None:
    pool = Mempool(MempoolLimits(bytes_max=2_500))
    _fill(pool, make_envelope("r1"))
    with pytest.raises(Unavailable, match="waiting"):
        pool.check_room(make_envelope("r2"))


def test_one_member_cannot_fill_the_pool(make_envelope: Maker) -> None:
    pool = Mempool(MempoolLimits(member_transactions_max=1))
    _fill(pool, make_envelope("r1", member="dealer-a"))
    with pytest.raises(Unavailable) as refused:
        pool.check_room(make_envelope("r2", member="dealer-a"))
    assert refused.value.reason is Reason.MEMBER_QUOTA
    pool.check_room(make_envelope("r2", member="dealer-b"))


def test_the_same_transaction_waits_once(make_envelope: Maker) -> None:
    pool = Mempool(MempoolLimits())
    envelope = make_envelope("r1")
    assert not pool.check_requests(envelope)
    _fill(pool, envelope)
    assert pool.check_requests(envelope)


def test_a_request_id_with_other_bytes_is_refused(make_envelope: Maker) -> None:
    pool = Mempool(MempoolLimits())
    _fill(pool, make_envelope("r1", gas_limit=1_000))
    with pytest.raises(TransactionRejected) as refused:
        pool.check_requests(make_envelope("r1", gas_limit=2_000))
    assert (refused.value.reason, refused.value.value) == (Reason.REQUEST_ID_REUSED, "r1")


def test_a_request_id_twice_in_one_envelope_is_refused(parties: Any) -> None:
    twice = parties.envelope(parties.transaction("r1"), parties.transaction("r1", gas_limit=7))
    with pytest.raises(TransactionRejected, match="request id"):
        Mempool(MempoolLimits()).check_requests(twice)


def test_a_committed_request_frees_its_room(make_envelope: Maker) -> None:
    pool = Mempool(MempoolLimits())
    envelope = make_envelope("r1")
    _fill(pool, envelope)
    assert pool.remove_requests([envelope.transactions[0].request_digest]) == [envelope.transactions[0]]
    assert (len(pool), pool.byte_count, pool.find(envelope.signed_hash)) == (0, 0, None)
    assert not pool.check_requests(envelope)


def test_a_committed_request_drops_its_whole_envelope_and_names_what_it_held(parties: Any) -> None:
    pool = Mempool(MempoolLimits())
    both = [parties.transaction("r1"), parties.transaction("r2")]
    _fill(pool, parties.envelope(*both))
    assert pool.remove_requests([both[0].request_digest]) == both
    assert len(pool) == 0


def test_expired_transactions_are_returned_as_they_are_dropped(parties: Any, make_envelope: Maker) -> None:
    pool = Mempool(MempoolLimits())
    early, late = make_envelope("r1", valid_for_ms=10), make_envelope("r2")
    _fill(pool, early, late)
    assert pool.remove(lambda envelope: has_expired(envelope, parties.time_ms + 11)) == list(
        early.transactions
    )
    assert len(pool) == 1


def test_the_oldest_valid_arrival_counts(parties: Any, make_envelope: Maker) -> None:
    pool = Mempool(MempoolLimits())
    assert pool.oldest_arrival_ms(parties.time_ms) is None
    pool.add(make_envelope("r1", valid_for_ms=10), 100, is_own=True)
    pool.add(make_envelope("r2"), 200, is_own=True)
    assert pool.oldest_arrival_ms(parties.time_ms) == 100
    assert pool.oldest_arrival_ms(parties.time_ms + 11) == 200


def test_only_own_envelopes_are_shared_again_and_not_too_often(make_envelope: Maker) -> None:
    pool = Mempool(MempoolLimits())
    own, other = make_envelope("r1"), make_envelope("r2")
    pool.add(own, 0, is_own=True)
    pool.add(other, 0, is_own=False)
    assert pool.take_unshared(999, 1_000, 1_000_000) == []
    assert pool.take_unshared(1_000, 1_000, 1_000_000) == [own.encoded]
    assert pool.take_unshared(1_500, 1_000, 1_000_000) == []
    assert pool.take_unshared(2_000, 1_000, 1_000_000) == [own.encoded]
