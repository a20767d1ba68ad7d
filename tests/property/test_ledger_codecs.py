"""Every encoding of the ledger: what was written comes back, and nothing else decodes.

For each codec three properties hold. Any value round trips. Any bytes give a value whose encoding is those
bytes, or a `PeerFault` or `TransactionRejected`. An encoding that is cut short or has one byte changed is
refused, or spells another value.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tanpo.ledger import (
    INT_MAX,
    INT_MIN,
    SIGNERS_MAX,
    Block,
    BlockFlags,
    BlockHash,
    Call,
    CommitProof,
    Envelope,
    Epoch,
    Event,
    Fields,
    Genesis,
    Header,
    Height,
    KeyId,
    MemberId,
    MerkleRoot,
    NetworkId,
    PeerFault,
    PublicKey,
    QuorumCertificate,
    Reader,
    Receipt,
    Signature,
    SignedKind,
    StateRoot,
    Term,
    TimeoutCertificate,
    TimeoutEntry,
    Transaction,
    TransactionRejected,
    TxId,
    UsageError,
    ValidatorIndex,
    Value,
    Writer,
    build_transaction,
    compute_body_hash,
    compute_merkle_root,
    decode_block,
    decode_commit_proof,
    decode_envelope,
    decode_receipt,
    decode_transaction,
    decode_value,
    encode_block,
    encode_commit_proof,
    encode_header,
    encode_receipt,
    encode_value,
    genesis_from_json,
    genesis_to_json,
    read_certificate,
    read_header,
    read_timeout_certificate,
    seal_envelope,
    value_from_json,
    value_to_json,
    write_certificate,
    write_timeout_certificate,
)

NETWORK = NetworkId(sha256(b"property").digest())
REFUSALS = (PeerFault, TransactionRejected)

digests = st.binary(min_size=32, max_size=32)
u64s = st.integers(0, 2**64 - 1)
opened = st.integers(0, 2**64 - 2)  # terms that another can follow
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
slugs = st.from_regex(r"[a-z][a-z0-9_-]{0,47}", fullmatch=True)
scalars: st.SearchStrategy[Value] = (
    st.booleans()
    | st.integers(INT_MIN, INT_MAX)
    | st.integers(-300, 300)
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.binary(max_size=20)
)
values: st.SearchStrategy[Value] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)

# Without the one record that JSON cannot tell from bytes.
json_values: st.SearchStrategy[Value] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4).map(tuple) | st.dictionaries(names.filter(str.isalnum), inner, max_size=4)
    ),
    max_leaves=12,
)


def sort_by_name(named: dict[str, Value]) -> Fields:
    return tuple(sorted(named.items(), key=lambda field: field[0]))


fields: st.SearchStrategy[Fields] = st.dictionaries(names, values, max_size=4).map(sort_by_name)
key_ids = st.binary(min_size=16, max_size=16).map(KeyId)
signatures = st.binary(max_size=72).map(Signature)

transactions: st.SearchStrategy[Transaction] = st.builds(
    build_transaction,
    network_id=st.just(NETWORK),
    member=slugs.map(MemberId),
    request_id=st.from_regex(r"[!-~]{1,64}", fullmatch=True),
    valid_until_ms=u64s,
    gas_limit=st.integers(1, 2**64 - 1),
    signers=st.sets(key_ids, min_size=1, max_size=SIGNERS_MAX),
    call=st.builds(
        Call,
        contract=slugs,
        entry=st.from_regex(r"[a-z][a-z0-9_]{0,63}", fullmatch=True),
        arguments=fields,
    ),
)


@st.composite
def make_envelope(draw: st.DrawFn) -> Envelope:
    chosen = draw(st.lists(transactions, min_size=1, max_size=3))
    signers = sorted({key_id for transaction in chosen for key_id in transaction.signers})
    return seal_envelope(NETWORK, chosen, {key_id: draw(signatures) for key_id in signers})


headers: st.SearchStrategy[Header] = st.builds(
    Header,
    network_id=digests.map(NetworkId),
    epoch=u64s.map(Epoch),
    term=u64s.map(Term),
    height=u64s.map(Height),
    parent_hash=digests.map(BlockHash),
    parent_term=u64s.map(Term),
    time_ms=u64s,
    proposer=st.integers(0, 2**32 - 1).map(ValidatorIndex),
    tx_root=digests.map(MerkleRoot),
    tx_count=st.integers(0, 2**32 - 1),
    body_hash=digests,
    state_root=digests.map(StateRoot),
    receipts_root=digests.map(MerkleRoot),
    valset_hash=digests,
    next_valset_hash=digests,
    flags=st.sampled_from([BlockFlags.NONE, BlockFlags.EPOCH_END]),
    evidence_root=digests.map(MerkleRoot),
)


@st.composite
def make_block(draw: st.DrawFn) -> Block:
    envelopes = draw(st.lists(st.binary(max_size=40), max_size=4))
    evidence = draw(st.lists(st.binary(max_size=40), max_size=2))
    drawn = draw(headers)
    committed = {name: getattr(drawn, name) for name in Header.__dataclass_fields__}
    committed["body_hash"] = compute_body_hash(envelopes, evidence)
    committed["evidence_root"] = compute_merkle_root(evidence)
    return Block.create(Header(**committed), envelopes, evidence)


receipts: st.SearchStrategy[Receipt] = st.builds(
    Receipt,
    tx_id=digests.map(TxId),
    height=u64s.map(Height),
    index=st.integers(0, 2**32 - 1),
    succeeded=st.booleans(),
    code=st.text(st.characters(codec="ascii"), max_size=64),
    details=fields,
    contract=slugs,
    line=st.integers(0, 2**32 - 1),
    gas_used=u64s,
    value=values,
    events=st.lists(st.builds(Event, contract=slugs, name=slugs, fields=fields), max_size=3).map(tuple),
)
indices = st.sets(st.integers(0, 63), max_size=5).map(sorted)


@st.composite
def make_certificate(draw: st.DrawFn) -> QuorumCertificate:
    return QuorumCertificate(
        kind=draw(st.sampled_from([SignedKind.VOTE_PREPARE, SignedKind.VOTE_COMMIT])),
        epoch=Epoch(draw(u64s)),
        term=Term(draw(u64s)),
        height=Height(draw(u64s)),
        block_hash=BlockHash(draw(digests)),
        signatures=tuple((ValidatorIndex(index), draw(signatures)) for index in draw(indices)),
    )


@st.composite
def make_timeout_certificate(draw: st.DrawFn) -> TimeoutCertificate:
    entries = tuple(
        TimeoutEntry(
            validator=ValidatorIndex(index),
            high_term=Term(draw(u64s)),
            high_height=Height(draw(u64s)),
            high_hash=BlockHash(draw(digests)),
            signature=draw(signatures),
        )
        for index in draw(indices.filter(bool))
    )
    return TimeoutCertificate(
        epoch=Epoch(draw(u64s)), term=Term(draw(opened)), entries=entries, high_qc=draw(make_certificate())
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """One encoding under test: what it encodes, and both directions."""

    values: st.SearchStrategy[Any]
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def write_with(write: Callable[[Writer, Any], None]) -> Callable[[Any], bytes]:
    def encode(value: object) -> bytes:
        writer = Writer()
        write(writer, value)
        return writer.finish()

    return encode


def read_with(read: Callable[[Reader], object]) -> Callable[[bytes], object]:
    def decode(data: bytes) -> object:
        reader = Reader(data)
        value = read(reader)
        reader.finish()
        return value

    return decode


def encode_transaction(transaction: Transaction) -> bytes:
    rebuilt = build_transaction(
        network_id=NETWORK,
        member=transaction.member,
        request_id=transaction.request_id,
        valid_until_ms=transaction.valid_until_ms,
        gas_limit=transaction.gas_limit,
        signers=transaction.signers,
        call=transaction.call,
    )
    return rebuilt.payload


CODECS = {
    "value": Codec(values=values, encode=encode_value, decode=decode_value),
    "transaction": Codec(
        values=transactions,
        encode=encode_transaction,
        decode=lambda data: decode_transaction(NETWORK, data),
    ),
    "envelope": Codec(
        values=make_envelope(),
        encode=lambda e: seal_envelope(NETWORK, e.transactions, dict(e.signatures)).encoded,
        decode=lambda data: decode_envelope(NETWORK, data),
    ),
    "header": Codec(values=headers, encode=encode_header, decode=read_with(read_header)),
    "block": Codec(values=make_block(), encode=encode_block, decode=decode_block),
    "receipt": Codec(values=receipts, encode=encode_receipt, decode=decode_receipt),
    "quorum certificate": Codec(
        values=make_certificate(), encode=write_with(write_certificate), decode=read_with(read_certificate)
    ),
    "timeout certificate": Codec(
        values=make_timeout_certificate(),
        encode=write_with(write_timeout_certificate),
        decode=read_with(read_timeout_certificate),
    ),
    "commit proof": Codec(
        values=st.builds(CommitProof, certificate=make_certificate(), child=st.none() | headers),
        encode=encode_commit_proof,
        decode=decode_commit_proof,
    ),
}
every_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())


def check_refused_or_canonical(codec: Codec, data: bytes) -> Any:
    """Return what `data` decodes to, None if it is refused; fail if it is a second spelling."""
    try:
        value = codec.decode(data)
    except REFUSALS:
        return None
    assert codec.encode(value) == data
    return value


@every_codec
@given(data=st.data())
def test_every_value_round_trips(codec: Codec, data: st.DataObject) -> None:
    value = data.draw(codec.values)
    encoded = codec.encode(value)
    decoded = codec.decode(encoded)

    assert decoded == value
    assert codec.encode(decoded) == encoded


@every_codec
@given(data=st.binary(max_size=600))
def test_any_bytes_give_their_value_or_a_refusal(codec: Codec, data: bytes) -> None:
    check_refused_or_canonical(codec, data)


@every_codec
@given(data=st.data())
def test_every_truncation_is_refused(codec: Codec, data: st.DataObject) -> None:
    encoded = codec.encode(data.draw(codec.values))

    for size in range(len(encoded)):
        with pytest.raises(REFUSALS):
            codec.decode(encoded[:size])


@every_codec
@given(data=st.data(), tail=st.binary(min_size=1, max_size=8))
def test_bytes_behind_an_encoding_are_refused(codec: Codec, data: st.DataObject, tail: bytes) -> None:
    encoded = codec.encode(data.draw(codec.values))

    with pytest.raises(REFUSALS):
        codec.decode(encoded + tail)


@every_codec
@given(data=st.data(), mask=st.integers(1, 255))
def test_every_changed_byte_is_refused_or_spells_another_value(
    codec: Codec, data: st.DataObject, mask: int
) -> None:
    value = data.draw(codec.values)
    encoded = codec.encode(value)

    for position in range(len(encoded)):
        changed = bytearray(encoded)
        changed[position] ^= mask
        assert check_refused_or_canonical(codec, bytes(changed)) != value


@given(value=json_values)
def test_every_value_round_trips_through_json(value: Value) -> None:
    assert value_from_json(value_to_json(value)) == value


@given(text=st.text(max_size=200))
def test_any_text_is_a_genesis_or_is_refused(text: str) -> None:
    try:
        genesis = genesis_from_json(text)
    except UsageError:
        return
    assert genesis_from_json(genesis_to_json(genesis)) == genesis


json_documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    document=st.fixed_dictionaries(
        {
            "version": st.just(1),
            "network": st.text(max_size=5) | json_documents,
            "time_ms": u64s | json_documents,
            "parameters": st.just({}) | json_documents,
            "members": st.just([]) | json_documents,
            "validators": st.just([]) | json_documents,
            "contracts": st.just([]) | json_documents,
        }
    )
)
def test_any_document_is_a_genesis_or_is_refused(document: dict[str, object]) -> None:
    try:
        genesis: Genesis = genesis_from_json(json.dumps(document))
    except UsageError:
        return
    assert genesis_from_json(genesis_to_json(genesis)) == genesis


@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_public_key_or_a_peer_fault(data: bytes) -> None:
    try:
        PublicKey.decode(data)
    except PeerFault:
        return


@given(leaves=st.lists(st.binary(max_size=40), min_size=1, max_size=40), data=st.data())
def test_root_depends_on_every_leaf(leaves: list[bytes], data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(leaves) - 1))
    changed = [*leaves]
    changed[position] += b"!"

    assert compute_merkle_root(changed) != compute_merkle_root(leaves)
