"""The simulated disk: what it keeps, loses and spoils, judged by the store's own rules."""

from __future__ import annotations

import random

import pytest
from tanpo.ledger.types import BlockHash
from tanpo.simulator.disk import SafetyDisk
from tanpo.storage import SafetyWrite
from tanpo.storage.recall import Forgotten

BLOCK = BlockHash(b"\x01" * 32)


def _written(count: int) -> SafetyDisk:
    disk = SafetyDisk()
    for number in range(count):
        disk.begin(SafetyWrite(record=b"record %d" % number, blocks={BLOCK: b"block"} if number == 0 else {}))
        disk.finish()
    return disk


def test_a_new_disk_has_promised_nothing() -> None:
    assert SafetyDisk().load().record is None


def test_a_finished_write_is_found_again() -> None:
    disk = _written(3)

    image = disk.load()

    assert (image.record, image.blocks) == (b"record 2", {BLOCK: b"block"})


def test_a_dropped_block_is_gone() -> None:
    disk = _written(2)
    disk.begin(SafetyWrite(record=b"last", dropped=(BLOCK,)))
    disk.finish()

    assert disk.load().blocks == {}
    assert disk.blocks == {}


def test_a_write_that_a_crash_lost_leaves_the_one_before() -> None:
    disk = _written(2)
    disk.begin(SafetyWrite(record=b"lost"))

    assert not disk.tear(random.Random(0), is_torn=False)
    assert disk.load().record == b"record 1" == disk.record


@pytest.mark.parametrize("seed", range(20))
def test_a_torn_write_is_whole_in_the_database_whatever_became_of_the_guard(seed: int) -> None:
    disk = _written(2)
    disk.begin(SafetyWrite(record=b"torn"))

    assert disk.tear(random.Random(seed), is_torn=True)
    assert disk.load().record == b"torn" == disk.record
    disk.begin(SafetyWrite(record=b"next"))
    disk.finish()
    assert disk.load().record == b"next"


def test_rot_is_noticed_or_costs_nothing_but_is_never_an_older_promise() -> None:
    """A damaged newest slot looks like a crash before the guard was written: the database has it all."""
    noticed = 0
    for seed in range(60):
        disk = _written(4)
        disk.rot(random.Random(seed))
        try:
            assert disk.load().record == b"record 3"
        except Forgotten:
            noticed += 1

    assert 40 < noticed < 60


def test_a_backup_is_apart_from_what_follows() -> None:
    disk = _written(2)
    backup = disk.copy()
    disk.begin(SafetyWrite(record=b"later"))
    disk.finish()

    assert backup.load().record == b"record 1"
    assert disk.load().record == b"later"
