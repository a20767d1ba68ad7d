"""How the checks of a node are printed: of its configuration, and of all the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from tanpo.cli.output import Column, Format, build_table, print_json, print_rows, print_table
from tanpo.node.checking import Report
from tanpo.node.doctor import Symptom
from tanpo.node.findings import Finding

_COLUMNS: Final = (
    Column(heading="", key="severity"),
    Column(heading="Key", key="key"),
    Column(heading="What", key="message"),
    Column(heading="Value", key="value"),
    Column(heading="Allowed", key="limit"),
    Column(heading="Remedy", key="remedy"),
)

_SYMPTOM_COLUMNS: Final = (
    Column(heading="", key="health"),
    Column(heading="What", key="what"),
    Column(heading="Found", key="detail"),
    Column(heading="Remedy", key="remedy"),
)


def print_report(output: Format, report: Report) -> None:
    """Print all that was found, and what it comes to."""
    rows = [describe_finding(found) for found in report.findings]
    if output is Format.JSON:
        print_json(
            {
                "config": str(report.path),
                "ok": not report.faults,
                "exit_code": int(report.exit_code),
                "exit_reason": report.exit_code.name,
                "is_in_use": report.is_in_use,
                "findings": rows,
            }
        )
        return
    parts = [build_table(rows, _COLUMNS)] if rows else []
    print_table(*parts, _summarise(report))


def print_symptoms(output: Format, symptoms: Sequence[Symptom]) -> None:
    """Print what a doctor found, as a table or an array."""
    rows = [
        {"what": one.what, "health": str(one.health), "detail": one.detail, "remedy": one.remedy}
        for one in symptoms
    ]
    print_rows(output, rows, _SYMPTOM_COLUMNS)


def describe_finding(found: Finding) -> dict[str, Any]:
    """Return a finding as commands print it."""
    error = found.error
    return {
        "severity": "fault" if found.is_fault else "warning",
        "key": found.key,
        "reason": str(error.reason),
        "message": error.message,
        "value": error.value,
        "limit": error.limit,
        "remedy": error.remedy,
    }


def _summarise(report: Report) -> str:
    faults, others = len(report.faults), len(report.findings) - len(report.faults)
    used = "; a process uses the data directory, so its ports were not looked at" if report.is_in_use else ""
    if faults:
        code = report.exit_code
        ends = f"a start would end with exit code {code:d} ({code.name})"
        return f"faults: {faults}, warnings: {others}; {ends}{used}"
    return f"no fault, warnings: {others}; the node can start{used}"
