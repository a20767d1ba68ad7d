"""The log of the tree's nodes: positions, files, and what may be removed."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tanpo.ledger.errors import CorruptState, Unavailable, UsageError
from tanpo.storage import files
from tanpo.storage.nodelog import FILES_OPEN_MAX, NodeLog

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


def count_room(folder: Path) -> int:
    """Return the bytes of the files without a name that this process still has of a folder."""
    found = 0
    for path in list(Path("/proc/self/fd").iterdir()):
        with suppress(FileNotFoundError):  # That of the listing itself.
            name = str(path.readlink())
            if name.startswith(str(folder)) and name.endswith(" (deleted)"):
                found += path.stat().st_size
    return found


def test_the_room_of_a_file_is_given_back_piece_by_piece(
    log: NodeLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LEAVING_BYTES", 50)
    log.drop(240)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [f"{n:016d}.nodes" for n in (240, 360, 480)]
    assert log.read(239, 1) is None
    found = [count_room(tmp_path)]
    for _ in range(7):
        log.drop(240)
        found.append(count_room(tmp_path))
    assert found == [240, 190, 140, 90, 40, 0, 0, 0]
    log.drop(480)
    log.close()
    assert count_room(tmp_path) == 0


def test_many_files_that_could_go_at_once_go_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a long copy: no block waits for all of them, and what blocks write comes back faster."""
    monkeypatch.setattr(files, "LEAVING_BYTES", 50)
    log = open_log(tmp_path, 0, 0)
    release = log.hold()
    for number in range(20):
        log.append(100 * number, [b"%d" % (number % 10) * 100])
        log.drop(100 * number)
    release()
    assert len(list(tmp_path.iterdir())) == 20
    log.drop(1900)
    assert (count_room(tmp_path), len(list(tmp_path.iterdir()))) == (400, 16)
    sizes = []
    for number in range(20, 40):
        log.append(100 * number, [b"%d" % (number % 10) * 100])
        log.drop(100 * number)
        sizes.append(count_room(tmp_path) + sum(path.stat().st_size for path in tmp_path.iterdir()))
        assert count_room(tmp_path) <= 400
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] <= 500
    assert log.read(3950, 1) == b"9"
    log.close()


def test_a_removed_file_that_a_power_cut_brings_back_cut_short_is_removed_again(tmp_path: Path) -> None:
    log = open_log(tmp_path, 0, 0)
    for number in range(4):
        log.append(100 * number, [b"%d" % number * 100])
    log.drop(300)
    log.close()
    for back, size in ((0, 100), (100, 7), (200, 0)):
        (tmp_path / f"{back:016d}.nodes").write_bytes(bytes(size))
        again = open_log(tmp_path, 310, 400)
        assert [path.name for path in tmp_path.iterdir()] == [f"{300:016d}.nodes"]
        assert again.read(399, 1) == b"3"
        again.close()


@pytest.mark.parametrize("room", [0, 1, 39, 40, 119])
def test_an_append_that_finds_the_disk_full_leaves_what_was_there(tmp_path: Path, room: int) -> None:
    log = NodeLog.open(tmp_path, low=0, end=0, remedy="none", file_bytes=1000)
    log.append(0, [b"x" * 200])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200 + room, hard))
    try:
        with pytest.raises(Unavailable, match="is full"):
            log.append(200, [b"y" * 40, b"y" * 80])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.close()
    [path] = tmp_path.iterdir()
    assert path.stat().st_size == 200 + room
    again = NodeLog.open(tmp_path, low=0, end=200, remedy="none", file_bytes=1000)
    assert path.stat().st_size == 200
    again.append(200, [b"z" * 50])
    assert again.read(190, 60) == b"x" * 10 + b"z" * 50
    again.close()


def test_a_process_that_may_open_no_more_files_is_told_so(tmp_path: Path) -> None:
    log = open_log(tmp_path, 0, 0)
    log.append(0, [b"x" * 100])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    held = [os.dup(0) for _ in range(used + 1)]  # No number below the limit is free.
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
    try:
        with pytest.raises(CorruptState, match="no more files can be opened") as refusal:
            log.append(100, [b"y"])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for number in held:
            os.close(number)
    assert refusal.value.limit == f"{used + 1} open files"
    assert "ulimit -n" in refusal.value.remedy
    log.close()
    again = open_log(tmp_path, 0, 100)
    again.append(100, [b"y"])
    assert again.read(99, 2) == b"x"
    again.close()


def test_a_log_of_many_files_holds_few_open(tmp_path: Path) -> None:
    count = 2 * FILES_OPEN_MAX
    log = open_log(tmp_path, 0, 0)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(count):
        log.append(100 * number, [b"%d" % (number % 10) * 100])
    for _ in range(2):
        assert [log.read(100 * n + 50, 1) for n in range(count)] == [b"%d" % (n % 10) for n in range(count)]
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= FILES_OPEN_MAX
    log.close()
    again = open_log(tmp_path, 100, 100 * count)
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 1
    assert not (tmp_path / f"{0:016d}.nodes").exists()
    assert [again.read(100 * n, 1) for n in range(count)] == [None] + [
        b"%d" % (n % 10) for n in range(1, count)
    ]
    again.close()


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
