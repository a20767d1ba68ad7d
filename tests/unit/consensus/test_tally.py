"""Counting votes."""

from __future__ import annotations

from tanpo.consensus.tally import Tally
from tanpo.ledger.certificate import SignedKind
from tanpo.ledger.types import BlockHash, Epoch, Height, Signature, Term, ValidatorIndex
from tanpo.ledger.vote import Vote

HASH = BlockHash(bytes(32))


def vote(validator: int, kind: SignedKind = SignedKind.VOTE_PREPARE) -> Vote:
    return Vote(
        kind=kind,
        validator=ValidatorIndex(validator),
        term=Term(1),
        height=Height(2),
        block_hash=HASH,
        signature=Signature(b"%d" % validator),
    )


def new_tally() -> Tally:
    return Tally(kind=SignedKind.VOTE_PREPARE, term=Term(1), height=Height(2), block_hash=HASH, sent_ms=0)


def test_the_quorums_vote_completes_the_certificate_with_ascending_signers() -> None:
    tally = new_tally()

    results = [tally.add(vote(validator), Epoch(0), 3) for validator in (3, 0, 2, 1)]

    assert [result is not None for result in results] == [False, False, True, False]
    assert tally.certificate is not None
    assert [index for index, _ in tally.certificate.signatures] == [0, 2, 3]


def test_a_repeated_vote_does_not_count_twice() -> None:
    tally = new_tally()

    assert tally.add(vote(1), Epoch(0), 2) is None
    assert tally.add(vote(1), Epoch(0), 2) is None


def test_a_tally_is_for_one_kind_of_vote_on_one_block() -> None:
    tally = new_tally()

    assert tally.is_for(vote(1))
    assert not tally.is_for(vote(1, SignedKind.VOTE_COMMIT))
