"""The Twins test: copies of a validator with one key, in planned partitions, bring about no fork.

`tanpo sim --twins` runs more; a scenario's number replays it exactly.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tanpo.simulator.twins import (
    PUBLISHED,
    TwinsScenario,
    find_scenario,
    list_numbers,
    run_scenario,
    sweep_scenarios,
)

MUTANTS = Path(__file__).parents[1] / "mutants" / "run.py"


@pytest.mark.parametrize("first", [0, 60])
@pytest.mark.parametrize(("size", "count"), [(4, 24), (7, 8)])
def test_no_scenario_breaks_a_rule(size: int, count: int, first: int) -> None:
    for number in list_numbers(size, first, count):
        scenario = find_scenario(size, number)
        assert scenario is not None

        report = run_scenario(scenario, number)

        assert report.violation is None, f"{size} validators, number {number}: {report.violation}"
        assert report.term_changes >= len(scenario.terms)
        assert report.commits > 0


@pytest.mark.parametrize("scenario", PUBLISHED, ids=lambda scenario: scenario.name)
def test_the_published_scenarios_stay_safe(scenario: TwinsScenario) -> None:
    report = run_scenario(scenario, 0)

    assert report.violation is None
    assert report.term_changes >= len(scenario.terms)


def test_the_published_scenarios_fork_a_protocol_that_commits_across_terms() -> None:
    """S4: the check can fail. The mutant is the published flaw, with proofs that everybody accepts."""
    mutants = runpy.run_path(str(MUTANTS))
    mutant = next(one for one in mutants["load_mutants"]() if one.name == "commit across terms")
    proofs = mutants["Edit"](
        module="ledger/certificate.py", old="        or child.parent_term != child.term\n", new=""
    )
    script = "from tanpo.simulator.twins import *; print([run_scenario(one, 0).checker for one in PUBLISHED])"

    with mutants["patched"](replace(mutant, edits=(*mutant.edits, proofs))) as root:
        process = subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=True,
        )

    assert process.stdout.strip() == "['agreement', 'agreement']"


def test_a_scenario_replays_exactly() -> None:
    number = next(list_numbers(4, 5, 1))
    scenario = find_scenario(4, number)
    assert scenario is not None

    first, again = run_scenario(scenario, number), run_scenario(scenario, number, is_traced=True)

    assert first.digest == again.digest


def test_a_sweep_has_the_published_scenarios_and_those_of_its_numbers() -> None:
    totals = sweep_scenarios(4, 30, 3, jobs=1)

    assert totals.runs == len(PUBLISHED) + 3
    assert totals.findings == []
