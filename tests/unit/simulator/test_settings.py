"""What seeds draw: every size, fault and behaviour, and never more than the protocol survives by mistake."""

from __future__ import annotations

from collections import Counter

from tanpo.ledger.certificate import compute_faulty_max, compute_quorum
from tanpo.simulator import FaultKind, Mode, draw_settings
from tanpo.simulator.hostile import BEHAVIOURS
from tanpo.simulator.settings import CONTRACTS, EPOCHS

DRAWN = [draw_settings(seed, mode) for seed in range(1_500) for mode in Mode]


def test_a_seed_draws_the_same_every_time() -> None:
    assert draw_settings(17, Mode.SAFETY) == DRAWN[34]


def test_all_sizes_faults_and_behaviours_are_drawn() -> None:
    sizes = {settings.validator_count for settings in DRAWN}
    faults = {kind for settings in DRAWN for kind in settings.list_faults()}
    faults -= {*BEHAVIOURS, EPOCHS, CONTRACTS}
    behaviours = {name for settings in DRAWN for one in settings.hostile for name in one.behaviours}

    assert sizes == {1, 4, 5, 6, 7, 10, 13}
    assert faults == set(FaultKind)
    assert behaviours == set(BEHAVIOURS)


def test_more_than_f_are_faulty_only_where_it_is_meant() -> None:
    beyond = [settings for settings in DRAWN if settings.is_beyond]

    assert 0 < len(beyond) < len(DRAWN) / 20
    assert all(settings.mode is Mode.SAFETY and len(settings.reigns) == 1 for settings in beyond)


def test_every_change_of_validators_keeps_a_quorum_and_its_tolerance() -> None:
    """E2"""
    changes = [
        (settings, now, then)
        for settings in DRAWN
        for now, then in zip(settings.reigns, settings.reigns[1:], strict=False)
    ]

    assert changes
    for settings, now, then in changes:
        faulty = sum(token.partition("#")[0] in settings.faulty for token in then)
        assert len(set(now) & set(then)) >= compute_quorum(len(then))
        assert faulty <= compute_faulty_max(len(then))
        assert len(set(then)) == len(then)


def test_validators_join_leave_and_renew_their_keys() -> None:
    kinds = Counter[str]()
    for settings in DRAWN:
        for now, then in zip(settings.reigns, settings.reigns[1:], strict=False):
            kinds["more"] += len(then) > len(now)
            kinds["fewer"] += len(then) < len(now)
            kinds["renewed"] += any("#" in token for token in set(then) - set(now))

    assert min(kinds.values()) > 10
