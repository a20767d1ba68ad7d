"""Cheap keys behind the seam for signatures: only the simulator can make them, everybody can check them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from tanpo.ledger.types import Signature, ValidatorIndex

_SIGNATURE_BYTES = 12


def sign(key: bytes, message: bytes) -> Signature:
    """Return the signature of a key over a message."""
    return Signature(sha256(key + message).digest()[:_SIGNATURE_BYTES])


@dataclass(frozen=True, slots=True)
class CheapKeys:
    """The keys of one validator set, by index. A `SignatureChecker`."""

    keys: tuple[bytes, ...]

    @property
    def validator_count(self) -> int:
        """How many validators there are."""
        return len(self.keys)

    def verify(self, validator: ValidatorIndex, message: bytes, signature: Signature) -> bool:
        """Return whether the validator signed the message."""
        return 0 <= validator < len(self.keys) and signature == sign(self.keys[validator], message)


def make_key(name: str) -> bytes:
    """Return the key of a validator's name."""
    return b"key of " + name.encode()
