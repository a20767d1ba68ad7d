"""Twins scenarios as they are generated: all there are, none twice, each with everybody in it."""

from __future__ import annotations

from collections import Counter

import pytest
from tanpo.ledger.certificate import compute_faulty_max, compute_quorum
from tanpo.simulator.twins import SIZES, Space, TwinsScenario, find_scenario, list_numbers, list_spaces
from tanpo.simulator.twins.spaces import (
    TERMS_MAX,
    TERMS_MIN,
    list_covers,
    list_lively,
    list_mirrors,
    list_splits,
)

SAMPLE = {
    size: [scenario for number in range(240) if (scenario := find_scenario(size, number))] for size in SIZES
}


def test_all_partitions_into_two_or_three_groups_are_there() -> None:
    """Stirling numbers of the second kind: S(n, 2) + S(n, 3)."""
    assert len(list_splits(5)) == 15 + 25
    assert len(list_splits(9)) == 255 + 3_025
    assert len(set(list_splits(9))) == 255 + 3_025


def test_partitions_that_bring_nothing_about_are_left_out() -> None:
    """One group of five without both twins, or four: 5 + 7 into two, 7 into three."""
    assert len(list_lively(4, (3,))) == 19
    assert len(list_lively(4, (0,))) == 19


def test_one_process_may_be_in_two_groups() -> None:
    covers = list_covers(5)
    sizes = Counter(sum(map(len, groups)) for groups in covers)

    assert len({frozenset(groups) for groups in covers}) == len(covers)
    # Any of five in both groups, and the others in one or the other: 5 * 2**4 / 2. With a third group of one,
    # two or three of the others, what is left is in one or the other: 5 * (4 * 2**2 + 6 * 2 + 4 * 1).
    assert sizes == {5: 15 + 25, 6: 40 + 160}


def test_a_whole_walk_visits_each_scenario_once_but_for_mirrors() -> None:
    space = Space(validator_count=4, term_count=2, is_wide=False)

    found = [scenario for place in range(space.size) if (scenario := space.find(place))]
    unlike = {_spell(scenario) for scenario in found}

    assert space.size == 4 * 19**2
    assert len(unlike) == len(found)
    # By Burnside's lemma for the swap of the twins, and where 2 and 3 lead no term and one of them has
    # the twin or neither, for their exchange.
    assert len(found) == sum(_count_orbits(twinned) for twinned in ((0,), (1,), (2,), (3,)))


def test_no_scenario_mirrors_another() -> None:
    for size, scenarios in SAMPLE.items():
        seen: set[object] = set()
        for scenario in scenarios:
            mirrored = {_spell(scenario, renaming) for renaming in _list_renamings(scenario)}
            assert not mirrored & seen, f"{size}: {scenario.name}"
            seen.add(_spell(scenario))


def test_every_partition_has_every_process_and_timeouts_have_a_quorum() -> None:
    for size, scenarios in SAMPLE.items():
        for scenario in scenarios:
            for term in scenario.terms:
                assert {name for group in term.groups for name in group} == set(scenario.processes)
                assert 2 <= len(term.groups) <= 3
                largest = max(len({name.rstrip("'") for name in group}) for group in term.timeout_groups)
                assert largest >= compute_quorum(size)
                assert sorted(n for group in term.timeout_groups for n in group) == sorted(scenario.processes)


def test_scenarios_have_f_twins_in_every_place_four_to_eight_terms_and_overlaps() -> None:
    for size, scenarios in SAMPLE.items():
        overlaps = [sum(map(len, t.groups)) - len(s.processes) for s in scenarios for t in s.terms]

        assert {len(scenario.twinned) for scenario in scenarios} == {compute_faulty_max(size)}
        assert {index for scenario in scenarios for index in scenario.twinned} == set(range(size))
        assert {len(scenario.terms) for scenario in scenarios} == set(range(TERMS_MIN, TERMS_MAX + 1))
        assert set(overlaps) == {0, 1}
        assert {term.silent_after for s in scenarios for term in s.terms} == {1, 2}


@pytest.mark.parametrize("size", SIZES)
def test_a_number_is_always_the_same_scenario_and_mirrors_have_none(size: int) -> None:
    numbers = list(list_numbers(size, 10, 12))

    assert len(numbers) == len(set(numbers)) == 12
    assert [find_scenario(size, n) for n in numbers] == [find_scenario(size, n) for n in numbers]
    assert list(list_numbers(size, numbers[5], 2)) == numbers[5:7]
    assert None not in [find_scenario(size, number) for number in numbers]


def test_numbers_end_with_the_largest_space() -> None:
    last = 6 * max(space.size for space in list_spaces(4))

    assert len(list(list_numbers(4, last - 3, 9))) <= 3


def _spell(scenario: TwinsScenario, renaming: dict[str, str] | None = None) -> object:
    def rename(groups: tuple[tuple[str, ...], ...]) -> frozenset[frozenset[str]]:
        return frozenset(frozenset(n if renaming is None else renaming[n] for n in group) for group in groups)

    terms = tuple((rename(t.groups), rename(t.timeout_groups), t.silent_after) for t in scenario.terms)
    return scenario.twinned, terms


def _list_renamings(scenario: TwinsScenario) -> list[dict[str, str]]:
    names = scenario.processes
    mirrors = list_mirrors(scenario.validator_count, scenario.twinned, len(scenario.terms))
    return [{names[place]: names[to] for place, to in enumerate(mirror)} for mirror in mirrors]


def _count_orbits(twinned: tuple[int, ...]) -> int:
    """Return how many plain scenarios of four validators and two terms are different up to renaming."""
    lively = {_key(split, None) for split in list_lively(4, twinned)}
    mirrors = [None, *list_mirrors(4, twinned, 2)]
    fixed = [
        sum(_key(split, mirror) == _key(split, None) for split in list_lively(4, twinned))
        for mirror in mirrors
    ]
    assert len(lively) == 19
    return sum(count**2 for count in fixed) // len(mirrors)


def _key(split: tuple[int, ...], mirror: tuple[int, ...] | None) -> frozenset[frozenset[int]]:
    moved = range(len(split)) if mirror is None else mirror
    return frozenset(
        frozenset(moved[place] for place, group in enumerate(split) if group == one) for one in set(split)
    )
