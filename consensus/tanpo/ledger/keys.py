"""ECDSA P-256 with SHA-256 (D1): the one key type of the network, used by members, nodes and certificates.

`cryptography` releases the GIL in `PublicKey.verify`, so checks may run in threads, in chunks.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from tanpo.ledger.errors import PeerFault, Reason, UsageError
from tanpo.ledger.types import KeyId, Signature

ALGORITHM: Final = "ecdsa-p256-sha256"
SIGNATURE_BYTES_MAX: Final = 72
PUBLIC_KEY_BYTES_MAX: Final = 256

_ECDSA: Final = ec.ECDSA(utils.Prehashed(hashes.SHA256()))
_ECDSA_DETERMINISTIC: Final = ec.ECDSA(utils.Prehashed(hashes.SHA256()), deterministic_signing=True)


class PublicKey:
    """A P-256 public key, parsed once and kept: parsing costs as much as a tenth of a check."""

    __slots__ = ("_key", "encoded", "key_id")

    def __init__(self, key: ec.EllipticCurvePublicKey, encoded: bytes) -> None:
        self._key = key
        self.encoded = encoded
        self.key_id = KeyId(sha256(encoded).digest()[:16])

    @classmethod
    def decode(cls, encoded: bytes) -> PublicKey:
        """Return the key in a DER SubjectPublicKeyInfo. Raises `PeerFault` for anything but P-256."""
        try:
            key = serialization.load_der_public_key(encoded)
        except (ValueError, UnsupportedAlgorithm):
            raise _unusable("not a DER SubjectPublicKeyInfo") from None
        return cls.from_cryptography(key)

    @classmethod
    def from_pem(cls, pem: bytes) -> PublicKey:
        """Return the key in a PEM file. Raises `PeerFault` for anything but a P-256 public key."""
        try:
            key = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            raise _unusable("not a PEM public key") from None
        return cls.from_cryptography(key)

    def to_pem(self) -> bytes:
        """Return the key as PEM, for others to be given."""
        return self._key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @classmethod
    def from_cryptography(cls, key: object) -> PublicKey:
        """Return the key behind a `cryptography` public key object, such as a certificate's."""
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise _unusable("not an ECDSA key on curve P-256")
        encoded = key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return cls(key, encoded)

    def verify(self, signature: bytes, digest: bytes) -> bool:
        """Return whether `signature` (DER) was made over the 32-byte `digest` with this key."""
        try:
            self._key.verify(signature, digest, _ECDSA)
        except InvalidSignature:
            return False
        return True


class PrivateKey:
    """A P-256 private key held in memory. Signatures are deterministic (RFC 6979)."""

    __slots__ = ("_key", "public_key")

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public_key = PublicKey.from_cryptography(key.public_key())

    @classmethod
    def generate(cls) -> PrivateKey:
        """Return a new random key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> PrivateKey:
        """Return the key in an unencrypted PKCS#8 PEM. Raises `UsageError` when there is none."""
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise _bad_private_key() from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise _bad_private_key()
        return cls(key)

    def to_pem(self) -> bytes:
        """Return the key as unencrypted PKCS#8 PEM."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def key_id(self) -> KeyId:
        """The id under which the public half is registered."""
        return self.public_key.key_id

    def sign(self, digest: bytes) -> Signature:
        """Return a DER signature over the 32-byte `digest`."""
        return Signature(self._key.sign(digest, _ECDSA_DETERMINISTIC))

    def to_cryptography(self) -> ec.EllipticCurvePrivateKey:
        """Return the `cryptography` object, to issue certificates with."""
        return self._key


def _unusable(why: str) -> PeerFault:
    return PeerFault(Reason.MALFORMED, f"public key is {why}", limit=ALGORITHM, remedy="send a P-256 key")


def _bad_private_key() -> UsageError:
    return UsageError(
        Reason.CONFIGURATION,
        "the private key is not an unencrypted PKCS#8 PEM of a P-256 key",
        limit=ALGORITHM,
        remedy="make one with `tanpo key generate`",
    )
