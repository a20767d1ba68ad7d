"""The binary Merkle tree over a block's transactions and receipts, as in RFC 9162 section 2.1.

Leaf and node hashes carry different first bytes, so that no node can pass for a leaf.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from tanpo.ledger.errors import PeerFault, Reason, UsageError
from tanpo.ledger.types import MerkleRoot


@dataclass(frozen=True, slots=True, kw_only=True)
class MerkleProof:
    """That a leaf stands at `index` among `leaf_count`; `siblings` go from the leaf to the root."""

    index: int
    leaf_count: int
    siblings: tuple[bytes, ...]


def compute_merkle_root(leaves: Sequence[bytes]) -> MerkleRoot:
    """Return the root over the leaves in order; SHA-256 of nothing when there are none."""
    if not leaves:
        return MerkleRoot(sha256(b"").digest())
    level = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
    while len(level) > 1:
        level = _parents(level)
    return MerkleRoot(level[0])


def prove_leaf(leaves: Sequence[bytes], index: int) -> MerkleProof:
    """Return the proof for one leaf. Raises `UsageError` when the index is outside the leaves."""
    if not 0 <= index < len(leaves):
        raise UsageError(Reason.NOT_FOUND, "no such leaf", value=index, limit=f"0..{len(leaves) - 1}")
    level = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
    position = index
    siblings: list[bytes] = []
    while len(level) > 1:
        sibling = position ^ 1
        if sibling < len(level):
            siblings.append(level[sibling])
        level = _parents(level)
        position //= 2
    return MerkleProof(index=index, leaf_count=len(leaves), siblings=tuple(siblings))


def verify_leaf(root: MerkleRoot, leaf: bytes, proof: MerkleProof) -> None:
    """Raise `PeerFault(PROOF_INVALID)` unless `proof` shows `leaf` under `root`.

    The root does not cover the number of leaves: the caller compares `proof.leaf_count` with a count it
    trusts, such as the header's, before it relies on `proof.index`.
    """
    if not 0 <= proof.index < proof.leaf_count:
        raise _invalid("index is outside the leaves")
    digest = sha256(b"\x00" + leaf).digest()
    position, width = proof.index, proof.leaf_count
    siblings = iter(proof.siblings)
    while width > 1:
        if position ^ 1 < width:
            sibling = next(siblings, None)
            if sibling is None:
                raise _invalid("a sibling is missing")
            pair = sibling + digest if position & 1 else digest + sibling
            digest = sha256(b"\x01" + pair).digest()
        position //= 2
        width = (width + 1) // 2
    if next(siblings, None) is not None:
        raise _invalid("a sibling is left over")
    if digest != root:
        raise _invalid("the path leads to another root")


def _parents(level: list[bytes]) -> list[bytes]:
    """Hash pairs; a last node without a partner moves up unchanged, as RFC 9162's split has it."""
    parents = [sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
    if len(level) % 2:
        parents.append(level[-1])
    return parents


def _invalid(why: str) -> PeerFault:
    return PeerFault(Reason.PROOF_INVALID, f"inclusion proof: {why}", remedy="ask another node")
