from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tanpo.ledger import (
    BLOCK_BYTES_MAX,
    Block,
    BlockFlags,
    Envelope,
    Header,
    Height,
    MerkleRoot,
    PeerFault,
    Reader,
    Term,
    compute_block_hash,
    compute_body_hash,
    compute_merkle_root,
    decode_block,
    encode_block,
    encode_header,
    read_header,
)


def test_block_decodes_to_what_was_created(header: Header, envelope: Envelope) -> None:
    block = Block.create(header, [envelope.encoded])

    assert decode_block(encode_block(block)) == block


def test_block_with_evidence_round_trips(header: Header, envelope: Envelope) -> None:
    evidence = [b"two votes", b"in one term"]
    committed = replace(
        header,
        body_hash=compute_body_hash([envelope.encoded], evidence),
        evidence_root=compute_merkle_root(evidence),
    )
    block = Block.create(committed, [envelope.encoded], evidence)

    assert decode_block(encode_block(block)) == block


def test_empty_block_round_trips(header: Header) -> None:
    block = Block.create(replace(header, tx_count=0, body_hash=compute_body_hash([])), [])

    assert decode_block(encode_block(block)) == block


def test_every_header_field_changes_the_block_hash(header: Header) -> None:
    changes: list[dict[str, Any]] = [{"flags": BlockFlags.EPOCH_END}]
    for name in Header.__dataclass_fields__:
        value = getattr(header, name)
        if name != "flags":
            changes.append({name: value + 1 if isinstance(value, int) else b"\x01" * 32})

    hashes = {compute_block_hash(replace(header, **change)) for change in [{}, *changes]}

    assert len(hashes) == len(Header.__dataclass_fields__) + 1


def test_header_has_a_fixed_width(header: Header) -> None:
    largest = replace(header, term=Term(2**64 - 1), height=Height(2**64 - 1), flags=BlockFlags(3))

    assert len(encode_header(largest)) == len(encode_header(header))


def test_header_is_read_without_what_follows_it(header: Header) -> None:
    reader = Reader(encode_header(header) + b"more")

    assert read_header(reader) == header
    assert reader.remaining == 4


def test_body_that_the_header_does_not_commit_to_is_refused(header: Header, envelope: Envelope) -> None:
    with pytest.raises(PeerFault, match="body is not the one"):
        decode_block(encode_block(Block.create(header, [envelope.encoded, envelope.encoded])))


def test_evidence_that_the_header_does_not_commit_to_is_refused(header: Header, envelope: Envelope) -> None:
    body_hash = compute_body_hash([envelope.encoded], [b"evidence"])
    committed = replace(header, body_hash=body_hash, evidence_root=MerkleRoot(bytes(32)))

    with pytest.raises(PeerFault, match="evidence"):
        decode_block(encode_block(Block.create(committed, [envelope.encoded], [b"evidence"])))


def test_envelope_cannot_pass_for_evidence() -> None:
    assert compute_body_hash([b"x"], []) != compute_body_hash([], [b"x"])


def test_block_above_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(PeerFault, match="block too large"):
        decode_block(bytes(BLOCK_BYTES_MAX + 1))


def test_header_of_another_version_is_refused(header: Header) -> None:
    with pytest.raises(PeerFault, match="header version"):
        read_header(Reader(b"\x00\x02" + encode_header(header)[2:]))


def test_unknown_flag_is_refused(header: Header) -> None:
    encoded = encode_header(header)
    flags_at = len(encoded) - 33

    with pytest.raises(PeerFault, match="flags"):
        read_header(Reader(encoded[:flags_at] + b"\x04" + encoded[flags_at + 1 :]))
