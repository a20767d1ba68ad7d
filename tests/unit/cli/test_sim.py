"""`tanpo sim`: exact replay, totals, and refusals that name what there is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tanpo.cli import simulation
from tanpo.cli.output import Format
from tanpo.cli.root import app
from tanpo.cli.simulation import parse_modes, run_one, run_sweep, run_twins
from tanpo.ledger.errors import UsageError
from tanpo.simulator import Finding, Mode, Settings, Totals, draw_settings, run_seed, shrink
from tanpo.simulator.twins import PUBLISHED
from typer.testing import CliRunner


def _run(capsys: Any, **options: Any) -> Any:
    given: dict[str, Any] = {"seed": 4, "steps": 400, "mode": "both", "without": [], "output": Format.JSON}
    run_one(**(given | options))
    return json.loads(capsys.readouterr().out)


def test_a_seed_prints_the_same_digest_every_time(capsys: Any) -> None:
    first = _run(capsys)

    assert _run(capsys) == first
    assert [run["mode"] for run in first] == ["safety", "liveness"]
    assert all(run["steps"] == 400 and run["violation"] is None for run in first)


def test_a_fault_can_be_switched_off(capsys: Any) -> None:
    settings = draw_settings(4, Mode.SAFETY)
    names = [str(kind) for kind in settings.list_faults()]

    calm = _run(capsys, mode="safety", without=names)

    assert names
    assert calm[0]["faults"] == {}


@pytest.mark.parametrize(
    ("option", "value", "known"),
    [("mode", "fast", ("safety", "liveness")), ("without", ["gremlins"], ("loss", "epochs", "equivocate"))],
)
def test_what_there_is_not_is_refused_with_what_there_is(
    capsys: Any, option: str, value: Any, known: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError) as refused:
        _run(capsys, **{option: value})

    assert [name for name in known if name not in f"{refused.value.limit} {refused.value.remedy}"] == []


@pytest.mark.parametrize(
    ("arguments", "unfit"),
    [
        (["--seeds", "1", "--without", "loss"], "--without"),
        (["--seeds", "1", "--steps", "5"], "--steps"),
        (["--nodes", "7"], "--nodes"),
        (["--seed", "1", "--seeds", "2"], "--seeds"),
        (["--seed", "1", "--first", "0"], "--first"),
        (["--twins", "--seed", "0"], "--seed"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(arguments: list[str], unfit: str) -> None:
    with pytest.raises(UsageError) as refused:
        CliRunner().invoke(app, ["sim", *arguments], catch_exceptions=False)

    assert refused.value.value == unfit
    assert refused.value.message.startswith(f"{unfit} cannot go with --")


def test_a_sweep_prints_what_the_seeds_add_up_to(capsys: Any) -> None:
    run_sweep(seeds=2, first=50, mode="safety", jobs=1, output=Format.JSON)

    document = json.loads(capsys.readouterr().out)
    assert (document["runs"], document["first"], document["violations"]) == (2, 50, 0)
    assert document["steps"] > 0
    assert document["build"]


def test_a_violation_fails_the_command_and_comes_with_its_reproducer(
    capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(seed=1)
    report = run_seed(1, settings, replica_factory=_refuse)
    totals = Totals.empty()
    totals.add(report)
    reproducer = shrink(report, settings, replica_factory=_refuse)
    totals.findings.append(Finding(report=report, reproducer=reproducer))
    monkeypatch.setattr(simulation, "sweep", lambda *_, **__: totals)

    with pytest.raises(SystemExit) as ended:
        run_sweep(seeds=1, first=1, mode="safety", jobs=1, output=Format.JSON)

    assert ended.value.code == 1
    finding = json.loads(capsys.readouterr().out)["findings"][0]
    assert finding["violation"] == "crash: ValueError: no replica"
    assert finding["reproducer"]["command"] == "tanpo sim --seed 1 --mode safety --steps 1"


def test_twins_print_what_their_scenarios_add_up_to(capsys: Any) -> None:
    run_twins(nodes=4, scenarios=1, first=2, jobs=1, output=Format.JSON)

    document = json.loads(capsys.readouterr().out)
    assert (document["nodes"], document["first"], document["violations"]) == (4, 2, 0)
    assert document["scenarios"] == 1 + len(PUBLISHED)
    assert document["term_changes"] > 8


def test_a_twins_scenario_that_breaks_a_rule_fails_the_command_and_says_how_to_run_it(
    capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals = Totals.empty()
    report = run_seed(1, Settings(seed=1), replica_factory=_refuse)
    totals.findings.append(Finding(report=report, reproducer=None))
    monkeypatch.setattr(simulation, "sweep_scenarios", lambda *_, **__: totals)

    with pytest.raises(SystemExit):
        run_twins(nodes=7, scenarios=1, first=1, jobs=1, output=Format.JSON)

    finding = json.loads(capsys.readouterr().out)["findings"][0]
    assert finding["command"] == "tanpo sim --twins --nodes 7 --first 1 --scenarios 1"


def test_twins_of_another_size_are_refused() -> None:
    with pytest.raises(UsageError, match="size") as refused:
        run_twins(nodes=5, scenarios=1, first=0, jobs=1, output=Format.JSON)
    assert refused.value.remedy == "say --nodes 4 or --nodes 7"


def test_both_modes_are_the_default_of_a_sweep() -> None:
    assert parse_modes("both") == (Mode.SAFETY, Mode.LIVENESS)
    assert parse_modes("liveness") == (Mode.LIVENESS,)


def _refuse(*_: Any) -> Any:
    raise ValueError("no replica")
