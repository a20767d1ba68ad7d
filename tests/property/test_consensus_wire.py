"""Any bytes give a message or a `PeerFault`, and every message has one spelling; records likewise."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tanpo.consensus.messages import (
    Append,
    AppendReply,
    BlockAnswer,
    Committed,
    GetBlock,
    GetCommitted,
    GetStatus,
    Heartbeat,
    Message,
    Nudge,
    Status,
    StepDown,
    Suspect,
    TermCertificate,
    Timeout,
)
from tanpo.consensus.record import DurableRecord, decode_record, encode_record
from tanpo.consensus.wire import decode_message, encode_message
from tanpo.ledger.block import Block, BlockFlags, Header, compute_body_hash
from tanpo.ledger.certificate import (
    CommitProof,
    QuorumCertificate,
    SignedKind,
    TimeoutCertificate,
    TimeoutEntry,
)
from tanpo.ledger.errors import CorruptState, PeerFault
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.types import Epoch
from tanpo.ledger.vote import Vote

NUMBERS: Any = st.integers(0, 2**64 - 1)
HASHES: Any = st.binary(min_size=32, max_size=32)
SIGNATURES: Any = st.binary(max_size=72)
INDICES: Any = st.integers(0, 63)
KINDS: Any = st.sampled_from([SignedKind.VOTE_PREPARE, SignedKind.VOTE_COMMIT])


def signers(values: Any) -> Any:
    return st.dictionaries(INDICES, values, max_size=5).map(lambda chosen: tuple(sorted(chosen.items())))


CERTIFICATES: Any = st.builds(
    QuorumCertificate,
    kind=KINDS,
    epoch=NUMBERS,
    term=NUMBERS,
    height=NUMBERS,
    block_hash=HASHES,
    signatures=signers(SIGNATURES),
)
ENTRIES: Any = st.builds(
    TimeoutEntry,
    validator=INDICES,
    high_term=NUMBERS,
    high_height=NUMBERS,
    high_hash=HASHES,
    signature=SIGNATURES,
)
TERM_CERTIFICATES: Any = st.builds(
    TimeoutCertificate,
    epoch=NUMBERS,
    term=st.integers(0, 2**64 - 2),
    entries=st.lists(ENTRIES, min_size=1, max_size=4, unique_by=lambda entry: entry.validator).map(
        lambda entries: tuple(sorted(entries, key=lambda entry: entry.validator))
    ),
    high_qc=CERTIFICATES,
)
VOTES: Any = st.builds(
    Vote,
    kind=KINDS,
    validator=INDICES,
    term=NUMBERS,
    height=NUMBERS,
    block_hash=HASHES,
    signature=SIGNATURES,
)
TIMEOUTS: Any = st.builds(
    Timeout, term=NUMBERS, entry=ENTRIES, high_qc=CERTIFICATES, term_certificate=st.none() | TERM_CERTIFICATES
)


@st.composite
def headers(draw: Any, envelopes: tuple[bytes, ...] = ()) -> Header:
    return Header(
        network_id=draw(HASHES),
        epoch=draw(NUMBERS),
        term=draw(NUMBERS),
        height=draw(NUMBERS),
        parent_hash=draw(HASHES),
        parent_term=draw(NUMBERS),
        time_ms=draw(NUMBERS),
        proposer=draw(st.integers(0, 2**32 - 1)),
        tx_root=draw(HASHES),
        tx_count=draw(st.integers(0, 2**32 - 1)),
        body_hash=compute_body_hash(envelopes),
        state_root=draw(HASHES),
        receipts_root=draw(HASHES),
        valset_hash=draw(HASHES),
        next_valset_hash=draw(HASHES),
        flags=draw(st.sampled_from(list(BlockFlags))),
        evidence_root=compute_merkle_root(()),
    )


@st.composite
def blocks(draw: Any) -> Block:
    envelopes = tuple(draw(st.lists(st.binary(max_size=40), max_size=3)))
    return Block.create(draw(headers(envelopes)), envelopes)


PROOFS: Any = st.builds(CommitProof, certificate=CERTIFICATES, child=st.none() | headers())
MESSAGES: Any = st.one_of(
    st.builds(
        Append,
        block=blocks(),
        justify=CERTIFICATES,
        term_certificate=st.none() | TERM_CERTIFICATES,
        signature=SIGNATURES,
    ),
    st.builds(AppendReply, vote=VOTES),
    st.builds(Nudge, certificate=CERTIFICATES),
    st.builds(
        Heartbeat,
        term=NUMBERS,
        high_qc=CERTIFICATES,
        commit_proof=st.none() | PROOFS,
        term_certificate=st.none() | TERM_CERTIFICATES,
    ),
    st.builds(Suspect, term=NUMBERS),
    TIMEOUTS,
    st.builds(TermCertificate, certificate=TERM_CERTIFICATES),
    st.builds(GetBlock, height=NUMBERS, block_hash=HASHES, committed_height=NUMBERS),
    st.builds(BlockAnswer, block=blocks()),
    st.builds(StepDown, term=NUMBERS, signature=SIGNATURES),
    st.builds(GetStatus, nonce=NUMBERS),
    st.builds(
        Status,
        nonce=NUMBERS,
        term=NUMBERS,
        high_qc=CERTIFICATES,
        term_certificate=st.none() | TERM_CERTIFICATES,
        vote=st.none() | VOTES,
        timeout_term=NUMBERS,
        timeout=st.none() | ENTRIES,
    ),
    st.builds(GetCommitted, from_height=NUMBERS),
    st.builds(
        Committed,
        blocks=st.lists(blocks(), min_size=1, max_size=3).map(tuple),
        headers=st.lists(headers(), max_size=2).map(tuple),
        proof=PROOFS,
    ),
)
RECORDS: Any = st.builds(
    DurableRecord,
    sequence=NUMBERS,
    epoch=NUMBERS,
    term=NUMBERS,
    term_certificate=st.none() | TERM_CERTIFICATES,
    voted=st.none() | VOTES,
    justify=st.none() | CERTIFICATES,
    timeout=st.none() | TIMEOUTS,
    high_qc=CERTIFICATES,
    commit_proof=st.none() | PROOFS,
    floor=NUMBERS,
    doublings=st.integers(0, 255),
    calm=st.integers(0, 255),
)


@given(MESSAGES, NUMBERS)
def test_a_message_survives_the_wire(message: Message, epoch: Epoch) -> None:
    assert decode_message(encode_message(message, epoch)) == (epoch, message)


@given(RECORDS)
def test_a_record_survives_the_disk(record: DurableRecord) -> None:
    assert decode_record(encode_record(record)) == record


@given(st.binary(max_size=600))
def test_any_bytes_give_a_message_or_a_fault(encoded: bytes) -> None:
    try:
        epoch, message = decode_message(encoded)
    except PeerFault:
        return
    assert encode_message(message, epoch) == encoded


@given(MESSAGES, st.data())
def test_damaged_messages_give_another_message_or_a_fault(message: Message, data: Any) -> None:
    encoded = bytearray(encode_message(message, Epoch(5)))
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(encoded)))
    for damaged in (bytes(encoded), bytes(encoded[:cut]), bytes(encoded) + b"\x00"):
        try:
            epoch, decoded = decode_message(damaged)
        except PeerFault:
            continue
        assert encode_message(decoded, epoch) == damaged


@given(RECORDS, st.data())
def test_a_damaged_record_is_never_taken_for_a_record(record: DurableRecord, data: Any) -> None:
    encoded = bytearray(encode_record(record))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decode_record(bytes(encoded))
    except CorruptState:
        return
    raise AssertionError("a damaged record was accepted")
