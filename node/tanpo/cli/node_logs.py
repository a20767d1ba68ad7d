"""Reads a node's log as a person does: the end of it, what fits, a line for each event."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any, Final

from tanpo.cli.logs import follow_lines, tail_lines
from tanpo.cli.output import print_text
from tanpo.ledger.errors import Reason, UsageError
from tanpo.node import last_end
from tanpo.node.config import NodeConfig
from tanpo.node.logs import LogLevel, parse_level

SEARCHED_LINES_MAX: Final = 200_000
"""How far back lines are searched for those that fit."""

_GRAVITY: Final = {level: rank for rank, level in enumerate(LogLevel)}
_HEAD: Final = ("time", "level", "component", "event")


def find_log(path: Path, config: NodeConfig) -> Path:
    """Return where a node's log is. Raises `UsageError` if it goes to no file that this command can know."""
    log = last_end.find_log(path, config)
    if log is not None:
        return log
    raise UsageError(
        Reason.NOT_FOUND,
        "the node writes its log to stderr or a pipe, and only what started it knows where that goes",
        value=path,
        limit=f"log_file in the configuration, or {last_end.LOG_NAME} beside it",
        remedy="set log_file, or ask what started it: `journalctl -u UNIT`, `docker logs CONTAINER`",
    )


def print_lines(path: Path, *, count: int, follow: bool, level: str, tx_id: str, is_raw: bool) -> None:
    """Print the last lines that fit, and with `follow` those that come, until nobody reads them."""
    fits = _make_filter(parse_level(level), tx_id)
    is_filtered = bool(tx_id) or level != LogLevel.DEBUG
    last, offset = tail_lines(path, SEARCHED_LINES_MAX if is_filtered else count)
    shown = [line for line in last if fits(line)][-count:]
    coming: Iterable[str] = follow_lines(path, offset) if follow else ()
    for line in chain(shown, filter(fits, coming)):
        if not print_text(line if is_raw else render_line(line)):
            return


def render_line(line: str) -> str:
    """Return a line of a log as a person reads it; one that is not JSON as it is."""
    fields = _parse(line)
    if fields is None:
        return line
    time, level, component, event = (str(fields.pop(name, "")) for name in _HEAD)
    rest = " ".join(f"{name}={_show(value)}" for name, value in fields.items() if value not in ("", None))
    return f"{time[:23]} {level:7} {component:10} {event}{f'  {rest}' if rest else ''}"


def _make_filter(level: LogLevel, tx_id: str) -> Callable[[str], bool]:
    def fits(line: str) -> bool:
        if tx_id and tx_id not in line:
            return False
        fields = _parse(line)
        if fields is None:
            return level is LogLevel.DEBUG
        return _GRAVITY.get(LogLevel(fields["level"]), 0) >= _GRAVITY[level] if _has_level(fields) else True

    return fits


def _has_level(fields: dict[str, Any]) -> bool:
    return fields.get("level") in tuple(LogLevel)


def _parse(line: str) -> dict[str, Any] | None:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _show(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return json.dumps(text, ensure_ascii=False) if " " in text else text
