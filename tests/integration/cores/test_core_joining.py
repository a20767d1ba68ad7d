"""Joining by what peers offer, some of whom lie, are away or give nothing: cores with real stores and
chains."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tanpo.api.v1 import peer_pb2
from tanpo.ledger.errors import Reason, Unavailable
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.types import Height
from tanpo.node import joining as joining_module
from tanpo.node.joining import FAILURES_MAX, Joining
from tanpo.node.metrics import Metrics
from tanpo.node.stopping import Stopped, StopRequest
from tanpo.storage import LedgerStore
from tanpo.storage.manifest import ChunkPlace, Manifest
from tanpo.storage.snapshot_building import JOINING_NAME, SnapshotBuilder
from tanpo.storage.snapshots import Offer, SnapshotStore

EVERY = 4
CHUNK_BYTES = 1
WAIT_S = 60


class Peer:
    """An honest peer: it gives what there is."""

    def __init__(self, name: str, source: Any) -> None:
        self.name = name
        self.source = source.snapshots
        self.given = 0

    @property
    def offer(self) -> Offer:
        found: Offer = self.source.offers[0]
        return found

    async def list_all(self) -> peer_pb2.ListSnapshotsResponse:
        manifest = self.offer.manifest
        named = peer_pb2.SnapshotOffer(height=manifest.height, digest=manifest.digest)
        return peer_pb2.ListSnapshotsResponse(height=100, first_height=1, snapshots=[named])

    async def get(self, digest: bytes) -> tuple[bytes, bytes]:
        return self.offer.manifest.encoded, self.offer.proof

    async def get_chunk(self, digest: bytes, position: int) -> bytes:
        self.given += 1
        await asyncio.sleep(0)
        chunk: bytes = self.source.read_chunk(digest, position)
        return chunk


class Forger(Peer):
    """Gives chunks with a byte changed."""

    async def get_chunk(self, digest: bytes, position: int) -> bytes:
        chunk = bytearray(await super().get_chunk(digest, position))
        chunk[-1] ^= 1
        return bytes(chunk)


class Inventor(Peer):
    """Has made up a chunk, and a manifest that names it; the proof is a true one."""

    @property
    def offer(self) -> Offer:
        true = super().offer
        first = ChunkPlace(start=0, size=len(b"made up"), digest=sha256(b"made up").digest())
        manifest = Manifest(
            height=true.manifest.height,
            header_hash=true.manifest.header_hash,
            state_root=true.manifest.state_root,
            chunks=(first, *true.manifest.chunks[1:]),
        )
        return Offer(manifest=manifest, proof=true.proof)

    async def get_chunk(self, digest: bytes, position: int) -> bytes:
        true = super().offer.manifest.digest
        return await super().get_chunk(true, position) if position else b"made up"


class Boaster(Peer):
    """Offers a state far ahead of all others, and cannot prove it."""

    @property
    def offer(self) -> Offer:
        true = super().offer
        manifest = Manifest(
            height=Height(1_000_000),
            header_hash=true.manifest.header_hash,
            state_root=true.manifest.state_root,
            chunks=true.manifest.chunks,
        )
        return Offer(manifest=manifest, proof=true.proof)


class Swapper(Peer):
    """Lists one manifest and sends another."""

    async def get(self, digest: bytes) -> tuple[bytes, bytes]:
        return self.offer.manifest.encoded[:-1] + b"?", self.offer.proof


class Failing(Peer):
    """Refuses so many calls for chunks, for this reason."""

    def __init__(self, name: str, source: Any, reason: Reason, count: int) -> None:
        super().__init__(name, source)
        self.reason = reason
        self.left = count

    async def get_chunk(self, digest: bytes, position: int) -> bytes:
        self.left -= 1
        if self.left >= 0:
            raise Unavailable(self.reason, "not now")
        return await super().get_chunk(digest, position)


class Absent(Peer):
    """Is not there."""

    async def list_all(self) -> peer_pb2.ListSnapshotsResponse:
        raise Unavailable(Reason.UNREACHABLE, "connection refused")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining_module, "QUOTA_PAUSE_S", 0)
    monkeypatch.setattr(joining_module, "ATTEMPT_PAUSE_S", 0)


async def submit(network: Any, number: int) -> None:
    listener = network.listener()
    envelope = network.envelope(f"r{number}", "some text " * 20)
    assert await network.submit(network.cores[number % 4], listener, envelope) == [None]
    await listener.wait(f"r{number}")


async def take_snapshot(cluster: Any) -> Source:
    """Have one node of a network take a snapshot of several chunks, and return where it is."""
    async with cluster.running() as network:
        await network.stop(0)
        core = network.start(0, snapshot_every_blocks=EVERY)
        core.snapshots._snapshots._chunk_bytes = CHUNK_BYTES
        for number in range(EVERY + 2):
            await submit(network, number)
        async with asyncio.timeout(WAIT_S):
            while True:
                if core.snapshots.offers():
                    break
                await asyncio.sleep(0.01)
    folder = network.folder / network.names[0] / "snapshots"
    return Source(network.genesis, SnapshotStore.open(folder))


@dataclass(frozen=True)
class Source:
    """What the tests join by: the snapshots of a node, and the genesis of its network."""

    genesis: Genesis
    snapshots: SnapshotStore

    def make_joining(self, folder: Path, peers: list[Any], stop: StopRequest | None = None) -> Joining:
        folder.mkdir(exist_ok=True)
        return Joining(
            data_dir=folder,
            genesis=self.genesis,
            peers=peers,
            metrics=Metrics(),
            stop=stop or StopRequest(),
        )

    def check_joined(self, folder: Path) -> None:
        manifest = self.snapshots.offers[0].manifest
        store = LedgerStore.open(folder, network_id=self.genesis.network_id)
        assert (store.executed_height, store.state_root) == (manifest.height, manifest.state_root)
        store.close()


@pytest.fixture(scope="module")
def source(lasting_cluster: Any) -> Source:
    taken = asyncio.run(take_snapshot(lasting_cluster))
    assert len(taken.snapshots.offers[0].manifest.chunks) > 2
    return taken


@pytest.mark.parametrize("liar", [Forger, Inventor, Boaster, Swapper])
async def test_a_peer_that_lies_is_banned_and_the_others_are_enough(
    source: Source, tmp_path: Path, liar: Callable[[str, Any], Peer]
) -> None:
    peers = [liar("liar", source), Peer("honest", source), Absent("absent", source)]
    joining = source.make_joining(tmp_path / "joined", peers)
    joined = await joining.run(Height(0))
    assert joined.banned == ("liar",)
    assert joined.peers == ("honest",)
    assert any(line.startswith("liar is not asked any more") for line in joining.explain())
    source.check_joined(tmp_path / "joined")


async def test_chunks_come_from_all_peers(source: Source, tmp_path: Path) -> None:
    peers = [Peer(name, source) for name in ("first", "second")]
    joined = await source.make_joining(tmp_path / "joined", peers).run(Height(0))
    assert joined.peers == ("first", "second")
    assert sum(peer.given for peer in peers) == joined.chunks
    source.check_joined(tmp_path / "joined")


@pytest.mark.parametrize("reason", [Reason.MEMBER_QUOTA, Reason.UNREACHABLE])
async def test_a_call_that_fails_is_repeated(source: Source, tmp_path: Path, reason: Reason) -> None:
    peer = Failing("busy", source, reason, FAILURES_MAX - 1)
    joined = await source.make_joining(tmp_path / "joined", [peer]).run(Height(0))
    assert joined.banned == ()
    source.check_joined(tmp_path / "joined")


async def test_a_join_that_was_interrupted_fetches_only_what_is_missing(
    source: Source, tmp_path: Path
) -> None:
    peer = Peer("honest", source)
    folder, offer = tmp_path / "joined", peer.offer
    builder = SnapshotBuilder.open(folder / JOINING_NAME, offer.manifest)
    for position in builder.missing[:2]:
        chunk = peer.source.read_chunk(offer.manifest.digest, position)
        builder.insert(position, builder.verify(position, chunk))
    builder.close()
    joined = await source.make_joining(folder, [peer]).run(Height(0))
    assert peer.given == joined.chunks - 2
    source.check_joined(folder)


class Stopping(Peer):
    """Asks the process to end once a chunk was fetched."""

    def __init__(self, name: str, source: Any, stop: StopRequest) -> None:
        super().__init__(name, source)
        self.stop = stop

    async def get_chunk(self, digest: bytes, position: int) -> bytes:
        self.stop.is_asked = True
        return await super().get_chunk(digest, position)


async def test_a_process_that_is_to_end_does_so_and_the_next_one_goes_on(
    source: Source, tmp_path: Path
) -> None:
    stop, folder = StopRequest(), tmp_path / "joined"
    with pytest.raises(Stopped):
        await source.make_joining(folder, [Stopping("honest", source, stop)], stop).run(Height(0))
    peer = Peer("honest", source)
    joined = await source.make_joining(folder, [peer]).run(Height(0))
    assert 0 < peer.given < joined.chunks
    source.check_joined(folder)


async def test_nothing_is_joined_that_the_node_has_already(source: Source, tmp_path: Path) -> None:
    peer = Peer("honest", source)
    with pytest.raises(Unavailable, match="no peer offers a snapshot"):
        await source.make_joining(tmp_path / "joined", [peer]).run(peer.offer.manifest.height)
    assert not (tmp_path / "joined" / JOINING_NAME).exists()


async def test_without_an_answer_the_remedy_is_named(source: Source, tmp_path: Path) -> None:
    peers = [Absent("absent", source)]
    with pytest.raises(Unavailable, match="no peer answers") as refusal:
        await source.make_joining(tmp_path / "joined", peers).run(Height(0))
    assert "peers are up" in refusal.value.remedy
