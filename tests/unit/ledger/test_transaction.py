from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any, cast

import pytest
from tanpo.ledger import (
    ENVELOPE_BYTES_MAX,
    ENVELOPE_TRANSACTIONS_MAX,
    PAYLOAD_BYTES_MAX,
    SIGNERS_MAX,
    Call,
    Envelope,
    KeyId,
    LedgerError,
    MemberId,
    NetworkId,
    PeerFault,
    PrivateKey,
    Reason,
    Signature,
    Transaction,
    TransactionRejected,
    Value,
    build_transaction,
    compute_request_digest,
    decode_envelope,
    decode_transaction,
    seal_envelope,
    sign_envelope,
)

Build = Callable[..., Transaction]


@pytest.fixture
def build(network_id: NetworkId, keys: tuple[PrivateKey, ...]) -> Build:
    """Return a function that builds a good transaction, or one with some fields replaced."""

    def make(**changes: Any) -> Transaction:
        fields: dict[str, Any] = {
            "network_id": network_id,
            "member": MemberId("bank-0"),
            "request_id": "request-1",
            "valid_until_ms": 60_000,
            "gas_limit": 1_000,
            "signers": [keys[0].key_id],
            "call": Call.create("cash", "transfer", {"amount": 1}),
        }
        return build_transaction(**(fields | changes))

    return make


def make_key_ids(count: int) -> list[KeyId]:
    return [KeyId(index.to_bytes(16, "big")) for index in range(count)]


def test_transaction_decodes_to_what_was_built(network_id: NetworkId, transaction: Transaction) -> None:
    assert decode_transaction(network_id, transaction.payload) == transaction


def test_arguments_are_sorted_by_name() -> None:
    call = Call.create("cash", "transfer", {"to": "b", "amount": 1})

    assert call.arguments == (("amount", 1), ("to", "b"))


def test_argument_name_must_be_text() -> None:
    with pytest.raises(TransactionRejected) as caught:
        Call.create("cash", "transfer", cast("dict[str, Value]", {1: 1, "a": 2}))

    assert caught.value.reason is Reason.ARGUMENT_TYPE


def test_signers_are_sorted_and_listed_once(build: Build) -> None:
    one, two = make_key_ids(2)

    assert build(signers=[two, one, two]).signers == (one, two)


def test_id_depends_on_the_network(build: Build) -> None:
    other = NetworkId(sha256(b"another network").digest())

    assert build().tx_id != build(network_id=other).tx_id
    assert build().payload == build(network_id=other).payload


def test_request_digest_keeps_member_and_request_apart() -> None:
    ab = compute_request_digest(MemberId("ab"), "c")

    assert ab != compute_request_digest(MemberId("a"), "bc")
    assert len(ab) == 32


def test_request_digest_of_a_transaction_is_that_of_its_member(transaction: Transaction) -> None:
    assert transaction.request_digest == compute_request_digest(transaction.member, transaction.request_id)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"member": MemberId("")}, Reason.MALFORMED),
        ({"member": MemberId("Bank")}, Reason.MALFORMED),
        ({"member": MemberId("b" * 49)}, Reason.MALFORMED),
        ({"member": MemberId("bank-0\n")}, Reason.MALFORMED),
        ({"request_id": ""}, Reason.MALFORMED),
        ({"request_id": "two words"}, Reason.MALFORMED),
        ({"request_id": "r" * 65}, Reason.MALFORMED),
        ({"valid_until_ms": -1}, Reason.MALFORMED),
        ({"valid_until_ms": 2**64}, Reason.MALFORMED),
        ({"gas_limit": 0}, Reason.GAS_LIMIT),
        ({"gas_limit": 2**64}, Reason.GAS_LIMIT),
        ({"signers": []}, Reason.SIGNATURE_MISSING),
        ({"signers": make_key_ids(SIGNERS_MAX + 1)}, Reason.SIGNATURE_MISSING),
        ({"call": Call.create("Cash", "transfer", {})}, Reason.MALFORMED),
        ({"call": Call.create("cash", "_transfer", {})}, Reason.MALFORMED),
        ({"call": Call.create("cash", "trans-fer", {})}, Reason.MALFORMED),
        ({"call": Call.create("cash", "transfer", {"x": 2**255})}, Reason.ARGUMENT_RANGE),
        ({"call": Call.create("cash", "transfer", {"x": cast("Value", 0.5)})}, Reason.ARGUMENT_TYPE),
        ({"call": Call.create("cash", "transfer", {"x": (b"x" * 4096,) * 17})}, Reason.TOO_LARGE),
    ],
)
def test_field_outside_its_limits_is_rejected(build: Build, changes: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(TransactionRejected) as caught:
        build(**changes)

    assert caught.value.reason is reason
    assert caught.value.remedy


def test_payload_of_another_version_is_a_peer_fault(network_id: NetworkId, transaction: Transaction) -> None:
    with pytest.raises(PeerFault, match="payload version"):
        decode_transaction(network_id, b"\x02" + transaction.payload[1:])


def test_payload_above_the_limit_is_rejected_before_it_is_read(network_id: NetworkId) -> None:
    with pytest.raises(TransactionRejected) as caught:
        decode_transaction(network_id, bytes(PAYLOAD_BYTES_MAX + 1))

    assert caught.value.reason is Reason.TOO_LARGE


def test_payload_with_unordered_signers_is_rejected(network_id: NetworkId, transaction: Transaction) -> None:
    low, high = transaction.signers
    swapped = transaction.payload.replace(low + high, high + low)

    with pytest.raises(TransactionRejected) as caught:
        decode_transaction(network_id, swapped)

    assert caught.value.reason is Reason.SIGNATURE_DUPLICATE


def test_envelope_decodes_to_what_was_sealed(network_id: NetworkId, envelope: Envelope) -> None:
    assert decode_envelope(network_id, envelope.encoded) == envelope


def test_ids_survive_another_signature(
    network_id: NetworkId, envelope: Envelope, keys: tuple[PrivateKey, ...]
) -> None:
    """D2: a tx id must not change with its signatures; the name of the cached check must."""
    signatures = {key_id: Signature(bytes(72)) for key_id, _ in envelope.signatures}
    other = seal_envelope(network_id, envelope.transactions, signatures)

    assert other.digest == envelope.digest
    assert other.signed_hash != envelope.signed_hash


def test_every_signature_covers_all_transactions_of_the_envelope(
    network_id: NetworkId, build: Build, keys: tuple[PrivateKey, ...]
) -> None:
    transactions = [build(request_id=f"request-{number}") for number in range(3)]
    envelope = sign_envelope(network_id, transactions, keys[:1])

    assert keys[0].public_key.verify(envelope.signatures[0][1], envelope.digest)
    assert envelope.digest != sign_envelope(network_id, transactions[::-1], keys[:1]).digest


def test_missing_signature_is_rejected(
    network_id: NetworkId, transaction: Transaction, keys: tuple[PrivateKey, ...]
) -> None:
    with pytest.raises(TransactionRejected) as caught:
        sign_envelope(network_id, [transaction], keys[:1])

    assert caught.value.reason is Reason.SIGNATURE_MISSING
    assert caught.value.value == keys[1].key_id.hex()


def test_foreign_signature_is_rejected(
    network_id: NetworkId, transaction: Transaction, keys: tuple[PrivateKey, ...]
) -> None:
    with pytest.raises(TransactionRejected) as caught:
        sign_envelope(network_id, [transaction], keys[:3])

    assert caught.value.reason is Reason.SIGNATURE_FOREIGN
    assert caught.value.value == keys[2].key_id.hex()


def test_overlong_signature_is_rejected(network_id: NetworkId, transaction: Transaction) -> None:
    signatures = {key_id: Signature(bytes(73)) for key_id in transaction.signers}

    with pytest.raises(TransactionRejected) as caught:
        seal_envelope(network_id, [transaction], signatures)

    assert caught.value.reason is Reason.SIGNATURE_INVALID


def rewrite_signatures(envelope: Envelope, signatures: list[tuple[KeyId, Signature]]) -> bytes:
    """Return the envelope's bytes with another list of signatures, whatever it is."""
    size = sum(len(key_id) + 4 + len(signature) for key_id, signature in envelope.signatures) + 1
    listed = b"".join(
        key_id + len(signature).to_bytes(4, "big") + signature for key_id, signature in signatures
    )
    return envelope.encoded[:-size] + bytes([len(signatures)]) + listed


@pytest.mark.parametrize(
    ("choose", "reason"),
    [
        (lambda s: [], Reason.SIGNATURE_MISSING),
        (lambda s: s[:1], Reason.SIGNATURE_MISSING),
        (lambda s: s[::-1], Reason.SIGNATURE_DUPLICATE),
        (lambda s: [s[0], s[0], s[1]], Reason.SIGNATURE_DUPLICATE),
        (lambda s: [(KeyId(bytes(16)), s[0][1]), *s], Reason.SIGNATURE_FOREIGN),
    ],
)
def test_decoding_applies_the_rule_of_signers(
    network_id: NetworkId,
    envelope: Envelope,
    choose: Callable[[list[tuple[KeyId, Signature]]], list[tuple[KeyId, Signature]]],
    reason: Reason,
) -> None:
    encoded = rewrite_signatures(envelope, choose(list(envelope.signatures)))

    with pytest.raises(TransactionRejected) as caught:
        decode_envelope(network_id, encoded)

    assert caught.value.reason is reason


@pytest.mark.parametrize("count", [0, ENVELOPE_TRANSACTIONS_MAX + 1])
def test_envelope_holds_between_1_and_256_transactions(
    network_id: NetworkId, transaction: Transaction, keys: tuple[PrivateKey, ...], count: int
) -> None:
    with pytest.raises(TransactionRejected) as caught:
        sign_envelope(network_id, [transaction] * count, keys[:2])

    assert caught.value.reason is Reason.TOO_LARGE


def test_envelope_of_256_transactions_round_trips(
    network_id: NetworkId, build: Build, keys: tuple[PrivateKey, ...]
) -> None:
    transactions = [build(request_id=f"r{number}") for number in range(ENVELOPE_TRANSACTIONS_MAX)]
    envelope = sign_envelope(network_id, transactions, keys[:1])

    assert decode_envelope(network_id, envelope.encoded) == envelope


@pytest.mark.parametrize("count", [0, ENVELOPE_TRANSACTIONS_MAX + 1])
def test_encoded_count_of_transactions_outside_the_limits_is_a_peer_fault(
    network_id: NetworkId, envelope: Envelope, count: int
) -> None:
    encoded = envelope.encoded[:1] + count.to_bytes(2, "big") + envelope.encoded[3:]

    with pytest.raises(PeerFault, match="transactions in an envelope"):
        decode_envelope(network_id, encoded)


def test_envelope_above_the_limit_is_rejected_before_it_is_read(network_id: NetworkId) -> None:
    with pytest.raises(TransactionRejected) as caught:
        decode_envelope(network_id, bytes(ENVELOPE_BYTES_MAX + 1))

    assert caught.value.reason is Reason.TOO_LARGE


def test_envelope_above_the_limit_cannot_be_sealed(
    network_id: NetworkId, build: Build, keys: tuple[PrivateKey, ...]
) -> None:
    large = Call.create("cash", "note", {"text": (b"x" * 4096,) * 14})
    transactions = [build(request_id=f"r{number}", call=large) for number in range(10)]

    with pytest.raises(TransactionRejected) as caught:
        sign_envelope(network_id, transactions, keys[:1])

    assert caught.value.reason is Reason.TOO_LARGE


def test_one_envelope_may_carry_transactions_of_different_signers(
    network_id: NetworkId, build: Build, keys: tuple[PrivateKey, ...]
) -> None:
    first = build()
    second = build(request_id="request-2", signers=[keys[1].key_id])
    envelope = sign_envelope(network_id, [first, second], keys[:2])

    assert decode_envelope(network_id, envelope.encoded) == envelope


def test_envelope_of_another_version_is_a_peer_fault(network_id: NetworkId, envelope: Envelope) -> None:
    with pytest.raises(PeerFault, match="envelope version"):
        decode_envelope(network_id, b"\x00" + envelope.encoded[1:])


def test_unsigned_change_of_a_transaction_breaks_the_signature(
    network_id: NetworkId, envelope: Envelope, keys: tuple[PrivateKey, ...]
) -> None:
    """The attack: raise the amount in a swap that both parties have signed."""
    call = Call.create("cash", "transfer", {"to": "bank-1", "amount": 6})
    original = envelope.transactions[0]
    forged = build_transaction(
        network_id=network_id,
        member=original.member,
        request_id=original.request_id,
        valid_until_ms=original.valid_until_ms,
        gas_limit=original.gas_limit,
        signers=original.signers,
        call=call,
    )
    sealed = seal_envelope(network_id, [forged], dict(envelope.signatures))

    signed_by = {key.key_id: key.public_key for key in keys}
    assert not any(signed_by[k].verify(signature, sealed.digest) for k, signature in sealed.signatures)


def test_errors_of_decoding_are_ledger_errors_with_a_remedy(network_id: NetworkId) -> None:
    with pytest.raises(LedgerError) as caught:
        decode_envelope(network_id, b"garbage")

    assert caught.value.remedy
