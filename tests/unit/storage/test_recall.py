"""What is found at a start, judged without a disk: go on, write the guard again, or admit to amnesia."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tanpo.ledger.types import BlockHash
from tanpo.storage.guard import GuardImage, encode_slot, read_slots
from tanpo.storage.recall import (
    RECORD_KEY,
    Forgotten,
    SafetyBatch,
    SafetyWrite,
    StoredRecord,
    build_batch,
    build_first_batch,
    is_guard_behind,
    read_image,
    read_record,
)

BLOCK = BlockHash(b"\x05" * 32)
BATCH = build_batch(7, frozenset(), SafetyWrite(record=b"promises", blocks={BLOCK: b"block"}))


def _stored(batch: SafetyBatch) -> StoredRecord:
    return read_record(batch.puts[RECORD_KEY])


def _guard(sequence: int, payload: bytes, valid_slots: int = 2) -> GuardImage:
    return GuardImage(sequence=sequence, payload=payload, valid_slots=valid_slots)


def test_a_batch_reads_back_as_what_was_written() -> None:
    rows = [(key, value) for key, value in BATCH.puts.items() if key != RECORD_KEY]

    image = read_image(_stored(BATCH), rows)

    assert (image.record, image.blocks) == (b"promises", {BLOCK: b"block"})
    assert BATCH.hashes == {BLOCK}


def test_an_empty_store_has_no_record() -> None:
    assert _stored(build_first_batch()).record is None


def test_a_guard_level_with_the_database_is_fine() -> None:
    assert not is_guard_behind(_stored(BATCH), _guard(7, BATCH.guard_payload))


def test_a_guard_one_write_behind_is_to_be_written_again() -> None:
    assert is_guard_behind(_stored(BATCH), _guard(6, b"before", valid_slots=1))


@pytest.mark.parametrize(
    "guard",
    [
        None,
        _guard(5, b"two behind"),
        _guard(8, b"ahead: the database lost a write"),
        _guard(7, b"another write"),
        _guard(7, BATCH.guard_payload, valid_slots=1),
    ],
)
def test_anything_else_may_mean_a_forgotten_promise(guard: GuardImage | None) -> None:
    with pytest.raises(Forgotten):
        is_guard_behind(_stored(BATCH), guard)


def test_a_missing_record_or_block_is_a_forgotten_promise() -> None:
    with pytest.raises(Forgotten, match="missing"):
        read_record(None)
    with pytest.raises(Forgotten, match="not those of the last write"):
        read_image(_stored(BATCH), [])


def test_every_damaged_byte_of_a_record_is_noticed() -> None:
    value = BATCH.puts[RECORD_KEY]
    for at in range(len(value)):
        damaged = value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]

        with pytest.raises(Forgotten, match="checksum"):
            read_record(damaged)


def test_of_two_slots_the_newest_valid_one_counts() -> None:
    slots = [encode_slot(4, b"four"), encode_slot(5, b"five")]

    assert read_slots(slots) == _guard(5, b"five")
    assert read_slots([slots[0], b"\x00" * 4096]) == replace(_guard(4, b"four"), valid_slots=1)
    assert read_slots([b"", b""]) is None
