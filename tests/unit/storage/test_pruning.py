"""Pruning a ledger on disk: what goes, what stays, and what a crash leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tanpo.ledger.errors import CorruptState, InvariantViolation, Reason, UsageError
from tanpo.ledger.types import Epoch, Height
from tanpo.storage.copying import copy_ledger
from tanpo.storage.database import scan_keys
from tanpo.storage.pruning import Passing


def prune(chain: Any, height: int, link: tuple[Epoch, bytes] | None = None) -> None:
    """Have a chain begin at a height."""
    old = chain.store.beginning.height
    heights = range(old + 1, height + 1)
    chain.store.pruner.advance(
        Passing(
            height=Height(height),
            tx_ids=[chain.tx_id(one, index) for one in heights for index in range(2)],
            request_digests=[chain.digest(one, index) for one in heights for index in range(2)],
            link=link,
        )
    )


def check(chain: Any, first: int, tip: int) -> None:
    """Every height is answered right, or refused as pruned with the first one that is not."""
    store = chain.store
    for height in range(1, tip + 1):
        if height > first:
            assert store.read_block(Height(height)) == chain.block(height)
            assert store.get_receipts(Height(height)) == (b"receipt %d" % height, b"")
            assert store.find_transaction(chain.tx_id(height, 1)) == (height, 1)
            assert store.find_request(chain.digest(height, 0)) == (height, 0)
            continue
        for read in (store.get_receipts, *([store.read_block] if height < first else [])):
            with pytest.raises(UsageError) as refusal:
                read(Height(height))
            assert refusal.value.reason is Reason.HEIGHT_PRUNED
            assert refusal.value.limit == f"{first + 1} or later"
        assert store.find_transaction(chain.tx_id(height, 1)) is None
        assert store.find_request(chain.digest(height, 0)) is None
    assert store.scan(b"", b"\xff", 1000) == sorted(chain.state_at(tip).items())


def files_of(chain: Any) -> list[Path]:
    return sorted((chain.path / "blocks").iterdir())


def list_keys(chain: Any, first: bytes) -> list[bytes]:
    """Return LevelDB's keys of one kind."""
    return list(scan_keys(chain.store._database, first, bytes((first[0] + 1,))))


def test_what_is_before_the_beginning_is_gone_and_refused(chain: Any) -> None:
    chain.grow(40)
    before = len(files_of(chain))
    for height in (3, 4, 25):
        prune(chain, height)
        check(chain, height, 40)
    assert len(files_of(chain)) <= before / 2
    chain.reopen()
    check(chain, 25, 40)
    chain.grow(10)
    prune(chain, 45)
    check(chain, 45, 50)
    chain.reopen()
    check(chain, 45, 50)


def test_nothing_of_a_pruned_height_is_left_in_the_database(chain: Any) -> None:
    chain.grow(30)
    parties = {key for key in list_keys(chain, b"P") if (2**32 - 1) - int.from_bytes(key[-8:-4], "big") > 20}
    prune(chain, 7)
    prune(chain, 20)
    assert len(list_keys(chain, b"E")) == 10
    assert len(list_keys(chain, b"B")) == 11
    assert len(list_keys(chain, b"T")) == len(list_keys(chain, b"Q")) == 20
    assert set(list_keys(chain, b"P")) == parties
    assert {position[0] for position in chain.store.list_of_party("alpha", None, 100)} == set(range(21, 31))


def test_the_genesis_state_has_no_receipts_until_it_is_pruned(chain: Any) -> None:
    chain.grow(4)
    assert chain.store.get_receipts(Height(0)) == ()
    prune(chain, 2)
    with pytest.raises(UsageError) as refusal:
        chain.store.get_receipts(Height(0))
    assert refusal.value.reason is Reason.HEIGHT_PRUNED


def test_how_epochs_ended_is_remembered(chain: Any) -> None:
    chain.grow(10)
    prune(chain, 4, (Epoch(0), b"first"))
    prune(chain, 6)
    prune(chain, 8, (Epoch(1), b"second"))
    beginning = chain.reopen().beginning
    assert [beginning.find_link(Epoch(epoch)) for epoch in range(3)] == [b"first", b"second", None]


def test_a_beginning_moves_up_alone_and_not_above_the_last_block(chain: Any) -> None:
    chain.grow(10)
    prune(chain, 5)
    for height in (4, 5, 11):
        with pytest.raises(InvariantViolation):
            prune(chain, height)
    check(chain, 5, 10)


def test_a_ledger_without_blocks_has_no_files_to_drop(chain: Any) -> None:
    chain.store.pruner.drop_files()
    chain.grow(3)
    chain.store.pruner.drop_files()
    check(chain, 0, 3)


def test_the_window_of_past_states_may_change_between_starts(chain: Any) -> None:
    """A lower one is reached, two heights a block; a higher one brings nothing back, and grows."""
    chain.grow(20)
    assert chain.store.tree.oldest == 15
    for window, blocks, oldest in ((2, 5, 23), (9, 3, 23), (9, 9, 28), (1, 6, 40)):
        chain.window = window
        chain.reopen()
        chain.grow(blocks)
        store = chain.store
        assert store.tree.oldest == oldest
        for height in range(oldest, store.executed_height + 1):
            wanted = chain.state_at(height)
            assert dict(store.history.at(Height(height)).scan(b"", b"\xff", 1000)) == wanted
        with pytest.raises(UsageError) as refusal:
            store.history.at(Height(oldest - 1))
        assert refusal.value.reason is Reason.HEIGHT_PRUNED


def test_a_ledger_may_begin_with_its_last_block(chain: Any) -> None:
    chain.grow(10)
    prune(chain, 10)
    chain.reopen()
    check(chain, 10, 10)
    chain.grow(5)
    check(chain, 10, 15)


def test_files_that_a_crash_left_are_not_read_and_go_with_the_next_step(
    chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain.grow(40)
    before = files_of(chain)
    with monkeypatch.context() as patched:
        patched.setattr(type(chain.store.segments), "begin_at", lambda *_: None)
        prune(chain, 30)
    assert files_of(chain) == before
    chain.reopen()
    check(chain, 30, 40)
    assert files_of(chain) == before
    chain.store.pruner.drop_files()
    left = files_of(chain)
    assert len(left) < len(before)
    assert int(left[0].stem) <= 30
    check(chain, 30, 40)


def test_a_power_cut_may_bring_back_any_of_the_removed_files(chain: Any) -> None:
    """Removals that were not synced may be undone one by one, in any order."""
    chain.grow(40)
    contents = {path: path.read_bytes() for path in files_of(chain)}
    prune(chain, 30)
    removed = [path for path in contents if not path.exists()]
    assert len(removed) > 3
    for back in (removed[:1], removed[1:3], removed[-1:], removed[::2]):
        for path in back:
            path.write_bytes(contents[path])
        chain.reopen()
        check(chain, 30, 40)
        chain.store.pruner.drop_files()
        assert not any(path.exists() for path in removed)
        check(chain, 30, 40)


def test_a_file_that_is_needed_and_missing_is_damage(chain: Any) -> None:
    chain.grow(40)
    prune(chain, 30)
    files_of(chain)[0].unlink()
    with pytest.raises(CorruptState, match="begins with block"):
        chain.reopen()


def test_a_copy_that_was_begun_is_whole_although_its_blocks_were_pruned(
    chain: Any, make_chain: Callable[[str], Any]
) -> None:
    chain.grow(40)
    copied = copy_ledger(chain.store)
    names = {name for name, _ in [next(copied.parts)]}
    before = files_of(chain)
    prune(chain, 30)
    assert files_of(chain) == before
    names |= {name for name, _ in copied.parts}
    assert names == {f"blocks/{path.name}" for path in before} | {"state.rows", f"state/{0:016d}.nodes"}
    chain.store.pruner.drop_files()
    assert files_of(chain) != before


def test_a_copy_that_nobody_reads_to_its_end_holds_no_files_up(chain: Any) -> None:
    chain.grow(40)
    before = files_of(chain)
    unread, begun = copy_ledger(chain.store), copy_ledger(chain.store)
    next(begun.parts)
    del unread, begun
    prune(chain, 30)
    assert files_of(chain) != before
    check(chain, 30, 40)
