"""A pytest plugin that reports what the calls of every `Ledger` of a run spent, by contract and entry point.

Views, `@init` and `@migrate` are in it by name. A file of it tells how each test ended too.

`tanpo contract test` loads it; so does `pytest -p tanpo.testing.gas_report`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median_low
from typing import Final

import pytest
from tanpo.testing.ledger import GasUse, watch_gas

FILE_OPTION: Final = "--tanpo-report-file"
"""Writes the report to a file as JSON, with how each test ended, and prints none."""

_OUTCOMES: Final = ("error", "failed", "xpassed", "skipped", "xfailed", "passed")
"""What pytest counts tests and files of tests by, those first that a reader looks for."""

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
    help_text = "write how tests ended and the gas report of tanpo here, as JSON"
    parser.addoption(FILE_OPTION, type=Path, default=None, help=help_text)


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
            report = {
                "tests": _list_outcomes(terminalreporter.stats),
                "gas": [asdict(one) for one in summaries],
            }
            self._file.write_text(json.dumps(report), encoding="ascii")
        elif summaries:
            terminalreporter.section("gas by entry point")
            for line in _lay_out(summaries):
                terminalreporter.line(line)

    def pytest_unconfigure(self) -> None:
        """Listen no more."""
        self._stop()


def _list_outcomes(stats: Mapping[str, Sequence[object]]) -> list[dict[str, str]]:
    """Return what pytest counted, as it counts: a test that passes and is not cleaned up is there twice."""
    return [
        {"test": report.nodeid, "outcome": outcome, "reason": _tell_reason(report)}
        for outcome in _OUTCOMES
        for report in stats.get(outcome, ())
        if isinstance(report, pytest.TestReport | pytest.CollectReport)
    ]


def _tell_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return what pytest prints of a test that did not pass; empty for one that did."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2]  # of one that was skipped, after its file and line
    return report.longreprtext


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
