"""A node that joined the chain of another by a snapshot: with the code that nodes run, and no network."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tanpo.api.v1 import peer_pb2
from tanpo.ledger.block import decode_block
from tanpo.ledger.certificate import decode_commit_proof
from tanpo.ledger.types import Height
from tanpo.node.body import decode_body
from tanpo.node.epochs import Lineage
from tanpo.node.joining import Joined, Joining
from tanpo.node.metrics import Metrics
from tanpo.node.running import play_blocking
from tanpo.node.snapshotting import Snapshotting
from tanpo.node.stopping import StopRequest
from tanpo.storage.kept import SNAPSHOTS_NAME
from tanpo.storage.snapshots import SnapshotStore
from tanpo.testing.chain import Chain, open_copy

CHUNK_BYTES: Final = 4_000
"""So small that the state of a test has several chunks."""


@dataclass(slots=True)
class ChainPeer:
    """Gives the snapshots in a chain's folder, as a peer does over the network."""

    snapshots: SnapshotStore
    height: int
    first_height: int = 1
    name: str = "peer"

    async def list_all(self) -> peer_pb2.ListSnapshotsResponse:
        """Return what is offered."""
        offers = [
            peer_pb2.SnapshotOffer(height=one.manifest.height, digest=one.manifest.digest)
            for one in self.snapshots.offers
        ]
        return peer_pb2.ListSnapshotsResponse(
            height=self.height, first_height=self.first_height, snapshots=offers
        )

    async def get(self, digest: bytes) -> tuple[bytes, bytes]:
        """Return manifest and proof of a snapshot."""
        [offer] = [one for one in self.snapshots.offers if one.manifest.digest == digest]
        return offer.manifest.encoded, offer.proof

    async def get_chunk(self, digest: bytes, position: int) -> bytes:
        """Return a chunk."""
        return self.snapshots.read_chunk(digest, position)


def take_snapshot(chain: Chain) -> Height:
    """Take a snapshot of the state after the next block, make the one above it, and return its height."""
    execution = chain.execution
    store = execution.store
    snapshotting = Snapshotting(
        store=store,
        snapshots=open_snapshots(chain),
        find_validators=Lineage(store, lambda: execution.machine, chain.genesis).find,
        every_blocks=1,
        metrics=Metrics(),
    )
    executed = chain.execute()
    chain.commit(executed)
    snapshotting.notice(executed)
    height = store.executed_height
    chain.run()
    asyncio.run(_finish(snapshotting, height))
    return height


def join_by(chain: Chain, folder: Path) -> Joined:
    """Have an empty folder, or that of a node that is stopped, join by the newest snapshot of a chain."""
    peer = ChainPeer(open_snapshots(chain), chain.execution.store.executed_height)
    joining = Joining(
        data_dir=folder, genesis=chain.genesis, peers=[peer], metrics=Metrics(), stop=StopRequest()
    )
    return asyncio.run(joining.run(Height(0)))


def follow(chain: Chain, folder: Path) -> Chain:
    """Open the node in a folder, have it execute what it lacks of a chain, and return it."""
    node = open_copy(chain, folder)
    store = node.execution.store
    for number in range(store.executed_height + 1, chain.execution.store.executed_height + 1):
        stored = chain.execution.store.read_block(Height(number))
        decoded = decode_body(decode_block(stored.block), chain.genesis.network_id, lambda _: None)
        play_blocking(node.execution.begin(decoded))
        node.execution.commit(stored.block_hash, decode_commit_proof(stored.proof))
    return node


def open_snapshots(chain: Chain) -> SnapshotStore:
    """Return the snapshots of a chain's node."""
    store = chain.execution.store
    return SnapshotStore.open(
        chain.folder / SNAPSHOTS_NAME, chunk_bytes=CHUNK_BYTES, base=store.beginning.height
    )


async def _finish(snapshotting: Snapshotting, height: Height) -> None:
    making = asyncio.create_task(snapshotting.run())
    while height not in [offer.manifest.height for offer in snapshotting.offers()]:
        await asyncio.sleep(0)
        if making.done():
            making.result()
    making.cancel()
    await asyncio.gather(making, return_exceptions=True)
