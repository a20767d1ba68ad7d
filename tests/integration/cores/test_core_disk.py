"""Evidence from a peer that our own disk does not take: the node stops, and the peer is not to blame."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tanpo.ledger.errors import CorruptState, LedgerError, Unavailable
from tanpo.ledger.evidence import encode_evidence
from tanpo.testing.accusation import make_double_vote


@contextmanager
def lose_folder(folder: Path) -> Iterator[None]:
    """The folder is gone: nothing can be written in it."""
    folder.rmdir()
    yield


@contextmanager
def deny_room(folder: Path) -> Iterator[None]:
    """No file may grow, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("capsys")  # logs go to memory: what captures them may be a file, without room too
@pytest.mark.parametrize(("damage", "expected"), [(lose_folder, CorruptState), (deny_room, Unavailable)])
async def test_a_node_that_cannot_store_evidence_stops_and_blames_nobody(
    cluster: Any, damage: Callable[[Path], Any], expected: type[LedgerError]
) -> None:
    async with cluster.running() as network:
        leader = network.find_leader()
        follower, sender, accused = (index for index in range(4) if index != leader)
        key = network.validator_keys[network.names[accused]]
        evidence = encode_evidence(make_double_vote(network.genesis.network_id, key, accused))
        core = network.cores[follower]
        with damage(network.folder / network.names[follower] / "evidence"):
            network.deliver(network.names[sender], network.names[follower], [], [], [evidence])
            with pytest.raises(expected):
                await network.wait_end(follower)
        faults = core._metrics.peer_faults.labels(network.names[sender])
        assert faults._value.get() == 0
