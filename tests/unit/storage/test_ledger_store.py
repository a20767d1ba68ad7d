from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import plyvel
import pytest
from tanpo.ledger.errors import CorruptState, InvariantViolation, Reason, UsageError
from tanpo.ledger.statekey import compute_state_root, path_of, value_hash
from tanpo.ledger.types import BlockHash, Height, MerkleRoot, NetworkId, StateRoot
from tanpo.storage import LedgerStore, audit
from tanpo.storage.records import INNER_STORED_BYTES


def root_of(state: dict[bytes, bytes]) -> StateRoot:
    return compute_state_root((path_of(key), value_hash(value)) for key, value in state.items())


def test_everything_committed_is_there_after_reopening(chain: Any) -> None:
    chain.grow(30)
    store = chain.reopen()
    assert (store.executed_height, store.segment_height) == (30, 30)
    assert store.executed_hash == chain.block(30).block_hash
    assert store.state_root == root_of(chain.state_at(30))
    assert store.receipts_root == chain.receipts_root(30)
    assert store.scan(b"", b"\xff", 1000) == sorted(chain.state_at(30).items())
    for height in range(1, 31):
        assert store.read_block(Height(height)) == chain.block(height)
        assert store.get_receipts(Height(height)) == (b"receipt %d" % height, b"")
        for index in range(2):
            assert store.find_transaction(chain.tx_id(height, index)) == (height, index)
            assert store.find_request(chain.digest(height, index)) == (height, index)


def test_a_stored_block_that_was_not_executed_can_be_executed_after_reopening(chain: Any) -> None:
    chain.grow(3)
    chain.store.append_block(chain.block(4))
    store = chain.reopen()
    assert (store.executed_height, store.segment_height) == (3, 4)
    chain.execute(4)
    assert store.state_root == root_of(chain.state_at(4))


def test_scan_is_ordered_bounded_and_half_open(chain: Any) -> None:
    chain.grow(10)
    expected = sorted(chain.state_at(10).items())
    assert chain.store.scan(b"", b"\xff", 3) == expected[:3]
    assert chain.store.scan(expected[1][0], expected[3][0], 9) == expected[1:3]
    assert chain.store.scan(b"b", b"a", 9) == []
    assert chain.store.scan(b"", b"\xff", 0) == []


def test_missing_things_are_none_or_a_clear_error(chain: Any) -> None:
    chain.grow(2)
    store = chain.store
    assert store.get(b"nothing") is None
    assert store.find_transaction(chain.tx_id(9, 0)) is None
    assert store.find_request(chain.digest(9, 0)) is None
    assert store.get_receipts(Height(0)) == ()
    for read in (store.get_receipts, store.read_block):
        with pytest.raises(UsageError) as caught:
            read(Height(3))
        assert caught.value.reason is Reason.HEIGHT_UNKNOWN
        assert caught.value.value == "3"


def test_genesis_is_written_once(chain: Any) -> None:
    with pytest.raises(UsageError):
        chain.store.initialise({}, block_hash=BlockHash(bytes(32)), receipts_root=MerkleRoot(bytes(32)))


def test_a_store_without_genesis_says_so(tmp_path: Path) -> None:
    store = LedgerStore.open(tmp_path, network_id=NetworkId(bytes(32)))
    assert not store.is_initialised
    assert store.executed_height == -1
    with pytest.raises(UsageError, match="genesis"):
        _ = store.state_root
    store.close()


def test_blocks_are_appended_in_order_of_height(chain: Any) -> None:
    chain.grow(2)
    for height in (1, 2, 4):
        with pytest.raises(UsageError):
            chain.store.append_block(chain.block(height))
    chain.grow(1)


def test_a_block_is_committed_once_in_order_and_only_if_stored(chain: Any) -> None:
    chain.grow(1)
    again = chain.results(2)
    with pytest.raises(UsageError):
        chain.store.commit(again)
    chain.grow(1)
    with pytest.raises(UsageError):
        chain.store.commit(again)


def test_results_of_another_block_are_refused(chain: Any) -> None:
    chain.store.append_block(chain.block(2).__class__(height=1, block_hash=bytes(32), block=b"", proof=b""))
    with pytest.raises(UsageError, match="another"):
        chain.execute(1)


def test_a_plan_whose_parent_is_not_committed_cannot_be_committed(chain: Any) -> None:
    tree = chain.store.tree
    first = tree.begin(Height(1), {b"a": b"1"})
    second = tree.begin(Height(2), {b"b": b"1"}, first)
    with pytest.raises(InvariantViolation):
        tree.stage(second, {}, [])


def test_a_plan_on_a_parent_that_lost_cannot_be_extended(chain: Any) -> None:
    lost = chain.store.tree.begin(Height(1), {b"a": b"1"})
    chain.grow(1)
    with pytest.raises(InvariantViolation):
        chain.store.tree.begin(Height(2), {}, lost)


def test_a_second_opening_is_refused_with_the_path_and_the_remedy(chain: Any) -> None:
    with pytest.raises(UsageError) as caught:
        LedgerStore.open(chain.path, network_id=NetworkId(bytes(32)))
    assert caught.value.reason is Reason.DATA_LOCKED
    assert str(chain.path) in str(caught.value)
    assert caught.value.remedy


def test_a_folder_of_another_network_is_refused(chain: Any) -> None:
    chain.store.close()
    with pytest.raises(UsageError) as caught:
        LedgerStore.open(chain.path, network_id=NetworkId(bytes(32)))
    assert caught.value.reason is Reason.GENESIS_MISMATCH


def test_a_closed_store_refuses_and_may_be_closed_again(chain: Any) -> None:
    chain.store.close()
    chain.store.close()
    with pytest.raises(UsageError, match="closed"):
        chain.store.get(b"a")
    with pytest.raises(UsageError, match="closed"):
        chain.store.append_block(chain.block(1))


def test_a_lost_database_is_rebuilt_from_the_blocks(chain: Any) -> None:
    chain.grow(12)
    root = chain.store.state_root
    chain.store.close()
    shutil.rmtree(chain.path / "state")
    store = chain.reopen()
    assert store.rolled_back_from == 12
    for height in range(1, 13):
        chain.execute(height)
    assert store.state_root == root


def test_lost_blocks_are_reported(chain: Any) -> None:
    chain.grow(12)
    chain.store.close()
    shutil.rmtree(chain.path / "blocks")
    with pytest.raises(CorruptState, match="block 12 was stored"):
        chain.reopen()


def test_a_database_without_its_guard_or_network_file_is_reported(chain: Any) -> None:
    chain.grow(1)
    chain.store.close()
    for name in ("guard", "network"):
        hidden = chain.path / f"{name}.hidden"
        (chain.path / name).rename(hidden)
        with pytest.raises(CorruptState):
            chain.reopen()
        hidden.rename(chain.path / name)
    chain.reopen()


def test_audit_accepts_the_state_and_refuses_a_changed_value(chain: Any) -> None:
    chain.grow(5)
    audit(chain.store)
    chain.store.close()
    with plyvel.DB(str(chain.path / "state")) as database:
        key, _ = next(database.iterator(prefix=b"S"))
        database.delete(key)
    with pytest.raises(CorruptState, match="root"):
        audit(chain.reopen())


def test_a_hole_among_the_logged_blocks_is_reported(chain: Any) -> None:
    chain.grow(9)
    chain.store.close()
    with plyvel.DB(str(chain.path / "state")) as database:
        database.delete(b"B" + (7).to_bytes(4, "big"))
    with pytest.raises(CorruptState, match="executed blocks are missing"):
        chain.reopen()


def list_nodes(chain: Any) -> list[Path]:
    return sorted((chain.path / "state").glob("*.nodes"))


def test_a_changed_tree_record_is_never_believed(chain: Any) -> None:
    chain.grow(9)
    chain.store.close()
    [path] = list_nodes(chain)
    content = path.read_bytes()
    # The last record is the root: first its hashes, then the places and lows that no hash covers.
    for at, why in ((-100, "does not match its hash"), (-INNER_STORED_BYTES + 30, "checksum")):
        changed = bytearray(content)
        changed[at] ^= 1
        path.write_bytes(changed)
        store = chain.reopen()
        with pytest.raises(CorruptState, match=why):
            store.tree.begin(Height(10), {b"key 1": b"x"})


def test_a_log_of_the_tree_that_lost_its_end_is_reported(chain: Any) -> None:
    chain.grow(9)
    chain.store.close()
    path = list_nodes(chain)[-1]
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(CorruptState, match="too short") as refusal:
        chain.reopen()
    assert (refusal.value.value, refusal.value.limit) == (str(len(content) - 1), str(len(content)))
    assert "tanpo node rebuild" in refusal.value.remedy


def test_a_missing_log_of_the_tree_is_reported(chain: Any) -> None:
    chain.grow(9)
    chain.store.close()
    for path in list_nodes(chain):
        path.unlink()
    with pytest.raises(CorruptState, match="begins too late"):
        chain.reopen()


def test_a_name_that_no_part_of_the_tree_has_is_reported(chain: Any) -> None:
    chain.grow(2)
    chain.store.close()
    (chain.path / "state" / "1.nodes").write_bytes(b"")
    with pytest.raises(CorruptState, match=r"1\.nodes: is not the name"):
        chain.reopen()


def test_records_of_a_block_whose_batch_was_never_written_are_written_over(chain: Any) -> None:
    chain.grow(9)
    chain.store.close()
    path = list_nodes(chain)[-1]
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"of a block that was lost" * 1000)
    stray = path.with_name("0000000099999999.nodes")
    stray.write_bytes(b"of another")

    store = chain.reopen()

    assert path.stat().st_size == size
    assert not stray.exists()
    chain.grow(3)
    audit(store)


def test_the_window_can_be_lowered_and_raised(chain: Any) -> None:
    chain.window = 20
    chain.reopen()
    chain.grow(30)
    for window in (3, 12, 1):
        chain.window = window
        chain.reopen()
        chain.grow(30)
    chain.store.close()
    with plyvel.DB(str(chain.path / "state")) as database:
        assert len(list(database.iterator(prefix=b"XR"))) == 2


def test_transactions_of_a_party_are_listed_from_the_latest_back(chain: Any) -> None:
    chain.grow(7)
    store = chain.reopen()
    listed = [(height, index) for height, index, _ in store.list_of_party("alpha", None, 100)]
    assert listed == [
        (height, index) for height in range(7, 0, -1) for index in ((1, 0) if height % 2 else (0,))
    ]
    pages, before = [], None
    while page := store.list_of_party("alpha", before, 3):
        pages += page
        before = page[-1][:2]
    assert [place[:2] for place in pages] == listed
    assert all(tx_id == chain.tx_id(height, index) for height, index, tx_id in pages)
    assert [place[:2] for place in store.list_of_party("beta", (3, 1), 10)] == [(1, 1)]
    assert len(store.list_of_party("alphabet", None, 10)) == 3
    assert store.list_of_party("gamma", None, 10) == []
