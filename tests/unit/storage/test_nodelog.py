"""The log of the tree's nodes: what a start finds of it, and when files go."""

from __future__ import annotations

from pathlib import Path

import pytest
from tanpo.ledger.errors import CorruptState
from tanpo.storage.nodelog import LOG_SUFFIX, NodeLog

RECORD = 100
FILE_BYTES = 3 * RECORD
RECORDS = 12
END = RECORD * RECORDS
STARTS = [0, 300, 600, 900]


def open_log(folder: Path, *, low: int = 0, end: int = END) -> NodeLog:
    return NodeLog.open(folder, low=low, end=end, remedy="make it anew", file_bytes=FILE_BYTES)


def record(number: int) -> bytes:
    return bytes([number]) * RECORD


def list_starts(folder: Path) -> list[int]:
    return sorted(int(path.name.removesuffix(LOG_SUFFIX)) for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    log = open_log(tmp_path, end=0)
    for number in range(RECORDS):
        log.append(number * RECORD, [record(number)])
    log.close()
    assert list_starts(tmp_path) == STARTS
    return tmp_path


def test_every_record_is_read_from_its_position(folder: Path) -> None:
    log = open_log(folder)
    assert [log.read(number * RECORD, RECORD) for number in range(RECORDS)] == [
        record(number) for number in range(RECORDS)
    ]


def test_a_file_goes_once_no_record_of_it_is_needed(folder: Path) -> None:
    log = open_log(folder)
    log.drop(599)
    assert list_starts(folder) == [300, 600, 900]
    log.drop(600)
    assert list_starts(folder) == [600, 900]
    assert log.read(599, RECORD) is None
    assert log.read(600, RECORD) == record(6)


def test_no_file_goes_while_a_copy_is_made(folder: Path) -> None:
    log = open_log(folder)
    release = log.hold()
    log.drop(END)
    assert list_starts(folder) == STARTS
    release()
    log.drop(END)
    assert list_starts(folder) == [900]


def test_what_no_block_wrote_is_cut_off_and_written_over(folder: Path) -> None:
    log = open_log(folder, end=650)
    assert list_starts(folder) == [0, 300, 600]
    log.append(650, [record(77)])
    log.close()
    assert open_log(folder, end=750).read(650, RECORD) == record(77)


def test_files_that_a_crash_brought_back_are_removed_again(folder: Path) -> None:
    """A removal need not be on disk when the power fails, and of several any may be."""
    (folder / f"{300:016d}{LOG_SUFFIX}").unlink()
    log = open_log(folder, low=650)
    assert list_starts(folder) == [600, 900]
    assert log.read(650, 50) == record(6)[:50]


@pytest.mark.parametrize(("lost", "low"), [(0, 0), (300, 0), (600, 299), (600, 650), (900, 0)])
def test_a_lost_file_that_is_needed_is_reported(folder: Path, lost: int, low: int) -> None:
    (folder / f"{lost:016d}{LOG_SUFFIX}").unlink()
    with pytest.raises(CorruptState) as refusal:
        open_log(folder, low=low)
    assert refusal.value.remedy == "make it anew"
