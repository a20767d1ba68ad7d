from __future__ import annotations

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from tanpo.ledger import SIGNATURE_BYTES_MAX, KeyId, PeerFault, PrivateKey, PublicKey, Reason, UsageError

DIGEST = sha256(b"a message").digest()


def encode_public(key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey, *, compressed: bool) -> bytes:
    if not compressed:
        return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    point = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    prefix = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    return prefix + point


def test_signature_verifies_under_its_own_key_and_digest_only(keys: tuple[PrivateKey, ...]) -> None:
    signature = keys[0].sign(DIGEST)

    assert keys[0].public_key.verify(signature, DIGEST)
    assert not keys[1].public_key.verify(signature, DIGEST)
    assert not keys[0].public_key.verify(signature, sha256(b"another").digest())


@pytest.mark.parametrize("signature", [b"", b"\x30\x00", bytes(72), b"\xff" * 64])
def test_bytes_that_are_no_signature_do_not_verify(keys: tuple[PrivateKey, ...], signature: bytes) -> None:
    assert keys[0].public_key.verify(signature, DIGEST) is False


def test_signatures_are_deterministic_and_bounded(keys: tuple[PrivateKey, ...]) -> None:
    digests = [sha256(bytes([number])).digest() for number in range(50)]

    assert [keys[0].sign(digest) for digest in digests] == [keys[0].sign(digest) for digest in digests]
    assert max(len(keys[0].sign(digest)) for digest in digests) <= SIGNATURE_BYTES_MAX


def test_key_is_named_by_its_public_half(keys: tuple[PrivateKey, ...]) -> None:
    encoded = keys[0].public_key.encoded

    assert keys[0].key_id == KeyId(sha256(encoded).digest()[:16])
    assert PublicKey.decode(encoded).key_id == keys[0].key_id


def test_another_spelling_of_a_key_has_the_same_name(keys: tuple[PrivateKey, ...]) -> None:
    public = keys[0].to_cryptography().public_key()

    assert PublicKey.decode(encode_public(public, compressed=True)).key_id == keys[0].key_id


def test_generated_key_survives_its_file() -> None:
    key = PrivateKey.generate()

    again = PrivateKey.from_pem(key.to_pem())

    assert again.key_id == key.key_id
    assert key.public_key.verify(again.sign(DIGEST), DIGEST)


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"garbage", id="garbage"),
        pytest.param(
            encode_public(ed25519.Ed25519PrivateKey.generate().public_key(), compressed=False), id="Ed25519"
        ),
        pytest.param(
            encode_public(ec.generate_private_key(ec.SECP384R1()).public_key(), compressed=False), id="P-384"
        ),
        pytest.param(bytes.fromhex("300a300506032b656f0301 00"), id="an algorithm nobody implements"),
    ],
)
def test_public_key_that_is_not_p256_is_a_peer_fault(encoded: bytes) -> None:
    with pytest.raises(PeerFault) as caught:
        PublicKey.decode(encoded)

    assert caught.value.reason is Reason.MALFORMED
    assert caught.value.limit == "ecdsa-p256-sha256"


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        PrivateKey.generate()
        .to_cryptography()
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        ),
    ],
    ids=["nothing", "garbage", "Ed25519", "encrypted"],
)
def test_file_without_a_usable_private_key_says_what_to_do(pem: bytes) -> None:
    with pytest.raises(UsageError) as caught:
        PrivateKey.from_pem(pem)

    assert caught.value.reason is Reason.CONFIGURATION
    assert "tanpo key generate" in caught.value.remedy


def test_private_key_does_not_show_itself(keys: tuple[PrivateKey, ...]) -> None:
    assert "PRIVATE" not in repr(keys[0])
