from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
import structlog
from tanpo.ledger.errors import UsageError
from tanpo.node.logs import LogLevel, Milestones, get_logger, parse_level, start_logging


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    """Logging is of the process: put back what the other tests expect."""
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


def test_lines_are_json_with_their_fields() -> None:
    logger = get_logger("consensus")  # made before logging is set up, as modules do
    stream = StringIO()
    start_logging(LogLevel.INFO, stream)
    logger.info("committed", height=7, tx_id="ab")
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "component": "consensus",
        "event": "committed",
        "height": 7,
        "tx_id": "ab",
        "level": "info",
    }


def test_level_changes_while_running_for_every_logger() -> None:
    stream = StringIO()
    control = start_logging(LogLevel.WARNING, stream)
    logger = get_logger("x")
    logger.info("unheard")
    assert control.set_level(LogLevel.DEBUG) is LogLevel.WARNING
    logger.debug("heard")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["heard"]
    assert control.level is LogLevel.DEBUG


def test_lines_of_libraries_are_json_too() -> None:
    stream = StringIO()
    start_logging(LogLevel.INFO, stream)
    logging.getLogger("asyncio").warning("slow %s", "callback")
    line = json.loads(stream.getvalue())
    assert (line["event"], line["logger"], line["level"]) == ("slow callback", "asyncio", "warning")


def test_unknown_level_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        parse_level("loud")
    assert (caught.value.value, caught.value.limit) == ("loud", "debug, info, warning, error")


def test_of_many_alike_occurrences_ever_fewer_deserve_a_line() -> None:
    milestones = Milestones()
    noted = [milestones.note("alpha") for _ in range(1000)]
    assert [count for count in noted if count] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert milestones.note("beta") == 1


def test_every_line_tells_where_the_node_stands_unless_it_tells_of_another_place() -> None:
    stream = StringIO()
    start_logging(LogLevel.INFO, stream).tell_position(lambda: {"height": 7, "term": 2})
    get_logger("x").info("here")
    get_logger("x").info("there", height=3)
    places = [(line["height"], line["term"]) for line in map(json.loads, stream.getvalue().splitlines())]
    assert places == [(7, 2), (3, 2)]


def test_a_log_file_gets_every_line_and_is_made_anew_when_it_was_moved_away(tmp_path: Path) -> None:
    stream, path, moved = StringIO(), tmp_path / "node.log", tmp_path / "node.log.1"
    control = start_logging(LogLevel.INFO, stream)
    control.log_to(path)
    logger = get_logger("x")
    logger.info("first")
    path.rename(moved)
    logger.info("second")
    shutil.rmtree(tmp_path)
    logger.info("third")  # There is no folder to write to: that stops nobody.

    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [
        "first",
        "second",
        "third",
    ]


def test_lines_before_and_after_the_move_are_each_in_their_file(tmp_path: Path) -> None:
    path, moved = tmp_path / "node.log", tmp_path / "node.log.1"
    control = start_logging(LogLevel.INFO, StringIO())
    control.log_to(path)
    get_logger("x").info("first")
    path.rename(moved)
    get_logger("x").info("second")
    control.close()

    assert [json.loads(one.read_text())["event"] for one in (moved, path)] == ["first", "second"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_log_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="log_file: cannot write"):
        start_logging(LogLevel.INFO, StringIO()).log_to(tmp_path / "none" / "node.log")
