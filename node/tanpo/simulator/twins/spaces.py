"""All Twins scenarios of a shape, numbered: every number is another scenario, always the same one.

After Bano et al., "Twins: BFT Systems Made Robust" (OPODIS 2021). There every round also picks its leader;
here the leader is a function of the term (S2), and who has a twin is picked instead: over all scenarios every
place in the order of leaders is a twin's. Scenarios that differ only in what no rule can tell apart - which
of two twins is which, which of the validators that never lead - are one: the first of them counts.

A space is walked in steps of a golden section: that visits each scenario once, so a whole walk is exhaustive,
and any stretch of it is a fair sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, permutations, product
from math import gcd, prod
from typing import Final

from tanpo.ledger.certificate import compute_faulty_max, compute_quorum
from tanpo.simulator.twins.plan import Groups, TermPlan, TwinsScenario, list_processes

SIZES: Final = (4, 7)
"""Networks that scenarios are made for: larger ones add processes, but nothing that a rule could tell."""

TERMS_MIN: Final = 4
TERMS_MAX: Final = 8

SILENT_AFTER: Final = (1, 2)
"""Leaders that hide the first certificate of their term, and leaders that show it and hide the second."""

SPACE_COUNT: Final = 2 + TERMS_MAX - TERMS_MIN
"""The spaces of a network: the plain one of the paper, and a wide one for each number of terms."""

Split = tuple[int, ...]
"""For each process the group it is in; numbers appear in order, so that each partition has one spelling."""

_Term = tuple[tuple[frozenset[int], ...], tuple[frozenset[int], ...], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Scenarios with so many validators, f of them twinned, and so many terms.

    In a plain one every term has one partition, for all messages, with a quorum in a group, and its leader
    hides its first certificate. In a wide one proposals have any partition, in which one process may be in
    two groups, complaints and timeouts have one of their own with a quorum, and leaders hide one of two.
    """

    validator_count: int
    term_count: int
    is_wide: bool

    @property
    def size(self) -> int:
        """How many scenarios there are, those counted in that mirror others."""
        return len(self._list_twinned()) * prod([self._term_size] * self.term_count)

    @property
    def _term_size(self) -> int:
        count = self.validator_count + compute_faulty_max(self.validator_count)
        lively = len(list_lively(self.validator_count, self._list_twinned()[0]))
        if not self.is_wide:
            return lively
        return len(list_covers(count)) * lively * len(SILENT_AFTER)

    def find(self, place: int) -> TwinsScenario | None:
        """Return the scenario at a place of the walk below `size`, None if it mirrors or is another one."""
        raw, which = divmod(place * compute_stride(self.size) % self.size, len(self._list_twinned()))
        twinned = self._list_twinned()[which]
        terms: list[_Term] = []
        for _ in range(self.term_count):
            raw, choice = divmod(raw, self._term_size)
            terms.append(self._make_term(twinned, choice))
        if self._is_elsewhere(terms) or not is_first_of_mirrors(self.validator_count, twinned, terms):
            return None
        names = list_processes(self.validator_count, twinned)
        kind = "wide" if self.is_wide else "plain"
        return TwinsScenario(
            name=f"{kind} {self.validator_count}+{len(twinned)} {self.term_count}/{place}",
            validator_count=self.validator_count,
            twinned=twinned,
            terms=tuple(_name_term(names, term) for term in terms),
        )

    def _list_twinned(self) -> tuple[tuple[int, ...], ...]:
        faulty_max = compute_faulty_max(self.validator_count)
        return tuple(combinations(range(self.validator_count), faulty_max))

    def _make_term(self, twinned: tuple[int, ...], choice: int) -> _Term:
        lively = list_lively(self.validator_count, twinned)
        choice, timeouts = divmod(choice, len(lively))
        timeout_groups = _gather(lively[timeouts])
        if not self.is_wide:
            return timeout_groups, timeout_groups, SILENT_AFTER[0]
        choice, silent = divmod(choice, len(SILENT_AFTER))
        covers = list_covers(self.validator_count + len(twinned))
        return covers[choice], timeout_groups, SILENT_AFTER[silent]

    def _is_elsewhere(self, terms: Sequence[_Term]) -> bool:
        """Whether a wide scenario is in the plain space too."""
        is_plain = all(set(t[0]) == set(t[1]) and t[2] == SILENT_AFTER[0] for t in terms)
        return self.is_wide and self.term_count == TERMS_MIN and is_plain


def list_spaces(validator_count: int) -> tuple[Space, ...]:
    """Return the spaces of a network of this size."""
    plain = Space(validator_count=validator_count, term_count=TERMS_MIN, is_wide=False)
    counts = range(TERMS_MIN, TERMS_MAX + 1)
    return (plain, *(Space(validator_count=validator_count, term_count=n, is_wide=True) for n in counts))


def find_scenario(validator_count: int, number: int) -> TwinsScenario | None:
    """Return the scenario of a number, None if it mirrors another one, or its space has no more.

    The numbers take turns with the spaces.
    """
    place, which = divmod(number, SPACE_COUNT)
    space = list_spaces(validator_count)[which]
    return space.find(place) if place < space.size else None


def list_numbers(validator_count: int, first: int, count: int) -> Iterator[int]:
    """Yield the numbers of the next `count` scenarios, from the number `first` on."""
    number, found = first, 0
    last = SPACE_COUNT * max(space.size for space in list_spaces(validator_count))
    while found < count and number < last:
        if find_scenario(validator_count, number) is not None:
            found += 1
            yield number
        number += 1


@cache
def list_splits(count: int) -> tuple[Split, ...]:
    """Return all partitions of so many processes into two or three groups."""
    grown: list[Split] = [()]
    for _ in range(count):
        grown = [(*split, group) for split in grown for group in range(min(3, max(split, default=-1) + 2))]
    return tuple(split for split in grown if max(split) > 0)


@cache
def list_covers(count: int) -> tuple[tuple[frozenset[int], ...], ...]:
    """Return these partitions as groups, and with each those in which one process is in two groups."""
    found: dict[frozenset[frozenset[int]], tuple[frozenset[int], ...]] = {}
    for split in list_splits(count):
        groups = _gather(split)
        found[frozenset(groups)] = groups
        for place, own in enumerate(split):
            for other in range(len(groups)):
                if other != own:
                    wider = tuple(g | {place} if at == other else g for at, g in enumerate(groups))
                    found.setdefault(frozenset(wider), wider)
    return tuple(found.values())


@cache
def list_lively(validator_count: int, twinned: tuple[int, ...]) -> tuple[Split, ...]:
    """Return those with a quorum of validators in a group: the others bring nothing about, nor end a term.

    Their number depends only on how many twins there are.
    """
    names = list_processes(validator_count, twinned)
    quorum = compute_quorum(validator_count)
    return tuple(split for split in list_splits(len(names)) if _count_validators(names, split) >= quorum)


@cache
def compute_stride(size: int) -> int:
    """Return the step of a walk through a space: about the golden section, with no factor in common."""
    stride = max(1, size * 618_033_988_749_894_848_204 // 10**21)
    while gcd(stride, size) != 1:
        stride += 1
    return stride


def is_first_of_mirrors(validator_count: int, twinned: tuple[int, ...], terms: Sequence[_Term]) -> bool:
    """Whether no renaming of what no rule can tell apart gives a scenario that sorts before this one."""
    own = _spell(terms, None)
    mirrors = list_mirrors(validator_count, twinned, len(terms))
    return all(own <= _spell(terms, mirror) for mirror in mirrors)


@cache
def list_mirrors(validator_count: int, twinned: tuple[int, ...], term_count: int) -> tuple[Split, ...]:
    """Return the renamings: twins swapped, validators exchanged that neither lead a term nor have a twin."""
    names = list_processes(validator_count, twinned)
    index = {name: place for place, name in enumerate(names)}
    idle = [i for i in range(term_count, validator_count) if i not in twinned]
    mirrors: list[Split] = []
    for swapped in product((False, True), repeat=len(twinned)):
        for exchanged in permutations(idle):
            renaming = list(range(len(names)))
            for one, is_swapped in zip(twinned, swapped, strict=True):
                if is_swapped:
                    renaming[index[f"{one}"]], renaming[index[f"{one}'"]] = index[f"{one}'"], index[f"{one}"]
            for one, other in zip(idle, exchanged, strict=True):
                renaming[index[f"{one}"]] = index[f"{other}"]
            mirrors.append(tuple(renaming))
    return tuple(mirrors[1:])


def _gather(split: Split) -> tuple[frozenset[int], ...]:
    """Return the groups of a split."""
    groups = range(max(split) + 1)
    return tuple(frozenset(place for place, group in enumerate(split) if group == one) for one in groups)


def _spell(terms: Sequence[_Term], renaming: Split | None) -> tuple[object, ...]:
    """Return what two scenarios are compared by, after a renaming."""

    def rename(groups: tuple[frozenset[int], ...]) -> tuple[tuple[int, ...], ...]:
        moved = [group if renaming is None else [renaming[place] for place in group] for group in groups]
        return tuple(sorted(tuple(sorted(group)) for group in moved))

    return tuple((rename(groups), rename(timeouts), silent) for groups, timeouts, silent in terms)


def _count_validators(names: tuple[str, ...], split: Split) -> int:
    """Return how many validators the group with most of them has; twins are one."""
    return max(len({names[place].rstrip("'") for place in group}) for group in _gather(split))


def _name_term(names: tuple[str, ...], term: _Term) -> TermPlan:
    def name(groups: tuple[frozenset[int], ...]) -> Groups:
        return tuple(tuple(names[place] for place in sorted(group)) for group in groups)

    return TermPlan(groups=name(term[0]), timeout_groups=name(term[1]), silent_after=term[2])
