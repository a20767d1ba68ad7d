"""What goes on beside the blocks while files of the tree's log come and go: proofs, copies, snapshots."""

from __future__ import annotations

from collections.abc import Callable, Generator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.statekey import compute_state_root, path_of, value_hash
from tanpo.ledger.stateproof import PathRange, key_range, verify_partial_tree
from tanpo.ledger.types import Height, NetworkId, StateRoot
from tanpo.storage import audit, proving
from tanpo.storage.copying import ROWS_NAME, RowReader, copy_ledger
from tanpo.storage.database import Database
from tanpo.storage.layout import Progress, write_folder
from tanpo.storage.ledger_store import freeze
from tanpo.storage.proving import ShownTree
from tanpo.storage.snapshots import Draft, SnapshotStore
from tanpo.storage.update import Update

FILE_BYTES = 1_500
NETWORK = NetworkId(sha256(b"network").digest())
EVERYTHING = PathRange(start=0, stop=1 << 256)


@pytest.fixture
def chain(make_chain: Callable[[str], Any]) -> Any:
    """A chain whose log has a file for every block or two, and roots of the last five."""
    chain = make_chain("ledger")
    chain.log_file_bytes = FILE_BYTES
    chain.reopen()
    chain.grow(30)
    return chain


@pytest.fixture
def lifted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that blocks have lifted, of each that has."""
    found: list[int] = []
    lift = Update.lift

    def noted(update: Update, low: int, bytes_max: int) -> None:
        before = update.end
        lift(update, low, bytes_max)
        found.append(update.end - before)

    monkeypatch.setattr(Update, "lift", noted)
    return found


def root_of(state: dict[bytes, bytes]) -> StateRoot:
    return compute_state_root((path_of(key), value_hash(value)) for key, value in state.items())


def files_of(path: Path) -> set[str]:
    return {file.name for file in (path / "state").glob("*.nodes")}


def check_window(chain: Any, first: int, last: int) -> None:
    """Every height proves all that it held."""
    for height in range(first, last + 1):
        state = chain.state_at(height)
        shown = finish(chain.store.prove(Height(height), [EVERYTHING]))
        verify_partial_tree(shown.encoded, root_of(state))
        assert shown.entries == {path_of(key): value_hash(value) for key, value in state.items()}


def finish(steps: Generator[None, None, ShownTree]) -> ShownTree:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            shown: ShownTree = stop.value
            return shown


@pytest.mark.parametrize("blocks", [0, 3, 5])
def test_a_proof_is_right_although_blocks_are_written_while_it_is_made(
    chain: Any, monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    monkeypatch.setattr(proving, "RECORDS_A_STEP", 2)
    height = chain.store.executed_height
    steps = chain.store.prove(height, [EVERYTHING])
    next(steps)
    chain.grow(blocks)
    verify_partial_tree(finish(steps).encoded, root_of(chain.state_at(height)))


def test_a_proof_whose_height_leaves_while_it_is_made_says_so(
    chain: Any, monkeypatch: pytest.MonkeyPatch, lifted: list[int]
) -> None:
    monkeypatch.setattr(proving, "RECORDS_A_STEP", 2)
    before = files_of(chain.path)
    steps = chain.store.prove(chain.store.executed_height, [EVERYTHING])
    next(steps)
    chain.grow(30)
    assert not before & files_of(chain.path)
    with pytest.raises(UsageError) as refusal:
        finish(steps)
    assert refusal.value.reason is Reason.HEIGHT_PRUNED
    assert sum(lifted)


def test_a_copy_made_while_files_come_and_go_is_a_whole_ledger(
    chain: Any, make_chain: Callable[[str], Any], tmp_path: Path, lifted: list[int]
) -> None:
    height, before = chain.store.executed_height, files_of(chain.path)
    copied = copy_ledger(chain.store)
    target, reader = tmp_path / "copy", RowReader()
    rows: dict[bytes, bytes] = {}
    sizes: dict[str, int] = {}
    for name, data in copied.parts:
        chain.grow(3)
        sizes[name] = sizes.get(name, 0) + len(data)
        if name == ROWS_NAME:
            rows.update(reader.feed(data))
            continue
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("ab") as file:
            file.write(data)
    assert {name.removeprefix("state/") for name in sizes if name.endswith(".nodes")} == before
    assert sum(lifted)
    chain.grow(3)
    assert not before & files_of(chain.path)

    progress = Progress(segment_height=height, executed_height=height)
    write_folder(target, NETWORK, progress)
    database = Database.open(target / "state", remedy="", cache_bytes=1 << 20, write_buffer_bytes=1 << 20)
    database.write(rows, ())
    database.close()
    other = make_chain("copy")
    assert (other.store.executed_height, other.store.segment_height) == (height, height)
    audit(other.store)
    check_window(other, height - other.window, height)
    other.grow(20)
    audit(other.store)
    check_window(other, height + 20 - other.window, height + 20)


def test_a_snapshot_is_of_its_height_although_all_files_of_the_log_go_meanwhile(
    chain: Any, tmp_path: Path
) -> None:
    before = files_of(chain.path)
    snapshots = SnapshotStore.open(tmp_path / "snapshots", chunk_bytes=300)
    draft = Draft(height=chain.store.executed_height, state_root=chain.store.state_root)
    steps = snapshots.make(draft, freeze(chain.store))
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            chunks = stop.value
            break
        if before & files_of(chain.path):
            chain.grow(1)
    assert not before & files_of(chain.path)
    assert len(chunks) > 1


def test_roots_of_the_window_hold_although_records_are_lifted_and_files_go(
    chain: Any, lifted: list[int]
) -> None:
    for _ in range(10):
        chain.grow(2)
        last = chain.store.executed_height
        check_window(chain, last - chain.window, last)
        chain.reopen()
        check_window(chain, last - chain.window, last)
    assert sum(lifted)
    with pytest.raises(UsageError) as refusal:
        finish(chain.store.prove(last - chain.window - 1, [key_range(b"key 1")]))
    assert refusal.value.reason is Reason.HEIGHT_PRUNED
