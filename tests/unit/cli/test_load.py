"""What counts as sustained: committed with success, in time, with no backlog left growing."""

from __future__ import annotations

from tanpo.cli.bench.load import Offer
from tanpo.ledger.receipt import Receipt, encode_receipt
from tanpo.ledger.types import Height, TxId

RATE, SECONDS = 10, 4.0


def make_receipt(*, succeeded: bool = True) -> bytes:
    return encode_receipt(
        Receipt(
            tx_id=TxId(bytes(32)),
            height=Height(1),
            index=0,
            succeeded=succeeded,
            code="" if succeeded else "NO",
            details=(),
            contract="" if succeeded else "c",
            line=0,
            gas_used=1,
            value=(),
            events=(),
        )
    )


def make_offer(delay_s: float = 0.1, *, failing: int = 0, missing: int = 0) -> Offer:
    offer = Offer(rate=RATE, seconds=SECONDS)
    for number in range(offer.total - missing):
        offer.done_at[number] = number / RATE + delay_s
        offer.receipts[number] = make_receipt(succeeded=number >= failing)
    return offer


def test_a_rate_that_is_kept_up_with_is_sustained() -> None:
    offer = make_offer()
    assert offer.is_sustained()
    assert offer.compute_achieved() == RATE
    assert offer.to_json()["latency_ms"] == {"p50": 100.0, "p99": 100.0}


def test_a_failed_swap_does_not_count() -> None:
    assert not make_offer(failing=1).is_sustained()


def test_a_missing_swap_does_not_count() -> None:
    assert not make_offer(missing=1).is_sustained()


def test_a_refusal_is_not_sustained() -> None:
    offer = make_offer()
    offer.refusals["full"] += 1
    assert not offer.is_sustained()


def test_a_broken_stream_is_not_sustained() -> None:
    offer = make_offer()
    offer.failures.append("gone")
    assert not offer.is_sustained()


def test_a_backlog_at_the_end_is_not_sustained() -> None:
    offer = make_offer(delay_s=0.9)
    assert offer.count_backlog() == 8
    assert not offer.is_sustained()
