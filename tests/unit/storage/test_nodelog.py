"""The log of the tree's nodes: positions, files, and what may be removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tanpo.ledger.errors import CorruptState, UsageError
from tanpo.storage.nodelog import NodeLog

FILE_BYTES = 100


def open_log(folder: Path, low: int, end: int) -> NodeLog:
    return NodeLog.open(folder, low=low, end=end, remedy="none", file_bytes=FILE_BYTES)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[NodeLog]:
    """Ten blocks of sixty bytes, each of its own digit: two to a file."""
    log = open_log(tmp_path, 0, 0)
    for number in range(10):
        log.append(60 * number, [b"%d" % number * 40, b"%d" % number * 20])
    yield log
    log.close()


def test_what_was_appended_is_read_at_its_position(log: NodeLog, tmp_path: Path) -> None:
    assert [log.read(60 * number, 60) for number in range(10)] == [b"%d" % n * 60 for n in range(10)]
    assert log.read(130, 5) == b"22222"
    assert [(path.name, size) for path, size in log.list_ends(600)] == [
        (f"{start:016d}.nodes", 120) for start in range(0, 600, 120)
    ]
    log.close()
    again = open_log(tmp_path, 0, 600)
    assert again.read(590, 10) == b"9" * 10
    again.close()


def test_files_go_whole_and_only_below_what_is_needed(log: NodeLog) -> None:
    log.drop(119)
    assert log.read(0, 1) == b"0"
    log.drop(120)
    assert log.read(119, 1) is None
    assert log.read(120, 1) == b"2"
    log.drop(10_000)
    assert [path.name for path, _ in log.list_ends(600)] == [f"{480:016d}.nodes"]


def test_no_file_goes_while_a_copy_is_made(log: NodeLog) -> None:
    release = log.hold()
    log.drop(600)
    assert log.read(0, 1) == b"0"
    release()
    log.drop(600)
    assert log.read(0, 1) is None


def test_a_log_may_begin_where_its_files_were_dropped_and_no_later(log: NodeLog, tmp_path: Path) -> None:
    log.drop(300)
    log.close()
    open_log(tmp_path, 250, 600).close()
    with pytest.raises(CorruptState, match="begins too late"):
        open_log(tmp_path, 239, 600)


def test_a_file_that_does_not_reach_the_next_is_damage(log: NodeLog, tmp_path: Path) -> None:
    log.close()
    middle = tmp_path / f"{240:016d}.nodes"
    middle.write_bytes(middle.read_bytes()[:-1])
    with pytest.raises(CorruptState, match="too short"):
        open_log(tmp_path, 0, 600)
    middle.unlink()
    with pytest.raises(CorruptState, match="too short"):
        open_log(tmp_path, 0, 600)


def test_a_closed_log_refuses(log: NodeLog) -> None:
    log.close()
    log.close()
    with pytest.raises(UsageError, match="closed"):
        log.read(0, 1)
    with pytest.raises(UsageError, match="closed"):
        log.append(600, [b"x"])


def test_what_no_block_wrote_is_cut_off_and_written_over(log: NodeLog, tmp_path: Path) -> None:
    log.close()
    again = open_log(tmp_path, 0, 250)
    assert [size for _, size in again.list_ends(250)] == [120, 120, 10]
    again.append(250, [b"x" * 60])
    again.close()
    last = open_log(tmp_path, 0, 310)
    assert last.read(250, 60) == b"x" * 60
    last.close()


def test_files_that_a_crash_brought_back_are_removed_again(log: NodeLog, tmp_path: Path) -> None:
    """A removal need not be on disk when the power fails, and of several any may be."""
    log.close()
    (tmp_path / f"{120:016d}.nodes").unlink()
    again = open_log(tmp_path, 250, 600)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        f"{start:016d}.nodes" for start in (240, 360, 480)
    ]
    assert again.read(250, 10) == b"4" * 10
    again.close()
