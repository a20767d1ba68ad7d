"""The shrinker: what a violation does not need is switched off, and the same rule is still broken."""

from __future__ import annotations

from tanpo.consensus import Effect, Event, Persist, Replica, Ticked
from tanpo.simulator import FaultKind, Mode, Settings, draw_settings, run_seed, shrink


class Forgetful(Replica):
    """Asks for nothing to be made durable once it has started."""

    def step(self, event: Event) -> list[Effect]:
        return [effect for effect in super().step(event) if not isinstance(effect, Persist)]


class Fragile(Replica):
    """Breaks once time has gone on for a while."""

    def step(self, event: Event) -> list[Effect]:
        if isinstance(event, Ticked) and event.now_ms > 3_000:
            raise ZeroDivisionError("broken")
        return super().step(event)


RATES = ((FaultKind.LOSS, 0.05), (FaultKind.DELAY, 0.1), (FaultKind.CRASH, 0.1))


def test_a_replica_that_persists_nothing_is_found_out() -> None:
    report = run_seed(1, Settings(seed=1), replica_factory=Forgetful)

    assert report.checker == "durability"


def test_an_error_of_the_replica_is_a_finding_and_not_ours() -> None:
    report = run_seed(1, Settings(seed=1), replica_factory=Fragile)

    assert report.violation == "crash: ZeroDivisionError: broken"


def test_faults_that_a_violation_does_not_need_are_switched_off() -> None:
    settings = Settings(seed=1, rates=RATES)
    report = run_seed(1, settings, replica_factory=Fragile)

    reproducer = shrink(report, settings, replica_factory=Fragile)

    assert reproducer.settings.rates == ()
    assert reproducer.report.checker == report.checker
    assert reproducer.command.startswith(
        f"tanpo sim --seed 1 --mode safety --steps {reproducer.report.steps} "
    )
    assert "--without loss" in reproducer.command


def test_a_reproducer_replays_to_the_violation() -> None:
    settings = draw_settings(3, Mode.SAFETY)
    report = run_seed(3, settings, replica_factory=Fragile)
    reproducer = shrink(report, settings, replica_factory=Fragile)

    again = run_seed(
        3, reproducer.settings, replica_factory=Fragile, step_max=reproducer.report.steps, is_traced=True
    )

    assert again.digest == reproducer.report.digest
    assert again.violation == reproducer.report.violation
    assert again.timeline


def test_a_fault_switched_off_leaves_the_others_streams_alone() -> None:
    settings = draw_settings(3, Mode.SAFETY)

    off = settings.without((FaultKind.LOSS,))

    assert [kind for kind, _ in off.rates] == [k for k, _ in settings.rates if k is not FaultKind.LOSS]
    assert (off.hostile, off.seed) == (settings.hostile, settings.seed)
