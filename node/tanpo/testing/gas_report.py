"""A pytest plugin that reports what the calls of every `Ledger` of a run spent, by contract and entry point.

Views, `@init` and `@migrate` are in it by name.

`tanpo contract test` loads it; so does `pytest -p tanpo.testing.gas_report`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median_low
from typing import Final

import pytest
from tanpo.testing.ledger import GasUse, watch_gas

FILE_OPTION: Final = "--tanpo-gas-file"
"""Writes the report to a file as JSON, and prints none."""

_HEADINGS: Final = ("contract", "entry", "calls", "failed", "min", "median", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class GasSummary:
    """What the calls of one entry point spent; `failed` ones, which stop half-way, are apart."""

    contract: str
    entry: str
    calls: int
    failed: int
    gas_min: int
    gas_median: int
    gas_max: int


def summarise_gas(uses: Iterable[GasUse]) -> list[GasSummary]:
    """Return a summary for each entry point that was called, by contract and name.

    Gas is that of calls that succeeded, 0 if none did.
    """
    found: dict[tuple[str, str], list[GasUse]] = {}
    for use in uses:
        found.setdefault((use.contract, use.entry), []).append(use)
    summaries: list[GasSummary] = []
    for (contract, entry), given in sorted(found.items()):
        spent = [use.gas for use in given if use.code == ""]
        summaries.append(
            GasSummary(
                contract=contract,
                entry=entry,
                calls=len(spent),
                failed=len(given) - len(spent),
                gas_min=min(spent, default=0),
                gas_median=median_low(spent) if spent else 0,
                gas_max=max(spent, default=0),
            )
        )
    return summaries


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that has the report written to a file."""
    parser.addoption(FILE_OPTION, type=Path, default=None, help="write the gas report of tanpo here, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """Listen to every ledger from now on."""
    config.pluginmanager.register(_Listener(config), "tanpo-gas-listener")


class _Listener:
    """Collects what calls spend while one run of pytest lasts."""

    def __init__(self, config: pytest.Config) -> None:
        self._file: Path | None = config.getoption(FILE_OPTION)
        self._uses: list[GasUse] = []
        self._stop = watch_gas(self._uses.append)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print or write the report."""
        summaries = summarise_gas(self._uses)
        if self._file is not None:
            self._file.write_text(json.dumps([asdict(one) for one in summaries]), encoding="ascii")
        elif summaries:
            terminalreporter.section("gas by entry point")
            for line in _lay_out(summaries):
                terminalreporter.line(line)

    def pytest_unconfigure(self) -> None:
        """Listen no more."""
        self._stop()


def _lay_out(summaries: Iterable[GasSummary]) -> list[str]:
    rows = [_HEADINGS, *(tuple(str(value) for value in asdict(one).values()) for one in summaries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return [
        "  ".join(
            text.ljust(width) if column < 2 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
