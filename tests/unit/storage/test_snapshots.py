"""Snapshots of a growing ledger: made beside blocks, kept, damaged, joined by, and gone on from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Protocol, TypeVar

import pytest
from tanpo.ledger.errors import CorruptState, PeerFault, Unavailable, UsageError
from tanpo.ledger.types import BlockHash, Height, MerkleRoot, NetworkId, StateRoot
from tanpo.storage import BlockCommit, LedgerStore, StoredBlock
from tanpo.storage.ledger_store import freeze
from tanpo.storage.manifest import Manifest, decode_manifest
from tanpo.storage.snapshot_building import Arrival, SnapshotBuilder, move_in
from tanpo.storage.snapshots import HELD_S_MAX, IN_USE_S, Draft, SnapshotStore

Result = TypeVar("Result")


class Chain(Protocol):
    """What the fixture makes."""

    path: Path
    store: LedgerStore

    def reopen(self) -> LedgerStore: ...
    def grow(self, blocks: int) -> None: ...
    def results(self, height: int) -> BlockCommit: ...
    @staticmethod
    def block(height: int) -> StoredBlock: ...
    @staticmethod
    def receipts_root(height: int) -> MerkleRoot: ...
    @classmethod
    def state_at(cls, height: int) -> dict[bytes, bytes]: ...


MakeChain = Callable[[str], Chain]


class Killed(Exception):
    """Stands for a process that ends here."""


def finish(steps: Generator[None, None, Result]) -> Result:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result


def open_snapshots(chain: Chain) -> SnapshotStore:
    return SnapshotStore.open(chain.path / "snapshots", chunk_bytes=300)


def take(chain: Chain, snapshots: SnapshotStore) -> Manifest:
    draft = Draft(height=chain.store.executed_height, state_root=chain.store.state_root)
    chunks = finish(snapshots.make(draft, freeze(chain.store)))
    assert chunks is not None
    snapshots.sync()
    return snapshots.publish(draft, BlockHash(b"h" * 32), chunks, b"proof %d" % draft.height)


def prepare(chain: Chain, snapshots: SnapshotStore, manifest: Manifest, target: Path) -> None:
    builder = SnapshotBuilder.open(target / "joining", manifest)
    for position in builder.missing:
        builder.insert(position, builder.verify(position, snapshots.read_chunk(manifest.digest, position)))
    arrival = Arrival(
        block=chain.block(manifest.height), receipts_root=chain.receipts_root(manifest.height), links=()
    )
    builder.finish(network_of(chain), arrival)


def network_of(chain: Chain) -> NetworkId:
    return NetworkId(bytes.fromhex((chain.path / "network").read_text().split(" ")[2]))


def test_a_snapshot_is_of_its_height_although_blocks_go_on_while_it_is_made(chain: Chain) -> None:
    chain.grow(12)
    snapshots = open_snapshots(chain)
    draft = Draft(height=Height(12), state_root=chain.store.state_root)
    steps = snapshots.make(draft, freeze(chain.store))
    chain.grow(20)
    chunks = finish(steps)
    assert chunks is not None
    assert len(chunks) > 1
    manifest = snapshots.publish(draft, BlockHash(b"h" * 32), chunks, b"proof")
    found: dict[bytes, bytes] = {}
    builder = SnapshotBuilder.open(chain.path / "joining", manifest)
    for position in builder.missing:
        found |= builder.verify(position, snapshots.read_chunk(manifest.digest, position)).pairs
    builder.close()
    assert found == chain.state_at(12)


def test_the_newest_two_snapshots_are_kept_and_found_again(chain: Chain) -> None:
    snapshots = open_snapshots(chain)
    for _ in range(4):
        chain.grow(2)
        take(chain, snapshots)
    for store in (snapshots, open_snapshots(chain)):
        assert [offer.manifest.height for offer in store.offers] == [8, 6]
        assert store.offers[0].proof == b"proof 8"
    assert sorted(path.name for path in (chain.path / "snapshots").iterdir()) == ["0000000006", "0000000008"]


def list_heights(snapshots: SnapshotStore) -> list[int]:
    return [offer.manifest.height for offer in snapshots.offers]


def test_the_blocks_above_the_older_of_the_newest_two_snapshots_are_needed(chain: Chain) -> None:
    snapshots = open_snapshots(chain)
    needed = []
    for _ in range(4):
        chain.grow(2)
        take(chain, snapshots)
        needed.append(snapshots.needed)
    assert needed == [0, 2, 4, 6]
    assert open_snapshots(chain).needed == 6


def test_a_snapshot_stays_while_somebody_joins_by_it_alone_and_not_for_ever(chain: Chain) -> None:
    now_s = 0.0
    snapshots = SnapshotStore.open(chain.path / "snapshots", chunk_bytes=300, clock_s=lambda: now_s)
    manifests = []
    for _ in range(2):
        chain.grow(2)
        manifests.append(take(chain, snapshots))
    for _ in range(4):
        # Two join, by different ones: the first is far along already.
        for manifest in manifests[:2]:
            with contextlib.suppress(Unavailable):
                snapshots.read_chunk(manifest.digest, 0)
        now_s += IN_USE_S
        chain.grow(2)
        take(chain, snapshots)
    assert (list_heights(snapshots), snapshots.needed) == ([12, 10, 2], 2)
    now_s += 1  # Nobody asked since.
    chain.grow(2)
    take(chain, snapshots)
    assert (list_heights(snapshots), snapshots.needed) == ([14, 12], 12)

    digest = snapshots.offers[1].manifest.digest
    for _ in range(2):
        snapshots.read_chunk(digest, 0)
        chain.grow(2)
        take(chain, snapshots)
    assert list_heights(snapshots) == [18, 16, 12]
    now_s += HELD_S_MAX
    snapshots.read_chunk(digest, 0)
    chain.grow(2)
    take(chain, snapshots)
    assert (list_heights(snapshots), snapshots.needed) == ([20, 18], 18)


def test_a_damaged_chunk_is_never_given_out_and_its_snapshot_is_removed(chain: Chain) -> None:
    chain.grow(6)
    snapshots = open_snapshots(chain)
    manifest = take(chain, snapshots)
    path = chain.path / "snapshots" / "0000000006" / "c000001"
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    assert snapshots.read_chunk(manifest.digest, 0)
    with pytest.raises(Unavailable, match="not here") as refusal:
        snapshots.read_chunk(manifest.digest, 1)
    assert refusal.value.reason == "NOT_FOUND"
    assert snapshots.offers == ()
    assert not path.parent.exists()


@pytest.mark.parametrize("name", ["manifest", "proof"])
def test_a_snapshot_with_a_damaged_head_is_removed_at_opening(chain: Chain, name: str) -> None:
    chain.grow(6)
    take(chain, open_snapshots(chain))
    path = chain.path / "snapshots" / "0000000006" / name
    path.write_bytes(path.read_bytes()[:-1])
    assert open_snapshots(chain).offers == ()
    assert not path.parent.exists()


def test_a_chunk_that_no_snapshot_has_is_not_found(chain: Chain) -> None:
    chain.grow(6)
    snapshots = open_snapshots(chain)
    manifest = take(chain, snapshots)
    for digest, position in ((bytes(32), 0), (manifest.digest, len(manifest.chunks))):
        with pytest.raises(Unavailable, match="not here"):
            snapshots.read_chunk(digest, position)


def test_a_state_that_does_not_have_its_root_is_found_out_before_it_is_served(chain: Chain) -> None:
    chain.grow(6)
    snapshots = open_snapshots(chain)
    draft = Draft(height=Height(6), state_root=StateRoot(b"?" * 32))
    with pytest.raises(CorruptState, match="state of height 6 does not have its root"):
        finish(snapshots.make(draft, freeze(chain.store)))


def test_a_partition_damaged_meanwhile_means_that_the_snapshot_is_made_anew(chain: Chain) -> None:
    chain.grow(6)
    snapshots = open_snapshots(chain)
    draft = Draft(height=Height(6), state_root=chain.store.state_root)
    steps = snapshots.make(draft, freeze(chain.store))
    while snapshots.find_draft() is None:
        next(steps)
    steps.close()
    path = next((chain.path / "snapshots" / "making").glob("p0*"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert finish(snapshots.make(draft, None)) is None
    assert snapshots.find_draft() is None


def test_a_ledger_that_joined_goes_on_like_the_one_it_came_from(make_chain: MakeChain) -> None:
    source, joined = make_chain("source"), make_chain("joined")
    source.grow(12)
    snapshots = open_snapshots(source)
    manifest = take(source, snapshots)
    joined.grow(3)  # It was away for long.
    joined.store.close()
    prepare(source, snapshots, manifest, joined.path)
    joined.reopen()
    source.grow(20)
    for _ in range(20):
        joined.grow(1)
        joined.reopen()
    assert joined.store.state_root == source.store.state_root
    assert dict(joined.store.scan(b"", b"\xff", 1000)) == source.state_at(32)
    assert joined.store.read_block(Height(12)) == source.block(12)
    assert joined.store.get_receipts(Height(13)) == source.store.get_receipts(Height(13))
    with pytest.raises(UsageError, match="from block 13 on, not block 11") as refusal:
        joined.store.read_block(Height(11))
    assert refusal.value.reason == "HEIGHT_PRUNED"
    with pytest.raises(UsageError, match="not what block 12 did"):
        joined.store.get_receipts(Height(12))
    # What the node had before is not lost.
    assert (joined.path / "replaced-12" / "blocks").exists()


@pytest.mark.parametrize("call", range(12))
def test_a_ledger_is_moved_in_whole_wherever_the_process_is_killed(
    make_chain: MakeChain, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, joined = make_chain("source"), make_chain("joined")
    source.grow(12)
    snapshots = open_snapshots(source)
    prepare(source, snapshots, take(source, snapshots), joined.path)
    joined.store.close()
    left = [call]
    for name in ("rename", "unlink", "mkdir"):
        monkeypatch.setattr(Path, name, dying(getattr(Path, name), left))
    with contextlib.suppress(Killed):
        move_in(joined.path)
    monkeypatch.undo()
    joined.reopen()
    assert joined.store.state_root == source.store.state_root
    assert joined.store.segment_height == joined.store.executed_height == 12


def dying(function: Callable[..., Result], left: list[int]) -> Callable[..., Result]:
    """Count calls, and have the process end before one of them."""

    def counted(*arguments: object, **options: object) -> Result:
        left[0] -= 1
        if left[0] == -1:
            raise Killed
        return function(*arguments, **options)

    return counted


def test_what_was_replaced_before_stays(make_chain: MakeChain) -> None:
    source, joined = make_chain("source"), make_chain("joined")
    source.grow(12)
    snapshots = open_snapshots(source)
    manifest = take(source, snapshots)
    joined.grow(3)
    for _ in range(2):
        joined.store.close()
        prepare(source, snapshots, manifest, joined.path)
        joined.reopen()
    first, again = (joined.path / name / "blocks" for name in ("replaced-12", "replaced-12-1"))
    assert [path.name for path in first.iterdir()] == ["000000000001.blocks"]
    assert [path.name for path in again.iterdir()] == ["000000000012.blocks"]


def test_chunks_of_another_snapshot_are_thrown_away(make_chain: MakeChain) -> None:
    source = make_chain("source")
    source.grow(12)
    snapshots = open_snapshots(source)
    first = take(source, snapshots)
    builder = SnapshotBuilder.open(source.path / "joining", first)
    builder.insert(0, builder.verify(0, snapshots.read_chunk(first.digest, 0)))
    builder.close()
    source.grow(3)
    second = take(source, snapshots)
    builder = SnapshotBuilder.open(source.path / "joining", second)
    assert len(builder.missing) == len(second.chunks)
    builder.close()


def test_a_chunk_is_told_from_a_forged_copy_and_from_a_false_manifest(chain: Chain) -> None:
    chain.grow(6)
    snapshots = open_snapshots(chain)
    manifest = take(chain, snapshots)
    first, second = (snapshots.read_chunk(manifest.digest, position) for position in (0, 1))
    builder = SnapshotBuilder.open(chain.path / "joining", manifest)
    builder.check_copy(0, first)
    with pytest.raises(PeerFault, match="not the chunk that the manifest"):
        builder.check_copy(0, second)
    with pytest.raises(PeerFault, match="state chunk"):
        builder.verify(0, second)
    builder.close()
    moved = (manifest.chunks[0], *manifest.chunks[2:])
    false = Manifest(
        height=manifest.height,
        header_hash=manifest.header_hash,
        state_root=manifest.state_root,
        chunks=moved,
    )
    builder = SnapshotBuilder.open(chain.path / "joining", false)
    with pytest.raises(PeerFault, match="do not meet"):
        builder.verify(0, first)
    builder.close()


def test_state_lost_after_joining_is_refused_with_the_remedy(make_chain: MakeChain) -> None:
    source, joined = make_chain("source"), make_chain("joined")
    source.grow(12)
    snapshots = open_snapshots(source)
    joined.store.close()
    prepare(source, snapshots, take(source, snapshots), joined.path)
    joined.reopen().close()
    (joined.path / "state").rename(joined.path / "aside")
    with pytest.raises(CorruptState, match="begins with block 12, not 1") as refusal:
        joined.reopen()
    assert "tanpo node rebuild" in refusal.value.remedy


def test_any_change_of_a_manifest_is_another_or_refused(chain: Chain) -> None:
    chain.grow(6)
    manifest = take(chain, open_snapshots(chain))
    assert decode_manifest(manifest.encoded) == manifest
    for at in range(len(manifest.encoded)):
        changed = bytearray(manifest.encoded)
        changed[at] ^= 1
        try:
            assert decode_manifest(bytes(changed)) != manifest
        except PeerFault:
            continue
    for length in range(len(manifest.encoded)):
        with pytest.raises(PeerFault):
            decode_manifest(manifest.encoded[:length])
