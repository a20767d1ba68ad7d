from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from io import StringIO

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
