"""Answers of a node that are well-formed and cannot be true."""

from __future__ import annotations

import pytest
from tanpo.api.v1 import network_pb2
from tanpo.client.answers import read_members
from tanpo.ledger.errors import PeerFault


def test_members_keep_all_of_their_authorities() -> None:
    member = network_pb2.Member(member="alpha", ca_certificates=["one", "two"], ca_added_heights=[0, 7])
    [found] = read_members(network_pb2.GetMembersResponse(members=[member]))
    assert [(one.certificate, one.added) for one in found.authorities] == [(b"one", 0), (b"two", 7)]


@pytest.mark.parametrize("heights", [[], [0], [0, 7, 8]])
def test_authorities_without_the_heights_that_added_them_are_refused(heights: list[int]) -> None:
    member = network_pb2.Member(member="alpha", ca_certificates=["one", "two"], ca_added_heights=heights)
    with pytest.raises(PeerFault, match="which block added each"):
        read_members(network_pb2.GetMembersResponse(members=[member]))
