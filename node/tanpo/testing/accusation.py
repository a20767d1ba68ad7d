"""Signatures that no honest validator makes, for tests of what becomes of them."""

from __future__ import annotations

from tanpo.ledger.certificate import SignedKind, compute_signed_digest, vote_bytes
from tanpo.ledger.evidence import DoubleVote
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.types import BlockHash, Epoch, Height, NetworkId, Term, ValidatorIndex
from tanpo.ledger.vote import Vote


def make_vote(
    network_id: NetworkId,
    key: PrivateKey,
    validator: int,
    *,
    block_hash: BlockHash,
    height: int = 1,
    term: int = 1,
    epoch: int = 0,
) -> Vote:
    """Return a signed vote to prepare."""
    place = (Epoch(epoch), Term(term), Height(height), block_hash)
    signed = vote_bytes(SignedKind.VOTE_PREPARE, network_id, *place)
    return Vote(
        kind=SignedKind.VOTE_PREPARE,
        validator=ValidatorIndex(validator),
        term=Term(term),
        height=Height(height),
        block_hash=block_hash,
        signature=key.sign(compute_signed_digest(signed)),
    )


def make_double_vote(
    network_id: NetworkId, key: PrivateKey, validator: int, *, height: int = 1, epoch: int = 0
) -> DoubleVote:
    """Return two signed votes for different blocks at one height of term 1."""
    first, second = (
        make_vote(
            network_id,
            key,
            validator,
            block_hash=BlockHash(bytes([mark]) * 32),
            height=height,
            epoch=epoch,
        )
        for mark in (1, 2)
    )
    return DoubleVote(epoch=Epoch(epoch), first=first, second=second)
