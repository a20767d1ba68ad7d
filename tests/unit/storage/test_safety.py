from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tanpo.ledger.errors import CorruptState, Reason, UsageError
from tanpo.ledger.types import BlockHash
from tanpo.storage import SafetyImage, SafetyStore, SafetyWrite
from tanpo.storage.guard import SLOT_BYTES, GuardFile


def block_hash(number: int) -> BlockHash:
    return BlockHash(number.to_bytes(32, "big"))


def write_of(number: int) -> SafetyWrite:
    """Write `number` adds a block and drops the third before it."""
    dropped = (block_hash(number - 3),) if number > 3 else ()
    return SafetyWrite(
        record=b"record %d" % number, blocks={block_hash(number): b"block %d" % number}, dropped=dropped
    )


def image_of(number: int) -> SafetyImage:
    held = range(max(1, number - 2), number + 1)
    return SafetyImage(record=b"record %d" % number, blocks={block_hash(n): b"block %d" % n for n in held})


def assert_refused(path: Path) -> None:
    with pytest.raises(CorruptState) as caught:
        SafetyStore.open(path)
    assert caught.value.reason is Reason.DATA_CORRUPT
    assert "must not vote" in caught.value.remedy


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store after six writes."""
    SafetyStore.create(tmp_path / "consensus")
    store = SafetyStore.open(tmp_path / "consensus")
    for number in range(1, 7):
        store.save(write_of(number))
    store.close()
    return tmp_path / "consensus"


@pytest.fixture
def opened() -> Iterator[Callable[[Path], SafetyStore]]:
    stores: list[SafetyStore] = []

    def open_store(path: Path) -> SafetyStore:
        stores.append(SafetyStore.open(path))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


def test_opening_never_makes_a_store(tmp_path: Path) -> None:
    assert not SafetyStore.is_present(tmp_path / "consensus")
    assert_refused(tmp_path / "consensus")
    assert not SafetyStore.is_present(tmp_path / "consensus")


def test_a_store_is_made_once(path: Path, opened: Callable[[Path], SafetyStore]) -> None:
    with pytest.raises(UsageError, match="already"):
        SafetyStore.create(path)
    assert opened(path).load() == image_of(6)


def test_a_store_may_begin_with_a_write(tmp_path: Path, opened: Callable[[Path], SafetyStore]) -> None:
    SafetyStore.create(tmp_path / "new", write_of(1))
    store = opened(tmp_path / "new")
    assert store.load() == image_of(1)
    store.save(write_of(2))
    store.close()
    assert opened(tmp_path / "new").load() == image_of(2)


def test_a_store_set_aside_is_kept_under_a_free_name(path: Path) -> None:
    assert SafetyStore.set_aside(path) == path / "damaged-1"
    SafetyStore.create(path)
    assert SafetyStore.set_aside(path) == path / "damaged-2"
    assert not SafetyStore.is_present(path)
    (path / "damaged-1").rename(path / "live")
    store = SafetyStore.open(path)
    assert store.load() == image_of(6)
    store.close()


def test_a_new_store_remembers_nothing(tmp_path: Path, opened: Callable[[Path], SafetyStore]) -> None:
    SafetyStore.create(tmp_path / "new")
    assert opened(tmp_path / "new").load() == SafetyImage(record=None, blocks={})


def test_the_last_write_is_there_after_reopening(path: Path, opened: Callable[[Path], SafetyStore]) -> None:
    assert opened(path).load() == image_of(6)


def test_a_store_opened_many_times_goes_on_counting(tmp_path: Path) -> None:
    SafetyStore.create(tmp_path)
    for number in range(1, 8):
        store = SafetyStore.open(tmp_path)
        store.save(write_of(number))
        assert store.load() == image_of(number)
        store.close()


def test_an_empty_record_is_a_record(tmp_path: Path, opened: Callable[[Path], SafetyStore]) -> None:
    SafetyStore.create(tmp_path)
    store = opened(tmp_path)
    store.save(SafetyWrite(record=b""))
    assert store.load().record == b""


def test_a_second_opening_is_refused(path: Path, opened: Callable[[Path], SafetyStore]) -> None:
    opened(path)
    with pytest.raises(UsageError) as caught:
        SafetyStore.open(path)
    assert caught.value.reason is Reason.DATA_LOCKED


def test_a_database_behind_the_guard_means_the_node_must_not_vote(path: Path, tmp_path: Path) -> None:
    shutil.copytree(path / "live" / "db", tmp_path / "old")
    store = SafetyStore.open(path)
    store.save(write_of(7))
    store.close()
    shutil.rmtree(path / "live" / "db")
    (tmp_path / "old").rename(path / "live" / "db")
    assert_refused(path)


def test_a_crash_between_database_and_guard_is_no_loss(
    path: Path, opened: Callable[[Path], SafetyStore]
) -> None:
    before = (path / "live" / "guard").read_bytes()
    store = SafetyStore.open(path)
    store.save(write_of(7))
    store.close()
    (path / "live" / "guard").write_bytes(before)
    assert opened(path).load() == image_of(7)


def test_a_guard_two_writes_behind_is_refused(path: Path) -> None:
    before = (path / "live" / "guard").read_bytes()
    store = SafetyStore.open(path)
    store.save(write_of(7))
    store.save(write_of(8))
    store.close()
    (path / "live" / "guard").write_bytes(before)
    assert_refused(path)


def test_a_guard_slot_torn_by_a_crash_is_no_loss(path: Path) -> None:
    store = SafetyStore.open(path)
    store.save(write_of(7))
    store.close()
    guard = path / "live" / "guard"
    whole = guard.read_bytes()
    for offset in (SLOT_BYTES, SLOT_BYTES + 20, 2 * SLOT_BYTES - 1):
        torn = bytearray(whole)
        torn[offset] ^= 1
        guard.write_bytes(torn)
        store = SafetyStore.open(path)
        assert store.load() == image_of(7)
        store.close()
        # Opening wrote the torn slot again.
        assert guard.read_bytes() == whole


def test_a_damaged_older_slot_is_refused(path: Path) -> None:
    # Write 6 is in slot 0. What slot 1 held may have been a later write.
    guard = path / "live" / "guard"
    content = bytearray(guard.read_bytes())
    content[SLOT_BYTES + 100] ^= 1
    guard.write_bytes(content)
    assert_refused(path)


@pytest.mark.parametrize("name", ["guard", "db"])
def test_only_one_of_database_and_guard_is_refused(path: Path, name: str) -> None:
    (path / "live" / name).rename(path / "hidden")
    assert_refused(path)


def test_a_database_of_another_node_is_refused(path: Path, tmp_path: Path) -> None:
    SafetyStore.create(tmp_path / "other")
    other = SafetyStore.open(tmp_path / "other")
    for _ in range(6):
        other.save(SafetyWrite(record=b"other"))
    other.close()
    shutil.rmtree(path / "live" / "db")
    (tmp_path / "other" / "live" / "db").rename(path / "live" / "db")
    assert_refused(path)


def test_every_cut_of_the_log_is_found(path: Path) -> None:
    (log,) = (path / "live" / "db").glob("*.log")
    whole = log.read_bytes()
    saved = path.parent / "saved"
    shutil.copytree(path, saved)
    for size in range(0, len(whole), 5):
        shutil.rmtree(path)
        shutil.copytree(saved, path)
        os.truncate(log, size)
        assert_refused(path)


def test_every_flipped_bit_of_the_log_is_found_or_harmless(path: Path) -> None:
    (log,) = (path / "live" / "db").glob("*.log")
    size = log.stat().st_size
    saved = path.parent / "saved"
    shutil.copytree(path, saved)
    for offset in range(0, size, 5):
        shutil.rmtree(path)
        shutil.copytree(saved, path)
        content = bytearray(log.read_bytes())
        content[offset] ^= 1 << offset % 8
        log.write_bytes(content)
        try:
            store = SafetyStore.open(path)
        except CorruptState:
            continue
        assert store.load() == image_of(6)
        store.close()


def test_a_failed_sync_ends_the_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SafetyStore.open(path)

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(CorruptState):
        store.save(write_of(7))
    monkeypatch.undo()
    with pytest.raises(CorruptState):
        store.save(write_of(7))
    with pytest.raises(CorruptState):
        store.load()
    store.close()


def test_a_creation_cut_short_is_started_again(tmp_path: Path) -> None:
    (tmp_path / "consensus" / "new" / "db").mkdir(parents=True)
    (tmp_path / "consensus" / "new" / "guard").write_bytes(b"half")
    SafetyStore.create(tmp_path / "consensus")
    store = SafetyStore.open(tmp_path / "consensus")
    assert store.load().record is None
    store.close()


def test_the_guard_survives_a_torn_write_of_either_slot(tmp_path: Path) -> None:
    path = tmp_path / "guard"
    GuardFile.create(path, b"start")
    for number in range(1, 5):
        guard, _ = GuardFile.open(path)
        before = path.read_bytes()
        guard.write(b"payload %d" % number, synced=True)
        guard.close()
        after = path.read_bytes()
        slot = number % 2 * SLOT_BYTES
        for cut in (0, 1, 16, 40, 4095):
            path.write_bytes(
                after[: slot + cut] + before[slot + cut : slot + SLOT_BYTES] + after[slot + 4096 :]
            )
            reopened, image = GuardFile.open(path)
            assert image is not None
            assert image.sequence in (number - 1, number)
            reopened.close()
        path.write_bytes(after)
