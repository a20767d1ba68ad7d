"""Signatures that only a scenario can make: cheap, and checkable by all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from tanpo.ledger.types import Signature, ValidatorIndex


@dataclass(frozen=True, slots=True)
class StoryKeys:
    """The public keys of a validator set, by name."""

    names: tuple[str, ...]

    @property
    def validator_count(self) -> int:
        """How many validators there are."""
        return len(self.names)

    def verify(self, validator: ValidatorIndex, message: bytes, signature: Signature) -> bool:
        """Return whether the validator signed the message."""
        return validator < len(self.names) and signature == sign(self.names[validator], message)


def sign(name: str, message: bytes) -> Signature:
    """Return the signature of the validator with this name."""
    return Signature(sha256(b"key of " + name.encode() + b": " + message).digest()[:12])


def compute_valset_hash(names: Sequence[str]) -> bytes:
    """Return what headers carry for a validator set."""
    return sha256(b"validators " + ",".join(names).encode()).digest()
