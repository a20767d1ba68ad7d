"""Snapshots of any state: cut, verified, and built into the same state again, in any order."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.statechunk import PATH_STOP, verify_chunk
from tanpo.ledger.statekey import compute_state_root, index_key, path_of, value_hash
from tanpo.ledger.types import BlockHash, Epoch, Height, MerkleRoot, NetworkId, StateRoot
from tanpo.storage import LedgerStore, StoredBlock
from tanpo.storage.database import Database, FrozenView, seal
from tanpo.storage.manifest import Manifest
from tanpo.storage.partition import PARTITION_BYTES
from tanpo.storage.reading import TreeSource, read_node
from tanpo.storage.records import HASHES_AT, INNER, POSITIONS_AT, ROOT_PID, Slot, child_slot
from tanpo.storage.snapshot_building import Arrival, SnapshotBuilder
from tanpo.storage.snapshots import Draft, SnapshotStore
from tanpo.storage.tree import StateTree

NETWORK = NetworkId(bytes(32))
HEIGHT = Height(3)
State = dict[bytes, bytes]
Result = TypeVar("Result")

keys = st.one_of(
    st.integers(0, 400).map(lambda n: b"plain %d" % n),
    st.tuples(st.integers(0, 2), st.integers(0, 60)).map(lambda n: index_key(b"g%d" % n[0], b"%d" % n[1])),
)
values = st.integers(0, 60).map(lambda n: b"v" * n)
states = st.dictionaries(keys, values, max_size=200)


def finish(steps: Generator[None, None, Result]) -> Result:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result


def root_of(state: State) -> StateRoot:
    return compute_state_root((path_of(key), value_hash(value)) for key, value in state.items())


@contextmanager
def source(state: State) -> Iterator[tuple[Path, Database]]:
    """A database that holds a state which came about in two blocks."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        database = Database.open(
            path / "source", remedy="none", cache_bytes=1 << 20, write_buffer_bytes=1 << 20
        )
        tree = StateTree.open(database, window=5, cache_records=100)
        parts = [dict(list(state.items())[::2]), dict(list(state.items())[1::2]), {}, {}]
        for height, changes in enumerate(parts):
            puts = {b"S" + key: seal(b"S" + key, value) for key, value in changes.items()}
            plan = tree.begin(Height(height), {**changes})
            tree.stage(plan, puts, [])
            database.write(puts, [])
            tree.publish(plan)
        tree.close()
        yield path, database
        database.close()


def cut(path: Path, database: Database, state: State, chunk_bytes: int) -> tuple[SnapshotStore, Manifest]:
    store = SnapshotStore.open(path / "snapshots", chunk_bytes=chunk_bytes)
    draft = Draft(height=HEIGHT, state_root=root_of(state))
    chunks = finish(store.make(draft, FrozenView(database)))
    assert chunks is not None
    return store, store.publish(draft, BlockHash(b"h" * 32), chunks, b"proof")


def read_all(store: SnapshotStore, manifest: Manifest) -> list[bytes]:
    return [store.read_chunk(manifest.digest, position) for position in range(len(manifest.chunks))]


def shape(source: TreeSource, slot: Slot, pid: int) -> dict[int, bytes]:
    """Every node that is reached from a root: hashes and counts of an inner one, entries of a bucket."""
    if not slot[0]:
        return {}
    record = read_node(source, pid, slot)
    assert record is not None
    if slot[0] != INNER:
        return {pid: record}
    found = {pid: record[:POSITIONS_AT] + record[HASHES_AT:]}
    for which in range(4):
        found |= shape(source, child_slot(record, which), pid << 2 | which)
    return found


@settings(max_examples=25)
@given(state=states, chunk_bytes=st.integers(1, 4000), seed=st.integers(0, 9))
def test_a_state_built_from_chunks_in_any_order_is_the_one_they_were_cut_from(
    state: State, chunk_bytes: int, seed: int
) -> None:
    with source(state) as (path, database):
        store, manifest = cut(path, database, state, chunk_bytes)
        builder = SnapshotBuilder.open(path / "joining", manifest)
        order = builder.missing
        random.Random(seed).shuffle(order)
        for position in order:
            builder.insert(position, builder.verify(position, store.read_chunk(manifest.digest, position)))
        builder.finish(
            NETWORK,
            Arrival(
                block=StoredBlock(
                    height=HEIGHT, block_hash=BlockHash(b"b" * 32), block=b"block", proof=b"proof"
                ),
                receipts_root=MerkleRoot(b"r" * 32),
                links=(b"link",),
            ),
        )
        built = Database.open(
            path / "joining" / "state", remedy="none", cache_bytes=1 << 20, write_buffer_bytes=1 << 20
        )
        assert dict(built.scan_raw(b"S", b"T")) == dict(database.scan_raw(b"S", b"T"))
        trees = [StateTree.open(one, window=5, cache_records=100) for one in (database, built)]
        assert trees[0].state_root == trees[1].state_root == root_of(state)
        shapes = [shape(tree.source, tree.root.slot, ROOT_PID) for tree in trees]
        assert shapes[0] == shapes[1]
        for tree in trees:
            tree.close()
        built.close()


@settings(max_examples=25)
@given(state=states, chunk_bytes=st.integers(1, 4000))
def test_chunks_follow_each_other_and_hold_every_pair_once(state: State, chunk_bytes: int) -> None:
    with source(state) as (path, database):
        store, manifest = cut(path, database, state, chunk_bytes)
        start, found = 0, []
        for encoded in read_all(store, manifest):
            chunk = verify_chunk(encoded, root_of(state), start)
            assert chunk.start == start
            assert chunk.stop > start
            start = chunk.stop
            found += list(chunk.pairs.items())
        assert start == PATH_STOP
        assert len(found) == len(state)
        assert dict(found) == state


@settings(max_examples=3, deadline=None)
@given(state=st.dictionaries(keys, values, min_size=30, max_size=150), chunk_bytes=st.integers(1, 500))
def test_where_chunks_end_depends_on_the_state_alone(state: State, chunk_bytes: int) -> None:
    """However many partitions it was cut from."""
    with source(state) as (path, database):
        _, manifest = cut(path, database, state, chunk_bytes)
        view = FrozenView(database)
        view.size = PARTITION_BYTES << 12
        store = SnapshotStore.open(path / "other", chunk_bytes=chunk_bytes)
        draft = Draft(height=HEIGHT, state_root=root_of(state))
        assert finish(store.make(draft, view)) == manifest.chunks


@settings(max_examples=4)
@given(state=st.dictionaries(keys, values, min_size=12, max_size=40))
def test_no_bit_of_a_chunk_can_change(state: State) -> None:
    with source(state) as (path, database):
        store, manifest = cut(path, database, state, 200)
        position = len(manifest.chunks) // 2
        encoded = store.read_chunk(manifest.digest, position)
        for bit in range(8 * len(encoded)):
            forged = bytearray(encoded)
            forged[bit // 8] ^= 1 << bit % 8
            with pytest.raises(PeerFault):
                verify_chunk(bytes(forged), manifest.state_root, manifest.chunks[position].start)


@settings(max_examples=10)
@given(state=st.dictionaries(keys, values, min_size=60, max_size=150))
def test_a_chunk_is_refused_at_any_cursor_but_its_own(state: State) -> None:
    with source(state) as (path, database):
        store, manifest = cut(path, database, state, 300)
        encoded = read_all(store, manifest)
        for position, content in enumerate(encoded):
            for other, place in enumerate(manifest.chunks):
                if other != position:
                    with pytest.raises(PeerFault):
                        verify_chunk(content, manifest.state_root, place.start)


class Killed(Exception):
    """Stands for a process that ends between two steps."""


def until(steps: Generator[None, None, Result], count: int) -> Result | None:
    """Take so many steps, and the rest never: None if that was not the end."""
    for _ in range(count):
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
    return None


@settings(max_examples=2)
@given(state=st.dictionaries(keys, values, min_size=40, max_size=120))
def test_a_snapshot_killed_at_any_step_is_finished_as_if_it_had_not_been(state: State) -> None:
    draft = Draft(height=HEIGHT, state_root=root_of(state))
    with source(state) as (path, database):
        _, manifest = cut(path, database, state, 300)
        for count in range(1, 1000, 23):
            folder = path / f"killed{count}"
            store = SnapshotStore.open(folder, chunk_bytes=300)
            view = FrozenView(database)
            chunks = until(store.make(draft, view), count)
            view.close()
            again = SnapshotStore.open(folder, chunk_bytes=300)
            begun = again.find_draft()
            assert begun in (None, draft)
            resumed = finish(again.make(draft, None if begun else FrozenView(database)))
            assert resumed == manifest.chunks
            if chunks is not None:
                return
        pytest.fail("a snapshot takes no more than 1,000 steps here")


def kill_at(call: int, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the process end before the write of this number reaches the disk."""
    write: Callable[..., None] = database.write
    left = [call]

    def killed(*arguments: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        write(*arguments)

    monkeypatch.setattr(database, "write", killed)


def test_a_join_killed_at_every_write_ends_with_the_same_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {b"key %d" % n: b"value %d" % n for n in range(120)}
    arrival = Arrival(
        block=StoredBlock(height=HEIGHT, block_hash=BlockHash(b"b" * 32), block=b"block", proof=b"proof"),
        receipts_root=MerkleRoot(b"r" * 32),
        links=(b"first", b"second"),
    )
    with source(state) as (path, database):
        store, manifest = cut(path, database, state, 500)
        for writes in range(len(manifest.chunks) + 2):
            target = tmp_path / f"join{writes}"
            folder = target / "joining"
            builder = SnapshotBuilder.open(folder, manifest)
            kill_at(writes, builder._database, monkeypatch)
            try:
                join(builder, store, manifest, arrival)
            except Killed:
                builder.close()
            again = SnapshotBuilder.open(folder, manifest)
            assert len(again.missing) == max(0, len(manifest.chunks) - writes)
            join(again, store, manifest, arrival)
            ledger = LedgerStore.open(target, network_id=NETWORK)
            assert ledger.executed_height == ledger.segment_height == HEIGHT
            assert ledger.state_root == root_of(state)
            assert ledger.beginning.find_link(Epoch(1)) == b"second"
            assert dict(ledger.scan(b"", b"\xff", 1000)) == state
            ledger.close()
            assert not folder.exists()


def join(builder: SnapshotBuilder, store: SnapshotStore, manifest: Manifest, arrival: Arrival) -> None:
    for position in builder.missing:
        builder.insert(position, builder.verify(position, store.read_chunk(manifest.digest, position)))
    builder.finish(NETWORK, arrival)
