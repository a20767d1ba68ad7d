"""Nodes join a running network by a snapshot, past a peer that lies, and follow it from there."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from tanpo.api.v1 import peer_pb2, peer_pb2_grpc
from tanpo.cli.demo.desk import Desk
from tanpo.cli.network import LocalNetwork
from tanpo.cli.provision import plan_network
from tanpo.client import load_genesis
from tanpo.ledger.block import decode_block
from tanpo.ledger.errors import LedgerError
from tanpo.ledger.genesis import InstalledContract
from tanpo.ledger.stateproof import verify_partial_tree
from tanpo.ledger.types import Height
from tanpo.ledger.values import Value
from tanpo.node.authorities import Authorities
from tanpo.node.tls import PEER_MESSAGE_BYTES_MAX, compute_server_options, load_server_credentials
from tanpo.storage import LedgerStore
from tanpo.storage.database import Database
from tanpo.storage.proving import prove_keys
from tanpo.storage.snapshots import SnapshotStore
from tanpo.storage.tree import StateTree
from tanpo.testing.waiting import wait_until
from typing_extensions import override

EVERY_BLOCKS = 25
FILLER = "filler"
SOURCE = """
rows: Map[str, str]

@entry
def fill(first: int, count: int, text: str) -> None:
    for number in range(first, first + count):
        rows["row-" + str(number)] = text
"""
TEXT = "x" * 600
ROWS = 2_400
"""Enough for a snapshot of more than one chunk."""
ROWS_A_CALL = 300
GAS = 1_000_000
WITNESS = "custody-bank"
"""Its node stays up."""
WAIT_S = 60.0
SETTLE_S = 15.0
JOIN_S = 120.0

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalNetwork]:
    monkeypatch.setenv("TANPO_SNAPSHOTS__EVERY_BLOCKS", str(EVERY_BLOCKS))
    monkeypatch.setenv("TANPO_SNAPSHOTS__JOIN_BEHIND_BLOCKS", str(EVERY_BLOCKS // 2))
    plan, filler = plan_network(5, 4), InstalledContract(name=FILLER, source=SOURCE, arguments=())
    network = LocalNetwork.create(tmp_path / "net", replace(plan, contracts=(*plan.contracts, filler)))
    network.start(network.members[:4])
    yield network
    network.stop()


async def fill(desk: Desk, first: int, count: int) -> None:
    """Commit so many rows from this number on, many in a transaction."""
    for start in range(first, first + count, ROWS_A_CALL):
        rows = min(ROWS_A_CALL, first + count - start)
        arguments: dict[str, Value] = {"first": start, "count": rows, "text": TEXT}
        done = await desk.clients[WITNESS].submit(FILLER, "fill", arguments, gas_limit=GAS, deadline_s=WAIT_S)
        done.raise_for_failure()


async def grow(desk: Desk, first: int, blocks: int) -> None:
    """Commit a row in each of so many blocks."""
    for number in range(first, first + blocks):
        await fill(desk, number, 1)


def read_metric(network: LocalNetwork, member: str, name: str) -> float:
    url = f"http://{network.get_node(member).ops_address}/metrics"
    with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))


async def take_snapshot(desk: Desk, network: LocalNetwork, members: tuple[str, ...]) -> int:
    """Make blocks until these nodes offer a new snapshot of the same height, and return it.

    One that is not done with the last yet skips a height; while no blocks come, all of them get done.
    """
    number = 1_000_000
    while True:
        tip = (await desk.read_status(members[0])).height
        height = (tip // EVERY_BLOCKS + 1) * EVERY_BLOCKS
        while tip <= height:
            await fill(desk, number, 1)
            number += 1
            tip = (await desk.read_status(members[0])).height
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                while await read_offers(network, members) != {height}:  # noqa: ASYNC110  # processes bring it about
                    await asyncio.sleep(0.05)
                return height


async def read_offers(network: LocalNetwork, members: tuple[str, ...]) -> set[int]:
    """Return the heights of the newest snapshots that nodes offer."""
    name = "tanpo_snapshot_height"
    return {int(await asyncio.to_thread(read_metric, network, one, name)) for one in members}


class LyingPeer(peer_pb2_grpc.PeerServicer):
    """Serves the snapshots of a node that is stopped, and changes a byte of every chunk."""

    def __init__(self, folder: Path) -> None:
        self._store = SnapshotStore.open(folder)
        self.lies = 0

    @override
    async def Exchange(self, request_iterator: Any, context: Any) -> AsyncIterator[peer_pb2.PeerAnswer]:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "only snapshots are to be had here")
        yield peer_pb2.PeerAnswer()

    @override
    async def GetVitals(self, request: peer_pb2.GetVitalsRequest, context: Any) -> peer_pb2.NodeVitals:
        return peer_pb2.NodeVitals()  # A clock that stands at 1970: one peer alone is not believed.

    @override
    async def ListSnapshots(
        self, request: peer_pb2.ListSnapshotsRequest, context: Any
    ) -> peer_pb2.ListSnapshotsResponse:
        offers = [
            peer_pb2.SnapshotOffer(height=one.manifest.height, digest=one.manifest.digest)
            for one in self._store.offers
        ]
        return peer_pb2.ListSnapshotsResponse(height=1 << 20, first_height=1, snapshots=offers)

    @override
    async def GetSnapshot(
        self, request: peer_pb2.GetSnapshotRequest, context: Any
    ) -> peer_pb2.GetSnapshotResponse:
        [offer] = [one for one in self._store.offers if one.manifest.digest == request.digest]
        return peer_pb2.GetSnapshotResponse(manifest=offer.manifest.encoded, proof=offer.proof)

    @override
    async def GetSnapshotChunk(
        self, request: peer_pb2.GetSnapshotChunkRequest, context: Any
    ) -> peer_pb2.GetSnapshotChunkResponse:
        chunk = bytearray(self._store.read_chunk(request.digest, request.position))
        chunk[len(chunk) // 2] ^= 1
        self.lies += 1
        return peer_pb2.GetSnapshotChunkResponse(chunk=bytes(chunk))


@asynccontextmanager
async def lying_in_place_of(network: LocalNetwork, member: str) -> AsyncIterator[LyingPeer]:
    """Listen where a node's peers find it, with its certificate."""
    files = network.folder.get_member(member)
    certificate, key = (path.read_bytes() for path in files.pem("node"))
    roots = Authorities.of_genesis(load_genesis(network.folder.genesis)).read_roots()
    peer = LyingPeer(files.data / "snapshots")
    server = grpc.aio.server(options=compute_server_options(PEER_MESSAGE_BYTES_MAX))
    peer_pb2_grpc.add_PeerServicer_to_server(peer, server)
    server.add_secure_port(
        network.get_node(member).peer_address, load_server_credentials(roots, certificate, key)
    )
    await server.start()
    yield peer
    await server.stop(0)


async def run_join(network: LocalNetwork, member: str) -> dict[str, Any]:
    """Join as an operator does."""
    config = network.folder.get_member(member).config
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "tanpo.cli", "node", "join", str(config), "-o", "json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=JOIN_S,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return {**answer, "log": done.stderr}


def check_proof(network: LocalNetwork, member: str) -> None:
    """Prove a key from the disk of a node that joined, under the root that the next header carries."""
    data = network.folder.get_member(member).data
    store = LedgerStore.open(data, network_id=load_genesis(network.folder.genesis).network_id)
    height = Height(store.executed_height - 1)
    assert height > store.beginning.height > 1
    root = decode_block(store.read_block(Height(height + 1)).block).header.state_root
    [(key, value)] = [row for row in store.scan(b"", b"\xff", 1 << 20) if b"row-77" in row[0]][:1]
    store.close()
    database = Database.open(data / "state", remedy="", cache_bytes=1 << 20, write_buffer_bytes=1 << 20)
    tree = StateTree.open(database)
    proof = prove_keys(tree.source, height, [key])
    tree.close()
    database.close()
    verify_partial_tree(proof, root).verify_value(key, value)


async def test_an_observer_joins_past_a_lying_peer_and_a_validator_after_losing_its_disk(
    network: LocalNetwork,
) -> None:
    liar, lost, *_, newcomer = network.members
    async with Desk(network) as desk:
        await fill(desk, 0, ROWS)
        height = await take_snapshot(desk, network, network.members[:4])
        await asyncio.to_thread(network.stop, [liar])
        async with lying_in_place_of(network, liar) as peer:
            joined = await run_join(network, newcomer)
        assert peer.lies > 0
        assert joined["height"] == height
        assert joined["chunks"] > 1
        assert joined["banned"] == [f"{liar}/node-1"]
        assert "peer banned" in joined["log"]
        await asyncio.to_thread(network.start, [liar, newcomer])
        await grow(desk, 10_000, 20)

        async def is_equal() -> bool:
            found = {
                (status.height, status.state_root)
                for status in [await desk.read_status(member) for member in network.members]
            }
            return len(found) == 1

        await wait_until(is_equal)
        await asyncio.to_thread(network.stop, [newcomer])
        await asyncio.to_thread(check_proof, network, newcomer)
        await asyncio.to_thread(network.start, [newcomer])

        # A start that finds itself far behind joins by itself; and whoever lost its votes does not vote.
        await asyncio.to_thread(network.kill, lost)
        shutil.rmtree(network.folder.get_member(lost).data)
        network.spawn(lost)

        async def has_amnesia() -> bool:
            try:
                return "amnesia" in (await desk.read_status(lost)).stalled_reason
            except LedgerError:
                return False  # It is not up yet.

        await wait_until(has_amnesia)
        await grow(desk, 20_000, 20)
        await wait_until(is_equal)
        log = network.folder.get_member(lost).log.read_text()
        assert '"event": "joined"' in log
