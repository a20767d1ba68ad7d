"""The validator sets of a run, one for each epoch, and who is who in each.

A validator is named by a token: the name of its node, and after a `#` the number of its key if that is not
the first. Which set follows is planned; when it follows, the network decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from tanpo.ledger.types import Signature, ValidatorIndex
from tanpo.simulator.keys import CheapKeys, make_key, sign

REIGN_PREFIX: Final = b"reign "
"""An envelope that starts so asks for the validator set of that number."""


@dataclass(frozen=True, slots=True)
class Reign:
    """One validator set."""

    tokens: tuple[str, ...]
    nodes: tuple[str, ...]
    """The names of their nodes, by index."""
    keys: CheapKeys
    valset_hash: bytes

    @classmethod
    def create(cls, tokens: Sequence[str]) -> Reign:
        """Return the set of these validators."""
        keys = CheapKeys(tuple(make_key(token) for token in tokens))
        nodes = tuple(token.partition("#")[0] for token in tokens)
        return cls(tuple(tokens), nodes, keys, sha256(" ".join(tokens).encode()).digest())

    @property
    def validator_count(self) -> int:
        """How many validators there are."""
        return len(self.tokens)

    def find_index(self, node: str) -> ValidatorIndex | None:
        """Return the index of a node, None if it is no validator."""
        return ValidatorIndex(self.nodes.index(node)) if node in self.nodes else None

    def sign(self, index: int, message: bytes) -> Signature:
        """Sign as a validator."""
        return sign(self.keys.keys[index], message)


def make_reign_envelope(number: int) -> bytes:
    """Return the transaction that asks for a validator set."""
    return REIGN_PREFIX + b"%d" % number


def find_reign(envelope: bytes) -> int | None:
    """Return the number of the validator set that a transaction asks for, None if it asks for none."""
    digits = envelope.removeprefix(REIGN_PREFIX)
    return int(digits) if digits != envelope and digits.isdigit() else None
