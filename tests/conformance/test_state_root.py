"""Golden state roots of the state commitment, version 1. Changing one is a state-breaking change."""

from __future__ import annotations

from pathlib import Path

import pytest
from tanpo.ledger.statekey import compute_state_root, index_key, path_of, value_hash
from tanpo.ledger.types import BlockHash, Height, MerkleRoot, NetworkId
from tanpo.storage import BlockCommit, LedgerStore, StoredBlock

ROOTS = {
    0: "aca2048bee42551f90e0ed8650af3d91912387d9b663430e3f0cafff08f35551",
    1: "dfd49d7f2a396384a3266b6e0309940a90b25e0010bb627f38021fade1f04a9a",
    8: "09719bc04d0e321f87d233f1beaf8ace7b12b99e49943aa9fcda775c4cb54a7d",
    9: "f311da897d6846a4f55883111cdc03921318a70c63fc9afda8275ec927517601",
    20: "68197d504f28b90316e90ac2518d4afa05fbdbfb904944129495f73ef6078638",
    100: "97155d0da86afe62ac6408602c2aa533ff2e10d9b86a4a9c50404f4b566d0882",
    1000: "689020c38f56a961727d323b9df8ff5888d82ba64bcceae5ed17300e0af3c8a9",
}
HASH = bytes(32)


def first_keys(count: int) -> dict[bytes, bytes | None]:
    return {b"k%d" % i: b"v%d" % i for i in range(count)}


def open_store(path: Path) -> LedgerStore:
    return LedgerStore.open(path, network_id=NetworkId(HASH))


def execute(store: LedgerStore, changes: dict[bytes, bytes | None]) -> None:
    height = Height(store.executed_height + 1)
    block_hash = BlockHash(height.to_bytes(32, "big"))
    store.append_block(StoredBlock(height=height, block_hash=block_hash, block=b"", proof=b""))
    store.commit(
        BlockCommit(
            height=height,
            block_hash=block_hash,
            changes=changes,
            plan=store.tree.begin(height, changes),
            receipts=(),
            receipts_root=MerkleRoot(HASH),
            tx_ids=(),
            request_digests=(),
            parties=(),
        )
    )


def test_paths_and_value_hashes_are_the_published_ones() -> None:
    assert path_of(b"k0").hex() == "223f1f7ad3e0ebd093ffa06b10b61c4a686f111f34f85a747c5976e0e35a2f50"
    assert value_hash(b"v0").hex() == "d90434becd6e29e63410b028063f425b49cdea17ad035cbdfef5d87985ea5da3"


def test_members_of_a_group_share_the_first_16_bits_of_their_paths() -> None:
    paths = {path_of(index_key(b"g", b"%d" % member))[:2] for member in range(50)}
    assert paths == {bytes.fromhex("424a")}


@pytest.mark.parametrize("count", ROOTS)
def test_the_definition_gives_the_published_root(count: int) -> None:
    pairs = [(path_of(b"k%d" % i), value_hash(b"v%d" % i)) for i in range(count)]
    assert compute_state_root(pairs).hex() == ROOTS[count]


@pytest.mark.parametrize("count", ROOTS)
def test_the_stored_tree_gives_the_published_root(tmp_path: Path, count: int) -> None:
    store = open_store(tmp_path)
    store.initialise(first_keys(count), block_hash=BlockHash(HASH), receipts_root=MerkleRoot(HASH))
    assert store.state_root.hex() == ROOTS[count]
    store.close()


def test_the_stored_tree_grows_and_shrinks_through_the_published_roots(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.initialise({}, block_hash=BlockHash(HASH), receipts_root=MerkleRoot(HASH))
    held = 0
    for count in (1, 8, 9, 20, 100, 1000, 100, 20, 9, 8, 1, 0):
        added = {b"k%d" % i: b"v%d" % i for i in range(held, count)}
        execute(store, {**added, **dict.fromkeys((b"k%d" % i for i in range(count, held)), None)})
        held = count
        assert store.state_root.hex() == ROOTS[count]
    store.close()
