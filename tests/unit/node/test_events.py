"""The stream of events: every event once, in order, from any position, in messages a client can take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from tanpo.ledger.block import EMPTY_ROOT, Block, BlockFlags, Header, compute_body_hash, encode_block
from tanpo.ledger.receipt import Event, Receipt, encode_receipt
from tanpo.ledger.types import BlockHash, Epoch, Height, NetworkId, StateRoot, Term, TxId, ValidatorIndex
from tanpo.node.events import EVENT_OVERHEAD_BYTES, READ_BYTES_MAX, EventHub, EventRead
from tanpo.storage import StoredBlock

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


@dataclass
class FakeStore:
    """Blocks, each with the same receipts."""

    receipts: tuple[bytes, ...]
    executed_height: int = 2

    def read_block(self, height: Height) -> StoredBlock:
        return StoredBlock(
            height=height, block_hash=BLOCK.block_hash, block=encode_block(BLOCK), proof=b"proof"
        )

    def get_receipts(self, _height: Height) -> tuple[bytes, ...]:
        return self.receipts


def _receipt(index: int, *events: Event) -> bytes:
    return encode_receipt(
        Receipt(
            tx_id=TxId(index.to_bytes(32, "big")),
            height=Height(1),
            index=index,
            succeeded=True,
            code="",
            details=(),
            contract="notes",
            line=0,
            gas_used=1,
            value=(),
            events=events,
        )
    )


def _event(text: str, contract: str = "notes") -> Event:
    return Event(contract=contract, name="Written", fields=(("text", text),))


async def _read(hub: EventHub, height: int, index: int, count: int, contract: str = "") -> list[EventRead]:
    """Return what comes until `count` events have."""
    reads: list[EventRead] = []
    contracts = frozenset({contract} - {""})
    async for read in hub.stream(from_height=height, from_index=index, contracts=contracts):
        reads.append(read)
        if sum(len(read.events) for read in reads) >= count:
            return reads
    raise AssertionError("the stream ended")


def _hub(*receipts: bytes) -> EventHub:
    store: Any = FakeStore(receipts)
    return EventHub(store)


@pytest.mark.parametrize("index", range(5))
async def test_a_reader_goes_on_from_any_position(index: int) -> None:
    hub = _hub(_receipt(0, _event("a"), _event("b")), _receipt(1), _receipt(2, _event("c"), _event("d")))
    reads = await _read(hub, 1, index, 8 - index)
    found = [(read.height, event.index) for read in reads for event in read.events]
    assert found == [(1, number) for number in range(index, 4)] + [(2, number) for number in range(4)]


async def test_a_block_of_many_events_comes_in_parts_that_a_client_can_take_and_resume_between() -> None:
    text = "x" * 4_000
    hub = _hub(*(_receipt(index, _event(text), _event("", "other"), _event(text)) for index in range(400)))
    reads = await _read(hub, 1, 0, 1200)
    assert len(reads) > 3
    for read in reads:
        size = sum(len(event.fields) + EVENT_OVERHEAD_BYTES for event in read.events)
        assert size <= READ_BYTES_MAX
    assert [event.index for read in reads for event in read.events] == list(range(1200))
    assert [(read.next_height, read.next_index) for read in reads[:-1]] == [
        (1, read.events[0].index) for read in reads[1:]
    ]
    assert (reads[-1].next_height, reads[-1].next_index) == (2, 0)
    resumed = await _read(hub, 1, reads[0].next_index, 1200 - len(reads[0].events))
    assert resumed[: len(reads) - 1] == reads[1:]


async def test_a_filter_keeps_the_positions_of_what_it_passes() -> None:
    hub = _hub(_receipt(0, _event("a"), _event("b", "other"), _event("c")))
    [read, _] = await _read(hub, 1, 0, 2, "other")
    assert [event.index for event in read.events] == [1]
    assert (read.next_height, read.next_index) == (2, 0)
