"""The end of a log is read without the rest, and what is added follows line by line."""

from __future__ import annotations

from pathlib import Path

import pytest
from tanpo.cli.logs import follow_lines, tail_lines
from tanpo.ledger.errors import UsageError


def test_the_last_lines_are_returned(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n" for number in range(20_000)))
    lines, offset = tail_lines(path, 3)
    assert lines == ["line 19997", "line 19998", "line 19999"]
    assert offset == path.stat().st_size


def test_a_short_file_is_returned_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("a\nb\n")
    assert tail_lines(path, 50) == (["a", "b"], 4)


def test_an_unfinished_line_is_left_to_whoever_follows(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("a\nb")
    lines, offset = tail_lines(path, 5)
    assert (lines, offset) == (["a"], 2)
    following = follow_lines(path, offset)
    with path.open("a") as stream:
        stream.write("ee\nc\n")
    assert [next(following), next(following)] == ["bee", "c"]


def test_a_missing_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        tail_lines(tmp_path / "log", 5)
