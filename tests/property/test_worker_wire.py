"""What a node and its worker say to each other arrives as it was sent, and nothing else does harm."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.transaction import Call, encode_call
from tanpo.ledger.types import BlockHash, Height, TxId
from tanpo.node.contract_sets import ContractSource
from tanpo.node.tasks import Task, TaskKind
from tanpo.node.worker import wire
from tanpo.node.worker.wire import Kind, Opening, Range
from tanpo.vm.indexes import SCAN_MAX

INDEX = b"\x01\x01"
blobs = st.binary(max_size=40)
optional = st.one_of(st.none(), blobs)
hashes = st.binary(min_size=32, max_size=32)
names = st.text("abcdef-", min_size=1, max_size=8)
values = st.one_of(st.booleans(), st.integers(-(2**200), 2**200), st.text(max_size=5), blobs)
tasks = st.builds(
    lambda kind, call, sender, signers, tx_id, gas: Task(
        kind=kind,
        call=call,
        encoded_call=encode_call(call),
        sender=sender,
        signers=tuple(signers),
        tx_id=TxId(tx_id),
        gas_limit=gas,
    ),
    st.sampled_from(TaskKind),
    st.builds(Call.create, names, names, st.dictionaries(names, values, max_size=4)),
    names,
    st.lists(names, max_size=3),
    hashes,
    st.integers(0, 2**64 - 1),
)
contracts = st.builds(ContractSource.create, names, st.text(max_size=50), st.integers(0, 9))


@given(hashes, hashes, hashes, st.integers(0, 2**60), st.lists(contracts, max_size=3))
def test_openings(
    block: bytes, parent: bytes, committed: bytes, number: int, several: list[ContractSource]
) -> None:
    opening = Opening(
        block_hash=BlockHash(block),
        parent_hash=BlockHash(parent),
        committed_hash=BlockHash(committed),
        height=Height(number),
        time_ms=number,
        contracts=tuple(several),
    )
    assert wire.decode_opening(wire.encode_opening(opening)) == opening


@given(st.lists(tasks, max_size=6))
def test_tasks(several: list[Task]) -> None:
    found = wire.decode_tasks(wire.encode_tasks(several))
    assert [(t.kind, t.call, t.sender, t.signers, t.tx_id, t.gas_limit) for t in found] == [
        (t.kind, t.call, t.sender, t.signers, t.tx_id, t.gas_limit) for t in several
    ]


@given(st.lists(blobs, max_size=5), st.booleans(), st.integers(0, 2**64 - 1))
def test_receipts(receipts: list[bytes], is_last: bool, cpu_us: int) -> None:
    encoded = wire.encode_receipts(receipts, is_last=is_last, cpu_us=cpu_us)
    assert wire.decode_receipts(encoded) == (receipts, is_last, cpu_us)


@given(st.lists(blobs, max_size=5))
def test_reads(keys: list[bytes]) -> None:
    assert wire.decode_reads(wire.encode_reads(keys)) == keys


@given(st.lists(optional, max_size=5))
def test_answers(found: list[bytes | None]) -> None:
    assert wire.decode_answer(wire.encode_answer(found)) == found


@given(blobs, blobs, st.integers(0, SCAN_MAX))
def test_ranges(start: bytes, stop: bytes, limit: int) -> None:
    one = Range(start=INDEX + start, stop=INDEX + stop, limit=limit)
    assert wire.decode_range(wire.encode_range(one)) == one


@pytest.mark.parametrize(
    "one",
    [
        Range(start=INDEX, stop=INDEX, limit=SCAN_MAX + 1),
        Range(start=b"\x01\x00", stop=INDEX, limit=1),
        Range(start=INDEX, stop=b"\x02\x00", limit=1),
    ],
)
def test_more_than_a_page_of_an_index_is_refused(one: Range) -> None:
    with pytest.raises(PeerFault):
        wire.decode_range(wire.encode_range(one))


@given(st.lists(blobs, max_size=5))
def test_pages(keys: list[bytes]) -> None:
    assert wire.decode_page(wire.encode_page(keys)) == keys


@given(st.lists(blobs, min_size=1, max_size=5))
def test_a_page_cut_short_is_refused(keys: list[bytes]) -> None:
    page = wire.encode_page([*keys, b"last"])
    with pytest.raises(PeerFault):
        wire.decode_page(page[:-1])


@given(st.lists(st.tuples(blobs, optional), max_size=5), st.booleans())
def test_changes(pairs: list[tuple[bytes, bytes | None]], is_last: bool) -> None:
    assert wire.decode_changes(wire.encode_changes(pairs, is_last=is_last)) == (pairs, is_last)


@given(st.sampled_from(Kind), blobs)
def test_frames(kind: Kind, body: bytes) -> None:
    frame = wire.encode_frame(kind, body)
    assert wire.decode_header(frame[: wire.HEADER_BYTES]) == (kind, len(body))
    assert frame[wire.HEADER_BYTES :] == body


@pytest.mark.parametrize(
    "decode",
    [wire.decode_receipts, wire.decode_reads, wire.decode_range, wire.decode_page, wire.decode_changes],
)
@given(data=st.one_of(blobs, st.binary(max_size=6).map(lambda tail: bytes(4) + tail)))
def test_any_bytes_of_a_worker_are_a_value_or_a_fault_of_its(
    decode: Callable[[bytes], object], data: bytes
) -> None:
    with contextlib.suppress(PeerFault):
        decode(data)


@given(st.binary(min_size=wire.HEADER_BYTES, max_size=wire.HEADER_BYTES))
def test_any_header_is_a_frame_or_a_fault(header: bytes) -> None:
    try:
        _, size = wire.decode_header(header)
    except PeerFault:
        return
    assert size <= wire.FRAME_BYTES_MAX
