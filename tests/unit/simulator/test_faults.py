"""Every kind of fault and every hostile behaviour happens when it is on, is counted, and breaks no rule."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tanpo.simulator import Cluster, FaultKind, HostileValidator, Settings, run_seed
from tanpo.simulator.healing import can_go_on
from tanpo.simulator.hostile import BEHAVIOURS
from tanpo.simulator.settings import RATES

CALM = Settings(seed=8, chaos_ms=8_000, submit_ms=300)
OF_VICTIMS = (FaultKind.BIT_ROT, FaultKind.DISK_LOSS, FaultKind.OLD_BACKUP)
AT_RESTARTS = (*OF_VICTIMS, FaultKind.CHAIN_ROT, FaultKind.TORN_WRITE)


@pytest.mark.parametrize("kind", list(RATES))
def test_a_fault_that_is_on_happens_and_is_counted(kind: FaultKind) -> None:
    crashes = ((FaultKind.CRASH, 1.0), (FaultKind.CRASH_BEFORE_SYNC, 0.03)) if kind in AT_RESTARTS else ()
    rates = ((kind, max(RATES[kind])), *crashes)
    settings = replace(CALM, rates=rates, victims=("3",) if kind in OF_VICTIMS else ())

    report = run_seed(8, settings)

    assert dict(report.faults)[kind] > 0
    assert report.violation is None


@pytest.mark.parametrize("name", sorted(BEHAVIOURS))
def test_a_hostile_validator_acts_and_breaks_nothing(name: str) -> None:
    """It leads the first term; the others go on without it or in spite of it."""
    hostile = (HostileValidator(node="0", behaviours=(name,)),)
    calm = replace(CALM, hostile=hostile, chaos_ms=5_000)
    busy = replace(calm, rates=((FaultKind.DRAIN, 0.5), (FaultKind.CRASH, 0.5)))
    acts = 0

    # Some acts wait for others to restart or to give up a term, which no single run is sure to bring.
    for seed, settings in enumerate((calm, *[busy] * 39)):
        report = run_seed(seed, replace(settings, seed=seed))
        assert report.violation is None
        acts += sum(count for act, count in report.faults if act.startswith("hostile/"))
        if acts:
            break

    assert acts


def test_twins_vote_with_one_key_and_split_nobody() -> None:
    settings = replace(CALM, hostile=(HostileValidator(node="1", behaviours=()),))

    report = run_seed(8, settings)

    assert report.violation is None
    assert report.commits > 0


def test_after_the_healing_no_epoch_begins_that_the_core_is_no_quorum_of() -> None:
    cluster = Cluster(replace(CALM, reigns=(("0", "1", "2", "3"), ("0", "1", "2", "4"))))
    assert can_go_on(cluster, 1)

    cluster.core = frozenset(("1", "2", "3"))

    assert can_go_on(cluster, 0)
    assert not can_go_on(cluster, 1)


def test_two_of_four_hostile_validators_can_fork_and_stand_accused() -> None:
    """G4: at least f + 1 are shown by what honest nodes hold, and nobody honest is."""
    behaviours = ("collude", "equivocate", "lie-in-timeouts", "vote-for-everything")
    hostile = tuple(HostileValidator(node=node, behaviours=behaviours) for node in ("0", "1"))
    settings = replace(CALM, hostile=hostile, latency_ms=20)

    reports = [run_seed(seed, replace(settings, seed=seed)) for seed in range(12)]

    assert any(report.has_disagreed for report in reports)
    assert [report.violation for report in reports] == [None] * 12
