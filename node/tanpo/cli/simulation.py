"""What `tanpo sim` does: one run with its timeline, or many with their totals."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tanpo.cli.output import Format, print_error, print_fields, print_json, print_text
from tanpo.ledger.errors import Reason, Unavailable, UsageError
from tanpo.simulator import (
    FaultKind,
    Finding,
    Mode,
    Report,
    Settings,
    Totals,
    draw_settings,
    run_seed,
    sweep,
)
from tanpo.simulator.hostile import BEHAVIOURS
from tanpo.simulator.settings import CONTRACTS, EPOCHS
from tanpo.simulator.twins import SIZES, sweep_scenarios

BOTH: Final = "both"
TIMELINE_LINES: Final = 60
"""How much of a failing run's timeline is printed: what led to the violation is near it."""

NAMED_MAX: Final = 20
"""How many seeds are named where a sweep was cut short: each of them shows its violation again."""

INTERRUPTED: Final = 130
"""The exit code of what Ctrl-C ended."""


def run_one(*, seed: int, steps: int | None, mode: str, without: Sequence[str], output: Format) -> None:
    """Run one seed, print what happened, and exit with 1 if a rule was broken."""
    _check_faults(without)
    reports: list[tuple[Report, Settings]] = []
    for one in parse_modes(mode):
        settings = draw_settings(seed, one).without(without)
        reports.append((run_seed(seed, settings, step_max=steps, is_traced=True), settings))
    if output is Format.JSON:
        print_json([describe_run(report, settings) for report, settings in reports])
    else:
        for report, settings in reports:
            print_fields(output, describe_run(report, settings, has_timeline=False))
            for line in report.timeline[-TIMELINE_LINES:]:
                print_text(line)
    if any(report.violation is not None for report, _ in reports):
        raise SystemExit(1)


def run_sweep(*, seeds: int, first: int, mode: str, jobs: int | None, output: Format) -> None:
    """Run many seeds, print their totals, and exit with 1 if a rule was broken."""
    modes = parse_modes(mode)
    with _watch() as on_progress:
        totals = sweep(
            range(first, first + seeds), modes, jobs=jobs or os.cpu_count() or 1, on_progress=on_progress
        )
    document = describe_sweep(totals, seeds=seeds, first=first, mode=mode)
    if output is Format.JSON:
        print_json(document)
    else:
        print_fields(output, document)
    if totals.findings:
        raise SystemExit(1)


def run_twins(*, nodes: int, scenarios: int, first: int, jobs: int | None, output: Format) -> None:
    """Run Twins scenarios, print their totals, and exit with 1 if a rule was broken.

    Raises:
        UsageError: there are no scenarios of that size.
    """
    if nodes not in SIZES:
        limit = " ".join(map(str, SIZES))
        raise UsageError(
            Reason.MISUSE,
            "there are no Twins scenarios of that size",
            value=nodes,
            limit=limit,
            remedy=f"say --nodes {' or --nodes '.join(map(str, SIZES))}",
        )
    with _watch() as on_progress:
        totals = sweep_scenarios(
            nodes, first, scenarios, jobs=jobs or os.cpu_count() or 1, on_progress=on_progress
        )
    document = describe_twins(totals, nodes=nodes, first=first)
    if output is Format.JSON:
        print_json(document)
    else:
        print_fields(output, document)
    if totals.findings:
        raise SystemExit(1)


def check_options(wanted: str, unfit: Mapping[str, object]) -> None:
    """Raise `UsageError` if an option was given that means nothing beside the one that says what is run."""
    given = [name for name, value in unfit.items() if value is not None and value != []]
    if given:
        raise UsageError(
            Reason.MISUSE,
            f"{' '.join(given)} cannot go with {wanted}",
            value=" ".join(given),
            limit="--seed goes with --mode, --steps and --without; --seeds with --first, --mode and --jobs; "
            "--twins with --nodes, --scenarios, --first and --jobs",
            remedy=f"leave out {' '.join(given)}",
        )


def parse_modes(mode: str) -> tuple[Mode, ...]:
    """Return the modes that an option asks for.

    Raises:
        UsageError: there is no such mode.
    """
    if mode == BOTH:
        return tuple(Mode)
    if mode not in list(Mode):
        known = [*Mode, BOTH]
        raise UsageError(
            Reason.MISUSE,
            "there is no such mode",
            value=mode,
            limit=" ".join(known),
            remedy=f"say --mode {' or --mode '.join(known)}",
        )
    return (Mode(mode),)


def describe_run(report: Report, settings: Settings, *, has_timeline: bool = True) -> dict[str, Any]:
    """Return one run as a JSON object."""
    document: dict[str, Any] = {
        "seed": report.seed,
        "mode": report.mode,
        "validators": report.validator_count,
        "epochs": report.epochs,
        "hostile": {one.node: list(one.behaviours) or ["twins"] for one in settings.hostile},
        "forgetful": list(settings.victims),
        "faults": dict(report.faults),
        "steps": report.steps,
        "virtual_ms": report.virtual_ms,
        "commits": report.commits,
        "transactions": report.transactions,
        "term_changes": report.term_changes,
        "digest": report.digest,
        "violation": report.violation,
    }
    if has_timeline:
        document["timeline"] = list(report.timeline)
    return document


def describe_sweep(totals: Totals, *, seeds: int, first: int, mode: str) -> dict[str, Any]:
    """Return the totals of a sweep as a JSON object."""
    return {
        "build": find_build(),
        "seeds": seeds,
        "first": first,
        "mode": mode,
        "runs": totals.runs,
        "steps": totals.steps,
        "virtual_seconds": totals.virtual_ms // 1000,
        "commits": totals.commits,
        "transactions": totals.transactions,
        "term_changes": totals.term_changes,
        "epoch_changes": totals.epoch_changes,
        "attributed_forks": totals.disagreements,
        "faults": dict(sorted(totals.faults.items())),
        "violations": len(totals.findings),
        "seconds": round(totals.seconds, 1),
        "findings": [_describe_finding(finding) for finding in totals.findings],
    }


def describe_twins(totals: Totals, *, nodes: int, first: int) -> dict[str, Any]:
    """Return the totals of Twins scenarios as a JSON object; a finding has the command that runs it again."""
    findings = [
        {
            "command": f"tanpo sim --twins --nodes {nodes} --first {finding.report.seed} --scenarios 1",
            "violation": finding.report.violation,
            "steps": finding.report.steps,
            "timeline": list(finding.report.timeline[-TIMELINE_LINES:]),
        }
        for finding in totals.findings
    ]
    return {
        "build": find_build(),
        "nodes": nodes,
        "first": first,
        "scenarios": totals.runs,
        "steps": totals.steps,
        "commits": totals.commits,
        "term_changes": totals.term_changes,
        "violations": len(totals.findings),
        "seconds": round(totals.seconds, 1),
        "findings": findings,
    }


def find_build() -> str:
    """Return the commit this code is at, or else its version."""
    from importlib.metadata import version

    git, folder = shutil.which("git"), Path(__file__).parent
    if git is not None:
        asked = [git, "-C", str(folder), "rev-parse", "HEAD"]
        tracked = [git, "-C", str(folder), "ls-files", "--error-unmatch", Path(__file__).name]
        if subprocess.run(tracked, capture_output=True, check=False).returncode == 0:  # noqa: S603 - fixed command
            found = subprocess.run(asked, capture_output=True, check=False, text=True)  # noqa: S603 - fixed command
            if found.returncode == 0:
                return found.stdout.strip()
    return version("tanpo")


def _describe_finding(finding: Finding) -> dict[str, Any]:
    report, reproducer = finding.report, finding.reproducer
    document: dict[str, Any] = {
        "seed": report.seed,
        "mode": report.mode,
        "violation": report.violation,
        "steps": report.steps,
    }
    if reproducer is not None:
        document["reproducer"] = {
            "command": reproducer.command,
            "steps": reproducer.report.steps,
            "faults": list(reproducer.settings.list_faults()),
            "digest": reproducer.report.digest,
            "timeline": list(reproducer.report.timeline[-TIMELINE_LINES:]),
        }
    return document


def _check_faults(names: Sequence[str]) -> None:
    known = [*FaultKind, EPOCHS, CONTRACTS, *BEHAVIOURS]
    for name in names:
        if name not in known:
            # Not as the limit: an error quotes so little of that that the last names are missing.
            remedy = f"name one of {' '.join(known)}"
            limit = f"one of {len(known)}"
            raise UsageError(Reason.MISUSE, "there is no such fault", value=name, limit=limit, remedy=remedy)


@contextmanager
def _watch() -> Iterator[Callable[[Totals], None]]:
    """Show how far a sweep is, and say what it had found if it does not come to its end."""
    latest = Totals.empty()

    def follow(totals: Totals) -> None:
        nonlocal latest
        latest = totals
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{describe_progress(totals)}, {totals.seconds:,.0f} s")
            sys.stderr.flush()

    try:
        yield follow
    except KeyboardInterrupt:
        _leave_progress()
        print_error(f"interrupted after {describe_progress(latest)}")
        raise SystemExit(INTERRUPTED) from None
    except Unavailable as error:
        _leave_progress()
        message = f"{error.message}, after {describe_progress(latest)}"
        raise Unavailable(error.reason, message, value=error.value, remedy=error.remedy) from None


def describe_progress(totals: Totals) -> str:
    """Return how many runs there were, and which of them broke a rule."""
    seeds = [str(finding.report.seed) for finding in totals.findings]
    if not seeds:
        return f"{totals.runs:,} runs, no violations"
    more = ", ..." if len(seeds) > NAMED_MAX else ""
    return f"{totals.runs:,} runs, {len(seeds):,} violations: {', '.join(seeds[:NAMED_MAX])}{more}"


def _leave_progress() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\n")
