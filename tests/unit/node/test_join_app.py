"""When a start joins by a snapshot, and gives up the chain before it."""

from __future__ import annotations

import pytest
from tanpo.ledger.types import Height
from tanpo.node.join_app import is_far_behind
from tanpo.node.joining import Candidate, Offers


def make_offers(*heights: int, first: int = 1, is_complete: bool = True) -> Offers:
    candidates = [Candidate(height=Height(height), digest=bytes(32), peers=()) for height in heights]
    return Offers(candidates=candidates, first_height=Height(first), is_complete=is_complete)


@pytest.mark.parametrize(("own", "is_far"), [(0, True), (899, True), (900, False), (2000, False)])
def test_a_node_joins_beyond_the_limit_that_its_operator_set(own: int, is_far: bool) -> None:
    assert is_far_behind(Height(own), make_offers(1000, 500), 100) is is_far


def test_without_a_limit_the_chain_is_kept_however_far_behind() -> None:
    assert not is_far_behind(Height(0), make_offers(1_000_000), 0)


def test_a_node_joins_where_no_peer_has_its_next_block() -> None:
    assert is_far_behind(Height(5), make_offers(1000, first=7), 0)
    assert not is_far_behind(Height(6), make_offers(1000, first=7), 0)


def test_a_peer_that_does_not_answer_may_have_the_next_block() -> None:
    assert not is_far_behind(Height(5), make_offers(1000, first=7, is_complete=False), 0)


def test_without_an_offer_there_is_nothing_to_join_by() -> None:
    assert not is_far_behind(Height(5), make_offers(first=7), 100)
