"""The numbers and byte strings that must not be mixed up."""

from __future__ import annotations

from typing import NewType

Epoch = NewType("Epoch", int)
"""The reign of one validator set; the first is 0."""

Term = NewType("Term", int)
"""The number that picks the leader within an epoch; the first is 1."""

Height = NewType("Height", int)
"""A block's position in the chain; genesis is 0, the first block 1."""

ValidatorIndex = NewType("ValidatorIndex", int)
"""A validator's position in its epoch's validator set, from 0."""

MemberId = NewType("MemberId", str)
"""An organisation admitted to the network, such as `dealer-a`."""

KeyId = NewType("KeyId", bytes)
"""The first 16 bytes of SHA-256 over a public key's SubjectPublicKeyInfo (DER)."""

BlockHash = NewType("BlockHash", bytes)
TxId = NewType("TxId", bytes)
NetworkId = NewType("NetworkId", bytes)
"""SHA-256 of the canonical genesis; every signature covers it."""

StateRoot = NewType("StateRoot", bytes)
MerkleRoot = NewType("MerkleRoot", bytes)
Signature = NewType("Signature", bytes)
"""An ECDSA P-256 signature in DER, at most 72 bytes."""
